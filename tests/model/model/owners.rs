//! The life of an owner.

use std::collections::BTreeSet;

use keyhasp::event::Fields;
use keyhasp::id::{KeyId, OwnerId, Version};
use keyhasp::key::Kind;
use keyhasp::store::StateProblem;
use keyhasp::{EventKind, Timestamp};
use serde_json::{Value, json};

use super::access::Reach;
use super::authority::Caller;
use super::keys::against_gift;
use super::limits::LimitsFile;
use super::minting::{against_tags, all};
use super::reason::Reason;
use super::records::{KeyFile, Mark, OwnerFile, SwitchFile, quota_version};
use super::settings::{Object, set_defaults};
use super::spending::Holder;
use super::state::{Decided, Fresh, Model, conflict, unless_refused};
use crate::calls::{NewKey, NewOwner, OnOwner};
use crate::limits::Gift;

impl Model {
    pub(super) fn create_owner(
        &mut self,
        caller: &Caller,
        id: OwnerId,
        owner: &NewOwner,
        fresh: &Fresh,
    ) -> Decided<Value> {
        caller.require_admin()?;
        let (file, mut reasons) = self.draft_owner(caller, id, owner, fresh);
        if self.owners.contains_key(&id) {
            reasons.push(Reason::OwnerExists);
        }
        match &owner.first_key {
            Some(key) => {
                if key.kind == Kind::Trial {
                    reasons.push(Reason::Invalid("first key"));
                }
                reasons.extend(against_owner_of(key));
                reasons.extend(self.against_new_key(caller, &file, key));
                if file.max_keys == 0 {
                    reasons.push(Reason::TooManyKeys(0));
                }
            }
            None if self.rules.keep_standard_key => reasons.push(Reason::LastStandardKey),
            None => {}
        }
        unless_refused(reasons)?;
        let shown = file.shown();
        self.add_owner(caller, file);
        let first = owner.first_key.as_ref().map(|key| self.add_key(caller, id, key, fresh));
        Ok(json!({ "owner": shown, "first_key": first }))
    }

    /// Creates an owner with the key that a caller wants of it.
    pub(super) fn create_owner_of_key(
        &mut self,
        caller: &Caller,
        id: OwnerId,
        (owner, key): (&NewOwner, &NewKey),
        fresh: &Fresh,
    ) -> Decided<Value> {
        let (file, mut reasons) = self.draft_owner(caller, id, owner, fresh);
        reasons.extend(self.against_new_key(caller, &file, key));
        if file.max_keys == 0 {
            reasons.push(Reason::TooManyKeys(0));
        }
        if self.rules.keep_standard_key && key.kind == Kind::Trial {
            reasons.push(Reason::LastStandardKey);
        }
        unless_refused(reasons)?;
        self.add_owner(caller, file);
        Ok(self.add_key(caller, id, key, fresh))
    }

    /// Makes the record of a new owner, with the reasons against it.
    fn draft_owner(
        &self,
        caller: &Caller,
        id: OwnerId,
        owner: &NewOwner,
        fresh: &Fresh,
    ) -> (OwnerFile, Vec<Reason>) {
        let max_keys = owner.max_keys.unwrap_or(1_000);
        let mut reasons = Vec::new();
        let none = (&Object::new(), &BTreeSet::new());
        let set = set_defaults(none, owner.defaults.as_ref(), owner.fixed.as_ref());
        let (defaults, fixed) = set.unwrap_or_else(|against| {
            reasons.extend(against);
            Default::default()
        });
        let max_access = owner.max_access.clone().unwrap_or(Reach::Full);
        if max_access.names_unknown(&self.opening.catalogue) {
            reasons.push(Reason::Invalid("access"));
        }
        let incarnation = fresh.incarnation;
        let version = quota_version(incarnation, 1);
        let limits = LimitsFile::default().with(caller, &owner.limits, version);
        reasons.extend(limits.as_ref().err().cloned().unwrap_or_default());
        let file = OwnerFile {
            id,
            version: 1,
            incarnation,
            defaults,
            fixed,
            suspended: None,
            max_access,
            limits: limits.unwrap_or_default(),
            max_keys,
            lifetime: owner.lifetime.unwrap_or_default(),
            mark: None,
            created_at: self.now,
            created_by: caller.by.actor.as_str().into(),
            updated_at: self.now,
            tags: owner.tags.iter().cloned().collect(),
        };
        reasons.extend(against_tags(&owner.tags));
        if self.random_fails {
            reasons.push(Reason::Random);
        }
        (file, reasons)
    }

    fn add_owner(&mut self, caller: &Caller, file: OwnerFile) {
        let id = file.id;
        if let Some(drawn) = file.incarnation {
            assert!(
                self.incarnations.insert((id, drawn)),
                "{id} had the incarnation {drawn} before"
            );
        }
        self.owners.insert(id, file);
        self.note_owner(&caller.by, EventKind::OwnerCreated, id, Fields::NONE);
    }

    pub(super) fn act_on_owner(
        &mut self,
        caller: &Caller,
        id: OwnerId,
        action: &OnOwner,
        expected: Option<Version>,
    ) -> Decided<Value> {
        let mut owner = self.owner_in_reach(caller, id)?.clone();
        let (before, mark) = (owner.limits.clone(), owner.mark);
        caller.require_admin()?;
        let mut reasons = self.against_owner_action(caller, &owner, action);
        let (kind, fields) = if reasons.is_empty() {
            self.take_owner_action(caller, &mut owner, action)
        } else {
            (EventKind::OwnerUpdated, Fields::NONE)
        };
        let changes = !fields.is_empty();
        if changes || !reasons.is_empty() {
            reasons.extend(conflict(expected, owner.version));
        }
        unless_refused(reasons)?;
        if changes {
            owner.version += 1;
            owner.updated_at = self.now;
            self.owners.insert(id, owner);
            if let OnOwner::InvalidateTokens(to) = action {
                let (now, (_, reaches_future)) = (self.now, Mark::after(mark, *to, self.now));
                let keys = self.keys.values_mut().filter(|key| key.owner == id);
                let tokens = keys.flat_map(KeyFile::tokens_mut);
                tokens.for_each(|token| token.invalidate(*to, now, reaches_future));
            }
            let gift = match action {
                OnOwner::AddToQuota(uses) => Some(Gift::More(*uses)),
                OnOwner::RefillQuota => Some(Gift::All),
                _ => None,
            };
            self.relimit(Holder::Owner(id), &before, true, gift);
            self.note_owner(&caller.by, kind, id, fields);
        }
        Ok(self.owners[&id].shown())
    }

    fn against_owner_action(
        &self,
        caller: &Caller,
        owner: &OwnerFile,
        action: &OnOwner,
    ) -> Vec<Reason> {
        let mut reasons = Vec::new();
        match action {
            OnOwner::InvalidateTokens(to) => reasons.extend(against_mark(*to, self.now)),
            OnOwner::Update { defaults, fixed, max_access, limits, tags, .. } => {
                reasons.extend(tags.as_deref().and_then(against_tags));
                let next =
                    owner.limits.with(caller, limits, owner.quota_version(owner.version + 1));
                reasons.extend(next.err().unwrap_or_default());
                let before = (&owner.defaults, &owner.fixed);
                let set = set_defaults(before, defaults.as_ref(), fixed.as_ref());
                reasons.extend(set.err().unwrap_or_default());
                let max_access =
                    max_access.as_ref().filter(|max_access| **max_access != owner.max_access);
                if max_access
                    .is_some_and(|max_access| max_access.names_unknown(&self.opening.catalogue))
                {
                    reasons.push(Reason::Invalid("access"));
                }
            }
            OnOwner::AddToQuota(uses) => {
                reasons.extend(against_gift(*uses));
                reasons.extend(owner.limits.against_grant(caller));
            }
            OnOwner::RefillQuota => reasons.extend(owner.limits.against_grant(caller)),
            OnOwner::Resume | OnOwner::Suspend => {}
        }
        reasons
    }

    /// Changes the owner; returns the kind of event and the fields that differ.
    fn take_owner_action(
        &self,
        caller: &Caller,
        owner: &mut OwnerFile,
        action: &OnOwner,
    ) -> (EventKind, Fields) {
        let before = owner.clone();
        match action {
            OnOwner::InvalidateTokens(to) => {
                owner.mark = Some(Mark::after(before.mark, *to, self.now).0);
                let moved = owner.mark.unwrap_or(Mark::NONE) != before.mark.unwrap_or(Mark::NONE);
                (EventKind::OwnerTokensInvalidated, all(&[(moved, Fields::TOKENS_VALID_FROM)]))
            }
            OnOwner::AddToQuota(_) | OnOwner::RefillQuota => {
                owner.limits.quota_version = before.quota_version(before.version + 1);
                let kind = match action {
                    OnOwner::RefillQuota => EventKind::OwnerQuotaRefilled,
                    _ => EventKind::OwnerQuotaAdded,
                };
                (kind, Fields::QUOTA)
            }
            OnOwner::Resume => {
                let was = owner.suspended.take().is_some();
                (EventKind::OwnerResumed, all(&[(was, Fields::SUSPENDED)]))
            }
            OnOwner::Suspend => {
                let was = before.suspended.is_some();
                let switch = || Some(SwitchFile::new(&caller.by, self.now));
                owner.suspended = before.suspended.or_else(switch);
                (EventKind::OwnerSuspended, all(&[(!was, Fields::SUSPENDED)]))
            }
            OnOwner::Update { defaults, fixed, max_access, max_keys, lifetime, limits, tags } => {
                if let Some(tags) = tags {
                    owner.tags = tags.iter().cloned().collect();
                }
                let were = (&before.defaults, &before.fixed);
                if let Ok(set) = set_defaults(were, defaults.as_ref(), fixed.as_ref()) {
                    (owner.defaults, owner.fixed) = set;
                }
                owner.lifetime = lifetime.unwrap_or(before.lifetime);
                owner.max_access = max_access.clone().unwrap_or_else(|| before.max_access.clone());
                owner.max_keys = max_keys.unwrap_or(before.max_keys);
                let next =
                    before.limits.with(caller, limits, before.quota_version(before.version + 1));
                owner.limits = next.unwrap_or_else(|_| before.limits.clone());
                let fields = [
                    (
                        (&owner.defaults, &owner.fixed) != (&before.defaults, &before.fixed),
                        Fields::SETTINGS,
                    ),
                    (owner.lifetime != before.lifetime, Fields::LIFETIME),
                    (owner.max_access != before.max_access, Fields::ACCESS),
                    (owner.max_keys != before.max_keys, Fields::MAX_KEYS),
                    (owner.tags != before.tags, Fields::TAGS),
                ];
                let limited = owner.limits.differing(&before.limits);
                (EventKind::OwnerUpdated, all(&fields).with(limited))
            }
        }
    }

    pub(super) fn revoke_all(
        &mut self,
        caller: &Caller,
        owner: OwnerId,
        replacement: Option<&NewKey>,
        expected: Option<Version>,
        fresh: &Fresh,
    ) -> Decided<Value> {
        let (version, max_keys) = {
            let owner = self.owner_in_reach(caller, owner)?;
            (owner.version, owner.max_keys)
        };
        let live: Vec<KeyFile> = self.unrevoked_keys(owner).into_iter().cloned().collect();
        if live.is_empty() && replacement.is_none() {
            unless_refused(caller.not_current().into_iter().collect())?;
            return Ok(json!({ "revoked": 0, "replacement": null }));
        }
        let mut reasons: Vec<Reason> = caller.not_current().into_iter().collect();
        reasons.extend(conflict(expected, version));
        if let Some(key) = replacement {
            reasons.extend(against_owner_of(key));
            reasons.extend(self.against_new_key(caller, &self.owners[&owner], key));
            // The replacement takes the place of the revoked keys, so the number of keys grows only
            // if there was none.
            if !live.iter().any(KeyFile::counts) && max_keys == 0 {
                reasons.push(Reason::TooManyKeys(max_keys));
            }
        }
        let keeps_one = replacement.is_some_and(|key| key.kind == Kind::Standard);
        if self.rules.keep_standard_key && !keeps_one {
            reasons.push(Reason::LastStandardKey);
        }
        unless_refused(reasons)?;
        let now = self.now;
        if let Some(owner) = self.owners.get_mut(&owner) {
            owner.version += 1;
            owner.updated_at = now;
        }
        self.note_owner(&caller.by, EventKind::OwnerKeysRevoked, owner, Fields::NONE);
        self.bind(caller, owner, false);
        for key in &live {
            self.sweep(caller, key.id);
        }
        let replacement = replacement.map(|key| self.add_key(caller, owner, key, fresh));
        Ok(json!({ "revoked": live.len(), "replacement": replacement }))
    }

    /// Revokes a key with all that it created, directly or through others: the key first, then the
    /// others, oldest first.
    pub(super) fn revoke_tree(
        &mut self,
        caller: &Caller,
        id: KeyId,
        expected: Option<Version>,
    ) -> Decided<Value> {
        let key = self.key_in_reach(caller, id)?.clone();
        let mut reasons: Vec<Reason> = caller.not_current().into_iter().collect();
        let mut tree = vec![id];
        loop {
            let is_new = |key: &&KeyFile| {
                caller.reaches(key.owner)
                    && key.created_by_key.is_some_and(|creator| tree.contains(&creator))
                    && !tree.contains(&key.id)
            };
            let Some(found) = self.keys.values().find(is_new) else { break };
            tree.push(found.id);
        }
        tree[1..].sort_unstable();
        tree.retain(|id| self.keys[id].revoked.is_none());
        if !tree.is_empty() {
            reasons.extend(conflict(expected, key.version));
            let keeps_one = |owner| {
                let live = self.counting_keys(owner);
                live.iter().any(|key| key.kind == Kind::Standard && !tree.contains(&key.id))
            };
            let mut owners = tree.iter().map(|id| self.keys[id].owner);
            if self.rules.keep_standard_key && !owners.all(keeps_one) {
                reasons.push(Reason::LastStandardKey);
            }
        }
        unless_refused(reasons)?;
        for id in &tree {
            self.revoke(caller, *id);
        }
        Ok(json!({ "key": self.shown_key(id), "revoked": tree.len() }))
    }

    fn revoke(&mut self, caller: &Caller, id: KeyId) {
        let mut key = self.keys[&id].clone();
        let had_seal = key.sealed_under.take().is_some();
        key.revoked = Some(SwitchFile::new(&caller.by, self.now));
        key.change(self.now);
        self.keys.insert(id, key);
        let fields = all(&[(true, Fields::REVOKED), (had_seal, Fields::SEAL)]);
        self.note_key(&caller.by, EventKind::KeyRevoked, id, None, fields);
    }

    /// Revokes a key as a sweep does, without an event.
    fn sweep(&mut self, caller: &Caller, id: KeyId) {
        let mut key = self.keys[&id].clone();
        key.sealed_under = None;
        key.revoked = Some(SwitchFile::new(&caller.by, self.now));
        let previous = key.previous.clone();
        key.change(self.now);
        // A sweep looks neither at graces nor at invalidations.
        key.previous = previous;
        self.keys.insert(id, key);
        self.alerts.note_change(id);
    }

    pub(super) fn purge_owner(
        &mut self,
        caller: &Caller,
        id: OwnerId,
        expected: Option<Version>,
    ) -> Decided<Value> {
        let owner = self.owner_in_reach(caller, id)?;
        let mut reasons: Vec<Reason> = caller.not_admin().into_iter().collect();
        if owner.suspended.is_none() {
            reasons.push(Reason::State(StateProblem::NotSuspended));
        }
        reasons.extend(conflict(expected, owner.version));
        unless_refused(reasons)?;
        self.note_owner(&caller.by, EventKind::OwnerPurged, id, Fields::NONE);
        self.bind(caller, id, true);
        let keys: Vec<_> = self.keys.values().filter(|key| key.owner == id).collect();
        for key in keys.iter().map(|key| key.id).collect::<Vec<_>>() {
            self.keys.remove(&key);
            self.forget(Holder::Key(key));
        }
        self.owners.remove(&id);
        self.forget(Holder::Owner(id));
        Ok(Value::Null)
    }
}

/// Returns the reason against a `tokens_valid_from` that lies in the future.
pub(super) fn against_mark(to: Timestamp, now: Timestamp) -> Option<Reason> {
    (to > now).then_some(Reason::Invalid("tokens_valid_from"))
}

/// Returns the reason against an owner to be created where the call has one.
fn against_owner_of(key: &NewKey) -> Option<Reason> {
    key.or_owner.is_some().then_some(Reason::Invalid("or_create_owner"))
}
