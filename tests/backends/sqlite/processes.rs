//! Another process, which is killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{env, io};

use keyhasp::backend::{Backend, BackendErrorKind};
use tempfile::tempdir;

use crate::sqlite::support::{LONG, commit, create_owner, open, owner_id, quick, refused, shared};

const INSIDE: &str = "KEYHASP_TEST_OTHER_PROCESS";

/// The same test in a process of its own, which shares the database at `path`.
fn other_process(test: &str, path: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn what_it_committed_is_seen_and_its_death_leaves_nothing_behind() {
    if let Some(path) = env::var_os(INSIDE) {
        let sqlite = open(Path::new(&path), shared());
        commit(&sqlite, create_owner("child"));
        assert!(sqlite.wait(2, LONG).unwrap() >= 3);
        commit(&sqlite, create_owner("answer"));
        // Until it is killed, or its parent is gone.
        let _ = io::stdin().read_line(&mut String::new());
        return;
    }
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let sqlite = open(&path, shared());
    let test = "sqlite::processes::what_it_committed_is_seen_and_its_death_leaves_nothing_behind";
    let mut child = other_process(test, &path);
    assert_eq!(sqlite.wait(1, LONG).unwrap(), 2);
    assert!(sqlite.owner(&owner_id("child")).unwrap().is_some());
    commit(&sqlite, create_owner("parent"));
    assert_eq!(sqlite.wait(3, LONG).unwrap(), 4);
    assert!(sqlite.owner(&owner_id("answer")).unwrap().is_some());

    drop(sqlite);
    assert_eq!(refused(&path, quick()).kind(), BackendErrorKind::AlreadyOpen);
    child.kill().unwrap();
    child.wait().unwrap();
    let sqlite = open(&path, quick());
    assert_eq!(sqlite.last_event().unwrap(), 4);
    for owner in ["child", "parent", "answer"] {
        assert!(sqlite.owner(&owner_id(owner)).unwrap().is_some(), "{owner}");
    }
}
