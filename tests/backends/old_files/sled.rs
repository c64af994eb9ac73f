//! On sled: `vN.sled.packed`, a directory without its zeros.

use std::fs;
use std::path::{Path, PathBuf};

use keyhasp::Store;
use keyhasp::backend::BackendErrorKind;
use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::store::StoreBuilder;

use crate::old_files::{dir, formats, packed, used, world};

const ENDING: &str = ".sled.packed";

fn file(version: u32) -> PathBuf {
    dir().join(format!("v{version}{ENDING}"))
}

fn open(path: &Path, builder: StoreBuilder) -> Store {
    builder.open(Sled::open_or_create(path, SledOptions::default()).unwrap().0).unwrap()
}

/// The format in a directory's marker.
fn format(path: &Path) -> String {
    let marker = fs::read_to_string(path.join("keyhasp")).unwrap();
    marker.lines().nth(1).unwrap().to_owned()
}

/// The format that this keyhasp writes.
fn newest() -> u32 {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("keys");
    drop(Sled::create(&path, SledOptions::default()).unwrap());
    format(&path).strip_prefix("format ").unwrap().parse().unwrap()
}

#[test]
fn every_format_is_opened_and_used() {
    for version in formats(ENDING) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys");
        packed::write(&path, &packed::unpack(&fs::read(file(version)).unwrap()));
        assert_eq!(format(&path), format!("format {version}"));
        used::check(version, &|builder| open(&path, builder));
    }
}

#[test]
fn the_newest_is_what_is_written_now() {
    assert_eq!(formats(ENDING).last(), Some(&newest()), "the format is new: write its file");
}

#[test]
fn a_format_that_was_never_released_is_refused_and_left_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("keys");
    packed::write(&path, &packed::unpack(&fs::read(file(newest())).unwrap()));
    let marker = fs::read_to_string(path.join("keyhasp")).unwrap();
    fs::write(path.join("keyhasp"), marker.replace(&format(&path), "format 1")).unwrap();
    let before = packed::read(&path);
    let error = Sled::open(&path, SledOptions::default()).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Unreleased, "{error}");
    assert_eq!(packed::read(&path), before);
}

/// Writes the newest format's file, never over one that is there. What must be answered on it is
/// what SQLite's is answered: both were told one story.
#[test]
#[ignore = "writes a file that is checked in: cargo test --all-features --test backends old_files -- --ignored"]
fn write_the_newest() {
    let newest = newest();
    if file(newest).exists() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("keys");
    world::write(&|builder| open(&path, builder));
    world::quarantine(&Sled::open(&path, SledOptions::default()).unwrap());
    fs::write(file(newest), packed::pack(&packed::read(&path))).unwrap();
}
