//! The conformance suite on SQLite: alone with its database, and sharing it.
#![cfg(all(feature = "testing", feature = "sqlite"))]

use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendError};
use keyhasp::testing::conformance::{self, Case, Failure, Subject};
use tempfile::TempDir;

struct OnSqlite(SqliteOptions);

impl Subject for OnSqlite {
    type Place = TempDir;

    fn place(&self) -> Result<TempDir, Failure> {
        Ok(TempDir::new()?)
    }

    fn open(&self, dir: &TempDir) -> Result<Box<dyn Backend>, BackendError> {
        Ok(Box::new(Sqlite::open_or_create(dir.path().join("keys.db"), self.0)?.0))
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[track_caller]
fn conforms(options: SqliteOptions) {
    let report = conformance::assert_conforms(&OnSqlite(options));
    assert!(report.names().count() >= 60, "{report}");
    assert!(report.names().eq(conformance::cases().map(Case::name)), "{report}");
}

#[test]
fn sqlite_conforms() {
    conforms(SqliteOptions::exclusive());
}

#[test]
fn shared_sqlite_conforms() {
    conforms(SqliteOptions::shared(Duration::from_secs(1)).unwrap());
}
