//! The authority of a management call: a role, an actor, a reason.

use serde::Serialize;

use crate::id::{Generation, KeyId, OwnerId};
use crate::text::bounded_text;

bounded_text!(
    /// The actor of a call, in the service's own words (a login, a service account): 1 to 255 bytes
    /// of UTF-8 without control characters.
    Actor, "actor", 255
);

bounded_text!(
    /// The reason for a call: 1 to 1,024 bytes of UTF-8 without control characters.
    Reason, "reason", 1024
);

bounded_text!(
    /// The id that ties an event to the service's own logs (a request id): 1 to 128 bytes of UTF-8
    /// without control characters.
    CorrelationId, "correlation id", 128
);

/// The role in which an actor calls, which decides what the call reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Role {
    /// An administrator, who reaches every owner and key.
    Administrator,
    /// A caller that acts with a verified key of the owner, within the access of that key.
    Delegate {
        /// The key's owner.
        owner: OwnerId,
        /// The acting key.
        key: KeyId,
        /// The generation of the presented token.
        generation: Generation,
    },
    /// An owner, who reaches its own keys alone.
    Owner {
        /// The owner.
        owner: OwnerId,
    },
}

impl Role {
    /// Returns the one owner that the role reaches, or `None` if it reaches all owners.
    #[must_use]
    pub fn owner(&self) -> Option<&OwnerId> {
        match self {
            Self::Administrator => None,
            Self::Delegate { owner, .. } | Self::Owner { owner } => Some(owner),
        }
    }
}

/// An actor and a role, optionally with a reason and a correlation id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Authority {
    /// The role.
    #[serde(flatten)]
    pub role: Role,
    /// The actor.
    pub actor: Actor,
    /// The reason, if the caller gave one.
    pub reason: Option<Reason>,
    /// The id in the service's own logs, if the caller gave one.
    pub correlation_id: Option<CorrelationId>,
}

impl Authority {
    /// Creates an authority without reason and correlation id.
    #[must_use]
    pub fn new(role: Role, actor: Actor) -> Self {
        Self { role, actor, reason: None, correlation_id: None }
    }
}
