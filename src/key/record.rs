//! The record of a key.

use std::fmt;

use serde::Serialize;

use super::{Digest, KeyName, Limits, Settings, State, ValidityInputs};
use crate::authority::{Actor, Reason};
use crate::clock::Timestamp;
use crate::id::{Generation, KeyId, NumericId, OwnerId, Version};
use crate::permission::Access;

/// How many previous tokens of a key live at once; one more drops the oldest.
pub const MAX_PREVIOUS_TOKENS: usize = 5;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The usual one.
    Standard,
    /// Made, prolonged and converted by administrators alone; may exceed its owner's maximum access.
    Trial,
}

/// When something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// At this moment.
    At(Timestamp),
    /// Never, in so many words.
    Never,
}

impl Expiry {
    /// The moment, if there is one.
    #[must_use]
    pub fn at(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Never => None,
        }
    }
}

/// Who set something last: what an administrator has set, an owner may narrow, never widen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SetBy {
    /// An administrator.
    Administrator,
    /// The owner, or a delegate of it.
    Owner,
}

/// A switch that is on: since when, set by whom and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Switch {
    /// When it was set.
    pub at: Timestamp,
    /// By whom.
    pub by: Actor,
    /// Why, if it was said.
    pub reason: Option<Reason>,
}

/// A token as it is stored.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// Its number.
    pub generation: Generation,
    /// What is stored of it.
    pub digest: Digest,
    /// When it was issued; an issue mark later than this ends it.
    pub issued_at: Timestamp,
}

/// A token before the current one, in its grace.
#[derive(Clone, Debug)]
pub struct PreviousToken {
    /// The token.
    pub token: TokenRecord,
    /// When it ends, unless the key expires before.
    pub ends_at: Timestamp,
}

/// The current token, encrypted; what a backend stores of a recoverable token.
#[derive(Clone)]
pub struct Seal {
    /// The service's number for the recovery key.
    pub key_number: u16,
    /// The nonce of XChaCha20-Poly1305.
    pub nonce: [u8; 24],
    /// Ciphertext and tag.
    pub ciphertext: Box<[u8]>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal")
            .field("key_number", &self.key_number)
            .field("ciphertext_len", &self.ciphertext.len())
            .finish_non_exhaustive()
    }
}

/// All that is stored of a key.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// For whom it acts.
    pub owner: OwnerId,
    /// Grows by one with each change.
    pub version: Version,
    /// The service's own number for it.
    pub numeric_id: Option<NumericId>,
    /// What it is for.
    pub kind: Kind,
    /// A label for people.
    pub name: Option<KeyName>,
    /// What it may do.
    pub access: Access,
    /// Who said so.
    pub access_by: SetBy,
    /// When it expires, if ever.
    pub expires_at: Option<Timestamp>,
    /// Who said so.
    pub expiry_by: SetBy,
    /// Its own settings, over its owner's defaults.
    pub settings: Settings,
    /// What it may use.
    pub limits: Limits,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Actor,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The token that counts.
    pub current: TokenRecord,
    /// The tokens before it that live on, oldest first, at most [`MAX_PREVIOUS_TOKENS`].
    pub previous: Vec<PreviousToken>,
    /// The owner's switch.
    pub deactivated: Option<Switch>,
    /// The administrator's switch.
    pub blocked: Option<Switch>,
    /// The revocation, final.
    pub revoked: Option<Switch>,
    /// The current token, if it is recoverable.
    pub seal: Option<Seal>,
}

impl KeyRecord {
    /// What decides on the key's state: switches and expiry.
    #[must_use]
    pub fn standing(&self) -> ValidityInputs {
        ValidityInputs {
            suspended: false,
            revoked: self.revoked.is_some(),
            blocked: self.blocked.is_some(),
            deactivated: self.deactivated.is_some(),
            expires_at: self.expires_at,
            ends_at: None,
        }
    }

    /// The state shown at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        self.standing().state(now)
    }

    /// Whether it counts as one of its owner's keys.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.revoked.is_none()
    }

    /// Each token with its end: `None` for the current one. A token that an issue mark ended ends
    /// at once.
    pub fn tokens(
        &self,
        mark: Option<Timestamp>,
    ) -> impl Iterator<Item = (&TokenRecord, Option<Timestamp>)> {
        tokens(&self.current, &self.previous, mark)
    }
}

/// The rule behind [`KeyRecord::tokens`].
pub(crate) fn tokens<'a>(
    current: &'a TokenRecord,
    previous: &'a [PreviousToken],
    mark: Option<Timestamp>,
) -> impl Iterator<Item = (&'a TokenRecord, Option<Timestamp>)> {
    previous
        .iter()
        .map(|previous| (&previous.token, Some(previous.ends_at)))
        .chain([(current, None)])
        .map(move |(token, end)| {
            let marked = mark.is_some_and(|mark| token.issued_at < mark);
            (token, if marked { Some(Timestamp::MIN) } else { end })
        })
}
