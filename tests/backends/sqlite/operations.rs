//! The runbook's blocks of shell, each beside a store that serves `keys.db`, after it was closed, or
//! while it serves a database that was deleted.
//!
//! They need the shell `sqlite3`, so a plain `cargo test` leaves them out; `.ci/run` runs them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, OwnerId, Prefix, Store, Token, Verifier,
};
use tempfile::tempdir;

const PAGE: &str = include_str!("../../../docs/operations.md");

fn open(path: &Path) -> Arc<Store> {
    let backend = Sqlite::open_or_create(path, SqliteOptions::exclusive()).unwrap().0;
    let catalogue = Catalogue::builder().read("links:read").build().unwrap();
    let builder = Store::builder(catalogue, [Prefix::new("acme").unwrap()]);
    Arc::new(builder.open(backend).unwrap())
}

fn create(store: &Arc<Store>) -> Token {
    let admin = AdminKeys::new(Arc::clone(store) as _, "root").unwrap();
    let request = CreateOwner::with_key(CreateKey::new(Access::Full));
    let created = admin.create_owner(&OwnerId::new("org").unwrap(), request).unwrap();
    created.first_key.unwrap().token
}

/// What has happened before a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// The store was closed.
    Stopped,
    /// The files were deleted while the store has them open.
    Deleted,
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
        let before = match line {
            "```sh" => Some(Before::Nothing),
            "```sh stopped" => Some(Before::Stopped),
            "```sh deleted" => Some(Before::Deleted),
            _ => None,
        };
        if let Some(before) = before {
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
    assert!(blocks.len() > 8, "{}", blocks.len());
    assert!(blocks.iter().any(|block| block.before == Before::Deleted));
    for Block { line, before, text } in blocks {
        let directory = tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let store = open(&path);
        let token = create(&store);
        let serving = (before != Before::Stopped).then_some(store);
        if before == Before::Deleted {
            for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
                fs::remove_file(directory.path().join(name)).unwrap();
            }
        }
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
