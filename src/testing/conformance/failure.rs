//! The failure of a case.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use super::wording::Words;

/// A promise that wasn't kept, and where in the suite that was found.
///
/// It isn't an [`Error`] itself, so that every error turns into it with `?`.
pub struct Failure {
    message: String,
    at: Option<&'static Location<'static>>,
}

impl Failure {
    /// The number of characters that are kept of a message: some compared values are long.
    const LONGEST: usize = 2_000;

    /// A failure with this message, found by the caller. A very long one is cut.
    #[must_use]
    #[track_caller]
    pub fn new(message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((cut, _)) = message.char_indices().nth(Self::LONGEST) {
            message.truncate(cut);
            message.push('…');
        }
        Self { message, at: Some(Location::caller()) }
    }

    /// The failure of a case that panicked with this payload. The panic hook has printed where.
    pub(super) fn of_panic(payload: &(dyn std::any::Any + Send)) -> Self {
        let said = payload.downcast_ref::<&str>().copied();
        let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self { message: format!("panicked: {}", said.unwrap_or("without a word")), at: None }
    }

    /// Returns the description of what was found.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl<E: Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::new(format!("unexpected error: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let Some(at) = self.at else { return Ok(()) };
        let file = at.file().rsplit(['/', '\\']).next().unwrap_or_default();
        write!(f, " [{file}:{}]", at.line())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A compared value. The macro calls `said` on a reference to it, and the compiler looks for
/// [`InWords`] first: where the value has words, these are shown.
pub(super) struct Said<'a, T: ?Sized>(pub(super) &'a T);

pub(super) trait InWords {
    fn said(&self) -> String;
}

impl<T: Words + ?Sized> InWords for Said<'_, T> {
    fn said(&self) -> String {
        self.0.words()
    }
}

pub(super) trait ByDebug {
    fn said(&self) -> String;
}

impl<T: fmt::Debug + ?Sized> ByDebug for &Said<'_, T> {
    fn said(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// The result of a case.
pub(super) type Tested = Result<(), Failure>;

/// Fails the case unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::testing::conformance::Failure::new(format!($($message)+)));
        }
    };
}

/// Fails the case unless what was found is what was expected; shows both.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($what:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => {
                if *found != *expected {
                    // One of the two says it.
                    #[allow(unused_imports)]
                    use $crate::testing::conformance::failure::{ByDebug as _, InWords as _, Said};
                    return Err($crate::testing::conformance::Failure::new(format!(
                        "{}: found {}, expected {}",
                        format_args!($($what)+),
                        (&Said(found)).said(),
                        (&Said(expected)).said(),
                    )));
                }
            }
        }
    };
}

pub(super) use {ensure, ensure_eq};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Rejection;

    fn checked(found: u8) -> Tested {
        ensure!(found > 0, "nothing found");
        ensure_eq!(found, 2, "how {}", "many");
        "x".parse::<u8>()?;
        Ok(())
    }

    #[test]
    fn a_failure_tells_what_and_where() {
        let failure = |found| checked(found).unwrap_err().to_string();
        assert!(failure(0).starts_with("nothing found [failure.rs:"));
        assert!(failure(1).starts_with("how many: found 1, expected 2 [failure.rs:"));
        let refused = || -> Tested {
            let found: Result<(), Rejection> = Err(Rejection::OwnerMissing);
            ensure_eq!(found, Err(Rejection::OwnerExists), "a creation");
            Ok(())
        };
        let refused = refused().unwrap_err().to_string();
        let words = "a creation: found refused: the owner does not exist, expected refused: the owner \
                     already exists [";
        assert!(refused.starts_with(words), "{refused}");
        let of_error = failure(2);
        assert!(of_error.starts_with("unexpected error: invalid digit"), "{of_error}");
        assert!(of_error.contains("[failure.rs:"), "{of_error}");
    }
}
