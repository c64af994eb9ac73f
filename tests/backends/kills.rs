//! Processes that are killed while they commit: the durable backends keep what they acknowledged, and
//! backends that don't are found.
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::fmt::Debug;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{
    Applied, Backend, BackendError, BackendLayer, Change, CommitOutcome, Memory,
};
use keyhasp::testing::conformance::assert_survives_kills;

fn sqlite(directory: &Path, options: SqliteOptions) -> Result<Sqlite, BackendError> {
    Ok(Sqlite::open_or_create(directory.join("keys.db"), options)?.0)
}

#[test]
fn sqlite_survives_kills() {
    let total = assert_survives_kills("kills::sqlite_survives_kills", 16, |directory| {
        Ok(Box::new(sqlite(directory, SqliteOptions::exclusive())?))
    });
    assert_eq!(total.kills, 16);
    assert!(total.acknowledged > 0, "{total:?}");
}

#[test]
fn shared_sqlite_survives_kills() {
    let total = assert_survives_kills("kills::shared_sqlite_survives_kills", 8, |directory| {
        let options = SqliteOptions::shared(Duration::from_secs(1)).unwrap();
        Ok(Box::new(sqlite(directory, options)?))
    });
    assert_eq!(total.kills, 8);
}

#[cfg(feature = "sled")]
#[test]
fn sled_survives_kills() {
    use keyhasp::backend::sled::{Sled, SledOptions};
    let total = assert_survives_kills("kills::sled_survives_kills", 8, |directory| {
        let opened = Sled::open_or_create(directory.join("keys"), SledOptions::default());
        Ok(Box::new(opened?.0))
    });
    assert_eq!(total.kills, 8);
}

/// The message of the failure that a test of a faulty backend ends with.
fn found<B: Backend>(test: &str, wrap: impl Fn(Sqlite) -> B) -> String {
    let open = |directory: &Path| -> Result<Box<dyn Backend>, BackendError> {
        Ok(Box::new(wrap(sqlite(directory, SqliteOptions::exclusive())?)))
    };
    let run = std::panic::AssertUnwindSafe(|| assert_survives_kills(test, 40, open));
    let panic = catch_unwind(run).err();
    let panic = panic.unwrap_or_else(|| panic!("{test}: the fault isn't found"));
    panic.downcast_ref::<String>().unwrap().clone()
}

/// A backend that acknowledges changes, and writes them when there are some more.
#[derive(Debug)]
struct Late {
    inner: Sqlite,
    waiting: Mutex<Vec<Change>>,
}

impl Late {
    fn flush(&self, at_least: usize) -> Result<(), BackendError> {
        let mut waiting = self.waiting.lock().unwrap();
        if waiting.len() >= at_least {
            self.inner.commit(&std::mem::take(&mut *waiting))?;
        }
        Ok(())
    }
}

impl BackendLayer for Late {
    fn inner(&self) -> &dyn Backend {
        &self.inner
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        self.waiting.lock().unwrap().extend_from_slice(batch);
        self.flush(8)?;
        Ok(batch.iter().map(|_| Ok(Applied::default())).collect())
    }

    fn close(&self) -> Result<(), BackendError> {
        self.flush(1)?;
        self.inner.close()
    }
}

#[test]
fn a_backend_that_writes_after_it_acknowledges_is_found() {
    let test = "kills::a_backend_that_writes_after_it_acknowledges_is_found";
    let said = found(test, |inner| Late { inner, waiting: Mutex::default() });
    assert!(said.starts_with("the backend doesn't survive kills: kill "), "{said}");
    assert!(said.contains("KEYHASP_SEED="), "{said}");
    assert!(said.contains("were acknowledged, and") && said.contains("lost is "), "{said}");
}

/// A backend that commits each write of a change by itself.
#[derive(Debug)]
struct Halves(Sqlite);

impl BackendLayer for Halves {
    fn inner(&self) -> &dyn Backend {
        &self.0
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let mut outcome = Vec::new();
        for change in batch {
            for operation in &change.operations {
                let half = Change { operations: vec![operation.clone()], ..change.clone() };
                // Long enough that most kills come between the halves.
                let _ = self.0.check()?;
                outcome.extend(self.0.commit(&[half])?.pop());
            }
            outcome.truncate(outcome.len() + 1 - change.operations.len());
        }
        Ok(outcome)
    }
}

#[test]
fn a_backend_that_commits_by_halves_is_found() {
    let said = found("kills::a_backend_that_commits_by_halves_is_found", Halves);
    assert!(said.contains("a change is there in part ("), "{said}");
}

#[test]
fn a_test_that_names_another_is_told_so() {
    let open = |_: &Path| -> Result<Box<dyn Backend>, BackendError> { Ok(Box::new(Memory::new())) };
    let run = || assert_survives_kills("kills::there_is_no_such_test", 40, open);
    let panic = catch_unwind(run).unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(
        said.contains("is `kills::there_is_no_such_test` the whole name of the test"),
        "{said}"
    );
}
