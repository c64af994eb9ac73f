//! What damaged databases are held against: the story of the old files, and what a store must
//! answer after each of its changes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::store::StoreBuilder;
use keyhasp::{Error, KeyStore, Store};
use serde_json::Value;
use tempfile::TempDir;

use super::packed::{self, Files};
use super::world::{self, Facts, reader};

/// The intact database on SQLite, and all that it ever was.
pub(super) struct History {
    /// As it is after the last change, closed: one file.
    pub(super) closed: Files,
    /// The same before it was closed: much of it lies in the write-ahead log.
    pub(super) open: Files,
    pub(super) tokens: Vec<String>,
    /// After each change, what is answered then; nothing where no store can be opened by the
    /// rules of today.
    pub(super) states: Vec<State>,
}

pub(super) struct State {
    verdicts: Vec<Value>,
    keys: Vec<Value>,
    owners: Vec<Value>,
    events: Vec<Value>,
}

const NAME: &str = "keys.db";

pub(super) fn options() -> SqliteOptions {
    SqliteOptions::exclusive().sync_off_for_tests()
}

pub(super) fn open_sqlite(dir: &Path, builder: StoreBuilder) -> Result<Store, Error> {
    builder.open(Sqlite::open_or_create(dir.join(NAME), options())?.0)
}

/// Opens a store that was made before: a damaged one is never begun again.
pub(super) fn reopen_sqlite(dir: &Path, builder: StoreBuilder) -> Result<Store, Error> {
    builder.open(Sqlite::open(dir.join(NAME), options())?)
}

/// The database's files of a directory; the lock is none of them.
pub(super) fn database(dir: &Path) -> Files {
    let mut files = packed::read(dir);
    files.retain(|(name, bytes)| !name.ends_with(".lock") && !bytes.is_empty());
    files
}

impl History {
    pub(super) fn new() -> Self {
        let temp = tempdir();
        let mut copies: Vec<(Files, Vec<String>)> = Vec::new();
        let open = |builder: StoreBuilder| open_sqlite(temp.path(), builder).unwrap();
        let tokens = world::watched(&open, &mut |tokens| {
            copies.push((database(temp.path()), tokens.to_vec()));
        });
        let states = copies.iter().filter_map(|(files, _)| {
            let files: Files =
                files.iter().filter(|(name, _)| !name.ends_with("-shm")).cloned().collect();
            State::of(&files, &tokens)
        });
        let states: Vec<State> = states.collect();
        assert!(states.len() > 20, "{} states", states.len());
        let (mut open, _) = copies.pop().unwrap();
        open.retain(|(name, _)| !name.ends_with("-shm"));
        Self { closed: database(temp.path()), open, tokens, states }
    }

    pub(super) fn last(&self) -> &State {
        self.states.last().unwrap()
    }
}

impl State {
    fn of(files: &Files, tokens: &[String]) -> Option<Self> {
        let temp = tempdir();
        packed::write(temp.path(), files);
        let store: Arc<dyn KeyStore> = Arc::new(open_sqlite(temp.path(), reader()).ok()?);
        let Facts { verdicts, keys, owners, events } = Facts::of(&store, tokens);
        let (keys, owners, events) = (keys.unwrap(), owners.unwrap(), events.unwrap());
        Some(Self { verdicts, keys, owners, events })
    }

    /// Whether all answers are those of this state. An error is as good as an answer.
    pub(super) fn is(&self, facts: &Facts) -> bool {
        let same = |mine: &Vec<Value>, heard: &Result<Vec<Value>, Error>| {
            heard.as_ref().map_or(true, |heard| heard == mine)
        };
        self.verdicts == facts.verdicts
            && same(&self.keys, &facts.keys)
            && same(&self.owners, &facts.owners)
            && same(&self.events, &facts.events)
    }

    /// Lists the answers that don't fit this state. Damage may take records away, never alter or
    /// add one, and no token is accepted that was invalid before.
    pub(super) fn differences(&self, facts: &Facts) -> Vec<String> {
        let mut found = Vec::new();
        for (expected, heard) in self.verdicts.iter().zip(&facts.verdicts) {
            let is_let_in = heard.get("refused").is_none();
            if is_let_in && expected != heard {
                found.push(format!("{expected} expected, {heard} heard"));
            }
        }
        for (expected, heard) in [
            (&self.keys, &facts.keys),
            (&self.owners, &facts.owners),
            (&self.events, &facts.events),
        ] {
            let Ok(heard) = heard else { continue };
            let expected: Vec<Value> = expected.iter().map(vouched_for).collect();
            found.extend(
                heard
                    .iter()
                    .map(vouched_for)
                    .filter(|item| !expected.contains(item))
                    .map(|item| format!("{item} heard, which never was")),
            );
        }
        found
    }
}

/// Returns an item without its usage: of that only quotas have a checksum, and of those
/// none tells of a row that is lost.
fn vouched_for(item: &Value) -> Value {
    let mut item = item.clone();
    if let Value::Object(fields) = &mut item {
        fields.remove("usage");
    }
    item
}

/// In memory where the system has such a place: thousands are made.
pub(super) fn tempdir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = fs::metadata(memory).is_ok_and(|about| about.is_dir());
    if dir { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}
