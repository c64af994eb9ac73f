//! On sled: `vN.sled.packed`, a directory without its zeros.

use std::fs;
use std::path::{Path, PathBuf};

use keyhasp::Store;
use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::store::StoreBuilder;

use crate::old_files::{dir, packed, used, world};

/// The format that this keyhasp writes; a greater one needs a file of its own here.
const NEWEST: u32 = 1;

fn file(version: u32) -> PathBuf {
    dir().join(format!("v{version}.sled.packed"))
}

fn open(path: &Path, builder: StoreBuilder) -> Store {
    builder.open(Sled::open(path, SledOptions::default()).unwrap()).unwrap()
}

/// The format in a directory's marker.
fn format(path: &Path) -> String {
    let marker = fs::read_to_string(path.join("keyhasp")).unwrap();
    marker.lines().nth(1).unwrap().to_owned()
}

#[test]
fn every_version_is_opened_and_used() {
    for version in 1..=NEWEST {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys");
        packed::write(&path, &packed::unpack(&fs::read(file(version)).unwrap()));
        assert_eq!(format(&path), format!("format {version}"));
        used::check(version, &|builder| open(&path, builder));
    }
}

#[test]
fn the_newest_is_what_is_written_now() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("keys");
    drop(Sled::open(&path, SledOptions::default()).unwrap());
    let newest = format!("format {NEWEST}");
    assert_eq!(format(&path), newest, "the format is new: write its file, and raise NEWEST");
    assert!(!file(NEWEST + 1).exists(), "there is a file of a version that no test opens");
}

/// Writes the newest version's file, never over one that is there. What must be answered on it is
/// what SQLite's is answered: both were told one story.
#[test]
#[ignore = "writes a file that is checked in: cargo test --all-features --test old_files -- --ignored"]
fn write_the_newest() {
    if file(NEWEST).exists() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("keys");
    world::write(&|builder| open(&path, builder));
    fs::write(file(NEWEST), packed::pack(&packed::read(&path))).unwrap();
}
