//! The conformance suite: what the contract of [`Backend`](crate::backend::Backend) promises, one
//! case for each promise, each on a fresh instance.
//!
//! A durable backend also survives [`assert_survives_kills`].
//!
//! An author says how to make and open an instance by implementing [`Subject`], and has a test
//! call [`assert_conforms`], which runs every case there is. To look into one case, find it in
//! [`cases`] and [`run`](Case::run) it.
//!
//! ```
//! use keyhasp::backend::{Backend, BackendError, Memory};
//! use keyhasp::testing::conformance::{self, Failure, Subject};
//!
//! struct InMemory;
//!
//! impl Subject for InMemory {
//!     type Place = ();
//!
//!     fn place(&self) -> Result<(), Failure> {
//!         Ok(())
//!     }
//!
//!     fn open(&self, _: &()) -> Result<Box<dyn Backend>, BackendError> {
//!         Ok(Box::new(Memory::new()))
//!     }
//!
//!     fn is_durable(&self) -> bool {
//!         false
//!     }
//! }
//!
//! conformance::assert_conforms(&InMemory);
//! ```

mod ask;
mod case;
mod cases;
mod failure;
mod history;
mod instance;
mod kills;
mod report;
mod subject;
mod together;
mod walk;
mod wording;

pub use case::Case;
pub use cases::cases;
pub use failure::Failure;
pub use kills::{Kills, assert_survives_kills};
pub use report::{Outcome, Report, assert_conforms, run};
pub use subject::Subject;
