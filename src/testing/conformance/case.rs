//! One case of the suite.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::failure::{Failure, Tested};
use super::instance::Lab;
use super::subject::{AnySubject, Subject};

/// One promise of the contract, as a function that tries it on a fresh instance.
pub struct Case {
    pub(super) name: &'static str,
    pub(super) test: fn(&Lab<'_>) -> Tested,
}

impl Case {
    /// Its name, which begins with the name of a family: `atomic_`, `rule_`, `order_`, `durable_`,
    /// `error_`, `query_`, `size_` or `usage_`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it alone.
    ///
    /// # Errors
    /// [`Failure`] when the promise isn't kept, or the backend panics.
    pub fn run<S: Subject>(&self, subject: &S) -> Result<(), Failure> {
        self.run_any(subject)
    }

    pub(super) fn run_any(&self, subject: &dyn AnySubject) -> Tested {
        // A panicking case's half-done work is dropped with its instance.
        let run = AssertUnwindSafe(|| (self.test)(&Lab::new(subject)));
        catch_unwind(run).unwrap_or_else(|payload| Err(Failure::of_panic(&*payload)))
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// Makes the list `CASES` of a file from its functions.
macro_rules! list {
    ($($case:ident),+ $(,)?) => {
        pub(super) const CASES: &[$crate::testing::conformance::Case] = &[$(
            $crate::testing::conformance::Case { name: stringify!($case), test: $case }
        ),+];
    };
}

pub(super) use list;
