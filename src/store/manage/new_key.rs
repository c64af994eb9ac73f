//! New keys and tokens, before they are committed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::authorize::{KeyReach, Principal};
use super::key_rules::{self, PolicyContext};
use super::limit_rules;
use super::recoverable_tokens::Sealer;
use super::setting_rules;
use crate::authority::Viewer;
use crate::backend::{Applied, Change, Precondition, Write, WriteKey};
use crate::clock::Timestamp;
use crate::event::{EventKind, Fields};
use crate::id::{Generation, Incarnation, KeyId, KeyIdSource, OwnerId, Version};
use crate::invalid::{Invalid, Problem};
use crate::key::{
    Expiry, Invalidations, KeyRecord, Limits, OwnerRecord, Prefix, PrefixNumber, Seal, SetBy,
    SettingsPatch, StoreMetadata, TokenRecord,
};
use crate::store::engine::{Engine, MetadataState};
use crate::store::types::KeyUsage;
use crate::store::types::error::{Error, StateProblem};
use crate::store::types::request::{CreateKey, NumericIdChoice};
use crate::store::types::views::{Issued, Key};
use crate::token::{RandomError, RandomSource, Token, fill, mint};

/// Largest number of ids that are drawn for a new key. Chance needs a second draw once in millions
/// of creations.
const MAX_DRAWS: usize = 64;

/// A key that is not committed yet, and its token.
#[derive(Debug)]
pub(in crate::store::manage) struct Draft {
    pub(in crate::store::manage) record: KeyRecord,
    pub(in crate::store::manage) token: Token,
    /// The backend assigns the next numeric id when it commits the key.
    next_numeric_id: bool,
    /// The plain fields that the request set.
    plain: Fields,
}

impl Draft {
    /// Adds the key to a change.
    pub(in crate::store::manage) fn add_to(
        &self,
        change: Change,
        caller: &Principal<'_>,
    ) -> Change {
        let record = self.record.clone();
        let mut fields = Fields::TOKEN.with(Fields::ACCESS).with(self.plain);
        for (is_set, field) in [
            (record.expires_at.is_some(), Fields::EXPIRY),
            (!record.settings.is_empty(), Fields::SETTINGS),
            (record.seal.is_some(), Fields::SEAL),
        ] {
            if is_set {
                fields = fields.with(field);
            }
        }
        let fields = fields.with(limit_rules::fields_of(&record.limits));
        let generation = Some(record.current.generation);
        let event = caller.key_event(EventKind::KeyCreated, &record, fields, generation);
        let next_numeric_id = self.next_numeric_id;
        change.and(Write::CreateKey(Box::new(WriteKey { record, next_numeric_id })), event)
    }

    /// Returns the committed key and its token. The key is the first of its change that is assigned
    /// a numeric id.
    pub(in crate::store::manage) fn into_issued(
        self,
        applied: &Applied,
        owner: &OwnerRecord,
        metadata: &StoreMetadata,
        shown: (Viewer, Timestamp),
        usage: Option<KeyUsage>,
    ) -> Issued {
        let record = applied.completed(self.record);
        let key = Key::new(record, owner, metadata, shown).with_usage(usage);
        Issued { key, token: self.token, dropped: None }
    }
}

/// Mints new tokens, and drafts new keys.
#[derive(Debug)]
pub(in crate::store) struct Minter {
    pub(super) engine: Arc<Engine>,
    pub(super) sealer: Arc<Sealer>,
    /// Locked, since each id must be greater than the one before. Without the lock two threads
    /// could draw from the same state.
    ids: Mutex<KeyIdSource>,
    /// Locked, since a random source needs exclusive access.
    random: Mutex<Box<dyn RandomSource>>,
}

impl Minter {
    pub(in crate::store) fn new(
        engine: &Arc<Engine>,
        random: Box<dyn RandomSource>,
        sealer: &Arc<Sealer>,
    ) -> Self {
        Self {
            engine: Arc::clone(engine),
            sealer: Arc::clone(sealer),
            ids: Mutex::default(),
            random: Mutex::new(random),
        }
    }

    /// Checks a request, and drafts the key that it asks for.
    pub(in crate::store::manage) fn draft_key(
        &self,
        caller: &Principal<'_>,
        owner: OwnerId,
        context: &PolicyContext<'_>,
        request: &CreateKey,
        state: &MetadataState,
    ) -> Result<Draft, Error> {
        let expiry = request.expiry.map(|expiry| expiry.from(caller.now));
        let default = [caller.default_expiry().at(), context.lifetime.default_expiry(caller.now)];
        let expires_at = expiry.map_or_else(|| default.into_iter().flatten().min(), Expiry::at);
        key_rules::check_lifetime(caller, context.lifetime, caller.now, expires_at)?;
        let mut limits = Limits::default();
        limit_rules::set(caller, &mut limits, &request.limits, Version::FIRST)?;
        let (prefix, number) = prefix_of(caller, request, state)?;
        let access = request.access.renamed(context.catalogue);
        let reach = KeyReach { access: &access, limits: &limits, expires_at, prefix: number };
        key_rules::check_creation(caller, reach, request.kind, context.catalogue)?;
        let settings = request.settings.clone().map(SettingsPatch::from_value).transpose()?;
        let (numeric_id, next_numeric_id) = match request.numeric_id {
            NumericIdChoice::Given(id) => {
                caller.require_administrator()?;
                (Some(id), false)
            }
            NumericIdChoice::Next => (None, true),
            NumericIdChoice::None => (None, false),
        };
        self.check_recoverable(request.recoverable, state)?;
        let id = self.new_key_id(caller.now)?;
        let (token, current, seal) = self.mint_token(
            id,
            Generation::FIRST,
            (caller.now, context.invalidations),
            (prefix, number),
            request.recoverable,
        )?;
        let set_by = caller.set_by(None);
        let mut record = KeyRecord {
            numeric_id,
            kind: request.kind,
            access,
            access_by: set_by,
            expires_at,
            expiry_by: set_by,
            limits,
            seal,
            created_by_key: caller.authority.role.acting_key(),
            created_as: SetBy::of(&caller.authority.role),
            ..KeyRecord::new(id, owner, current, caller.now, caller.authority.actor.clone())
        };
        let (settings, check) = (settings.unwrap_or_default(), context.settings_check);
        setting_rules::set_first(caller, &mut record, settings, context.owner, check)?;
        let plain = key_rules::set_plain(&mut record, &request.plain)?;
        Ok(Draft { record, token, next_numeric_id, plain })
    }

    fn random(&self) -> MutexGuard<'_, Box<dyn RandomSource>> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws the incarnation of a new owner.
    pub(in crate::store::manage) fn new_incarnation(&self) -> Result<Incarnation, RandomError> {
        fill(self.random().as_mut()).map(Incarnation::drawn)
    }

    /// Draws a key id whose hash no other key in the index has.
    fn new_key_id(&self, now: Timestamp) -> Result<KeyId, RandomError> {
        for _ in 0..MAX_DRAWS {
            let drawn = fill(self.random().as_mut())?;
            let id = self.ids.lock().unwrap_or_else(PoisonError::into_inner).next(now, drawn);
            if !self.engine.records.index.has_hash(id) {
                return Ok(id);
            }
        }
        Err(RandomError::repeats_itself())
    }

    /// Returns an error for a recoverable token if the rules don't allow it, or if the store has no
    /// recovery key.
    fn check_recoverable(&self, recoverable: bool, state: &MetadataState) -> Result<(), Error> {
        if recoverable
            && !(state.metadata.rules.recoverable_tokens && self.sealer.has_recovery_key())
        {
            return Err(Error::State(StateProblem::RecoveryOff));
        }
        Ok(())
    }

    /// Mints a token of a key. Returns also the record that is stored of it, and its seal if it is
    /// recoverable.
    pub(in crate::store::manage) fn mint_token(
        &self,
        id: KeyId,
        generation: Generation,
        (now, invalidations): (Timestamp, Invalidations<'_>),
        (prefix, number): (Prefix, PrefixNumber),
        recoverable: bool,
    ) -> Result<(Token, TokenRecord, Option<Seal>), Error> {
        let mut random = self.random();
        let (token, digest) =
            mint(random.as_mut(), id, (&prefix, number), self.engine.records.peppers.current())?;
        let seal = if recoverable {
            self.sealer.seal(random.as_mut(), &token, id, generation)?
        } else {
            None
        };
        let (issued_at, epochs) = (invalidations.stamp(now), invalidations.epochs());
        Ok((token, TokenRecord { generation, digest, issued_at, epochs }, seal))
    }
}

/// Returns the prefix of a new key: the requested one, otherwise a delegate's own, otherwise the
/// one that the service names first.
fn prefix_of(
    caller: &Principal<'_>,
    request: &CreateKey,
    state: &MetadataState,
) -> Result<(Prefix, PrefixNumber), Invalid> {
    let table = &state.metadata.prefixes;
    let acting = caller.acting_prefix().and_then(|number| table.prefix(number));
    let wanted = request.prefix.or(acting).or(state.prefixes.first().copied());
    let prefix = wanted.ok_or(Invalid::new("prefix", Problem::Empty))?;
    let unknown = || Problem::Unknown { name: prefix.to_string() };
    let number = table.number(&prefix).ok_or_else(|| Invalid::new("prefix", unknown()))?;
    Ok((prefix, number))
}

/// Adds preconditions to a change that creates, rotates or activates a key. The owner and the
/// store's metadata, whose `tokens_valid_from` the token must not precede, still have their
/// versions.
pub(in crate::store::manage) fn issuance_preconditions(
    change: Change,
    owner: &OwnerRecord,
    state: &MetadataState,
) -> Change {
    change
        .requiring(Precondition::Owner(owner.id, owner.version))
        .requiring(Precondition::Incarnation(owner.id, owner.incarnation))
        .requiring(Precondition::StoreMetadata(state.metadata.version))
}
