//! The backend under test, as its author describes it to the suite.

use super::failure::Failure;
use crate::backend::{Backend, BackendError};

/// A backend that the suite can make and open instances of.
pub trait Subject {
    /// The place of one instance, such as a temporary directory; dropped when its case is over.
    type Place;

    /// A place in which nothing was ever written.
    ///
    /// # Errors
    /// [`Failure`], to which every error turns with `?`; the case fails with it.
    fn place(&self) -> Result<Self::Place, Failure>;

    /// Opens the backend in a place; called again after the instance there was closed.
    ///
    /// # Errors
    /// [`BackendError`]; the case fails with it, unless it is about being refused.
    fn open(&self, place: &Self::Place) -> Result<Box<dyn Backend>, BackendError>;

    /// Whether what was committed is found again in the same place. If not, the durable cases see
    /// to it that nothing at all is.
    fn is_durable(&self) -> bool;
}

/// A [`Subject`] whatever its type of place, so that cases are plain functions.
pub(super) trait AnySubject {
    fn any_place(&self) -> Result<Box<dyn AnyPlace + '_>, Failure>;
    fn keeps(&self) -> bool;
}

/// A place together with the subject that opens it.
pub(super) trait AnyPlace {
    fn open(&self) -> Result<Box<dyn Backend>, BackendError>;
}

struct Placed<'a, S: Subject> {
    subject: &'a S,
    place: S::Place,
}

impl<S: Subject> AnyPlace for Placed<'_, S> {
    fn open(&self) -> Result<Box<dyn Backend>, BackendError> {
        self.subject.open(&self.place)
    }
}

impl<S: Subject> AnySubject for S {
    fn any_place(&self) -> Result<Box<dyn AnyPlace + '_>, Failure> {
        Ok(Box::new(Placed { subject: self, place: self.place()? }))
    }

    fn keeps(&self) -> bool {
        self.is_durable()
    }
}
