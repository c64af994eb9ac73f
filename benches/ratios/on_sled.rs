//! The store over sled, and the same by hand with sled.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use keyhasp::backend::sled::{Sled, SledOptions};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sled::Transactional;
use sled::transaction::TransactionResult;
use tempfile::TempDir;

use crate::engine::{OPENINGS, callers, creations, make_small, opening, owner};
use crate::filled::{KEYS, fill};
use crate::measure::{figure, ratio_of};

/// The trees that a creation writes to.
const WRITTEN: [&str; 7] =
    ["metadata", "keys", "owner_keys", "key_counts", "events", "key_events", "owner_events"];

/// What stands in a tree that is only an index.
const NOTHING: &[u8] = b"";

pub fn run(wanted: &dyn Fn(&str) -> bool) {
    if wanted("open_1m_sled") {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("many");
        fill(KEYS, || backend(&path));
        let openings = ratio_of(OPENINGS, || opening(|| backend(&path)), || iterate(&path));
        figure("open_1m_sled", openings, "x_engine");
    }
    let dir = TempDir::new().unwrap();
    let small = |name: &str| {
        let path = dir.path().join(name);
        make_small(backend(&path));
        path
    };
    if wanted("create_sled") {
        let mut by_hand = ByHand::open(&small("by_hand"));
        creations("create_sled", backend(&small("store")), || by_hand.create());
        by_hand.check();
    }
    if wanted("create_64_callers_sled") {
        callers("create_64_callers_sled", backend(&small("callers")));
    }
}

fn backend(path: &Path) -> Sled {
    Sled::open_or_create(path, SledOptions::default()).unwrap().0
}

/// Where sled's own files lie.
fn files(path: &Path) -> PathBuf {
    path.join("sled-1")
}

fn open_bare(path: &Path) -> sled::Db {
    sled::Config::new()
        .path(files(path))
        .cache_capacity(SledOptions::DEFAULT_CACHE_CAPACITY)
        .flush_every_ms(None)
        .open()
        .unwrap()
}

/// How long it takes to open the database and go through the values that the index is loaded from.
fn iterate(path: &Path) -> f64 {
    let started = Instant::now();
    let db = open_bare(path);
    let counts = ["owners", "keys"].map(|name| {
        let tree = db.open_tree(name).unwrap();
        let mut count = 0;
        for entry in &tree {
            black_box(entry.unwrap());
            count += 1;
        }
        count
    });
    let took = started.elapsed().as_secs_f64() * 1e9;
    assert_eq!(counts[1], KEYS);
    drop(db);
    await_let_go(path);
    took
}

/// sled's threads hold its file for a while after it was dropped.
fn await_let_go(path: &Path) {
    let file = File::open(files(path).join("db")).unwrap();
    while file.try_lock().is_err() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Writes the entries of a created key in one transaction, as durably as the store.
struct ByHand {
    db: sled::Db,
    /// In the order of [`WRITTEN`].
    trees: Vec<sled::Tree>,
    file: File,
    key: Vec<u8>,
    id: u128,
    event: Vec<u8>,
    sequence: u64,
    random: ChaCha8Rng,
    created: u64,
}

impl ByHand {
    fn open(path: &Path) -> Self {
        let file = OpenOptions::new().write(true).open(files(path).join("db")).unwrap();
        let db = open_bare(path);
        let trees: Vec<sled::Tree> =
            WRITTEN.iter().map(|name| db.open_tree(name).unwrap()).collect();
        let (id, key) = trees[1].first().unwrap().unwrap();
        let (sequence, event) = trees[4].last().unwrap().unwrap();
        Self {
            db,
            trees,
            file,
            key: key.to_vec(),
            id: !u128::from_be_bytes((*id).try_into().unwrap()),
            event: event.to_vec(),
            sequence: u64::from_be_bytes((*sequence).try_into().unwrap()),
            random: ChaCha8Rng::seed_from_u64(1),
            created: 0,
        }
    }

    fn create(&mut self) {
        // Ids begin with the millisecond.
        self.id += 1 << 80;
        self.sequence += 1;
        let id = (!self.id).to_be_bytes();
        let sequence = self.sequence.to_be_bytes();
        let of_owner = [owner().as_str().as_bytes(), &[0]].concat();
        // Where the digest lies doesn't matter: only that no two values are the same.
        let end = self.key.len() - 8;
        self.random.fill_bytes(&mut self.key[end..]);
        let written: TransactionResult<()> = self.trees.as_slice().transaction(|trees| {
            let counts = trees[3].get(owner().as_str())?.unwrap();
            let counts: Vec<u8> = counts
                .chunks_exact(8)
                .flat_map(|count| (u64::from_be_bytes(count.try_into().unwrap()) + 1).to_be_bytes())
                .collect();
            trees[0].insert(b"last_event".as_slice(), &sequence[..])?;
            trees[1].insert(&id[..], self.key.as_slice())?;
            trees[2].insert([of_owner.as_slice(), &id].concat(), NOTHING)?;
            trees[3].insert(owner().as_str(), counts)?;
            trees[4].insert(&sequence[..], self.event.as_slice())?;
            trees[5].insert([&id[..], &sequence].concat(), NOTHING)?;
            trees[6].insert([of_owner.as_slice(), &sequence].concat(), NOTHING)?;
            Ok(())
        });
        written.unwrap();
        self.db.flush().unwrap();
        // sled's flush ends in `sync_file_range`, which is no sync.
        self.file.sync_all().unwrap();
        self.created += 1;
    }

    /// As many entries were written by hand as the store would have written.
    fn check(&self) {
        for name in ["keys", "owner_keys", "key_events"] {
            let tree = self.db.open_tree(name).unwrap();
            assert_eq!(tree.len() as u64, self.created + 2, "{name}");
        }
        let counts = self.trees[3].get(owner().as_str()).unwrap().unwrap();
        assert_eq!(counts[..8], (self.created + 2).to_be_bytes());
    }
}
