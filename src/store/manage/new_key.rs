//! New tokens and new keys, before they are committed.

use super::authorize::Principal;
use super::key_rules;
use super::limit_rules;
use crate::backend::{Change, Precondition, Write, WriteKey};
use crate::clock::Timestamp;
use crate::event::{EventKind, Fields};
use crate::id::{Generation, KeyId, OwnerId, Version};
use crate::invalid::{Invalid, Problem};
use crate::key::{Expiry, KeyRecord, Limits, OwnerRecord, Prefix, PrefixNumber, Seal, TokenRecord};
use crate::store::engine::state::{Core, MetadataState};
use crate::store::types::error::{Error, StateProblem};
use crate::store::types::request::{CreateKey, NumericIdChoice};
use crate::store::types::settings_check::{checked, first_settings};
use crate::token::{Token, mint};

/// A key that is not committed yet, and its token.
#[derive(Debug)]
pub(in crate::store) struct Draft {
    pub(in crate::store) record: KeyRecord,
    pub(in crate::store) token: Token,
    next_numeric_id: bool,
    /// The plain fields that the request set.
    plain: Fields,
}

impl Draft {
    /// Adds the key to a change.
    pub(in crate::store) fn add_to(&self, change: Change, caller: &Principal<'_>) -> Change {
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
}

impl Core {
    /// Judges a request and makes the key that it asks for.
    pub(in crate::store) fn draft_key(
        &self,
        caller: &Principal<'_>,
        owner: OwnerId,
        mark: Option<Timestamp>,
        request: &CreateKey,
        state: &MetadataState,
    ) -> Result<Draft, Error> {
        let expiry = request.expiry.map_or(Expiry::Never, |wanted| wanted.from(caller.now));
        let mut limits = Limits::default();
        limit_rules::set(caller, &mut limits, &request.limits, Version::FIRST)?;
        let (access, catalogue) = (&request.access, self.catalogue());
        key_rules::check_creation(caller, access, &limits, request.kind, expiry, catalogue)?;
        let settings = first_settings(request.settings.as_ref())?;
        let settings = checked(self.settings_check.as_deref(), settings)?;
        let (numeric_id, next_numeric_id) = match request.numeric_id {
            NumericIdChoice::Given(id) => {
                caller.require_administrator()?;
                (Some(id), false)
            }
            NumericIdChoice::Next => (None, true),
            NumericIdChoice::None => (None, false),
        };
        let (prefix, number) = match &request.prefix {
            Some(prefix) => {
                let number = state.metadata.prefixes.number(prefix);
                let unknown = || Problem::Unknown { name: prefix.to_string() };
                (*prefix, number.ok_or_else(|| Invalid::new("prefix", unknown()))?)
            }
            None => self.default_prefix(state)?,
        };
        self.check_recoverable(request.recoverable, state)?;
        let id = self.new_key_id(caller.now)?;
        let issued_at = caller.now.max(mark.unwrap_or(Timestamp::MIN));
        let (token, current, seal) = self.mint_token(
            id,
            Generation::FIRST,
            issued_at,
            (prefix, number),
            request.recoverable,
        )?;
        let set_by = caller.set_by(None);
        let mut record = KeyRecord {
            numeric_id,
            kind: request.kind,
            access: request.access.clone(),
            access_by: set_by,
            expires_at: expiry.at(),
            expiry_by: set_by,
            settings,
            limits,
            seal,
            ..KeyRecord::new(id, owner, current, caller.now, caller.authority.actor.clone())
        };
        let plain = key_rules::set_plain(&mut record, &request.plain)?;
        Ok(Draft { record, token, next_numeric_id, plain })
    }

    /// The first prefix that was named.
    fn default_prefix(&self, state: &MetadataState) -> Result<(Prefix, PrefixNumber), Error> {
        let first = state
            .prefixes
            .first()
            .and_then(|prefix| Some((*prefix, state.metadata.prefixes.number(prefix)?)));
        Ok(first.ok_or_else(|| Invalid::new("prefix", Problem::Empty))?)
    }

    /// Refuses to seal where the rules or the lack of a key forbid it.
    fn check_recoverable(&self, wanted: bool, state: &MetadataState) -> Result<(), Error> {
        if wanted && !(state.metadata.rules.recoverable_tokens && self.has_recovery_key()) {
            return Err(Error::State(StateProblem::RecoveryOff));
        }
        Ok(())
    }

    /// A new token of a key, with what is stored of it.
    pub(in crate::store) fn mint_token(
        &self,
        id: KeyId,
        generation: Generation,
        issued_at: Timestamp,
        (prefix, number): (Prefix, PrefixNumber),
        sealed: bool,
    ) -> Result<(Token, TokenRecord, Option<Seal>), Error> {
        let mut random = self.random();
        let (token, digest) = mint(random.as_mut(), id, (&prefix, number), self.peppers.current())?;
        let seal = if sealed { self.seal(random.as_mut(), &token, id, generation)? } else { None };
        Ok((token, TokenRecord { generation, digest, issued_at }, seal))
    }
}

/// What must still hold when a key is created, rotated or activated: the versions of its owner
/// and, for the issue mark, of the store.
pub(in crate::store) fn issuance_preconditions(
    change: Change,
    owner: &OwnerRecord,
    state: &MetadataState,
) -> Change {
    change
        .requiring(Precondition::Owner(owner.id, owner.version))
        .requiring(Precondition::StoreMetadata(state.metadata.version))
}
