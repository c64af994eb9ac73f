//! The rules of a key's life: pure functions from a record to the next version of it.

use std::time::Duration;

use super::authorize::{KeyReach, Principal};
use super::limit_rules;
use super::setting_rules;
use crate::clock::Timestamp;
use crate::event::{EventKind, Fields};
use crate::id::Generation;
use crate::invalid::{Invalid, Problem};
use crate::key::{
    Expiry, Invalidations, KeyName, KeyRecord, Kind, Lifetime, MAX_PREVIOUS_TOKENS, OwnerRecord,
    PreviousToken, SettingsPatch, StoreMetadata, Tags, TokenRecord,
};
use crate::permission::{Access, Catalogue};
use crate::store::types::error::{Error, ForbiddenReason, StateProblem};
use crate::store::types::request::{KeyAction, PlainFields, Rotate, UpdateKey};
use crate::store::types::settings_check::SettingsCheck;

/// Inputs of the rules besides the record and the caller.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::manage) struct PolicyContext<'a> {
    pub(in crate::store::manage) catalogue: &'a Catalogue,
    pub(in crate::store::manage) settings_check: Option<&'a dyn SettingsCheck>,
    pub(in crate::store::manage) owner: &'a OwnerRecord,
    /// The lifetime of keys, by the owner and the store's rules.
    pub(in crate::store::manage) lifetime: Lifetime,
    /// The invalidations of the owner's and the store's tokens.
    pub(in crate::store::manage) invalidations: Invalidations<'a>,
}

impl<'a> PolicyContext<'a> {
    /// Makes the inputs without a check of settings, for actions that set none.
    pub(in crate::store::manage) fn new(
        catalogue: &'a Catalogue,
        owner: &'a OwnerRecord,
        metadata: &'a StoreMetadata,
    ) -> Self {
        Self {
            catalogue,
            settings_check: None,
            owner,
            lifetime: owner.lifetime.tighter(metadata.rules.lifetime),
            invalidations: owner.invalidations(metadata),
        }
    }
}

/// A changed record, and the kind and fields of its event.
#[derive(Debug)]
pub(in crate::store::manage) struct Changed {
    pub(in crate::store::manage) record: KeyRecord,
    pub(in crate::store::manage) kind: EventKind,
    pub(in crate::store::manage) fields: Fields,
}

/// Applies an action to a key. Returns `None` if the action changes nothing.
pub(in crate::store::manage) fn act(
    caller: &Principal<'_>,
    key: &KeyRecord,
    action: &KeyAction,
    context: PolicyContext<'_>,
) -> Result<Option<Changed>, Error> {
    match action {
        KeyAction::Revoke | KeyAction::Deactivate => caller.check_may_end(key.id)?,
        _ => caller.check_current()?,
    }
    let mut next = key.clone();
    let (kind, fields) = match action {
        KeyAction::Revoke => {
            if key.revoked.is_some() {
                return Ok(None);
            }
            next.revoked = Some(caller.switch());
            let seal = if next.seal.take().is_some() { Fields::SEAL } else { Fields::NONE };
            (EventKind::KeyRevoked, Fields::REVOKED.with(seal))
        }
        _ if key.revoked.is_some() => return Err(Error::State(StateProblem::Revoked)),
        KeyAction::Activate => {
            caller.check_within(KeyReach::of(key))?;
            next.deactivated = None;
            (
                EventKind::KeyActivated,
                switched(&key.deactivated, &next.deactivated, Fields::DEACTIVATED),
            )
        }
        KeyAction::Deactivate => {
            next.deactivated = next.deactivated.or_else(|| Some(caller.switch()));
            (
                EventKind::KeyDeactivated,
                switched(&key.deactivated, &next.deactivated, Fields::DEACTIVATED),
            )
        }
        KeyAction::Block => {
            caller.require_administrator()?;
            next.blocked = next.blocked.or_else(|| Some(caller.switch()));
            (EventKind::KeyBlocked, switched(&key.blocked, &next.blocked, Fields::BLOCKED))
        }
        KeyAction::Unblock => {
            caller.require_administrator()?;
            next.blocked = None;
            (EventKind::KeyUnblocked, switched(&key.blocked, &next.blocked, Fields::BLOCKED))
        }
        KeyAction::InvalidatePreviousTokens => {
            next.previous.clear();
            let changes = live_previous(key, caller.now, context.invalidations).next().is_some();
            let fields = if changes { Fields::PREVIOUS_TOKENS } else { Fields::NONE };
            (EventKind::PreviousTokensInvalidated, fields)
        }
        KeyAction::ExtendExpiry(expiry) => {
            caller.check_within(KeyReach::of(key))?;
            if !is_later(*expiry, key.expires_at) {
                let problem =
                    Problem::Required { what: "must be later than the expiry that the key has" };
                return Err(Invalid::new("expiry", problem).into());
            }
            let fields = set_expiry(caller, &mut next, *expiry, context.lifetime)?;
            caller.check_within(KeyReach::of(&next))?;
            (EventKind::KeyExpiryExtended, fields)
        }
        KeyAction::ConvertTrial { expiry } => {
            caller.require_administrator()?;
            if key.kind != Kind::Trial {
                return Err(Error::State(StateProblem::NotTrial));
            }
            next.kind = Kind::Standard;
            check_future(*expiry, caller.now)?;
            let expiry = set_expiry(caller, &mut next, *expiry, context.lifetime)?;
            (EventKind::TrialConverted, Fields::KIND.with(expiry))
        }
        KeyAction::RefillQuota | KeyAction::AddToQuota(_) => {
            let quota = &mut next.limits.quota;
            let fields = limit_rules::grant(caller, quota, key.version.next())?;
            let kind = match action {
                KeyAction::RefillQuota => EventKind::KeyQuotaRefilled,
                _ => EventKind::KeyQuotaAdded,
            };
            (kind, fields)
        }
        KeyAction::Update(update) => {
            (EventKind::KeyUpdated, apply_update(caller, &mut next, update, context)?)
        }
    };
    if fields.is_empty() {
        return Ok(None);
    }
    Ok(Some(Changed {
        record: next_version(next, caller.now, context.invalidations),
        kind,
        fields,
    }))
}

/// Returns the field if the action set or cleared the switch.
fn switched<T>(before: &Option<T>, after: &Option<T>, field: Fields) -> Fields {
    if before.is_some() == after.is_some() { Fields::NONE } else { field }
}

/// Applies an update to a key; returns the fields that differ.
fn apply_update(
    caller: &Principal<'_>,
    key: &mut KeyRecord,
    update: &UpdateKey,
    context: PolicyContext<'_>,
) -> Result<Fields, Error> {
    let mut fields = Fields::NONE;
    caller.check_within(KeyReach::of(key))?;
    if let Some(access) = &update.access {
        fields = fields.with(set_access(caller, key, access, context.catalogue)?);
    }
    if let Some(expiry) = update.expiry {
        fields = fields.with(set_expiry(caller, key, expiry, context.lifetime)?);
    }
    fields = fields.with(set_plain(key, &update.plain)?);
    if let Some(patch) = &update.settings {
        let patch = SettingsPatch::from_value(patch.clone())?;
        fields = fields.with(setting_rules::set(
            caller,
            key,
            patch,
            context.owner,
            context.settings_check,
        )?);
    }
    let next = key.version.next();
    let limits = limit_rules::set(caller, &mut key.limits, &update.limits, next)?;
    caller.check_within(KeyReach::of(key))?;
    Ok(fields.with(limits))
}

/// Sets the fields that are set just as they are given, and says which changed.
pub(in crate::store) fn set_plain(
    key: &mut KeyRecord,
    plain: &PlainFields,
) -> Result<Fields, Invalid> {
    let mut fields = Fields::NONE;
    if let Some(name) = &plain.name {
        let name = name.as_ref().map(KeyName::new).transpose()?;
        if name != key.name {
            key.name = name;
            fields = fields.with(Fields::NAME);
        }
    }
    if let Some(tags) = &plain.tags {
        fields = fields.with(set_tags(&mut key.tags, tags)?);
    }
    Ok(fields)
}

/// Sets the tags of a key or an owner; returns their field if they differ.
pub(in crate::store::manage) fn set_tags(
    tags: &mut Tags,
    wanted: &[String],
) -> Result<Fields, Invalid> {
    let wanted = Tags::new(wanted)?;
    if wanted == *tags {
        return Ok(Fields::NONE);
    }
    *tags = wanted;
    Ok(Fields::TAGS)
}

/// Sets the access; returns its field if the access or its setter differs.
fn set_access(
    caller: &Principal<'_>,
    key: &mut KeyRecord,
    access: &Access,
    catalogue: &Catalogue,
) -> Result<Fields, Error> {
    let by = caller.set_by(Some(key.access_by));
    // Naming what is there is no change of it, also if it is an earlier name.
    let access = if *access == key.access { access.clone() } else { access.renamed(catalogue) };
    if access != key.access {
        access.check(catalogue)?;
        if !access.is_within(&key.access.with_all_names(catalogue)) {
            caller.check_may_widen("access", key.access_by)?;
        }
    } else if by == key.access_by {
        return Ok(Fields::NONE);
    }
    key.access_by = by;
    key.access = access;
    Ok(Fields::ACCESS)
}

/// Sets the expiry; returns its field if the expiry or its setter differs. Setting the expiry that
/// the key has is no change of it, also if it has come. Another expiry lets a lapsed key count again
/// for its owner's number and names; the commit checks both.
fn set_expiry(
    caller: &Principal<'_>,
    key: &mut KeyRecord,
    expiry: Expiry,
    lifetime: Lifetime,
) -> Result<Fields, Error> {
    let by = caller.set_by(Some(key.expiry_by));
    let mut fields = Fields::EXPIRY;
    if expiry.at() != key.expires_at {
        check_future(expiry, caller.now)?;
        if is_later(expiry, key.expires_at) {
            if key.kind == Kind::Trial {
                caller.require_administrator()?;
            }
            caller.check_may_widen("expiry", key.expiry_by)?;
            check_lifetime(caller, lifetime, key.created_at, expiry.at())?;
        }
        if key.lapsed_at.take().is_some() {
            fields = fields.with(Fields::LAPSED);
        }
    } else if by == key.expiry_by {
        return Ok(Fields::NONE);
    }
    key.expiry_by = by;
    key.expires_at = expiry.at();
    Ok(fields)
}

/// Checks that a key ends within the greatest lifetime, counted from its creation. An administrator
/// may exceed it.
pub(in crate::store::manage) fn check_lifetime(
    caller: &Principal<'_>,
    lifetime: Lifetime,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
) -> Result<(), Error> {
    let Some(latest) = lifetime.latest_expiry(created_at) else { return Ok(()) };
    if caller.is_administrator() || expires_at.is_some_and(|at| at <= latest) {
        return Ok(());
    }
    Err(Error::Forbidden(ForbiddenReason::BeyondLifetime { latest }))
}

/// Returns whether an expiry is later than the one that a key has.
fn is_later(new: Expiry, old: Option<Timestamp>) -> bool {
    match (new, old) {
        (_, None) => false,
        (Expiry::Never, Some(_)) => true,
        (Expiry::At(new), Some(old)) => new > old,
    }
}

/// Checks that an expiry lies in the future.
pub(in crate::store::manage) fn check_future(
    expiry: Expiry,
    now: Timestamp,
) -> Result<(), Invalid> {
    match expiry {
        Expiry::At(at) if at <= now => Err(Invalid::new(
            "expiry",
            Problem::TooEarly {
                given: at.to_string(),
                earliest: now.saturating_add(Duration::from_millis(1)).to_string(),
            },
        )),
        _ => Ok(()),
    }
}

/// Returns the previous tokens that have not ended.
fn live_previous<'a>(
    key: &'a KeyRecord,
    now: Timestamp,
    invalidations: Invalidations<'a>,
) -> impl Iterator<Item = &'a PreviousToken> {
    key.previous.iter().filter(move |previous| {
        now < previous.ends_at && !previous.token.is_superseded(invalidations)
    })
}

/// Returns the next version of a record, without the digests of tokens that have ended.
pub(in crate::store::manage) fn next_version(
    mut key: KeyRecord,
    now: Timestamp,
    invalidations: Invalidations<'_>,
) -> KeyRecord {
    key.previous = live_previous(&key, now, invalidations).cloned().collect();
    key.version = key.version.next();
    key.updated_at = now;
    key
}

/// Checks that a key may be rotated, before a token is minted. Returns the new token's generation.
pub(in crate::store::manage) fn check_rotation(
    caller: &Principal<'_>,
    key: &KeyRecord,
    request: &Rotate,
) -> Result<Generation, Error> {
    if let Some(grace) = request.grace.filter(|grace| *grace > Rotate::MAX_GRACE) {
        return Err(Invalid::new(
            "grace",
            Problem::OutOfRange {
                given: grace.as_secs(),
                min: 0,
                max: Rotate::MAX_GRACE.as_secs(),
                unit: "s",
            },
        )
        .into());
    }
    caller.check_within(KeyReach::of(key))?;
    if key.revoked.is_some() {
        return Err(Error::State(StateProblem::Revoked));
    }
    if request.unblock {
        caller.require_administrator()?;
    }
    if key.blocked.is_some() && !(caller.is_administrator() && request.is_forced()) {
        return Err(if caller.is_administrator() {
            Error::State(StateProblem::Blocked)
        } else {
            Error::Forbidden(ForbiddenReason::AdministratorOnly)
        });
    }
    if key.lapsed_at.is_some() || key.expires_at.is_some_and(|at| caller.now >= at) {
        return Err(Error::State(StateProblem::Expired));
    }
    key.current.generation.next().ok_or(Error::State(StateProblem::GenerationsExhausted))
}

/// Rotates a key. Returns also the generation that was dropped, if the key had too many previous
/// tokens.
pub(in crate::store::manage) fn rotate(
    key: &KeyRecord,
    token: TokenRecord,
    request: &Rotate,
    now: Timestamp,
    invalidations: Invalidations<'_>,
) -> (Changed, Option<Generation>) {
    let mut fields = Fields::TOKEN;
    let mut next = key.clone();
    match request.grace {
        None => next.previous.clear(),
        Some(grace) => {
            let ends_at = now.saturating_add(grace);
            next.previous.push(PreviousToken { token: key.current.clone(), since: now, ends_at });
        }
    }
    if request.unblock && next.blocked.take().is_some() {
        fields = fields.with(Fields::BLOCKED);
    }
    next.current = token;
    next.seal = None;
    let mut next = next_version(next, now, invalidations);
    let mut dropped = None;
    if next.previous.len() > MAX_PREVIOUS_TOKENS {
        dropped = Some(next.previous.remove(0).token.generation);
    }
    let previous = |key: &KeyRecord| {
        key.previous.iter().map(|previous| previous.token.generation).collect::<Vec<_>>()
    };
    if previous(key) != previous(&next) {
        fields = fields.with(Fields::PREVIOUS_TOKENS);
    }
    (Changed { record: next, kind: EventKind::KeyRotated, fields }, dropped)
}

/// Checks that the caller may create a key of this kind and reach.
pub(in crate::store::manage) fn check_creation(
    caller: &Principal<'_>,
    reach: KeyReach<'_>,
    kind: Kind,
    catalogue: &Catalogue,
) -> Result<(), Error> {
    if kind == Kind::Trial {
        caller.require_administrator()?;
    }
    reach.access.check(catalogue)?;
    caller.check_within(reach)?;
    Ok(check_future(reach.expires_at.map_or(Expiry::Never, Expiry::At), caller.now)?)
}
