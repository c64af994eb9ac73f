//! Recovery, and whatever a crash in the middle of one leaves.

use std::fs;
use std::path::Path;

use keyhasp::backend::Backend;
use keyhasp::id::KeyId;

use crate::sled::fixture::{Fixture, commit, create_key, create_owner, key, owner_id};

fn marker(generation: u64) -> String {
    format!("keyhasp sled store\nformat 5\ngeneration {generation}\n")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A closed store of owner `a` and 30 keys.
fn stored() -> Fixture {
    let fixture = Fixture::with_owner();
    let store = fixture.open().unwrap();
    for id in 0..30 {
        commit(&store, create_key(key("a", id))).unwrap();
    }
    store.close().unwrap();
    fixture
}

fn expect_all(store: &dyn Backend) {
    assert_eq!(store.last_event().unwrap(), 32);
    for id in 0..30 {
        assert!(store.key(KeyId::from_u128(id)).unwrap().is_some(), "{id}");
    }
}

#[test]
fn a_recovery_goes_on_in_a_copy() {
    let fixture = stored();
    let store = fixture.open().unwrap();
    for generation in 2..5 {
        store.recover().unwrap();
        assert_eq!(fixture.marker(), marker(generation));
        assert_eq!(fixture.entries(), ["keyhasp".to_owned(), format!("sled-{generation}")]);
        expect_all(&store);
    }
    commit(&store, create_owner("b")).unwrap();
    assert_eq!(store.last_event().unwrap(), 33);
    drop(store);
    let store = fixture.open().unwrap();
    assert!(store.owner(&owner_id("b")).unwrap().is_some());
    // It is still the only one.
    assert!(fixture.open().is_err());
}

#[test]
fn a_crash_at_any_step_of_a_recovery_loses_nothing() {
    // After each step: what is there, and which generation counts from then on.
    type State = fn(&Fixture);
    let states: [(&str, State, u64); 9] = [
        ("a directory for the copy", |f| fs::create_dir(f.generation(2)).unwrap(), 1),
        ("half a copy", half, 1),
        ("a whole copy", whole, 1),
        (
            "an empty new marker",
            |f| {
                whole(f);
                fs::write(f.dir().join("keyhasp.new"), "").unwrap();
            },
            1,
        ),
        (
            "a whole new marker",
            |f| {
                whole(f);
                fs::write(f.dir().join("keyhasp.new"), marker(2)).unwrap();
            },
            1,
        ),
        (
            "the new marker in its place",
            |f| {
                whole(f);
                f.set_marker(&marker(2));
            },
            2,
        ),
        (
            "the files of before half removed",
            |f| {
                whole(f);
                f.set_marker(&marker(2));
                fs::remove_file(f.generation(1).join("db")).unwrap();
            },
            2,
        ),
        (
            "all done",
            |f| {
                whole(f);
                f.set_marker(&marker(2));
                fs::remove_dir_all(f.generation(1)).unwrap();
            },
            2,
        ),
        (
            "two recoveries, the first one broken off",
            |f| {
                whole(f);
                f.set_marker(&marker(2));
                copy(&f.generation(2), &f.generation(3));
                fs::write(f.dir().join("keyhasp.new"), &marker(3)[..30]).unwrap();
            },
            2,
        ),
    ];
    for unsynced in [false, true] {
        for (what, state, counts) in states {
            let fixture = stored();
            state(&fixture);
            if unsynced {
                // The sync that failed was before; the recovery has to be done again.
                fs::write(fixture.dir().join("keyhasp.unsynced"), "").unwrap();
            }
            let counts = counts + u64::from(unsynced);
            let store = fixture.open().unwrap();
            expect_all(&store);
            assert_eq!(fixture.marker(), marker(counts), "{what}");
            let left = ["keyhasp".to_owned(), format!("sled-{counts}")];
            assert_eq!(fixture.entries(), left, "{what}");
            // And the next recovery works.
            store.recover().unwrap();
            expect_all(&store);
            assert_eq!(fixture.marker(), marker(counts + 1), "{what}");
        }
    }
}

/// The process ended during a durable write, and couldn't report whether the write failed.
#[test]
fn what_was_under_way_is_written_anew() {
    let fixture = stored();
    let lock = fixture.root().join("db.lock");
    let notes = fs::read(&lock).unwrap();
    assert_eq!(notes[0], b'0');
    fs::write(&lock, [b"1", &notes[1..]].concat()).unwrap();
    for _ in 0..2 {
        // Once: it is durable now.
        let store = fixture.open().unwrap();
        expect_all(&store);
        assert_eq!(fixture.marker(), marker(2));
        assert_eq!(fs::read(&lock).unwrap(), notes);
        store.close().unwrap();
        assert_eq!(fs::read(&lock).unwrap(), notes);
    }
}

fn half(fixture: &Fixture) {
    whole(fixture);
    let db = fs::read(fixture.generation(1).join("db")).unwrap();
    fs::write(fixture.generation(2).join("db"), &db[..db.len() / 2]).unwrap();
}

fn whole(fixture: &Fixture) {
    copy(&fixture.generation(1), &fixture.generation(2));
}

#[test]
fn a_snapshot_that_sled_was_writing_is_left_out() {
    let fixture = stored();
    // Another opening writes a snapshot.
    fixture.open().unwrap();
    let half = "snap.FFFFFFFFFFFFFFFF.generating";
    fs::write(fixture.generation(1).join(half), "half").unwrap();
    let store = fixture.open().unwrap();
    expect_all(&store);
    assert!(!fixture.generation(1).join(half).exists());

    fs::write(fixture.generation(1).join(half), "half").unwrap();
    store.recover().unwrap();
    expect_all(&store);
}

/// Real writes that really fail: the process may not make its files longer than a limit.
#[cfg(target_os = "linux")]
mod a_disk_that_takes_no_more {
    use std::env;
    use std::path::Path;
    use std::process::Command;

    use keyhasp::backend::sled::Sled;
    use keyhasp::backend::{Backend, BackendErrorKind};
    use keyhasp::id::KeyId;

    use crate::common::records::longest_settings;
    use crate::sled::fixture::{Fixture, commit, create_key, create_owner, key, options};

    const DIR: &str = "KEYHASP_TEST_FULL_DISK";

    fn big(id: u128) -> keyhasp::backend::Change {
        let mut key = key("a", id);
        key.settings = longest_settings();
        create_key(key)
    }

    /// Runs `test` once more, as a process of its own with a limit on its files in the shell's
    /// blocks of 512 or 1024 bytes; then looks at what it left, without the limit.
    fn under_limit(test: &str, blocks: u32) {
        let fixture = Fixture::with_owner();
        let output = Command::new("sh")
            .args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")])
            .arg(env::current_exe().unwrap())
            .args(["--exact", &format!("sled::recover::a_disk_that_takes_no_more::{test}")])
            .arg("--nocapture")
            .env(DIR, fixture.dir())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let (_, said) = said.split_once("acknowledged: ").unwrap();
        let acknowledged: u128 = said.lines().next().unwrap().parse().unwrap();

        let store = fixture.open().unwrap();
        expect_whole(&store, acknowledged);
        commit(&store, big(u128::MAX)).unwrap();
    }

    /// Every acknowledged commit is there, and the indeterminate one whole or not at all.
    fn expect_whole(store: &dyn Backend, acknowledged: u128) {
        for id in 0..acknowledged {
            assert!(store.key(KeyId::from_u128(id)).unwrap().is_some(), "{id}");
        }
        let doubtful = store.key(KeyId::from_u128(acknowledged)).unwrap();
        let events = acknowledged as u64 + 2 + u64::from(doubtful.is_some());
        assert_eq!(store.last_event().unwrap(), events);
    }

    /// Commits until the limit is met: the store, and how many commits were acknowledged.
    fn fill(dir: &Path) -> (Sled, u128) {
        let store = Sled::open(dir, options()).unwrap();
        let mut acknowledged = 0;
        let error = loop {
            match store.commit(&[big(acknowledged)]) {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
            assert!(acknowledged < 10_000, "the limit does not hold");
        };
        println!("acknowledged: {acknowledged}");
        assert!(acknowledged > 10);
        assert_eq!(error.kind(), BackendErrorKind::OutcomeUnknown);
        expect_nothing(&store);
        (store, acknowledged)
    }

    /// Nothing is read or written before a recovery.
    fn expect_nothing(store: &dyn Backend) {
        let read = store.key(KeyId::from_u128(0)).unwrap_err();
        let written = store.commit(&[create_owner("b")]).unwrap_err();
        for error in [read, written] {
            assert_eq!(error.kind(), BackendErrorKind::Io);
            assert!(error.to_string().contains("recover first"), "{error}");
        }
    }

    #[test]
    fn recovers_where_there_is_room_for_that() {
        match env::var_os(DIR) {
            // A whole number of sled's segments.
            None => under_limit("recovers_where_there_is_room_for_that", 4096),
            Some(dir) => {
                let (store, acknowledged) = fill(dir.as_ref());
                store.recover().unwrap();
                expect_whole(&store, acknowledged);
                store.close().unwrap();
            }
        }
    }

    #[test]
    fn says_so_where_there_is_none() {
        match env::var_os(DIR) {
            // sled pads the last segment when it opens, which is more than the limit.
            None => under_limit("says_so_where_there_is_none", 5000),
            Some(dir) => {
                let (store, _) = fill(dir.as_ref());
                for _ in 0..3 {
                    assert_eq!(store.recover().unwrap_err().kind(), BackendErrorKind::Full);
                    expect_nothing(&store);
                }
                assert_eq!(store.close().unwrap_err().kind(), BackendErrorKind::OutcomeUnknown);
            }
        }
    }
}
