//! The records that the verification index is loaded from.

use super::{Damage, DamagedRow};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{
    Decoder, Invalidations, KeyRecord, Kind, Limits, OwnerRecord, PreviousToken, RecordError,
    Sweep, SweepKind, Sweeps, Switch, TokenRecord, TokensValidFrom, ValidityInputs, checked,
    effective_expiry, record, tokens, unchecked,
};
use crate::permission::Access;

/// One record of a scan.
#[derive(Clone, Debug)]
pub enum Scanned {
    /// A key or owner whose row is damaged, or a key under quarantine, in place of its record.
    Damaged(DamagedRow),
    /// A key.
    Key(ScannedKey),
    /// An owner.
    Owner(ScannedOwner),
}

record! {
    /// The part of an owner's record that the index needs.
    #[derive(Clone, Debug)]
    pub struct ScannedOwner {
        /// The owner's id.
        pub id: OwnerId,
        /// The most that its standard keys may do.
        pub max_access: Access,
        /// Whether it is suspended.
        pub suspended: bool,
        /// The invalidation of tokens of its keys.
        pub tokens_valid_from: Option<TokensValidFrom>,
        /// The limits on the use of all its keys together.
        pub limits: Limits,
        /// The sweeps of its keys that pieces have yet to write.
        pub sweeps: Option<Box<Sweeps>>,
    }
}

record! {
    /// The part of a key's record that the index needs.
    #[derive(Clone, Debug)]
    pub struct ScannedKey {
        /// The key's id.
        pub id: KeyId,
        /// The owner for which the key acts.
        pub owner: OwnerId,
        /// The purpose of the key.
        pub kind: Kind,
        /// The permissions of the key.
        pub access: Access,
        /// The limits on its use; `None` without a limit, as most are.
        pub limits: Option<Box<Limits>>,
        /// The moment at which it expires.
        pub expires_at: Option<Timestamp>,
        /// Whether it is deactivated.
        pub deactivated: bool,
        /// Whether it is blocked.
        pub blocked: bool,
        /// Whether it is revoked.
        pub revoked: bool,
        /// Whether it has lapsed.
        pub lapsed: bool,
        /// The current token.
        pub current: TokenRecord,
        /// The previous tokens in their grace, oldest first.
        pub previous: Vec<PreviousToken>,
    }
}

impl ScannedOwner {
    /// Reads no more of [`OwnerRecord::to_bytes`] than the index needs.
    ///
    /// # Errors
    /// [`RecordError`], as [`OwnerRecord::from_bytes`]; a damaged value behind what the index needs
    /// isn't noticed where the checksum is right.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut decoder = checked::<OwnerRecord>(bytes)?;
        Self::of_fields(decoder.next("id")?, &mut decoder)
    }

    /// Reads the fields that stand first in [`OwnerRecord`], in their order.
    pub(crate) fn of_fields(id: OwnerId, decoder: &mut Decoder<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            id,
            max_access: decoder.next("max_access")?,
            suspended: decoder.next::<Option<Switch>>("suspended")?.is_some(),
            tokens_valid_from: decoder.next("tokens_valid_from")?,
            limits: decoder.next("limits")?,
            sweeps: decoder.next("sweeps")?,
        })
    }
}

impl DamagedRow {
    /// Shows a damaged key with the digests that can still be read in what is stored as
    /// [`KeyRecord::to_bytes`], whatever the checksum says.
    #[must_use]
    pub fn of_key(damage: Damage, bytes: &[u8]) -> Self {
        let read = unchecked(bytes).and_then(|mut decoder| {
            let id = decoder.next("id")?;
            ScannedKey::of_fields(id, &mut decoder)
        });
        match read {
            Ok(key) => key.damaged(damage),
            Err(_) => Self::new(damage),
        }
    }
}

impl ScannedKey {
    /// Reads no more of [`KeyRecord::to_bytes`] than the index needs, which loads a large store
    /// faster.
    ///
    /// # Errors
    /// [`RecordError`], as [`KeyRecord::from_bytes`]; a damaged value behind what the index needs
    /// isn't noticed where the checksum is right.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut decoder = checked::<KeyRecord>(bytes)?;
        Self::of_fields(decoder.next("id")?, &mut decoder)
    }

    /// Reads the fields that stand first in [`KeyRecord`], in their order.
    pub(crate) fn of_fields(id: KeyId, decoder: &mut Decoder<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            id,
            owner: decoder.next("owner")?,
            kind: decoder.next("kind")?,
            access: decoder.next("access")?,
            limits: Some(decoder.next::<Limits>("limits")?)
                .filter(|limits| !limits.is_empty())
                .map(Box::new),
            expires_at: decoder.next("expires_at")?,
            deactivated: decoder.next::<Option<Switch>>("deactivated")?.is_some(),
            blocked: decoder.next::<Option<Switch>>("blocked")?.is_some(),
            revoked: decoder.next::<Option<Switch>>("revoked")?.is_some(),
            lapsed: decoder.next::<Option<Timestamp>>("lapsed_at")?.is_some(),
            current: decoder.next("current")?,
            previous: decoder.next("previous")?,
        })
    }

    /// Returns the key as its stored record and its owner's sweeps say that it is; `None` if it is
    /// gone.
    pub(crate) fn swept(mut self, sweeps: &Sweeps) -> Option<Self> {
        while let Some(Sweep { kind, .. }) = sweeps.of(&self.current, self.revoked) {
            if *kind == SweepKind::Purge {
                return None;
            }
            // As `Sweep::applied`, as far as the index needs it.
            self.revoked = true;
        }
        Some(self)
    }

    /// Shows the key as damaged.
    pub(crate) fn damaged(&self, damage: Damage) -> DamagedRow {
        let tokens = std::iter::once(&self.current)
            .chain(self.previous.iter().map(|previous| &previous.token));
        let digests = tokens.map(|token| token.digest.clone()).collect();
        DamagedRow { digests, ..DamagedRow::new(damage) }
    }

    /// Gathers what decides on the key's state, as [`KeyRecord::validity_inputs`].
    pub(crate) fn validity_inputs(&self) -> ValidityInputs {
        ValidityInputs {
            suspended: false,
            revoked: self.revoked,
            blocked: self.blocked,
            deactivated: self.deactivated,
            expires_at: effective_expiry(self.expires_at, self.lapsed),
            ends_at: None,
        }
    }

    /// Lists each token with its end, as [`KeyRecord::tokens`].
    pub(crate) fn tokens<'a>(
        &'a self,
        invalidations: Invalidations<'a>,
    ) -> impl Iterator<Item = (&'a TokenRecord, Option<Timestamp>)> {
        tokens(&self.current, &self.previous, invalidations)
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
            sweeps: owner.sweeps.clone(),
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
            lapsed: key.lapsed_at.is_some(),
            current: key.current.clone(),
            previous: key.previous.clone(),
        }
    }
}
