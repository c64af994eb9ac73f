//! Lists, page by page.

use super::authorize::Principal;
use super::cursor::{Cursor, query_hash};
use super::keys::Manager;
use super::keys::note_reveal;
use super::retry::{Decision, attempt};
use crate::authority::{Actor, Authority};
use crate::backend::{
    Change, EventFilter, EventQuery, KeyFilter, KeyPage, KeyPageQuery, OwnerPageQuery,
};
use crate::id::{KeyId, OwnerId};
use crate::invalid::{Invalid, Problem};
use crate::key::{KeyRecord, OwnerRecord};
use crate::store::types::error::{Error, Resource};
use crate::store::types::request::{ListEvents, ListKeys, ListOwners};
use crate::store::types::views::{Events, Key, Owner, Page, RevealedToken};

/// How many rows one page looks at.
pub(in crate::store::manage) const MAX_EXAMINED: usize = 2_000;

impl Manager {
    pub(in crate::store) fn list_keys(
        &self,
        by: &Authority,
        query: &ListKeys,
    ) -> Result<Page<Key>, Error> {
        let caller = Principal::new(&self.engine, by)?;
        let (records, next) = self.page_of_keys(&caller, query)?;
        let metadata = self.engine.metadata().metadata;
        let owners = self.owners_of(&records)?;
        let usage = self.usage.of(&records, caller.now)?;
        let key = |(key, usage): (KeyRecord, _)| {
            let owner = owners.iter().find(|owner| owner.id == key.owner)?;
            Some(Key::new(key, owner, &metadata, caller.now).with_usage(usage))
        };
        Ok(Page { items: records.into_iter().zip(usage).filter_map(key).collect(), next })
    }

    /// A page of keys with their current tokens, as far as they are sealed; an event for each that
    /// is opened.
    pub(in crate::store) fn reveal_tokens(
        &self,
        by: &Authority,
        query: &ListKeys,
    ) -> Result<Page<RevealedToken>, Error> {
        attempt(&self.engine, || {
            let caller = Principal::new(&self.engine, by)?;
            let (records, next) = self.page_of_keys(&caller, query)?;
            let metadata = self.engine.metadata().metadata;
            let mut change = Change::default();
            let mut items = Vec::new();
            let owners = self.owners_of(&records)?;
            let usage = self.usage.of(&records, caller.now)?;
            for (key, usage) in records.into_iter().zip(usage) {
                let Some(owner) = owners.iter().find(|owner| owner.id == key.owner) else {
                    continue;
                };
                let is_within = caller.check_within(&key.access, &key.limits).is_ok();
                let token = if is_within { self.minter.unseal(&key)? } else { None };
                if token.is_some() {
                    change = note_reveal(change, &caller, &key);
                }
                let key = Key::new(key, owner, &metadata, caller.now).with_usage(usage);
                items.push(RevealedToken { key, token });
            }
            let page = Page { items, next };
            if change.operations.is_empty() {
                return Ok(Decision::Answer(page));
            }
            Ok(Decision::commit(caller.with_preconditions(change), move |_| page))
        })
    }

    pub(in crate::store) fn count_keys(
        &self,
        by: &Authority,
        query: &ListKeys,
    ) -> Result<u64, Error> {
        let caller = Principal::new(&self.engine, by)?;
        let count = |owner| {
            let filter =
                KeyFilter { owner, kind: query.kind, states: query.states, now: caller.now };
            self.engine.backend.count_keys(&filter)
        };
        match scope(&caller, query)? {
            Scope::All => Ok(count(None)?),
            Scope::Owners(owners) => {
                owners.into_iter().try_fold(0, |sum, owner| Ok(sum + count(Some(owner))?))
            }
        }
    }

    pub(in crate::store) fn list_owners(
        &self,
        by: &Authority,
        query: &ListOwners,
    ) -> Result<Page<Owner>, Error> {
        let caller = Principal::new(&self.engine, by)?;
        caller.require_administrator()?;
        let page = self.engine.backend.page_owners(&OwnerPageQuery {
            after: query.after,
            suspended: query.suspended,
            limit: clamp(query.limit.unwrap_or(ListKeys::DEFAULT_LIMIT)),
            examine: MAX_EXAMINED,
        })?;
        let items = page.owners.into_iter().map(Owner::from).collect();
        Ok(Page { items, next: page.next.map(|owner| owner.to_string()) })
    }

    pub(in crate::store) fn events(
        &self,
        by: &Authority,
        query: &ListEvents,
    ) -> Result<Events, Error> {
        let caller = Principal::new(&self.engine, by)?;
        let own = caller.authority.role.owner().copied();
        if let (Some(own), Some(asked)) = (own, query.owner)
            && own != asked
        {
            return Err(Error::NotFound(Resource::Owner));
        }
        let page = self.engine.backend.events(&EventQuery {
            after: query.after,
            filter: EventFilter {
                key: query.key,
                owner: own.or(query.owner),
                actor: query.actor.as_ref().map(Actor::new).transpose()?,
                kind: query.kind,
                since: query.since,
                until: query.until,
            },
            limit: clamp(query.limit.unwrap_or(ListKeys::DEFAULT_LIMIT)),
            examine: MAX_EXAMINED,
        })?;
        Ok(Events { items: page.events, next: page.next, pruned_through: page.pruned_through })
    }

    /// The records of a page, and the cursor to the next.
    fn page_of_keys(
        &self,
        caller: &Principal<'_>,
        query: &ListKeys,
    ) -> Result<(Vec<KeyRecord>, Option<String>), Error> {
        let scope = scope(caller, query)?;
        let hash = query_hash(&scope, query);
        let (limit, before) = match &query.cursor {
            Some(text) => {
                let cursor = Cursor::read(text, hash)?;
                (cursor.limit, Some(cursor.position))
            }
            None => (clamp(query.limit), query.after),
        };
        let pages = match &scope {
            Scope::All => 1,
            Scope::Owners(owners) => owners.len().max(1),
        };
        let ask = |owner| {
            self.engine.backend.page_keys(&KeyPageQuery {
                filter: KeyFilter {
                    owner,
                    kind: query.kind,
                    states: query.states,
                    now: caller.now,
                },
                before,
                after: query.until,
                limit,
                examine: MAX_EXAMINED / pages,
            })
        };
        let page = match &scope {
            Scope::All => ask(None)?,
            Scope::Owners(owners) => {
                let pages =
                    owners.iter().map(|owner| ask(Some(*owner))).collect::<Result<Vec<_>, _>>()?;
                merge(pages, limit)
            }
        };
        let next = page.next.map(|position| Cursor { position, limit }.write(hash));
        Ok((page.keys, next))
    }

    /// The owners of some keys; of a key whose owner went meanwhile, there is none.
    fn owners_of(&self, keys: &[KeyRecord]) -> Result<Vec<OwnerRecord>, Error> {
        let mut owners: Vec<OwnerRecord> = Vec::new();
        for key in keys {
            if !owners.iter().any(|owner| owner.id == key.owner) {
                owners.extend(self.engine.backend.owner(&key.owner)?);
            }
        }
        Ok(owners)
    }
}

/// Whose keys are listed.
#[derive(Debug)]
pub(in crate::store::manage) enum Scope {
    All,
    Owners(Vec<OwnerId>),
}

/// The owners that were asked for, as far as the caller reaches them.
fn scope(caller: &Principal<'_>, query: &ListKeys) -> Result<Scope, Error> {
    let mut asked = query.owners.clone();
    asked.sort_unstable();
    asked.dedup();
    if asked.len() > ListKeys::MAX_OWNERS {
        let (given, limit) = (asked.len(), ListKeys::MAX_OWNERS);
        return Err(Invalid::new("owners", Problem::TooMany { given, limit }).into());
    }
    match caller.authority.role.owner() {
        Some(_) if asked.iter().any(|owner| !caller.reaches(owner)) => {
            Err(Error::NotFound(Resource::Owner))
        }
        Some(own) => Ok(Scope::Owners(vec![*own])),
        None if asked.is_empty() => Ok(Scope::All),
        None => Ok(Scope::Owners(asked)),
    }
}

fn clamp(limit: usize) -> usize {
    limit.clamp(1, ListKeys::MAX_LIMIT)
}

/// One page out of those of several owners. What lies below the point to which all of them were
/// looked at is left for the next page.
fn merge(pages: Vec<KeyPage>, limit: usize) -> KeyPage {
    let looked_to: Option<KeyId> = pages.iter().filter_map(|page| page.next).max();
    let mut keys: Vec<KeyRecord> = pages.into_iter().flat_map(|page| page.keys).collect();
    keys.sort_unstable_by_key(|key| std::cmp::Reverse(key.id));
    if let Some(looked_to) = looked_to {
        keys.retain(|key| key.id >= looked_to);
    }
    let cut = keys.len() > limit;
    keys.truncate(limit);
    let next = if cut { keys.last().map(|key| key.id) } else { looked_to };
    KeyPage { keys, next }
}
