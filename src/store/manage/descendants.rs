//! A key together with its descendants: the keys that it created, directly or through others.

use std::collections::BTreeSet;

use super::authorize::Principal;
use super::key_rules::{self, PolicyContext};
use super::list::all_keys;
use super::quarantine::revoke_damaged;
use super::retry::{Decision, attempt, check_version};
use crate::authority::Authority;
use crate::backend::{Change, DamagedRow, KeyFilter, Precondition, StateSet, Write};
use crate::id::{KeyId, Version};
use crate::key::KeyRecord;
use crate::store::engine::Engine;
use crate::store::types::error::Error;
use crate::store::types::request::KeyAction;
use crate::store::types::views::{Key, RevokedTree};
use crate::store::usage::UsageRecorder;

/// Revokes a key and all its descendants in the caller's reach in one change. It holds only if no
/// unrevoked key among them has created another meanwhile.
pub(in crate::store) fn revoke_with_descendants(
    engine: &Engine,
    usage: &UsageRecorder,
    authority: &Authority,
    id: KeyId,
    expected: Option<Version>,
) -> Result<RevokedTree, Error> {
    attempt(engine, || {
        let caller = Principal::new(engine, authority)?;
        let (key, owner) = caller.load_key(engine, id)?;
        caller.check_current()?;
        let state = engine.records.metadata();
        let (tree, damaged, change) = tree_of(engine, &caller, &key)?;
        let mut change = revoke_damaged(change, engine, &caller, &damaged)?;
        let mut shown = key.clone();
        for member in &tree {
            // A service may let a key create keys of another owner.
            let others = match member.owner == owner.id {
                true => None,
                false => engine.records.backend.owner(&member.owner)?,
            };
            let owner = others.as_ref().unwrap_or(&owner);
            let catalogue = engine.records.catalogue();
            let context = PolicyContext::new(catalogue, owner, &state.metadata);
            let revoked = key_rules::act(&caller, member, &KeyAction::Revoke, context)?;
            let Some(revoked) = revoked else { continue };
            let event = caller.key_event(revoked.kind, &revoked.record, revoked.fields, None);
            if member.id == id {
                shown = revoked.record.clone();
            }
            change = change.and(Write::ReplaceKey(Box::new(revoked.record)), event);
        }
        let (revoked, viewer, now) = (change.operations.len(), caller.viewer(), caller.now);
        let usage = usage.of_one(&shown, now);
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
/// the others, oldest first; and the damaged rows among them, whose descendants count too. Returns
/// also a change that requires each unrevoked one to have created no more.
fn tree_of(
    engine: &Engine,
    caller: &Principal<'_>,
    key: &KeyRecord,
) -> Result<(Vec<KeyRecord>, Vec<DamagedRow>, Change), Error> {
    let mut tree = vec![key.clone()];
    let mut known = BTreeSet::from([key.id]);
    let mut creators = vec![(key.id, key.is_live())];
    let (mut change, mut all_damaged) = (Change::default(), Vec::new());
    while let Some((id, is_live)) = creators.pop() {
        let filter =
            KeyFilter { created_by_key: Some(id), ..KeyFilter::new(StateSet::ALL, caller.now) };
        let (created, damaged) = all_keys(engine, filter)?;
        if is_live {
            let damaged = damaged.iter().filter_map(DamagedRow::key);
            let ids = created.iter().map(|key| key.id).chain(damaged).collect();
            change = change.requiring(Precondition::CreatedKeys(id, ids));
        }
        // Known ones are left out: damaged records could be each other's creators.
        for key in created {
            if caller.reaches(&key.owner) && known.insert(key.id) {
                creators.push((key.id, key.is_live()));
                tree.push(key);
            }
        }
        for row in damaged {
            let Some(id) = row.key() else { continue };
            if known.insert(id) {
                // Its record may be whole where the verification index reads it, so it may create.
                creators.push((id, true));
                all_damaged.push(row);
            }
        }
    }
    tree[1..].sort_unstable_by_key(|key| key.id);
    Ok((tree, all_damaged, change))
}
