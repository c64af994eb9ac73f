//! One open instance of a backend.

use std::ops::Deref;
use std::rc::Rc;

use super::failure::Failure;
use super::subject::AnyPlace;
use crate::backend::{Backend, BackendError};

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

    /// Closes it and opens its place anew.
    pub(super) fn reopened(self) -> Result<Self, Failure> {
        self.close()?;
        self.abandoned()
    }

    /// Drops it without closing it, and opens its place anew.
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
