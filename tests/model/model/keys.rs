//! The life of a key.

use std::collections::BTreeSet;
use std::time::Duration;

use keyhasp::authority::{Actor, Authority, Reason as Why, Role};
use keyhasp::event::Fields;
use keyhasp::id::{Generation, KeyId, NumericId, Version};
use keyhasp::key::{Expiry, Kind};
use keyhasp::store::{ForbiddenReason, Resource, StateProblem};
use keyhasp::{EventKind, Rotate};
use serde_json::{Value, json};

use super::authority::{Caller, Span};
use super::lapses::Newcomer;
use super::minting::{against_expiry, against_lifetime, against_name, against_tags, all, label};
use super::reason::Reason;
use super::records::{KeyFile, OwnerFile, SwitchFile, TokenFile};
use super::settings::set;
use super::spending::Holder;
use super::state::{Decided, Fresh, Model, conflict, unless_refused};
use super::verify::Verdict;
use crate::calls::{KeyUpdate, OnKey, Rotation};
use crate::limits::Gift;

/// Largest number of previous tokens that live at once.
const MAX_PREVIOUS: usize = 5;

impl Model {
    pub(super) fn get(&self, caller: &Caller, id: KeyId) -> Decided<Value> {
        self.key_in_reach(caller, id)?;
        Ok(self.shown_key(id))
    }

    pub(super) fn find(&self, caller: &Caller, id: NumericId) -> Decided<Value> {
        let found = self.keys.values().find(|key| key.numeric_id == Some(id.get()));
        let found = found.ok_or_else(|| vec![Reason::NotFound(Resource::Key)])?;
        self.get(caller, found.id)
    }

    pub(super) fn act_on_key(
        &mut self,
        caller: &Caller,
        id: KeyId,
        action: &OnKey,
        expected: Option<Version>,
    ) -> Decided<Value> {
        let before = self.key_in_reach(caller, id)?.clone();
        let mut reasons = self.against_action(caller, &before, action);
        let mut after = before.clone();
        let (kind, fields) = if reasons.is_empty() {
            self.take_action(caller, &mut after, action)
        } else {
            (EventKind::KeyUpdated, Fields::NONE)
        };
        let changes = !fields.is_empty();
        if changes || !reasons.is_empty() {
            reasons.extend(conflict(expected, before.version));
        }
        let mut lapsing = BTreeSet::new();
        if changes && reasons.is_empty() && after.counts() {
            let (id, name) = (Some(id), after.name.as_deref());
            let newcomer = Newcomer { id, name, kind: after.kind, is_new: !before.counts() };
            lapsing = self.room_for(after.owner, &newcomer)?;
        }
        unless_refused(reasons)?;
        if changes {
            self.lapse(caller, &lapsing);
            let is_in_use = before.tokens().into_iter().any(|token| self.is_readable(token));
            after.change(self.now);
            self.keys.insert(id, after);
            self.relimit(Holder::Key(id), &before.limits, is_in_use, gift_of(action));
            self.note_key(&caller.by, kind, id, None, fields);
        }
        Ok(self.shown_key(id))
    }

    fn against_action(&self, caller: &Caller, key: &KeyFile, action: &OnKey) -> Vec<Reason> {
        let mut reasons = Vec::new();
        match action {
            OnKey::Deactivate | OnKey::Revoke => reasons.extend(caller.may_not_end(key.id)),
            _ => reasons.extend(caller.not_current()),
        }
        if let OnKey::Revoke = action {
            reasons.extend(key.is_live().then(|| self.against_losing(key)).flatten());
            return reasons;
        }
        if !key.is_live() {
            reasons.push(Reason::State(StateProblem::Revoked));
        }
        match action {
            OnKey::Block | OnKey::Unblock => reasons.extend(caller.not_admin()),
            OnKey::Activate => reasons.extend(caller.beyond(&Span::of(key))),
            OnKey::ExtendExpiry(expiry) => {
                let after = Span { expires_at: expiry.at(), ..Span::of(key) };
                reasons.extend(caller.beyond(&Span::of(key)));
                reasons.extend(caller.beyond(&after));
                if is_later(*expiry, key) {
                    reasons.extend(self.against_new_expiry(caller, key, *expiry));
                } else {
                    reasons.push(Reason::Invalid("expiry"));
                }
            }
            OnKey::ConvertTrial(expiry) => {
                reasons.extend(caller.not_admin());
                if key.kind != Kind::Trial {
                    reasons.push(Reason::State(StateProblem::NotTrial));
                }
                reasons.extend(self.against_new_expiry(caller, key, *expiry));
            }
            OnKey::Update(update) => reasons.extend(self.against_update(caller, key, update)),
            OnKey::AddToQuota(uses) => {
                reasons.extend(against_gift(*uses));
                reasons.extend(key.limits.against_grant(caller));
            }
            OnKey::RefillQuota => reasons.extend(key.limits.against_grant(caller)),
            OnKey::Deactivate | OnKey::InvalidatePrevious | OnKey::Revoke => {}
        }
        reasons
    }

    /// Returns the reason against revoking the owner's last standard key, if the rules protect it.
    fn against_losing(&self, key: &KeyFile) -> Option<Reason> {
        let counting = self.counting_keys(key.owner);
        let others =
            counting.iter().any(|other| other.kind == Kind::Standard && other.id != key.id);
        let is_last = key.counts() && key.kind == Kind::Standard && !others;
        (self.rules.keep_standard_key && is_last).then_some(Reason::LastStandardKey)
    }

    fn against_new_expiry(&self, caller: &Caller, key: &KeyFile, expiry: Expiry) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = against_expiry(expiry, self.now).into_iter().collect();
        if is_later(expiry, key) {
            if key.kind == Kind::Trial {
                reasons.extend(caller.not_admin());
            }
            reasons.extend(caller.may_not_widen("expiry", key.expiry_by));
            let lifetime = self.lifetime_of(self.owners[&key.owner].lifetime);
            reasons.extend(against_lifetime(caller, lifetime, key.created_at, expiry.at()));
        }
        reasons
    }

    fn against_update(&self, caller: &Caller, key: &KeyFile, update: &KeyUpdate) -> Vec<Reason> {
        let mut reasons = caller.beyond(&Span::of(key));
        // A field that is set to the value it has is no change.
        if let Some(access) = update.access.as_ref().filter(|access| **access != key.access) {
            if access.names_unknown(&self.opening.catalogue) {
                reasons.push(Reason::Invalid("access"));
            }
            if !access.is_within(&key.access) {
                reasons.extend(caller.may_not_widen("access", key.access_by));
            }
        }
        if let Some(expiry) = update.expiry.filter(|expiry| expiry.at() != key.expires_at) {
            reasons.extend(self.against_new_expiry(caller, key, expiry));
        }
        if let Some(Some(name)) = &update.name {
            reasons.extend(against_name(name));
        }
        reasons.extend(update.tags.as_deref().and_then(against_tags));
        if let Some(patch) = &update.settings {
            let owner = &self.owners[&key.owner];
            let of_owner = (&owner.defaults, &owner.fixed);
            let set = set(caller, (&key.settings, &key.protected), of_owner, patch);
            reasons.extend(set.err().unwrap_or_default());
        }
        let mut after = Span::of(key);
        after.access = update.access.clone().unwrap_or(after.access);
        after.expires_at = update.expiry.map_or(after.expires_at, Expiry::at);
        match key.limits.with(caller, &update.limits, key.version + 1) {
            Ok(limits) => reasons.extend(caller.beyond(&Span { limits, ..after })),
            Err(against) => reasons.extend(against),
        }
        reasons
    }

    /// Changes the key; returns the kind of event and the fields that differ.
    fn take_action(
        &self,
        caller: &Caller,
        key: &mut KeyFile,
        action: &OnKey,
    ) -> (EventKind, Fields) {
        let switch = || Some(SwitchFile::new(&caller.by, self.now));
        match action {
            OnKey::Activate => {
                let was = key.deactivated.take().is_some();
                (EventKind::KeyActivated, all(&[(was, Fields::DEACTIVATED)]))
            }
            OnKey::Deactivate => {
                let was = key.deactivated.is_some();
                key.deactivated = key.deactivated.clone().or_else(switch);
                (EventKind::KeyDeactivated, all(&[(!was, Fields::DEACTIVATED)]))
            }
            OnKey::Block => {
                let was = key.blocked.is_some();
                key.blocked = key.blocked.clone().or_else(switch);
                (EventKind::KeyBlocked, all(&[(!was, Fields::BLOCKED)]))
            }
            OnKey::Unblock => {
                let was = key.blocked.take().is_some();
                (EventKind::KeyUnblocked, all(&[(was, Fields::BLOCKED)]))
            }
            OnKey::Revoke => {
                let was = key.revoked.is_some();
                key.revoked = key.revoked.clone().or_else(switch);
                let had_seal = key.sealed_under.take().is_some();
                let fields = [(!was, Fields::REVOKED), (had_seal, Fields::SEAL)];
                (EventKind::KeyRevoked, all(&fields))
            }
            OnKey::InvalidatePrevious => {
                let ended = !key.living_previous(self.now).is_empty();
                key.previous.clear();
                (EventKind::PreviousTokensInvalidated, all(&[(ended, Fields::PREVIOUS_TOKENS)]))
            }
            OnKey::ExtendExpiry(expiry) => {
                key.expires_at = expiry.at();
                key.expiry_by = caller.set_by(key.expiry_by);
                let counts_again = key.lapsed_at.take().is_some();
                let fields = [(true, Fields::EXPIRY), (counts_again, Fields::LAPSED)];
                (EventKind::KeyExpiryExtended, all(&fields))
            }
            OnKey::ConvertTrial(expiry) => {
                let by = caller.set_by(key.expiry_by);
                let moved = key.expires_at != expiry.at() || key.expiry_by != by;
                let before_expiry = key.expires_at;
                key.kind = Kind::Standard;
                key.expires_at = expiry.at();
                let counts_again =
                    key.expires_at != before_expiry && key.lapsed_at.take().is_some();
                key.expiry_by = by;
                let fields =
                    [(true, Fields::KIND), (moved, Fields::EXPIRY), (counts_again, Fields::LAPSED)];
                (EventKind::TrialConverted, all(&fields))
            }
            OnKey::AddToQuota(_) | OnKey::RefillQuota => {
                key.limits.quota_version = key.version + 1;
                let kind = match action {
                    OnKey::RefillQuota => EventKind::KeyQuotaRefilled,
                    _ => EventKind::KeyQuotaAdded,
                };
                (kind, Fields::QUOTA)
            }
            OnKey::Update(update) => {
                let owner = &self.owners[&key.owner];
                (EventKind::KeyUpdated, apply_update(caller, key, owner, update))
            }
        }
    }

    /// Mends graces that began at a time to come: each begins now, and lasts for what is left
    /// of its length.
    pub(super) fn mend_graces(&mut self) {
        self.mend(true);
    }

    /// Mends graces as another process does that opens the database: how much of a grace has
    /// passed by this process's other clock, it doesn't know. It purges nothing in its first hour.
    pub(crate) fn mend_graces_elsewhere(&mut self) {
        self.mend(false);
    }

    fn mend(&mut self, is_own: bool) {
        let now = self.now;
        let (expected, is_ahead) = (self.expected, self.ahead().is_some());
        let known = |token: &TokenFile| token.known_end.filter(|_| is_own);
        let must = |token: &TokenFile| {
            token.grace_from > Some(now.saturating_add(Duration::from_secs(60)))
                || known(token).is_some() && !is_ahead
        };
        let by = Authority::new(Role::Administrator, Actor::new("keyhasp").unwrap());
        let ids: Vec<KeyId> = self.keys.keys().copied().collect();
        for id in ids {
            // The change before may have purged it.
            let Some(mut key) = self.keys.get(&id).cloned() else { continue };
            if key.revoked.is_some() || !key.previous.iter().any(|(token, _)| must(token)) {
                continue;
            }
            for (token, end) in key.previous.iter_mut().filter(|(token, _)| must(token)) {
                let length = end.since(token.grace_from.replace(now).unwrap());
                let left = known(token).map_or(length, |end| end.since(expected).min(length));
                *end = now.saturating_add(left);
                let known_end = known(token).unwrap_or(expected.saturating_add(left));
                token.known_end = is_ahead.then_some(known_end);
            }
            key.change(now);
            self.keys.insert(id, key);
            self.note_key(&by, EventKind::GracesMended, id, None, Fields::PREVIOUS_TOKENS);
            if is_own {
                self.purge_if_due();
            }
        }
    }

    pub(super) fn rotate(
        &mut self,
        caller: &Caller,
        id: KeyId,
        how: Rotation,
        expected: Option<Version>,
        fresh: &Fresh,
    ) -> Decided<Value> {
        let mut key = self.key_in_reach(caller, id)?.clone();
        unless_refused(self.against_rotation(caller, &key, how, expected))?;
        let before: Vec<u32> = key.previous.iter().map(|(token, _)| token.generation).collect();
        let next = self.new_token(key.owner, key.current.generation + 1, fresh);
        let text = next.text.clone();
        let old = std::mem::replace(&mut key.current, next);
        if how.force {
            key.previous.clear();
        } else {
            let grace = how.grace.unwrap_or(Rotate::DEFAULT_GRACE);
            let (end, is_ahead) = (self.now.saturating_add(grace), self.ahead().is_some());
            let length = end.since(self.now);
            let known_end = is_ahead.then(|| self.expected.saturating_add(length));
            key.previous.push((TokenFile { grace_from: Some(self.now), known_end, ..old }, end));
        }
        let was_blocked = how.unblock && key.blocked.take().is_some();
        key.change(self.now);
        let mut dropped = None;
        if key.previous.len() > MAX_PREVIOUS {
            dropped = Some(key.previous.remove(0).0.generation);
        }
        if key.sealed_under.is_some() {
            key.sealed_under = self.opening.recovery_keys.first().copied();
        }
        let after: Vec<u32> = key.previous.iter().map(|(token, _)| token.generation).collect();
        let fields = [
            (true, Fields::TOKEN),
            (before != after, Fields::PREVIOUS_TOKENS),
            (was_blocked, Fields::BLOCKED),
            (key.sealed_under.is_some(), Fields::SEAL),
        ];
        let generation = Some(key.current.generation());
        self.keys.insert(id, key);
        self.note_key(&caller.by, EventKind::KeyRotated, id, generation, all(&fields));
        Ok(json!({ "key": self.shown_key(id), "token": text, "dropped": dropped }))
    }

    fn against_rotation(
        &self,
        caller: &Caller,
        key: &KeyFile,
        how: Rotation,
        expected: Option<Version>,
    ) -> Vec<Reason> {
        let mut reasons = caller.beyond(&Span::of(key));
        if !how.force && how.grace.is_some_and(|grace| grace > Rotate::MAX_GRACE) {
            reasons.push(Reason::Invalid("grace"));
        }
        if !key.is_live() {
            reasons.push(Reason::State(StateProblem::Revoked));
        }
        if key.has_expired(self.now) {
            reasons.push(Reason::State(StateProblem::Expired));
        }
        if how.unblock {
            reasons.extend(caller.not_admin());
        }
        if key.blocked.is_some() {
            if !caller.is_admin {
                reasons.push(Reason::Forbidden(ForbiddenReason::AdministratorOnly));
            } else if !how.force {
                reasons.push(Reason::State(StateProblem::Blocked));
            }
        }
        if key.current.generation == Generation::MAX.get() {
            reasons.push(Reason::State(StateProblem::GenerationsExhausted));
        }
        if key.sealed_under.is_some() && self.opening.recovery_keys.is_empty() {
            reasons.push(Reason::State(StateProblem::RecoveryOff));
        }
        if self.random_fails {
            reasons.push(Reason::Random);
        }
        reasons.extend(conflict(expected, key.version));
        reasons
    }

    pub(super) fn purge(
        &mut self,
        caller: &Caller,
        id: KeyId,
        expected: Option<Version>,
    ) -> Decided<Value> {
        let key = self.key_in_reach(caller, id)?;
        let mut reasons: Vec<Reason> = caller.not_admin().into_iter().collect();
        if key.is_live() {
            reasons.push(Reason::State(StateProblem::NotRevoked));
        }
        reasons.extend(conflict(expected, key.version));
        unless_refused(reasons)?;
        self.overtake(id);
        self.note_key(&caller.by, EventKind::KeyPurged, id, None, Fields::NONE);
        self.keys.remove(&id);
        self.forget(Holder::Key(id));
        Ok(Value::Null)
    }

    pub(super) fn leaked(&mut self, caller: &Caller, text: &str, block: bool) -> Decided<Value> {
        unless_refused(caller.not_admin().into_iter().collect())?;
        let is_claimed = |key: &&KeyFile| id_in(text) == Some(key.id);
        let Some(key) = self.keys.values().find(is_claimed).cloned() else {
            return Ok(Value::Null);
        };
        if !text.starts_with(&format!("{}_", key.prefix)) {
            return Ok(Value::Null);
        }
        let (readable, closed): (Vec<_>, Vec<_>) =
            key.tokens().into_iter().partition(|token| self.is_readable(token));
        let Some(token) = readable.iter().find(|token| token.text == text) else {
            // The token may be under a pepper that isn't open.
            let closed = closed.iter().map(|token| token.pepper);
            let needed = closed.filter(|pepper| !self.retired_peppers.contains(pepper));
            unless_refused(needed.map(Reason::Pepper).collect())?;
            return Ok(Value::Null);
        };
        let generation = token.generation;
        let is_superseded =
            token.is_invalidated || key.grace_end(generation).is_some_and(|end| end <= self.now);
        if block && key.is_live() && key.blocked.is_none() && !is_superseded {
            let mut by = caller.by.clone();
            let reason = format!("token of generation {generation} found in public");
            by.reason = by.reason.or(Some(Why::new(reason).unwrap()));
            let mut after = key.clone();
            after.blocked = Some(SwitchFile::new(&by, self.now));
            after.change(self.now);
            self.keys.insert(key.id, after);
            let generation = Generation::new(generation).unwrap();
            let (kind, fields) = (EventKind::KeyBlocked, Fields::BLOCKED);
            self.note_key(&by, kind, key.id, Some(generation), fields);
        }
        Ok(json!({
            "key": self.shown_key(key.id),
            "generation": generation,
            "is_current": generation == key.current.generation,
            "is_accepted": matches!(self.judge(key.id, generation), Verdict::Granted(_)),
        }))
    }

    pub(super) fn reveal_token(&mut self, caller: &Caller, id: KeyId) -> Decided<Value> {
        let key = self.key_in_reach(caller, id)?.clone();
        let mut reasons = caller.beyond(&Span::of(&key));
        if key.sealed_under.is_none() {
            reasons.push(Reason::NotFound(Resource::RecoverableToken));
        }
        reasons.extend(self.against_opening(&key));
        unless_refused(reasons)?;
        self.note_reveal(caller, &key);
        Ok(key.current.text.into())
    }

    /// Returns the reason against revealing a token whose recovery key isn't open.
    pub(super) fn against_opening(&self, key: &KeyFile) -> Option<Reason> {
        let number = key.sealed_under?;
        if self.opening.recovery_keys.is_empty() {
            return Some(Reason::State(StateProblem::RecoveryOff));
        }
        (!self.opening.recovery_keys.contains(&number)).then_some(Reason::Seal)
    }

    pub(super) fn note_reveal(&mut self, caller: &Caller, key: &KeyFile) {
        let generation = Some(key.current.generation());
        self.note_key(&caller.by, EventKind::TokenRevealed, key.id, generation, Fields::NONE);
    }
}

/// Applies an update; returns the fields that differ.
fn apply_update(
    caller: &Caller,
    key: &mut KeyFile,
    owner: &OwnerFile,
    update: &KeyUpdate,
) -> Fields {
    let before = key.clone();
    // An administrator who sets what is there already pins it.
    if let Some(access) = &update.access {
        key.access = access.clone();
        key.access_by = caller.set_by(before.access_by);
    }
    if let Some(expiry) = update.expiry {
        key.expires_at = expiry.at();
        key.expiry_by = caller.set_by(before.expiry_by);
        if key.expires_at != before.expires_at {
            key.lapsed_at = None;
        }
    }
    if let Some(name) = &update.name {
        key.name = name.as_deref().map(label);
    }
    if let Some(tags) = &update.tags {
        key.tags = tags.iter().cloned().collect();
    }
    if let Some(Ok((settings, protected))) = update.settings.as_ref().map(|patch| {
        let of_owner = (&owner.defaults, &owner.fixed);
        set(caller, (&before.settings, &before.protected), of_owner, patch)
    }) {
        (key.settings, key.protected) = (settings, protected);
    }
    if let Ok(limits) = before.limits.with(caller, &update.limits, before.version + 1) {
        key.limits = limits;
    }
    let limited = key.limits.differing(&before.limits);
    let named = all(&[
        (key.name != before.name, Fields::NAME),
        (key.tags != before.tags, Fields::TAGS),
        (
            (&key.settings, &key.protected) != (&before.settings, &before.protected),
            Fields::SETTINGS,
        ),
        ((&key.access, key.access_by) != (&before.access, before.access_by), Fields::ACCESS),
        ((key.expires_at, key.expiry_by) != (before.expires_at, before.expiry_by), Fields::EXPIRY),
        (key.lapsed_at != before.lapsed_at, Fields::LAPSED),
    ]);
    named.with(limited)
}

/// Returns whether an expiry is later than the one that the key has.
fn is_later(expiry: Expiry, key: &KeyFile) -> bool {
    match (expiry, key.expires_at) {
        (_, None) => false,
        (Expiry::Never, Some(_)) => true,
        (Expiry::At(new), Some(old)) => new > old,
    }
}

/// Returns the id in a text that has the shape of a token: 70 characters of base62 after a prefix
/// and
/// `_`. The first 22 are the id.
fn id_in(text: &str) -> Option<KeyId> {
    let (prefix, body) = text.rsplit_once('_')?;
    if prefix.is_empty() || body.len() != 70 {
        return None;
    }
    let id = body[..22].chars().try_fold(0_u128, |id, digit| {
        let value = match digit {
            '0'..='9' => digit as u128 - '0' as u128,
            'A'..='Z' => digit as u128 - 'A' as u128 + 10,
            'a'..='z' => digit as u128 - 'a' as u128 + 36,
            _ => return None,
        };
        id.checked_mul(62)?.checked_add(value)
    })?;
    Some(KeyId::from_u128(id))
}

/// Returns the reason against adding so many uses to a quota.
pub(super) fn against_gift(uses: u64) -> Option<Reason> {
    let is_possible = (1..1 << 40).contains(&uses);
    (!is_possible).then_some(Reason::Invalid("quota.add"))
}

fn gift_of(action: &OnKey) -> Option<Gift> {
    match action {
        OnKey::AddToQuota(uses) => Some(Gift::More(*uses)),
        OnKey::RefillQuota => Some(Gift::All),
        _ => None,
    }
}
