//! A key together with its descendants: the keys that it created, directly or through others.

use std::collections::BTreeSet;

use super::authorize::Principal;
use super::key_rules;
use super::keys::Manager;
use super::list::MAX_EXAMINED;
use super::retry::{Decision, attempt, check_version};
use crate::authority::Authority;
use crate::backend::{Change, KeyFilter, KeyPageQuery, Precondition, StateSet, Write};
use crate::clock::Timestamp;
use crate::id::{KeyId, Version};
use crate::key::KeyRecord;
use crate::store::types::error::Error;
use crate::store::types::request::KeyAction;
use crate::store::types::views::{Key, RevokedTree};

impl Manager {
    /// Revokes a key and all its descendants in the caller's reach in one change. It holds only if no unrevoked key among
    /// them has created another meanwhile.
    pub(in crate::store) fn revoke_with_descendants(
        &self,
        authority: &Authority,
        id: KeyId,
        expected: Option<Version>,
    ) -> Result<RevokedTree, Error> {
        attempt(&self.engine, || {
            let caller = Principal::new(&self.engine, authority)?;
            let (key, owner) = caller.load_key(&self.engine, id)?;
            caller.check_current()?;
            let state = self.engine.records.metadata();
            let (tree, mut change) = self.tree_of(&caller, &key)?;
            let mut shown = key.clone();
            for member in &tree {
                // A service may let a key create keys of another owner.
                let others = match member.owner == owner.id {
                    true => None,
                    false => self.engine.records.backend.owner(&member.owner)?,
                };
                let context = self.policy_context(others.as_ref().unwrap_or(&owner), &state);
                let revoked = key_rules::act(&caller, member, &KeyAction::Revoke, context)?;
                let Some(revoked) = revoked else { continue };
                let event = caller.key_event(revoked.kind, &revoked.record, revoked.fields, None);
                if member.id == id {
                    shown = revoked.record.clone();
                }
                change = change.and(Write::ReplaceKey(Box::new(revoked.record)), event);
            }
            let (revoked, viewer, now) = (change.operations.len(), caller.viewer(), caller.now);
            let usage = self.usage.of_one(&shown, now);
            let key_version = key.version;
            let answer = move || {
                let key = Key::new(shown, &owner, &state.metadata, (viewer, now)).with_usage(usage);
                RevokedTree { key, revoked }
            };
            if revoked == 0 {
                return Ok(Decision::Answer(answer()));
            }
            check_version(expected, key_version)?;
            Ok(Decision::commit(caller.with_preconditions(change), move |_| answer()))
        })
    }

    /// Loads a key and its descendants in the caller's reach, revoked ones too: the key first, then
    /// the others, oldest first. Returns also a change that requires each unrevoked one to have
    /// created no more.
    fn tree_of(
        &self,
        caller: &Principal<'_>,
        key: &KeyRecord,
    ) -> Result<(Vec<KeyRecord>, Change), Error> {
        let mut tree = vec![key.clone()];
        let mut known = BTreeSet::from([key.id]);
        let mut change = Change::default();
        let mut next = 0;
        while let Some(creator) = tree.get(next) {
            let (id, is_live) = (creator.id, creator.is_live());
            let created = self.created_by(id, caller.now)?;
            if is_live {
                let ids = created.iter().map(|key| key.id).collect();
                change = change.requiring(Precondition::CreatedKeys(id, ids));
            }
            // Known ones are left out: damaged records could be each other's creators.
            let is_new = |key: &KeyRecord| caller.reaches(&key.owner) && known.insert(key.id);
            tree.extend(created.into_iter().filter(is_new));
            next += 1;
        }
        tree[1..].sort_unstable_by_key(|key| key.id);
        Ok((tree, change))
    }

    /// Loads all keys that a key created.
    fn created_by(&self, creator: KeyId, now: Timestamp) -> Result<Vec<KeyRecord>, Error> {
        let created_by_key = Some(creator);
        let filter = KeyFilter { created_by_key, ..KeyFilter::new(StateSet::ALL, now) };
        let (limit, examine) = (MAX_EXAMINED, MAX_EXAMINED);
        let mut query = KeyPageQuery { filter, before: None, after: None, limit, examine };
        let mut keys = Vec::new();
        loop {
            let page = self.engine.records.backend.page_keys(&query)?;
            keys.extend(page.keys);
            match page.next {
                Some(next) => query.before = Some(next),
                None => return Ok(keys),
            }
        }
    }
}
