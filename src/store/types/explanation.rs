//! The reasons that stand against a token, for administrators.

use serde::Serialize;

use super::effective::EffectiveLimits;
use super::owner_view::Owner;
use super::verify_error::Unavailable;
use super::views::Key;
use crate::backend::Damage;
use crate::clock::Timestamp;
use crate::id::Generation;
use crate::key::Prefix;
use crate::permission::Access;

/// The answer to the question why a token is accepted or not, for administrators.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Explanation {
    /// The text doesn't have the shape of a token.
    Malformed,
    /// The text has the shape of a token, and no key has that token now.
    Unknown {
        /// Whether its checksum is wrong too: it was mistyped or cut.
        is_mistyped: bool,
        /// The key whose id it has. The token was never this key's, or its digest is gone: by a forced
        /// rotation, a sixth previous token, `invalidate_previous_tokens`, or any change of the key
        /// after the token had ended; or the pepper under which it lies isn't open.
        key: Option<Box<Key>>,
    },
    /// The record of the key that it names, or of that key's owner, is damaged. No token of the key is
    /// accepted.
    Damaged(Damage),
    /// The token is a key's.
    Known(Box<ExplainedToken>),
}

/// A token of a key, and all that stands against it.
///
/// A rate or quota that is used up doesn't stand against a token: `limits` shows them, and the key's
/// usage what is left of its quota where the store keeps usage. Neither do networks, since they depend
/// on the peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExplainedToken {
    /// The key.
    pub key: Key,
    /// The owner of the key.
    pub owner: Owner,
    /// The prefix of the token.
    pub prefix: Prefix,
    /// The generation of the token.
    pub generation: Generation,
    /// Whether it is the key's current token.
    pub is_current: bool,
    /// The moment at which it was issued.
    pub issued_at: Timestamp,
    /// The access that the key has, as [`Key::effective_access`] says.
    pub access: Option<Access>,
    /// The limits that hold for the key, as [`Key::effective_limits`] says.
    pub limits: EffectiveLimits,
    /// The reasons for which the token isn't accepted now, in the order in which a verification looks.
    /// Empty exactly if it is accepted, as far as networks, rates and quotas allow.
    pub obstacles: Vec<Obstacle>,
}

/// A reason for which a token isn't accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Obstacle {
    /// The reason.
    pub kind: ObstacleKind,
    /// The moment since which it holds. `None` where that isn't recorded, and where it ends at a set
    /// moment.
    pub since: Option<Timestamp>,
    /// The moment at which it ends by itself; `None` if it doesn't.
    pub until: Option<Timestamp>,
}

/// The kind of an [`Obstacle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ObstacleKind {
    /// The store can't answer, for this key or for all. Told only where no other reason stands against
    /// the token.
    Unavailable(Unavailable),
    /// The store no longer accepts the token's prefix.
    PrefixNotAccepted,
    /// An administrator has suspended the owner.
    OwnerSuspended,
    /// The key is revoked.
    Revoked,
    /// An administrator has blocked the key.
    Blocked,
    /// The owner has deactivated the key.
    Deactivated,
    /// The key has expired.
    Expired,
    /// The grace of a previous token is over.
    GraceOver,
    /// The tokens of the owner that were issued before a moment are invalid, this one among them.
    InvalidatedForOwner,
    /// The tokens of the store that were issued before a moment are invalid, this one among them.
    InvalidatedForStore,
    /// The pepper of the token is retired.
    PepperRetired,
    /// The key is accepted from a moment on.
    KeyNotYet,
    /// The owner's keys are accepted from a moment on.
    OwnerNotYet,
}

impl Obstacle {
    /// Makes a reason that holds since a moment.
    pub(in crate::store) fn since(kind: ObstacleKind, since: Option<Timestamp>) -> Self {
        Self { kind, since, until: None }
    }

    /// Makes a reason that holds until a moment.
    pub(in crate::store) fn until(kind: ObstacleKind, until: Timestamp) -> Self {
        Self { kind, since: None, until: Some(until) }
    }
}
