//! The authority of a management call: a role, an actor, a reason.

use serde::{Deserialize, Serialize};

use crate::id::{Generation, KeyId, OwnerId};
use crate::invalid::{Invalid, Problem};
use crate::text::bounded_text;

bounded_text!(
    /// The actor of a call, in the service's own words (a login, a service account): 1 to 255 bytes
    /// of UTF-8 without control, separator, bidi and invisible characters, and without white space
    /// at its ends.
    Actor, "actor", 255
);

bounded_text!(
    /// The reason for a call: 1 to 1,024 bytes of UTF-8 without control, separator, bidi and
    /// invisible characters.
    Reason, "reason", 1024
);

bounded_text!(
    /// The id that ties an event to the service's own logs (a request id): 1 to 128 bytes of UTF-8
    /// without control, separator, bidi and invisible characters.
    CorrelationId, "correlation id", 128
);

impl Actor {
    /// The name under which the store itself acts: in events of alerts and of new peppers. A caller
    /// can't have it.
    pub const STORE: &'static str = "keyhasp";

    /// The name that an owner is shown in place of an administrator's.
    pub const ADMINISTRATOR: &'static str = "administrator";

    /// Returns the store itself.
    pub(crate) fn store() -> Result<Self, Invalid> {
        Self::new(Self::STORE)
    }

    /// Checks and takes the name of a caller.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for a name that reads like the store's own.
    pub(crate) fn of_caller(name: impl Into<String>) -> Result<Self, Invalid> {
        let actor = Self::new(name)?;
        actor.check_caller()?;
        Ok(actor)
    }

    /// Returns the actor as it is shown to a viewer: an owner never sees which administrator acted.
    /// The store's own name is no person's, and is shown.
    #[must_use]
    pub(crate) fn shown_to(self, viewer: Viewer, is_administrator: bool) -> Self {
        match viewer {
            Viewer::Owner if is_administrator && self.as_str() != Self::STORE => {
                Self(Self::ADMINISTRATOR.into())
            }
            _ => self,
        }
    }

    /// Checks that a caller doesn't call itself by the store's own name, in whichever case and with
    /// whichever spaces around it.
    pub(crate) fn check_caller(&self) -> Result<(), Invalid> {
        if self.as_str().trim().eq_ignore_ascii_case(Self::STORE) {
            return Err(Invalid::new("actor", Problem::Reserved { name: Self::STORE }));
        }
        Ok(())
    }
}

/// The viewer of an answer. It decides what the answer shows of administrators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Viewer {
    /// An administrator, who sees all.
    #[default]
    Administrator,
    /// An owner or a delegate. It sees that an administrator acted, and when; a reason that the
    /// administrator gave for the owner; neither the administrator's name, nor another reason, nor
    /// a correlation id.
    Owner,
}

/// The role in which an actor calls, which decides what the call reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// An owner whose calls hold only while a verified key does. It reaches all that the owner
    /// does.
    OwnerByKey {
        /// The owner.
        owner: OwnerId,
        /// The acting key. It may be another owner's.
        key: KeyId,
        /// The generation of the presented token.
        generation: Generation,
        /// Whether a previous token of the acting key will do.
        previous_tokens: bool,
    },
}

impl Role {
    /// Returns the one owner that the role reaches, or `None` if it reaches all owners.
    #[must_use]
    pub fn owner(&self) -> Option<&OwnerId> {
        match self {
            Self::Administrator => None,
            Self::Delegate { owner, .. }
            | Self::Owner { owner }
            | Self::OwnerByKey { owner, .. } => Some(owner),
        }
    }

    /// Returns the key that the caller acts with, and the generation of its token; `None` for a
    /// caller that acts without a key.
    #[must_use]
    pub fn acting_token(&self) -> Option<(KeyId, Generation)> {
        match self {
            Self::Administrator | Self::Owner { .. } => None,
            Self::Delegate { key, generation, .. } | Self::OwnerByKey { key, generation, .. } => {
                Some((*key, *generation))
            }
        }
    }

    /// Returns the key that the caller acts with.
    #[must_use]
    pub fn acting_key(&self) -> Option<KeyId> {
        self.acting_token().map(|(key, _)| key)
    }

    /// Returns the viewer of the answers to a caller in this role.
    #[must_use]
    pub fn viewer(&self) -> Viewer {
        match self {
            Self::Administrator => Viewer::Administrator,
            Self::Delegate { .. } | Self::Owner { .. } | Self::OwnerByKey { .. } => Viewer::Owner,
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
    /// Whether an administrator gave the reason for the owner's eyes too.
    pub reason_for_owner: bool,
    /// The id in the service's own logs, if the caller gave one.
    pub correlation_id: Option<CorrelationId>,
}

impl Authority {
    /// Creates an authority without reason and correlation id.
    #[must_use]
    pub fn new(role: Role, actor: Actor) -> Self {
        Self { role, actor, reason: None, reason_for_owner: false, correlation_id: None }
    }

    /// Returns the authority as it is shown to a viewer.
    #[must_use]
    pub fn shown_to(self, viewer: Viewer) -> Self {
        let is_administrator = self.role == Role::Administrator;
        if viewer == Viewer::Administrator || !is_administrator {
            return self;
        }
        Self {
            actor: self.actor.shown_to(viewer, is_administrator),
            reason: self.reason.filter(|_| self.reason_for_owner),
            correlation_id: None,
            ..self
        }
    }
}
