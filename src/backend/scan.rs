//! What the verification index is loaded from.

use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{
    KeyRecord, Kind, Limits, OwnerRecord, PreviousToken, TokenRecord, ValidityInputs, tokens,
};
use crate::permission::Access;

/// One record of a scan.
#[derive(Clone, Debug)]
pub enum Scanned {
    /// A key.
    Key(ScannedKey),
    /// An owner.
    Owner(ScannedOwner),
}

/// What the index needs of an owner.
#[derive(Clone, Debug)]
pub struct ScannedOwner {
    /// Its id.
    pub id: OwnerId,
    /// Whether it is suspended.
    pub suspended: bool,
    /// What its standard keys may do at most.
    pub max_access: Access,
    /// What all its keys together may use.
    pub limits: Limits,
    /// Every token issued before this is superseded.
    pub tokens_valid_from: Option<Timestamp>,
}

/// What the index needs of a key.
#[derive(Clone, Debug)]
pub struct ScannedKey {
    /// Its id.
    pub id: KeyId,
    /// For whom it acts.
    pub owner: OwnerId,
    /// What it is for.
    pub kind: Kind,
    /// What it may do.
    pub access: Access,
    /// What it may use; `None` without a limit, as most are.
    pub limits: Option<Box<Limits>>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Whether it is deactivated.
    pub deactivated: bool,
    /// Whether it is blocked.
    pub blocked: bool,
    /// Whether it is revoked.
    pub revoked: bool,
    /// The token that counts.
    pub current: TokenRecord,
    /// The tokens before it, oldest first.
    pub previous: Vec<PreviousToken>,
}

impl ScannedKey {
    /// What decides on the key's state, as [`KeyRecord::standing`].
    pub(crate) fn standing(&self) -> ValidityInputs {
        ValidityInputs {
            suspended: false,
            revoked: self.revoked,
            blocked: self.blocked,
            deactivated: self.deactivated,
            expires_at: self.expires_at,
            ends_at: None,
        }
    }

    /// Each token with its end, as [`KeyRecord::tokens`].
    pub(crate) fn tokens(
        &self,
        mark: Option<Timestamp>,
    ) -> impl Iterator<Item = (&TokenRecord, Option<Timestamp>)> {
        tokens(&self.current, &self.previous, mark)
    }
}

impl From<&OwnerRecord> for ScannedOwner {
    fn from(owner: &OwnerRecord) -> Self {
        Self {
            id: owner.id,
            suspended: owner.suspended.is_some(),
            max_access: owner.max_access.clone(),
            limits: owner.limits.clone(),
            tokens_valid_from: owner.tokens_valid_from,
        }
    }
}

impl From<&KeyRecord> for ScannedKey {
    fn from(key: &KeyRecord) -> Self {
        Self {
            id: key.id,
            owner: key.owner,
            kind: key.kind,
            access: key.access.clone(),
            limits: (!key.limits.is_empty()).then(|| Box::new(key.limits.clone())),
            expires_at: key.expires_at,
            deactivated: key.deactivated.is_some(),
            blocked: key.blocked.is_some(),
            revoked: key.revoked.is_some(),
            current: key.current.clone(),
            previous: key.previous.clone(),
        }
    }
}
