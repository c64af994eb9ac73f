//! A tenant, which is an owner.

use keyhasp::{Invalid, OwnerId};
use serde::{Deserialize, Serialize};

/// The default setting of an owner, and so a setting of each of its keys, that names the tenant.
pub(crate) const NAME: &str = "tenant_name";
/// The setting of a key that lists the tenants whose keys it may manage.
pub(crate) const MANAGES: &str = "manages";

/// The number of a tenant; in keyhasp, its decimal digits are the owner's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct TenantId(pub(crate) i64);

impl TenantId {
    pub(crate) fn owner(self) -> Result<OwnerId, Invalid> {
        OwnerId::new(self.0.to_string())
    }

    /// The tenant that is this owner; none if that is something else.
    pub(crate) fn of(owner: &OwnerId) -> Option<Self> {
        owner.as_str().parse().ok().map(Self)
    }
}
