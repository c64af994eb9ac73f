//! The record of a key.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Digest, Field, Invalidations, IssueEpochs, KeyName, Limits, PepperNumber, PrefixNumber, Scheme,
    SetBy, SettingNames, Settings, Sink, Source, State, Switch, Tags, ValidityInputs, bytes,
    record, words,
};
use crate::authority::Actor;
use crate::clock::Timestamp;
use crate::id::{Generation, KeyId, NumericId, OwnerId, Version};
use crate::permission::Access;
use crate::serial::as_word;

/// The greatest number of previous tokens of a key; one more drops the oldest.
pub const MAX_PREVIOUS_TOKENS: usize = 5;

record! {
    /// The record of a key: all that is stored of it.
    ///
    /// The fields that the verification index needs come first: a backend that stores a record as
    /// one piece reads no further to load the index.
    #[derive(Clone, Debug)]
    pub struct KeyRecord {
        /// The key's id.
        pub id: KeyId,
        /// The owner for which the key acts.
        pub owner: OwnerId,
        /// The purpose of the key.
        pub kind: Kind,
        /// The permissions of the key.
        pub access: Access,
        /// The limits on its use.
        pub limits: Limits,
        /// The moment at which it expires, if ever.
        pub expires_at: Option<Timestamp>,
        /// The owner's switch.
        pub deactivated: Option<Switch>,
        /// The administrator's switch.
        pub blocked: Option<Switch>,
        /// The revocation, final.
        pub revoked: Option<Switch>,
        /// The moment at which it lapsed: it had expired, and a newer key took its place or name.
        pub lapsed_at: Option<Timestamp>,
        /// The current token.
        pub current: TokenRecord,
        /// The previous tokens in their grace, oldest first, at most [`MAX_PREVIOUS_TOKENS`].
        pub previous: Vec<PreviousToken>,
        /// The number of changes, creation included.
        pub version: Version,
        /// The service's own number for the key.
        pub numeric_id: Option<NumericId>,
        /// A label for people.
        pub name: Option<KeyName>,
        /// The role that set `access`.
        pub access_by: SetBy,
        /// The role that set `expires_at`.
        pub expiry_by: SetBy,
        /// The key's own settings, over its owner's defaults.
        pub settings: Settings,
        /// Those of its own settings that an administrator has set: no other caller changes or
        /// removes them.
        pub protected_settings: SettingNames,
        /// The moment of creation.
        pub created_at: Timestamp,
        /// The actor who created it.
        pub created_by: Actor,
        /// The key with which that actor acted, if it was a delegate.
        pub created_by_key: Option<KeyId>,
        /// The role in which it was created.
        pub created_as: SetBy,
        /// The moment of the last change.
        pub updated_at: Timestamp,
        /// The current token, encrypted, if it is recoverable.
        pub seal: Option<Seal>,
        /// The tags. They stay the last field, as their stored form asks.
        pub tags: Tags,
    }
}

bytes!(KeyRecord, "key", KeyId, |key| &key.id);

impl KeyRecord {
    /// Makes the record of a new standard key: it may do everything, has no limits and never
    /// expires. Other fields are set with `..`.
    #[must_use]
    pub fn new(
        id: KeyId,
        owner: OwnerId,
        current: TokenRecord,
        created_at: Timestamp,
        created_by: Actor,
    ) -> Self {
        Self {
            id,
            owner,
            kind: Kind::Standard,
            access: Access::Full,
            limits: Limits::default(),
            expires_at: None,
            deactivated: None,
            blocked: None,
            revoked: None,
            lapsed_at: None,
            current,
            previous: Vec::new(),
            version: Version::FIRST,
            numeric_id: None,
            name: None,
            access_by: SetBy::Owner,
            expiry_by: SetBy::Owner,
            settings: Settings::default(),
            protected_settings: SettingNames::default(),
            created_at,
            created_by,
            created_by_key: None,
            created_as: SetBy::Administrator,
            updated_at: created_at,
            seal: None,
            tags: Tags::default(),
        }
    }

    /// Gathers what decides on the key's state: switches and expiry.
    #[must_use]
    pub fn validity_inputs(&self) -> ValidityInputs {
        ValidityInputs {
            suspended: false,
            revoked: self.revoked.is_some(),
            blocked: self.blocked.is_some(),
            deactivated: self.deactivated.is_some(),
            expires_at: effective_expiry(self.expires_at, self.lapsed_at.is_some()),
            ends_at: None,
        }
    }

    /// Derives the state shown at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        self.validity_inputs().state(now)
    }

    /// Returns whether it counts as one of its owner's keys: neither revoked nor lapsed.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.revoked.is_none() && self.lapsed_at.is_none()
    }

    /// Returns the moment at which it was over: the earlier of its expiry and its revocation.
    #[must_use]
    pub fn ended_at(&self) -> Option<Timestamp> {
        let revoked_at = self.revoked.as_ref().map(|switch| switch.at);
        self.expires_at.into_iter().chain(revoked_at).min()
    }

    /// Lists each token with its end: `None` for the current one. A token that an invalidation
    /// supersedes has ended at the earliest moment there is.
    pub fn tokens<'a>(
        &'a self,
        invalidations: Invalidations<'a>,
    ) -> impl Iterator<Item = (&'a TokenRecord, Option<Timestamp>)> {
        tokens(&self.current, &self.previous, invalidations)
    }
}

/// Returns the expiry by which a key is judged. A lapsed key stays expired if the clock steps back,
/// since its place is taken.
pub(crate) fn effective_expiry(expires_at: Option<Timestamp>, lapsed: bool) -> Option<Timestamp> {
    if lapsed { Some(Timestamp::MIN) } else { expires_at }
}

/// The rule behind [`KeyRecord::tokens`].
pub(crate) fn tokens<'a>(
    current: &'a TokenRecord,
    previous: &'a [PreviousToken],
    invalidations: Invalidations<'a>,
) -> impl Iterator<Item = (&'a TokenRecord, Option<Timestamp>)> {
    previous
        .iter()
        .map(|previous| (&previous.token, Some(previous.ends_at)))
        .chain([(current, None)])
        .map(move |(token, end)| {
            let is_superseded = token.is_superseded(invalidations);
            (token, if is_superseded { Some(Timestamp::MIN) } else { end })
        })
}

/// The purpose of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The usual one.
    Standard,
    /// Created, extended and converted by administrators alone; may exceed its owner's maximum
    /// access.
    Trial,
}

words! { Kind { Standard = 0, "standard"; Trial = 1, "trial"; } }
as_word!(Kind, "kind", "`standard` or `trial`");

/// The end of a validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// A token as it is stored.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// The token's number.
    pub generation: Generation,
    /// The digest of the token.
    pub digest: Digest,
    /// The moment of issue. A later `tokens_valid_from` ends the token.
    pub issued_at: Timestamp,
    /// The epochs of the owner and the store in which it was issued.
    pub epochs: IssueEpochs,
}

impl TokenRecord {
    /// Returns whether an invalidation supersedes it.
    #[must_use]
    #[inline]
    pub fn is_superseded(&self, invalidations: Invalidations<'_>) -> bool {
        invalidations.supersede(self.issued_at, self.epochs, self.digest.pepper)
    }
}

impl Field for TokenRecord {
    const WIDTH: usize = 6 + IssueEpochs::WIDTH;

    fn columns(_: &str, columns: &mut Vec<String>) {
        let names = ["generation", "digest", "scheme", "pepper", "prefix", "issued_at"];
        columns.extend(names.map(String::from));
        IssueEpochs::columns("", columns);
    }

    #[inline]
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { generation, digest, issued_at, epochs } = self;
        generation.put(sink)?;
        digest.expose().put(sink)?;
        digest.scheme.put(sink)?;
        digest.pepper.put(sink)?;
        digest.prefix.put(sink)?;
        issued_at.put(sink)?;
        epochs.put(sink)
    }

    #[inline]
    fn get<S: Source>(_: &'static str, source: &mut S) -> Result<Self, S::Error> {
        let generation = Field::get("generation", source)?;
        let bytes = Field::get("digest", source)?;
        let scheme: Scheme = Field::get("scheme", source)?;
        let pepper: PepperNumber = Field::get("pepper", source)?;
        let prefix: PrefixNumber = Field::get("prefix", source)?;
        let issued_at = Field::get("issued_at", source)?;
        let epochs = Field::get("epochs", source)?;
        let digest = Digest::new(bytes, scheme, pepper, prefix);
        Ok(Self { generation, digest, issued_at, epochs })
    }
}

/// A token before the current one, in its grace.
#[derive(Clone, Debug)]
pub struct PreviousToken {
    /// The token.
    pub token: TokenRecord,
    /// The moment at which its grace began.
    pub since: Timestamp,
    /// The moment at which it ends, unless the key expires before.
    pub ends_at: Timestamp,
}

impl Field for PreviousToken {
    const WIDTH: usize = TokenRecord::WIDTH + 2;

    fn columns(name: &str, columns: &mut Vec<String>) {
        TokenRecord::columns(name, columns);
        columns.extend(["since", "ends_at"].map(String::from));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.token.put(sink)?;
        self.since.put(sink)?;
        self.ends_at.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            token: Field::get(name, source)?,
            since: Field::get("since", source)?,
            ends_at: Field::get("ends_at", source)?,
        })
    }
}

/// A list: it has no column, but rows in a table of its own.
impl Field for Vec<PreviousToken> {
    const WIDTH: usize = 0;

    fn columns(_: &str, _: &mut Vec<String>) {}

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.list(self)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.list(name, MAX_PREVIOUS_TOKENS)
    }
}

/// The current token of a recoverable key, encrypted.
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

impl Field for Seal {
    const WIDTH: usize = 3;

    fn columns(name: &str, columns: &mut Vec<String>) {
        columns.extend(["key", "nonce", "text"].map(|part| format!("{name}_{part}")));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { key_number, nonce, ciphertext } = self;
        key_number.put(sink)?;
        nonce.put(sink)?;
        ciphertext.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            key_number: Field::get(name, source)?,
            nonce: Field::get(name, source)?,
            ciphertext: Field::get(name, source)?,
        })
    }
}
