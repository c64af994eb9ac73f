//! One open instance of a backend.

use std::ops::Deref;
use std::rc::Rc;

use super::ask::Ask;
use super::failure::Failure;
use super::subject::{AnyPlace, AnySubject};
use crate::backend::{Backend, BackendError};
use crate::invalid::Invalid;
use crate::key::{StoreMetadata, StoreRules};
use crate::testing::sample;

/// Derefs to the backend. Fields in this order: the backend goes before its place.
pub(super) struct Instance<'a> {
    backend: Box<dyn Backend>,
    place: Rc<dyn AnyPlace + 'a>,
    keeps: bool,
}

impl Deref for Instance<'_> {
    type Target = dyn Backend;

    fn deref(&self) -> &Self::Target {
        &*self.backend
    }
}

impl<'a> Instance<'a> {
    pub(super) fn open(place: Rc<dyn AnyPlace + 'a>, keeps: bool) -> Result<Self, Failure> {
        Ok(Self { backend: place.open()?, place, keeps })
    }

    /// Whether what is committed outlives this instance.
    pub(super) fn keeps(&self) -> bool {
        self.keeps
    }

    /// Closes it and opens its place again.
    pub(super) fn reopened(self) -> Result<Self, Failure> {
        self.close()?;
        self.abandoned()
    }

    /// Drops it without closing it, and opens its place again.
    pub(super) fn abandoned(self) -> Result<Self, Failure> {
        let Self { backend, place, keeps } = self;
        drop(backend);
        Self::open(place, keeps)
    }

    /// Tries to open the same place a second time.
    pub(super) fn open_beside(&self) -> Result<Self, BackendError> {
        let place = Rc::clone(&self.place);
        Ok(Self { backend: place.open()?, place, keeps: self.keeps })
    }
}

/// Makes the instances that a case works with.
pub(super) struct Lab<'a> {
    subject: &'a dyn AnySubject,
}

impl<'a> Lab<'a> {
    pub(super) fn new(subject: &'a dyn AnySubject) -> Self {
        Self { subject }
    }

    /// A fresh instance without even metadata.
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
        instance.apply(sample::create_metadata(metadata)?)?;
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
