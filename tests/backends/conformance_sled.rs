//! The conformance suite on sled.
#![cfg(all(feature = "testing", feature = "sled"))]

use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::{Backend, BackendError};
use keyhasp::testing::conformance::{self, Case, Failure, Subject};
use tempfile::TempDir;

struct OnSled;

impl Subject for OnSled {
    type Place = TempDir;

    fn place(&self) -> Result<TempDir, Failure> {
        Ok(TempDir::new()?)
    }

    fn open(&self, dir: &TempDir) -> Result<Box<dyn Backend>, BackendError> {
        Ok(Box::new(Sled::open_or_create(dir.path().join("keys"), SledOptions::default())?.0))
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[test]
fn sled_conforms() {
    let report = conformance::assert_conforms(&OnSled);
    assert!(report.names().count() >= 60, "{report}");
    assert!(report.names().eq(conformance::cases().map(Case::name)), "{report}");
}
