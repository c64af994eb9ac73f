//! After closing.

use std::time::Duration;

use keyhasp::backend::{Backend, BackendErrorKind};
use tempfile::tempdir;

use crate::sqlite::support::{assert_all, assert_none, open, quick, shared};

#[test]
fn every_call_says_so_and_closing_again_does_nothing() {
    for options in [quick(), shared()] {
        let directory = tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let sqlite = open(&path, options);
        assert_none(&sqlite);
        sqlite.close().unwrap();
        assert_all(&sqlite, BackendErrorKind::Closed);
        let waited = sqlite.wait(0, Duration::ZERO);
        assert_eq!(waited.unwrap_err().kind(), BackendErrorKind::Closed);
        sqlite.close().unwrap();
        // While the closed one still exists.
        assert_eq!(open(&path, options).last_event().unwrap(), 2);
        assert_eq!(sqlite.name(), "sqlite");
    }
}
