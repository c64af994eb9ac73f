//! The record of an owner.

use super::{
    Invalidations, KeyRecord, Lifetime, Limits, SettingNames, Settings, StoreMetadata, Sweeps,
    Switch, Tags, TokensValidFrom, bytes, record,
};
use crate::authority::Actor;
use crate::clock::Timestamp;
use crate::id::{Incarnation, OwnerId, Version};
use crate::permission::Access;

/// The number of live keys that an owner may have by default.
pub const DEFAULT_MAX_KEYS: u32 = 1_000;

record! {
    /// The record of an owner: all that is stored of it.
    ///
    /// The fields that the verification index needs come first, as in a key's record.
    #[derive(Clone, Debug)]
    pub struct OwnerRecord {
        /// The service's own id for the owner.
        pub id: OwnerId,
        /// The most that its standard keys may do, whatever they say.
        pub max_access: Access,
        /// The administrator's switch: none of its keys is accepted.
        pub suspended: Option<Switch>,
        /// The invalidation of tokens of its keys.
        pub tokens_valid_from: Option<TokensValidFrom>,
        /// The limits on the use of all its keys together.
        pub limits: Limits,
        /// The sweeps of its keys that pieces have yet to write. The backend keeps them: those of a
        /// record that is to be written don't count.
        pub sweeps: Option<Box<Sweeps>>,
        /// The number of changes, creation included.
        pub version: Version,
        /// The mark that tells it from an earlier owner of this id. A replacement keeps it.
        pub incarnation: Incarnation,
        /// The settings of its keys where they have none of their own.
        pub defaults: Settings,
        /// The defaults that go over what its keys set themselves, unless an administrator has set
        /// it.
        pub fixed_defaults: SettingNames,
        /// The number of live keys it may have.
        pub max_keys: u32,
        /// The lifetime of its keys.
        pub lifetime: Lifetime,
        /// The moment of creation.
        pub created_at: Timestamp,
        /// The actor who created it.
        pub created_by: Actor,
        /// The moment of the last change.
        pub updated_at: Timestamp,
        /// The tags. They stay the last field, as their stored form asks.
        pub tags: Tags,
    }
}

bytes!(OwnerRecord, "owner", OwnerId, |owner| &owner.id);

impl OwnerRecord {
    /// Returns whether it was purged, and stays only until its keys are gone.
    #[must_use]
    pub fn is_purged(&self) -> bool {
        self.sweeps.as_ref().is_some_and(|sweeps| sweeps.purged)
    }

    /// Returns the number of epochs of its tokens that have ended.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.tokens_valid_from.map_or(0, |from| from.epoch)
    }

    /// Returns what stays of it, when it is purged, until its keys are gone.
    #[must_use]
    pub fn tombstone(self) -> Self {
        let sweeps = self.sweeps.map(|sweeps| Box::new(Sweeps { purged: true, ..*sweeps }));
        Self {
            sweeps,
            limits: Limits::default(),
            defaults: Settings::default(),
            fixed_defaults: SettingNames::default(),
            tags: Tags::default(),
            tokens_valid_from: self.tokens_valid_from.map(TokensValidFrom::of_epochs),
            ..self
        }
    }

    /// Returns a key of it as its stored record and the owner's sweeps say that it is; `None` if it
    /// is gone.
    #[must_use]
    pub fn swept(&self, key: KeyRecord) -> Option<KeyRecord> {
        match &self.sweeps {
            Some(sweeps) => sweeps.applied(key),
            None => Some(key),
        }
    }

    /// Gathers the invalidations that apply to its keys: its own and the store's, and the retired
    /// peppers.
    #[must_use]
    pub fn invalidations<'a>(&self, store: &'a StoreMetadata) -> Invalidations<'a> {
        let (owner, store_from) = (self.tokens_valid_from, store.tokens_valid_from);
        Invalidations { owner, store: store_from, peppers: &store.peppers }
    }
}
