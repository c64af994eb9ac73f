//! A service's own session, in place of a token.

use http::Extensions;

use crate::id::OwnerId;
use crate::permission::PermissionSet;

/// A session of the service's own that stands in for a token: for whom it acts, and what it may do.
///
/// [`KeyLayer::session`](super::KeyLayer::session) says who makes it.
#[derive(Clone, Debug)]
pub struct Session {
    owner: OwnerId,
    permissions: PermissionSet,
    extensions: Extensions,
}

impl Session {
    /// A session that acts for this owner and may do this; an
    /// [`Access`](crate::permission::Access) compiles to permissions, and so does an iterator over
    /// single ones.
    #[must_use]
    pub fn new(owner: OwnerId, permissions: PermissionSet) -> Self {
        Self { owner, permissions, extensions: Extensions::new() }
    }

    /// The same, with a value that the layer puts into the request's extensions: who is logged in,
    /// say.
    #[must_use]
    pub fn with<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// For whom it acts.
    #[must_use]
    pub fn owner(&self) -> &OwnerId {
        &self.owner
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(&self) -> &PermissionSet {
        &self.permissions
    }

    pub(super) fn take_extensions(&mut self) -> Extensions {
        std::mem::take(&mut self.extensions)
    }
}
