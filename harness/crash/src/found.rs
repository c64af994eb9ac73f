//! The state that a store shows.

use std::collections::BTreeMap;

use keyhasp::store::Events;
use keyhasp::{
    AdminKeys, Error, Event, Key, KeyId, ListEvents, ListKeys, ListOwners, Owner, OwnerId, State,
};
use serde_json::{Map, Value};

use crate::ledger::{KeyState, OwnerState};
use crate::limits::are_limits;
use crate::operation::settings;

/// All records and events that a store shows.
#[derive(Debug)]
pub struct Found {
    /// The owners.
    pub owners: BTreeMap<OwnerId, OwnerState>,
    /// The keys, revoked ones too.
    pub keys: BTreeMap<KeyId, KeyState>,
    /// All events, in the order in which they are listed.
    pub events: Vec<Event>,
    /// The last event that was pruned.
    pub pruned_through: u64,
    /// Records whose settings, name and limits are not those of one change.
    pub torn: Vec<String>,
}

impl Found {
    /// Reads the state.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(admin: &AdminKeys) -> Result<Self, Error> {
        let (events, pruned_through) = events(admin, &ListEvents::new())?;
        let mut found = Self {
            owners: BTreeMap::new(),
            keys: BTreeMap::new(),
            events,
            pruned_through,
            torn: Vec::new(),
        };
        for owner in owners(admin)? {
            let mark = found.mark(&owner.id.to_string(), owner.defaults.as_object());
            let version = owner.incarnation.quota_version(owner.version);
            if !are_limits(&owner.limits, mark, version)? {
                found
                    .torn
                    .push(format!("owner {}: settings of one change, limits of another", owner.id));
            }
            let suspended = owner.suspended.is_some();
            let state = OwnerState { version: owner.version.get(), suspended, mark };
            found.owners.insert(owner.id, state);
        }
        for key in keys(admin, None)? {
            found.add(&key)?;
        }
        Ok(found)
    }

    fn add(&mut self, key: &Key) -> Result<(), Error> {
        let mark = self.mark(&key.id.to_string(), key.own_settings.as_object());
        let name = key.name.as_ref().map(ToString::to_string);
        if name != (mark != 0).then(|| format!("n{mark}")) {
            self.torn.push(format!("key {}: settings of one change, name of another", key.id));
        }
        if !are_limits(&key.limits, mark, key.version)? {
            self.torn.push(format!("key {}: settings of one change, limits of another", key.id));
        }
        let state = KeyState {
            owner: key.owner,
            version: key.version.get(),
            generation: key.generation.get(),
            previous: key.previous_tokens.iter().map(|token| token.generation.get()).collect(),
            blocked: key.blocked.is_some(),
            deactivated: key.deactivated.is_some(),
            revoked: key.revoked.is_some(),
            mark,
            numeric_id: key.numeric_id.map(|id| id.get()),
        };
        self.keys.insert(key.id, state);
        Ok(())
    }

    /// Reads the number in settings.
    fn mark(&mut self, of: &str, found: &Map<String, Value>) -> u64 {
        let mark = found.get("mark").and_then(Value::as_u64).unwrap_or_default();
        if !found.is_empty() && settings(mark).as_object() != Some(found) {
            self.torn.push(format!("{of}: settings that no change wrote"));
        }
        mark
    }
}

/// Lists all owners.
///
/// # Errors
/// Those of the store.
pub fn owners(admin: &AdminKeys) -> Result<Vec<Owner>, Error> {
    let (mut all, mut query) = (Vec::new(), ListOwners::new().limit(ListKeys::MAX_LIMIT));
    loop {
        let page = admin.list_owners(&query)?;
        all.extend(page.items);
        match page.next {
            Some(last) => query = query.after(OwnerId::new(last)?),
            None => return Ok(all),
        }
    }
}

/// Lists all keys, or those of an owner.
///
/// # Errors
/// Those of the store.
pub fn keys(admin: &AdminKeys, owner: Option<OwnerId>) -> Result<Vec<Key>, Error> {
    let mut query = ListKeys::new().states(State::ALL.iter().copied()).limit(ListKeys::MAX_LIMIT);
    if let Some(owner) = owner {
        query = query.owner(owner);
    }
    let mut all = Vec::new();
    loop {
        let page = admin.list(&query)?;
        all.extend(page.items);
        match page.next {
            Some(cursor) => query = query.cursor(cursor),
            None => return Ok(all),
        }
    }
}

/// Lists all events of a query; returns also the last event that was pruned.
///
/// # Errors
/// Those of the store.
pub fn events(admin: &AdminKeys, query: &ListEvents) -> Result<(Vec<Event>, u64), Error> {
    let mut query = query.clone().limit(ListKeys::MAX_LIMIT);
    let mut all = Vec::new();
    loop {
        let Events { items, next, pruned_through, .. } = admin.events(&query)?;
        all.extend(items);
        match next {
            Some(last) => query = query.after(last),
            None => return Ok((all, pruned_through)),
        }
    }
}
