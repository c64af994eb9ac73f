//! What the suite is told of a backend.

use std::rc::Rc;

use super::ask::Ask;
use super::failure::Failure;
use super::instance::Instance;
use crate::backend::{Backend, BackendError};
use crate::invalid::Invalid;
use crate::key::{StoreMetadata, StoreRules};
use crate::testing::sample;

/// How to make and open instances of a backend.
pub trait Subject {
    /// Where one instance lies, such as a temporary directory; dropped when its case is over.
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

/// What a case is given to work with.
pub(super) struct Lab<'a> {
    subject: &'a dyn AnySubject,
}

impl<'a> Lab<'a> {
    pub(super) fn new(subject: &'a dyn AnySubject) -> Self {
        Self { subject }
    }

    /// A fresh instance without even a metadata.
    pub(super) fn blank(&self) -> Result<Instance<'a>, Failure> {
        let place: Rc<dyn AnyPlace + 'a> = Rc::from(self.subject.any_place()?);
        Instance::open(place, self.subject.keeps())
    }

    /// A fresh instance with the sample metadata.
    pub(super) fn fresh(&self) -> Result<Instance<'a>, Failure> {
        self.with_metadata(&sample::metadata()?)
    }

    /// A fresh instance with these rules.
    pub(super) fn with_rules(&self, rules: StoreRules) -> Result<Instance<'a>, Failure> {
        self.with_metadata(&StoreMetadata { rules, ..sample::metadata()? })
    }

    /// A fresh instance with this metadata.
    pub(super) fn with_metadata(&self, metadata: &StoreMetadata) -> Result<Instance<'a>, Failure> {
        let instance = self.blank()?;
        instance.open_metadata(metadata)?;
        Ok(instance)
    }

    /// A fresh instance with owners of these names.
    pub(super) fn with_owners(&self, owners: &[&str]) -> Result<Instance<'a>, Failure> {
        let instance = self.fresh()?;
        let owners = owners.iter().map(|id| sample::create_owner(&sample::owner(id)?));
        instance.apply_all(&owners.collect::<Result<Vec<_>, Invalid>>()?)?;
        Ok(instance)
    }
}
