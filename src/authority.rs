//! On whose authority something is done.

use serde::Serialize;

use crate::id::{Generation, KeyId, OwnerId};
use crate::text::bounded_text;

bounded_text!(
    /// Who acts, in the service's own words (a login, a service account): 1 to 255 bytes without
    /// control characters.
    Actor, "actor", 255
);

bounded_text!(
    /// Why something is done: 1 to 1,024 bytes without control characters.
    Reason, "reason", 1024
);

bounded_text!(
    /// What ties an event to the service's own logs (a request id): 1 to 128 bytes without
    /// control characters.
    CorrelationId, "correlation id", 128
);

/// In which role someone acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Role {
    /// Reaches everything.
    Administrator,
    /// Acts with a key of the owner, within what that key may do.
    Delegate {
        /// The key's owner.
        owner: OwnerId,
        /// The acting key.
        key: KeyId,
        /// The generation of the token that was presented.
        generation: Generation,
    },
    /// Reaches what belongs to one owner.
    Owner {
        /// The owner.
        owner: OwnerId,
    },
}

impl Role {
    /// The one owner that the role reaches; `None` if it reaches all.
    #[must_use]
    pub fn owner(&self) -> Option<&OwnerId> {
        match self {
            Self::Administrator => None,
            Self::Delegate { owner, .. } | Self::Owner { owner } => Some(owner),
        }
    }
}

/// Who does something, in which role, and, if given, why and in the course of what.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Authority {
    /// The role.
    #[serde(flatten)]
    pub role: Role,
    /// Who acts.
    pub actor: Actor,
    /// Why.
    pub reason: Option<Reason>,
    /// What ties it to the service's own logs.
    pub correlation_id: Option<CorrelationId>,
}

impl Authority {
    /// An authority without reason and correlation id.
    #[must_use]
    pub fn new(role: Role, actor: Actor) -> Self {
        Self { role, actor, reason: None, correlation_id: None }
    }
}
