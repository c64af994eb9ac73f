//! The directory: what is taken for a database, what is refused, and that what is refused is left
//! as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keyhasp::backend::sled::Sled;
use keyhasp::backend::{Backend, BackendErrorKind};

use crate::sled::fixture::{Fixture, commit, create_owner, entries, options, owner_id};

/// Every file below a directory with its contents.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in entries(dir) {
        let path = dir.join(&name);
        if path.is_dir() {
            files.insert(format!("{name}/"), Vec::new());
            files.extend(contents(&path).into_iter().map(|(n, c)| (format!("{name}/{n}"), c)));
        } else {
            files.insert(name, fs::read(&path).unwrap());
        }
    }
    files
}

/// Opening is refused so, and changes nothing, not even beside the directory.
fn refused(fixture: &Fixture, kind: BackendErrorKind) {
    let before = contents(fixture.root());
    assert_eq!(fixture.refusal(), kind);
    assert_eq!(contents(fixture.root()), before);
}

#[test]
fn a_new_or_an_empty_directory_becomes_a_database() {
    for make in [false, true] {
        let fixture = Fixture::new();
        if make {
            fs::create_dir(fixture.dir()).unwrap();
        }
        let store = fixture.store();
        commit(&store, create_owner("a")).unwrap();
        store.close().unwrap();
        assert_eq!(entries(fixture.root()), ["db", "db.lock"]);
        assert_eq!(fixture.entries(), ["keyhasp", "sled-1"]);
        assert_eq!(fixture.marker(), "keyhasp sled store\nformat 5\ngeneration 1\n");
        assert!(fixture.store().owner(&owner_id("a")).unwrap().is_some());
    }
}

#[test]
fn a_creation_that_was_broken_off_is_begun_anew() {
    let unfinished = "keyhasp sled store\nformat 5\nunfinished\n";
    type Leave = fn(&Fixture);
    let states: [(&str, Leave); 5] = [
        ("the first marker is half-written", |f| {
            fs::write(f.dir().join("keyhasp.new"), "keyha").unwrap();
        }),
        ("nothing but the first marker", |_| {}),
        ("an empty generation", |f| fs::create_dir(f.generation(1)).unwrap()),
        ("a generation with half of sled's files", |f| {
            fs::create_dir_all(f.generation(1).join("blobs")).unwrap();
            fs::write(f.generation(1).join("conf"), "segm").unwrap();
            fs::write(f.generation(1).join("db"), [0; 99]).unwrap();
        }),
        ("the second marker is not yet in its place", |f| {
            fs::create_dir_all(f.generation(1).join("blobs")).unwrap();
            fs::write(f.dir().join("keyhasp.new"), "keyhasp sled store\n").unwrap();
        }),
    ];
    for (number, (state, leave)) in states.into_iter().enumerate() {
        let fixture = Fixture::new();
        fs::create_dir(fixture.dir()).unwrap();
        if number > 0 {
            fixture.set_marker(unfinished);
        }
        leave(&fixture);
        let store = fixture.store();
        commit(&store, create_owner("a")).unwrap();
        store.close().unwrap();
        assert_eq!(fixture.entries(), ["keyhasp", "sled-1"], "{state}");
        assert!(fixture.store().owner(&owner_id("a")).unwrap().is_some(), "{state}");
    }
}

#[test]
fn what_is_no_database() {
    let fixture = Fixture::new();
    fs::write(fixture.dir(), "a file").unwrap();
    refused(&fixture, BackendErrorKind::NotADatabase);

    let fixture = Fixture::new();
    fs::write(fixture.root().join("file"), "").unwrap();
    let paths = [fixture.root().join("missing/db"), fixture.root().join("file/db")];
    for path in paths.into_iter().chain(["".into(), "/".into()]) {
        let error = Sled::open(&path, options()).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::NotADatabase, "{path:?}");
    }
    assert_eq!(entries(fixture.root()), ["file"]);
}

#[test]
fn what_is_somebody_elses() {
    // A directory with anything in it.
    let fixture = Fixture::new();
    fs::create_dir(fixture.dir()).unwrap();
    fs::write(fixture.dir().join("letter.txt"), "dear").unwrap();
    refused(&fixture, BackendErrorKind::Foreign);

    // A database of sled's that isn't one of ours.
    let fixture = Fixture::new();
    let db = sled::open(fixture.dir()).unwrap();
    db.insert("a", "b").unwrap();
    db.flush().unwrap();
    drop(db);
    fs::File::open(fixture.dir().join("db")).unwrap().lock().unwrap();
    refused(&fixture, BackendErrorKind::Foreign);

    // The same in a directory of the name that ours would have.
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.generation(1)).unwrap();
    fs::write(fixture.generation(1).join("db"), "theirs").unwrap();
    refused(&fixture, BackendErrorKind::Foreign);

    // A file or a directory of the marker's name.
    let fixture = Fixture::new();
    fs::create_dir(fixture.dir()).unwrap();
    fixture.set_marker("something else\n");
    refused(&fixture, BackendErrorKind::Foreign);
    fs::remove_file(fixture.dir().join("keyhasp")).unwrap();
    fs::create_dir(fixture.dir().join("keyhasp")).unwrap();
    refused(&fixture, BackendErrorKind::Foreign);
}

#[test]
fn what_a_later_version_wrote() {
    let fixture = Fixture::with_owner();
    fixture.set_marker("keyhasp sled store\nformat 6\nand who knows what\n");
    refused(&fixture, BackendErrorKind::Newer);
}

#[cfg(unix)]
#[test]
fn what_may_not_be_written_to() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::with_owner();
    for path in [fixture.dir(), fixture.generation(1), fixture.generation(1).join("db")] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o555)).unwrap();
        refused(&fixture, BackendErrorKind::ReadOnly);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fixture.open().unwrap();
    }
    let fixture = Fixture::new();
    fs::create_dir(fixture.dir()).unwrap();
    fs::set_permissions(fixture.dir(), fs::Permissions::from_mode(0o555)).unwrap();
    refused(&fixture, BackendErrorKind::ReadOnly);
}

#[test]
fn a_second_opener_is_told_what_to_do() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let error = fixture.open().unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::AlreadyOpen);
    assert!(error.to_string().contains("use the SQLite backend"), "{error}");

    // Another way to the same directory is no way around the lock.
    #[cfg(unix)]
    {
        let link = fixture.root().join("link");
        std::os::unix::fs::symlink(fixture.dir(), &link).unwrap();
        let error = Sled::open(&link, options()).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::AlreadyOpen);
        assert!(!fixture.root().join("link.lock").exists());
    }

    // The first one was not disturbed, and a lock file that is left means nothing.
    commit(&store, create_owner("a")).unwrap();
    drop(store);
    assert!(fixture.root().join("db.lock").exists());
    fixture.open().unwrap();
}

#[test]
fn somebody_who_goes_past_the_lock_is_met_at_the_data_file() {
    let fixture = Fixture::with_owner();
    let data = fs::File::open(fixture.generation(1).join("db")).unwrap();
    data.lock().unwrap();
    assert_eq!(fixture.refusal(), BackendErrorKind::AlreadyOpen);
    drop(data);
    fixture.open().unwrap();
}

#[test]
fn debug_shows_where_it_is_and_nothing_that_is_in_it() {
    let fixture = Fixture::new();
    let store = fixture.store();
    commit(&store, create_owner("canary")).unwrap();
    let shown = format!("{store:?}");
    assert!(shown.contains("db") && !shown.contains("canary"), "{shown}");
}
