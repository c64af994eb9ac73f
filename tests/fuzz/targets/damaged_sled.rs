//! A sled database with bits flipped, stretches zeroed and ends cut off in any of its files, or
//! with other values in its trees. Of a damaged file: an error, or all as it was after one of the
//! changes, since damage near the log's end is no other than a log that ended there.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::store::StoreBuilder;
use keyhasp::{Error, KeyStore, Store};

use super::damaged_sqlite::{damage, used};
use super::history::{History, tempdir};
use super::input::Input;
use super::packed::{self, Files};
use super::quiet::quietly;
use super::world::{self, Facts, reader};

struct Base {
    history: History,
    /// Closed after the last change.
    files: Files,
    /// Closed, opened and closed once more: all of it lies before sled's last snapshot.
    settled: Files,
}

fn options() -> SledOptions {
    SledOptions::default().cache_capacity(0).sync_off_for_tests()
}

fn create(dir: &Path, builder: StoreBuilder) -> Result<Store, Error> {
    builder.open(Sled::open_or_create(dir, options())?.0)
}

/// A damaged store is never begun again.
fn reopen(dir: &Path, builder: StoreBuilder) -> Result<Store, Error> {
    builder.open(Sled::open(dir, options())?)
}

impl Base {
    fn new() -> Self {
        let temp = tempdir();
        let dir = temp.path().join("keys");
        world::write(&|builder| create(&dir, builder).unwrap());
        let files = packed::read(&dir);
        drop(Sled::open_or_create(&dir, options()).unwrap().0);
        Self { history: History::new(), files, settled: packed::read(&dir) }
    }
}

pub fn run(data: &[u8]) {
    thread_local! {
        static BASE: Base = Base::new();
    }
    quietly(|| BASE.with(|base| check(base, data)));
}

fn check(base: &Base, data: &[u8]) {
    let mut input = Input::new(data);
    let shape = input.byte();
    let mut files = if shape & 1 == 0 { base.files.clone() } else { base.settled.clone() };
    let temp = tempdir();
    let dir = temp.path().join("keys");
    let of_trees = shape & 2 == 2;
    if of_trees {
        packed::write(&dir, &files);
        edit(&dir.join("sled-1"), input);
    } else {
        // The marker, sled's configuration, its snapshot, or mostly its data.
        let name = ["keyhasp", "conf", "snap", "db"][usize::from(shape >> 2 & 7).min(3)];
        let is_it = |path: &str| path.rsplit('/').next().unwrap().starts_with(name);
        let (_, bytes) = files.iter_mut().find(|(path, _)| is_it(path)).unwrap();
        damage(&mut input, bytes);
        packed::write(&dir, &files);
    }
    let store: Arc<dyn KeyStore> = match reopen(&dir, reader()) {
        Ok(store) => Arc::new(store),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            // What is refused by its marker is left as it is. sled itself writes to its files
            // before it finds that it can't read them: `docs/storage-format.md` says so.
            let by_marker = shape & 0b1_1110 == 0;
            assert!(!by_marker || files == packed::read(&dir), "{error}: it was written to");
            return;
        }
    };
    let facts = Facts::of(&store, &base.history.tokens);
    if !of_trees {
        assert!(base.history.states.iter().any(|state| state.is(&facts)), "of no moment");
    }
    used(&store);
    let _ = store.close();
}

/// Puts other values into sled's trees.
fn edit(generation: &Path, mut input: Input<'_>) {
    let config = sled::Config::new().path(generation).flush_every_ms(None);
    let db = config.open().unwrap();
    let mut names = db.tree_names();
    names.sort();
    for _ in 0..3 {
        if input.is_empty() {
            break;
        }
        let tree = db.open_tree(input.choose(&names)).unwrap();
        let at = input.below(32);
        let Some(Ok((key, value))) = tree.iter().nth(at) else { continue };
        let mut value = value.to_vec();
        match input.byte() & 7 {
            0 => {
                tree.remove(&key).unwrap();
                continue;
            }
            1 => value = input.bytes().to_vec(),
            2 => value.truncate(input.below(value.len().max(1))),
            3 => value.extend(input.bytes()),
            _ if value.is_empty() => {}
            _ => {
                let at = input.below(value.len());
                value[at] ^= input.byte();
            }
        }
        tree.insert(key, value).unwrap();
    }
    db.flush().unwrap();
    drop(db);
    // sled's threads let go of the file in their own time.
    fs::File::open(generation.join("db")).unwrap().lock().unwrap();
}
