//! Events: the changes of keys, owners and the store, each with its authority and its moment.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::authority::{Authority, Role, Viewer};
use crate::clock::Timestamp;
use crate::id::{Generation, Incarnation, KeyId, OwnerId, Version};
use crate::invalid::{Invalid, Problem};
use crate::key::{Field, KeyRecord, Sink, Source, Sweep, SweepKind, bytes};
use crate::serial::as_word;

/// Declares an enum whose variants have a number (stored) and a name (shown).
macro_rules! event_kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// A kind of event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])* $variant,)*
            /// A kind that a newer version wrote, by its number.
            Unknown(u8),
        }

        impl EventKind {
            /// All kinds that this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number under which it is stored, for ever the same.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)* Self::Unknown(number) => number }
            }

            /// Its name, such as `key_rotated`; `unknown` for a kind that this version doesn't know.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Unknown(_) => "unknown" }
            }
        }
    };
}

event_kinds! {
    /// A key was created.
    KeyCreated = 1, "key_created";
    /// Name, settings, access, expiry or limits of a key changed.
    KeyUpdated = 2, "key_updated";
    /// A key got a new token.
    KeyRotated = 3, "key_rotated";
    /// A key's previous tokens were invalidated.
    PreviousTokensInvalidated = 4, "previous_tokens_invalidated";
    /// The owner switched a key off.
    KeyDeactivated = 5, "key_deactivated";
    /// The owner switched a key on again.
    KeyActivated = 6, "key_activated";
    /// An administrator blocked a key.
    KeyBlocked = 7, "key_blocked";
    /// An administrator lifted a block.
    KeyUnblocked = 8, "key_unblocked";
    /// A key was revoked.
    KeyRevoked = 9, "key_revoked";
    /// A revoked key was removed.
    KeyPurged = 10, "key_purged";
    /// A key's expiry was moved to later.
    KeyExpiryExtended = 11, "key_expiry_extended";
    /// A trial key became a standard one.
    TrialConverted = 12, "trial_converted";
    /// A recoverable token was shown.
    TokenRevealed = 13, "token_revealed";
    /// A key's expiry has come. The store writes this and the following kinds by itself, where
    /// alerts are on.
    KeyExpired = 14, "key_expired";
    /// A trial key's expiry is near.
    TrialEnding = 15, "trial_ending";
    /// A key's token was issued long ago.
    TokenOld = 16, "token_old";
    /// A key wasn't used for long.
    KeyUnused = 17, "key_unused";
    /// A previous token is used close to the end of its grace.
    PreviousTokenUsed = 18, "previous_token_used";
    /// A key's token is rejected often although its secret is right.
    KeyRejected = 19, "key_rejected";
    /// An expired key gave up its place or its name to a newer one.
    KeyLapsed = 50, "key_lapsed";
    /// A grace of a key's previous tokens began at a time to come, by a clock that was ahead, and
    /// begins now.
    GracesMended = 51, "graces_mended";
    /// A key's expiry is near.
    KeyExpiring = 52, "key_expiring";
    /// An owner was created.
    OwnerCreated = 20, "owner_created";
    /// Defaults, maximum access, limits or number of keys of an owner changed.
    OwnerUpdated = 21, "owner_updated";
    /// An administrator suspended an owner.
    OwnerSuspended = 22, "owner_suspended";
    /// An administrator lifted a suspension.
    OwnerResumed = 23, "owner_resumed";
    /// All keys of an owner were revoked.
    OwnerKeysRevoked = 24, "owner_keys_revoked";
    /// The `tokens_valid_from` of an owner moved forward.
    OwnerTokensInvalidated = 25, "owner_tokens_invalidated";
    /// A suspended owner was removed with its keys.
    OwnerPurged = 26, "owner_purged";
    /// A revocation of all keys of an owner, or its purge, is written into each key's record.
    OwnerSweepEnded = 27, "owner_sweep_ended";
    /// A caller let the count of a key's quota begin whole again.
    KeyQuotaRefilled = 30, "key_quota_refilled";
    /// A caller added uses to a key's quota.
    KeyQuotaAdded = 31, "key_quota_added";
    /// An administrator let the count of an owner's quota begin whole again.
    OwnerQuotaRefilled = 32, "owner_quota_refilled";
    /// An administrator added uses to an owner's quota.
    OwnerQuotaAdded = 33, "owner_quota_added";
    /// The rules of the store changed.
    StoreRulesChanged = 40, "store_rules_changed";
    /// The `tokens_valid_from` of the store moved forward.
    StoreTokensInvalidated = 41, "store_tokens_invalidated";
    /// A pepper was opened for the first time.
    PepperAdded = 42, "pepper_added";
    /// An administrator, or an opening, retired a pepper; its tokens have ended.
    PepperRetired = 43, "pepper_retired";
    /// A recovery key was opened for the first time.
    RecoveryKeyAdded = 44, "recovery_key_added";
    /// The store was created, on a database on which there was none: the first event of each store.
    StoreCreated = 45, "store_created";
}

impl EventKind {
    /// Returns the kind of a number that was stored, which a newer version may have done.
    #[must_use]
    pub fn of_stored(number: u8) -> Self {
        Self::from_number(number).unwrap_or(Self::Unknown(number))
    }

    /// Finds the kind of a stored number.
    ///
    /// # Errors
    /// [`Invalid`] for a number that this version doesn't know.
    pub fn from_number(number: u8) -> Result<Self, Invalid> {
        Self::ALL.iter().copied().find(|kind| kind.number() == number).ok_or_else(|| {
            Invalid::new(
                "event kind",
                Problem::OutOfRange { given: number.into(), min: 1, max: 52, unit: "" },
            )
        })
    }
}

as_word!(EventKind, "event kind", "the name of a kind of event");

/// A set of fields of a record that changed: their names, without their values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fields(u32);

/// Declares the members of [`Fields`] with their bits (stored) and names (shown).
macro_rules! fields {
    ($($(#[$doc:meta])* $constant:ident = $bit:literal, $name:literal;)*) => {
        impl Fields {
            $($(#[$doc])* pub const $constant: Self = Self(1 << $bit);)*
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$constant, $name)),*];
        }
    };
}

fields! {
    /// The name.
    NAME = 0, "name";
    /// The settings, or an owner's defaults.
    SETTINGS = 1, "settings";
    /// The access, or an owner's maximum access.
    ACCESS = 2, "access";
    /// The expiry.
    EXPIRY = 3, "expiry";
    /// The kind.
    KIND = 4, "kind";
    /// The current token.
    TOKEN = 5, "token";
    /// The previous tokens.
    PREVIOUS_TOKENS = 6, "previous_tokens";
    /// The owner's switch.
    DEACTIVATED = 7, "deactivated";
    /// The administrator's switch.
    BLOCKED = 8, "blocked";
    /// The revocation.
    REVOKED = 9, "revoked";
    /// The suspension of an owner.
    SUSPENDED = 10, "suspended";
    /// The number of keys an owner may have.
    MAX_KEYS = 11, "max_keys";
    /// The moment from which tokens are valid.
    TOKENS_VALID_FROM = 12, "tokens_valid_from";
    /// The rules of the store.
    RULES = 13, "rules";
    /// The accepted prefixes.
    PREFIXES = 14, "prefixes";
    /// The peppers.
    PEPPERS = 15, "peppers";
    /// The recoverable token.
    SEAL = 16, "seal";
    /// The moment before which no token is accepted.
    NOT_BEFORE = 17, "not_before";
    /// The networks from which tokens are accepted.
    NETWORKS = 18, "networks";
    /// The rate of use.
    RATE = 19, "rate";
    /// The quota of uses.
    QUOTA = 20, "quota";
    /// The lapse of an expired key.
    LAPSED = 21, "lapsed";
    /// The lifetime of an owner's keys.
    LIFETIME = 22, "lifetime";
    /// The recovery keys.
    RECOVERY_KEYS = 23, "recovery_keys";
    /// The tags.
    TAGS = 24, "tags";
}

impl Fields {
    /// No field.
    pub const NONE: Self = Self(0);

    /// Makes the set of stored bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits, to be stored.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Joins two sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether all of `other` are in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Returns whether no field is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Lists the names of the fields.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(field, _)| self.contains(*field)).map(|(_, name)| *name)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

/// An event before it has its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventDraft {
    /// The moment of the decision. Numbers, not times, give the order.
    pub at: Timestamp,
    /// The kind of the event.
    pub kind: EventKind,
    /// The owner concerned.
    pub owner: Option<OwnerId>,
    /// The key concerned.
    pub key: Option<KeyId>,
    /// The record's version after the event; the last one of a removed record.
    pub version: Version,
    /// The generation concerned: created, rotated to, revealed, or alerted.
    pub generation: Option<Generation>,
    /// The fields that changed; never their values.
    pub fields: Fields,
    /// The authority of the actor.
    pub authority: Authority,
}

/// An event with its number. Numbers grow by one, without gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The number; the first is 1.
    pub sequence: u64,
    /// The incarnation of the owner concerned, if there was one at that time. It is found out
    /// inside the commit.
    pub incarnation: Option<Incarnation>,
    /// The number of the event that revoked or purged all keys of an owner in one commit. Only the
    /// events about each of these keys have it: the effect began with that commit, and such an event
    /// says that the key's own record now says so too, with that commit's time and authority. The
    /// backend sets it inside the commit.
    pub binding: Option<u64>,
    /// The event.
    #[serde(flatten)]
    pub draft: EventDraft,
}

impl EventDraft {
    /// Makes the event of a key that a sweep covers, given the key's stored record.
    #[must_use]
    pub fn of_sweep(sweep: &Sweep, key: &KeyRecord) -> Self {
        let (kind, version, fields) = match sweep.kind {
            SweepKind::Purge => (EventKind::KeyPurged, key.version, Fields::NONE),
            SweepKind::Revoke => {
                let seal = if key.seal.is_some() { Fields::SEAL } else { Fields::NONE };
                (EventKind::KeyRevoked, key.version.next(), Fields::REVOKED.with(seal))
            }
        };
        Self {
            at: sweep.at,
            kind,
            owner: Some(key.owner),
            key: Some(key.id),
            version,
            generation: None,
            fields,
            authority: sweep.authority.clone(),
        }
    }
}

impl Event {
    /// Returns the event as it is shown to a viewer.
    #[must_use]
    pub fn shown_to(self, viewer: Viewer) -> Self {
        let authority = self.draft.authority.shown_to(viewer);
        Self { draft: EventDraft { authority, ..self.draft }, ..self }
    }

    fn put_fields<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { sequence: _, incarnation, binding, draft } = self;
        let EventDraft { at, kind, owner, key, version, generation, fields, authority } = draft;
        let Authority { role, actor, reason, reason_for_owner, correlation_id } = authority;
        at.put(sink)?;
        sink.number(kind.number().into())?;
        owner.put(sink)?;
        incarnation.put(sink)?;
        binding.put(sink)?;
        key.put(sink)?;
        version.put(sink)?;
        generation.put(sink)?;
        fields.0.put(sink)?;
        put_role(role, sink)?;
        actor.put(sink)?;
        reason.put(sink)?;
        reason_for_owner.put(sink)?;
        correlation_id.put(sink)
    }

    fn get_fields<S: Source>(sequence: u64, source: &mut S) -> Result<Self, S::Error> {
        let at = Field::get("at", source)?;
        let kind =
            source.number_as("kind", |kind| kind.try_into().ok().map(EventKind::of_stored))?;
        let owner = Field::get("owner", source)?;
        let incarnation = Field::get("incarnation", source)?;
        let binding = Field::get("binding", source)?;
        let draft = EventDraft {
            at,
            kind,
            owner,
            key: Field::get("key", source)?,
            version: Field::get("version", source)?,
            generation: Field::get("generation", source)?,
            fields: Fields(Field::get("fields", source)?),
            authority: Authority {
                role: get_role(source)?,
                actor: Field::get("actor", source)?,
                reason: Field::get("reason", source)?,
                reason_for_owner: Field::get("reason_for_owner", source)?,
                correlation_id: Field::get("correlation_id", source)?,
            },
        };
        Ok(Self { sequence, incarnation, binding, draft })
    }
}

bytes!(Event, "event", u64, |event| &event.sequence);

fn put_role<S: Sink>(role: &Role, sink: &mut S) -> Result<(), S::Error> {
    match role {
        Role::Administrator => sink.number(0),
        Role::Owner { owner } => {
            sink.number(1)?;
            owner.put(sink)
        }
        Role::Delegate { owner, key, generation } => {
            sink.number(2)?;
            owner.put(sink)?;
            key.put(sink)?;
            generation.put(sink)
        }
        Role::OwnerByKey { owner, key, generation, previous_tokens } => {
            sink.number(3)?;
            owner.put(sink)?;
            key.put(sink)?;
            generation.put(sink)?;
            previous_tokens.put(sink)
        }
    }
}

fn get_role<S: Source>(source: &mut S) -> Result<Role, S::Error> {
    let number = source.number("role")?;
    if number == 0 {
        return Ok(Role::Administrator);
    }
    let owner = Field::get("role", source)?;
    if number == 1 {
        return Ok(Role::Owner { owner });
    }
    let (key, generation) = (Field::get("role", source)?, Field::get("role", source)?);
    match number {
        2 => Ok(Role::Delegate { owner, key, generation }),
        3 => {
            let previous_tokens = Field::get("role", source)?;
            Ok(Role::OwnerByKey { owner, key, generation, previous_tokens })
        }
        _ => Err(source.damaged("role")),
    }
}

impl std::ops::Deref for Event {
    type Target = EventDraft;

    fn deref(&self) -> &EventDraft {
        &self.draft
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_single_and_read_back() {
        let mut names = std::collections::BTreeSet::new();
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_number(kind.number()).unwrap(), *kind);
            assert!(names.insert(kind.name()));
        }
        assert!(EventKind::from_number(0).is_err());
        assert!(EventKind::from_number(255).is_err());
        let unknown = EventKind::of_stored(255);
        assert_eq!((unknown.number(), unknown.name()), (255, "unknown"));
    }

    #[test]
    fn fields_are_a_set_of_names() {
        let fields = Fields::NAME.with(Fields::SEAL);
        assert_eq!(fields.names().collect::<Vec<_>>(), ["name", "seal"]);
        assert!(fields.contains(Fields::SEAL) && !fields.contains(Fields::TOKEN));
        assert_eq!(Fields::from_bits(fields.bits()), fields);
    }
}
