//! Tenants, which are keyhasp's owners.

use keyhasp::{Invalid, OwnerId};
use serde::{Deserialize, Serialize};

/// The setting with the tenant's name: a default of the owner, and so a setting of each of its
/// keys.
pub(crate) const NAME: &str = "tenant_name";
/// The setting of a key that lists the tenants whose keys it may manage.
pub(crate) const MANAGES: &str = "manages";

/// The number of a tenant. Its decimal digits are the owner's id in keyhasp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct TenantId(pub(crate) i64);

impl TenantId {
    pub(crate) fn owner(self) -> Result<OwnerId, Invalid> {
        OwnerId::new(self.0.to_string())
    }

    /// Returns the tenant of this owner. Returns `None` if the id is no number.
    pub(crate) fn of(owner: &OwnerId) -> Option<Self> {
        owner.as_str().parse().ok().map(Self)
    }
}
