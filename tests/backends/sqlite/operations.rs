//! The runbook's blocks of shell, each beside a store that serves `keys.db`, after it was closed, or
//! after what its entry is about.
//!
//! They need the shell `sqlite3`, so a plain `cargo test` leaves them out; `.ci/run` runs them.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use keyhasp::backend::BackendErrorKind;
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, Error, KeyStore, OwnerId, Prefix, Store,
    Token, Verifier,
};
use rusqlite::Connection;
use serde_json::json;
use tempfile::tempdir;

use crate::another_user::{UNPRIVILEGED, is_root};

const PAGE: &str = include_str!("../../../docs/operations.md");

/// A text that stands in the last key's row alone.
const MARK: &str = "the last key of all";

fn try_open(path: &Path) -> Result<Arc<Store>, Error> {
    let backend = Sqlite::open_or_create(path, SqliteOptions::exclusive())?.0;
    let catalogue = Catalogue::builder().read("links:read").build().unwrap();
    let builder = Store::builder(catalogue, [Prefix::new("acme").unwrap()]);
    builder.open(backend).map(Arc::new)
}

fn open(path: &Path) -> Arc<Store> {
    try_open(path).unwrap()
}

fn create(store: &Arc<Store>, owner: &str, key: CreateKey) -> Token {
    let admin = AdminKeys::new(Arc::clone(store), "root").unwrap();
    let created = admin.create_owner(&OwnerId::new(owner).unwrap(), CreateOwner::with_key(key));
    created.unwrap().first_key.unwrap().token
}

fn key() -> CreateKey {
    CreateKey::new(Access::Full)
}

/// The events before a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// The store was closed.
    Stopped,
    /// Closed, and its lock file belongs to another user.
    AnotherUser,
    /// Closed, and a page of keys was overwritten.
    DamagedPage,
    /// A row was edited by hand, and the store serves again.
    DamagedRow,
    /// The files were deleted while the store has them open.
    Deleted,
    /// Closed, and the file and its log were put back from a snapshot.
    EarlierState,
    /// Closed, and the log of another database is there.
    ForeignLog,
    /// Closed, and a snapshot is there.
    Snapshot,
}

impl Before {
    /// The words after "sh" that open a block.
    const ALL: [(&str, Self); 9] = [
        ("", Self::Nothing),
        (" stopped", Self::Stopped),
        (" lock of another user", Self::AnotherUser),
        (" damaged page", Self::DamagedPage),
        (" damaged row", Self::DamagedRow),
        (" deleted", Self::Deleted),
        (" earlier state", Self::EarlierState),
        (" foreign log", Self::ForeignLog),
        (" snapshot", Self::Snapshot),
    ];

    fn of(line: &str) -> Option<Self> {
        let words = line.strip_prefix("```sh")?;
        let known = Self::ALL.iter().find(|(known, _)| *known == words);
        Some(known.unwrap_or_else(|| panic!("no such situation: {line}")).1)
    }

    /// Lets it happen to the database of this store. Returns the store that serves then.
    fn happen(self, path: &Path, store: Arc<Store>) -> Option<Arc<Store>> {
        let beside = |suffix: &str| path.with_file_name(format!("keys.db{suffix}"));
        match self {
            Self::Nothing => return Some(store),
            Self::Stopped => store.close().unwrap(),
            Self::AnotherUser => {
                store.close().unwrap();
                if is_root() {
                    chown(beside(".lock"), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
                }
            }
            Self::DamagedPage => {
                (0..60).for_each(|number| drop(create(&store, &format!("org-{number}"), key())));
                drop(create(&store, "last", key().settings(json!({ "mark": MARK }))));
                store.close().unwrap();
                drop(store);
                overwrite_page(path);
                let damaged = open(path);
                assert!(damaged.health().damaged.records > 0, "{:?}", damaged.health().damaged);
                damaged.close().unwrap();
            }
            Self::DamagedRow => {
                create(&store, "edited", key());
                store.close().unwrap();
                drop(store);
                let other = Connection::open(path).unwrap();
                let edit = "UPDATE keys SET expires_at = 9999999999999 WHERE owner = 'edited'";
                assert_eq!(other.execute(edit, []), Ok(1));
                drop(other);
                let serving = open(path);
                assert_eq!(serving.health().damaged.records, 1);
                return Some(serving);
            }
            Self::Deleted => {
                for suffix in ["", "-wal", "-shm"] {
                    fs::remove_file(beside(suffix)).unwrap();
                }
                return Some(store);
            }
            Self::EarlierState => {
                let earlier = snapshot_and_go_on(path, store);
                for (suffix, bytes) in ["", "-wal"].into_iter().zip(earlier) {
                    fs::write(beside(suffix), bytes).unwrap();
                }
                assert_refused(path, BackendErrorKind::EarlierState);
            }
            Self::ForeignLog => {
                store.close().unwrap();
                let elsewhere = tempdir().unwrap();
                let other = open(&elsewhere.path().join("keys.db"));
                create(&other, "other", key());
                fs::copy(elsewhere.path().join("keys.db-wal"), beside("-wal")).unwrap();
                assert_refused(path, BackendErrorKind::ForeignLog);
            }
            Self::Snapshot => {
                let [file, log] = snapshot_and_go_on(path, store);
                let snapshot = path.with_file_name("snapshot");
                fs::create_dir(&snapshot).unwrap();
                fs::write(snapshot.join("keys.db"), file).unwrap();
                fs::write(snapshot.join("keys.db-wal"), log).unwrap();
            }
        }
        None
    }
}

fn assert_refused(path: &Path, kind: BackendErrorKind) {
    match try_open(path) {
        Err(Error::Backend(error)) => assert_eq!(error.kind(), kind, "{error}"),
        other => panic!("{other:?}"),
    }
}

/// Returns the file and its log as they were before the last change.
fn snapshot_and_go_on(path: &Path, store: Arc<Store>) -> [Vec<u8>; 2] {
    let copies =
        ["keys.db", "keys.db-wal"].map(|name| fs::read(path.with_file_name(name)).unwrap());
    create(&store, "later", key());
    store.close().unwrap();
    copies
}

/// Overwrites the page of the last key.
fn overwrite_page(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(MARK.len()).position(|window| window == MARK.as_bytes()).unwrap();
    bytes[at / 4096 * 4096..][..4096].fill(0);
    fs::write(path, bytes).unwrap();
}

/// A block of shell.
struct Block {
    /// The line where it begins.
    line: usize,
    before: Before,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (number, line) in PAGE.lines().enumerate() {
        if let Some(before) = Before::of(line) {
            is_open = true;
            blocks.push(Block { line: number + 1, before, text: String::new() });
        } else if line == "```" {
            is_open = false;
        } else if is_open {
            let text = &mut blocks.last_mut().unwrap().text;
            text.push_str(line);
            text.push('\n');
        }
    }
    blocks
}

/// After each block the database opens, and its token is accepted; so it is in each backup. A store
/// that serves meanwhile takes no block for a foreign writer.
#[test]
#[ignore = "needs sqlite3 and fuser: cargo test --all-features --test backends -- --ignored runbook"]
fn runbook_shell_does_what_it_says() {
    let blocks = blocks();
    for (_, before) in Before::ALL {
        assert!(blocks.iter().any(|block| block.before == before), "{before:?}");
    }
    for Block { line, before, text } in blocks {
        let directory = tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let store = open(&path);
        let token = create(&store, "org", key());
        let serving = before.happen(&path, store);
        let shell = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &text])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&shell.stderr).into_owned();
        assert!(shell.status.success(), "line {line}: {said}\n{text}");
        if let Some(store) = serving {
            let is_foreign = store.check_files().is_err();
            assert_eq!(is_foreign, before == Before::Deleted, "line {line}");
        }
        let shown = String::from_utf8_lossy(&shell.stdout);
        match before {
            Before::DamagedRow => assert!(shown.contains("|keys"), "line {line}: {shown}"),
            Before::AnotherUser => {
                let user = |path: &Path| fs::metadata(path).unwrap().uid();
                assert_eq!(user(&directory.path().join("keys.db.lock")), user(&path));
            }
            _ => {}
        }
        assert!(path.exists(), "line {line}");
        for entry in fs::read_dir(directory.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_database = name == "keys.db" || name.starts_with("backup");
            if is_database && name.ends_with(".db") {
                let verifier = Verifier::new(open(&directory.path().join(&name)));
                let answer = verifier.verify(token.expose());
                assert!(answer.is_ok(), "line {line}, {name}: {answer:?}");
            }
        }
    }
}
