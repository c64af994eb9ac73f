//! Opening and creating: what is there is opened, what isn't is created, and never the other way
//! round by mistake.

use std::fs;

use keyhasp::backend::sled::Sled;
use keyhasp::backend::{Backend, BackendErrorKind as Kind, Opened};

use crate::sled::fixture::{
    Fixture, commit, create_owner, create_store, entries, metadata, options, owner_id,
};

/// A place where no database is.
type Make = fn(&Fixture);

/// The places where no database is, each made by a function.
fn nothing() -> [(&'static str, Make); 4] {
    [
        ("no directory", |_| {}),
        ("an empty directory", |fixture| fs::create_dir(fixture.dir()).unwrap()),
        ("a creation that was cut short", |fixture| {
            fs::create_dir(fixture.dir()).unwrap();
            fixture.set_marker("keyhasp sled store\nformat 5\nunfinished\n");
        }),
        ("a database on which no store was created", |fixture| fixture.blank().close().unwrap()),
    ]
}

#[test]
fn what_is_not_there_is_not_opened() {
    for (what, make) in nothing() {
        let fixture = Fixture::new();
        make(&fixture);
        let before = entries(fixture.root());
        let error = fixture.open().unwrap_err();
        assert_eq!((error.kind(), error.operation()), (Kind::Missing, "open"), "{what}");
        let text = error.to_string();
        assert!(text.contains("may not be mounted") && text.contains("call `create`"), "{text}");
        assert_eq!(entries(fixture.root()), before, "{what}");
    }
}

#[test]
fn what_is_not_there_is_created_once() {
    for (what, make) in nothing() {
        let fixture = Fixture::new();
        make(&fixture);
        let store = Sled::create(fixture.dir(), options()).expect(what);
        commit(&store, create_store(metadata())).unwrap();
        commit(&store, create_owner("a")).unwrap();
        drop(store);
        let error = Sled::create(fixture.dir(), options()).unwrap_err();
        assert_eq!((error.kind(), error.operation()), (Kind::AlreadyExists, "create"), "{what}");
        assert!(error.to_string().contains("open it with `open`"), "{error}");
        assert!(fixture.open().unwrap().owner(&owner_id("a")).unwrap().is_some(), "{what}");
    }
}

#[test]
fn open_or_create_says_which() {
    for (what, make) in nothing() {
        let fixture = Fixture::new();
        make(&fixture);
        let opened = || Sled::open_or_create(fixture.dir(), options()).unwrap().1;
        // A database without a store is still to be created.
        assert_eq!([opened(), opened()], [Opened::Created, Opened::Created], "{what}");
        drop(fixture.store());
        assert_eq!(opened(), Opened::Existing, "{what}");
    }
}
