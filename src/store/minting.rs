//! New tokens and new keys, before they are committed.

use super::caller::Caller;
use super::core::{Core, HeaderState};
use super::error::{Error, StateProblem};
use super::request::{CreateKey, ExternalIdWish};
use super::settings_check::{checked, first_settings};
use super::{lifecycle, limiting};
use crate::backend::{Change, Precondition, Write, WriteKey};
use crate::clock::Timestamp;
use crate::event::{EventKind, Fields};
use crate::id::{Generation, KeyId, OwnerId, Version};
use crate::invalid::{Invalid, Problem};
use crate::key::{
    Expiry, KeyName, KeyRecord, Limits, OwnerRecord, Prefix, PrefixNumber, Seal, TokenRecord,
};
use crate::token::{Token, mint};

/// A key that is not committed yet, and its token.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) record: KeyRecord,
    pub(super) token: Token,
    next_external_id: bool,
}

impl Draft {
    /// Adds the key to a change.
    pub(super) fn add_to(&self, change: Change, caller: &Caller<'_>) -> Change {
        let record = self.record.clone();
        let mut fields = Fields::TOKEN.with(Fields::ACCESS);
        for (is_set, field) in [
            (record.name.is_some(), Fields::NAME),
            (record.expires_at.is_some(), Fields::EXPIRY),
            (!record.settings.is_empty(), Fields::SETTINGS),
            (record.seal.is_some(), Fields::SEAL),
        ] {
            if is_set {
                fields = fields.with(field);
            }
        }
        let fields = fields.with(limiting::fields_of(&record.limits));
        let generation = Some(record.current.generation);
        let event = caller.key_event(EventKind::KeyCreated, &record, fields, generation);
        let next_external_id = self.next_external_id;
        change.and(Write::CreateKey(Box::new(WriteKey { record, next_external_id })), event)
    }
}

impl Core {
    /// Judges a request and makes the key that it asks for.
    pub(super) fn draft_key(
        &self,
        caller: &Caller<'_>,
        owner: OwnerId,
        mark: Option<Timestamp>,
        request: &CreateKey,
        state: &HeaderState,
    ) -> Result<Draft, Error> {
        let expiry = request.expiry.map_or(Expiry::Never, |wanted| wanted.from(caller.now));
        let mut limits = Limits::default();
        limiting::set(caller, &mut limits, &request.limits, Version::FIRST)?;
        let (access, catalogue) = (&request.access, self.catalogue());
        lifecycle::check_creation(caller, access, &limits, request.kind, expiry, catalogue)?;
        let name = request.name.as_ref().map(KeyName::new).transpose()?;
        let settings = first_settings(request.settings.as_ref())?;
        let settings = checked(self.settings_check.as_deref(), settings)?;
        let (external_id, next_external_id) = match request.external_id {
            ExternalIdWish::Given(id) => {
                caller.require_administrator()?;
                (Some(id), false)
            }
            ExternalIdWish::Next => (None, true),
            ExternalIdWish::None => (None, false),
        };
        let (prefix, number) = match &request.prefix {
            Some(prefix) => {
                let number = state.header.prefixes.number(prefix);
                let unknown = || Problem::Unknown { name: prefix.to_string() };
                (*prefix, number.ok_or_else(|| Invalid::new("prefix", unknown()))?)
            }
            None => self.default_prefix(state)?,
        };
        self.check_sealing(request.sealed, state)?;
        let id = self.new_key_id(caller.now)?;
        let issued_at = caller.now.max(mark.unwrap_or(Timestamp::MIN));
        let (token, current, seal) =
            self.mint_token(id, Generation::FIRST, issued_at, (prefix, number), request.sealed)?;
        let set_by = caller.set_by(None);
        let record = KeyRecord {
            id,
            owner,
            version: Version::FIRST,
            external_id,
            kind: request.kind,
            name,
            access: request.access.clone(),
            access_by: set_by,
            expires_at: expiry.at(),
            expiry_by: set_by,
            settings,
            limits,
            created_at: caller.now,
            created_by: caller.authority.actor.clone(),
            updated_at: caller.now,
            current,
            earlier: Vec::new(),
            deactivated: None,
            blocked: None,
            revoked: None,
            seal,
        };
        Ok(Draft { record, token, next_external_id })
    }

    /// The first prefix that was named.
    fn default_prefix(&self, state: &HeaderState) -> Result<(Prefix, PrefixNumber), Error> {
        let first = state
            .prefixes
            .first()
            .and_then(|prefix| Some((*prefix, state.header.prefixes.number(prefix)?)));
        Ok(first.ok_or_else(|| Invalid::new("prefix", Problem::Empty))?)
    }

    /// Refuses to seal where the rules or the lack of a key forbid it.
    fn check_sealing(&self, wanted: bool, state: &HeaderState) -> Result<(), Error> {
        if wanted && !(state.header.rules.sealed_tokens && self.has_sealing_key()) {
            return Err(Error::State(StateProblem::SealingOff));
        }
        Ok(())
    }

    /// A new token of a key, with what is stored of it.
    pub(super) fn mint_token(
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
pub(super) fn issuing(change: Change, owner: &OwnerRecord, state: &HeaderState) -> Change {
    change
        .requiring(Precondition::Owner(owner.id, owner.version))
        .requiring(Precondition::Header(state.header.version))
}
