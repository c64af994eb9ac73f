//! A session of the service's own, in place of a token.

use http::Extensions;

use crate::id::OwnerId;
use crate::permission::PermissionSet;

/// A session of the service's own that stands in for a token: the owner for whom it acts, and its
/// permissions.
///
/// The hook of [`KeyLayer::session`](super::KeyLayer::session) makes it.
#[derive(Clone, Debug)]
pub struct Session {
    owner: OwnerId,
    permissions: PermissionSet,
    extensions: Extensions,
}

impl Session {
    /// Makes a session that acts for this owner with these permissions. An
    /// [`Access`](crate::permission::Access) compiles to permissions, and so does an iterator over
    /// single ones. The layer answers 500 if they are of another catalogue than its store's.
    #[must_use]
    pub fn new(owner: OwnerId, permissions: PermissionSet) -> Self {
        Self { owner, permissions, extensions: Extensions::new() }
    }

    /// Adds a value that the layer puts into the request's extensions, such as the user who is
    /// logged in.
    #[must_use]
    pub fn with<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// Returns the owner for whom it acts.
    #[must_use]
    pub fn owner(&self) -> &OwnerId {
        &self.owner
    }

    /// Returns its permissions.
    #[must_use]
    pub fn permissions(&self) -> &PermissionSet {
        &self.permissions
    }

    pub(super) fn take_extensions(&mut self) -> Extensions {
        std::mem::take(&mut self.extensions)
    }
}
