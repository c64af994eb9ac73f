//! Lists: every record is examined, and those that match are shown.

use std::collections::BTreeSet;

use keyhasp::authority::Role;
use keyhasp::event::Event;
use keyhasp::id::{KeyId, OwnerId};
use keyhasp::key::{Kind, State};
use keyhasp::store::Resource;
use serde_json::{Value, json};

use super::authority::{Caller, Span};
use super::eyes;
use super::minting::against_tags;
use super::reason::Reason;
use super::records::KeyFile;
use super::state::{Answer, Decided, Model, unless_refused};
use crate::calls::{EventQuery, KeyQuery, OwnerQuery};

impl Model {
    /// All pages of a list, one after the other.
    pub(super) fn list(&self, caller: &Caller, query: &KeyQuery) -> Decided<Value> {
        let found = self.matching(caller, query)?;
        Ok(found.into_iter().map(|id| self.shown_key(id)).collect())
    }

    /// Counts the keys that match. The place in the list doesn't matter.
    pub(super) fn count(&self, caller: &Caller, query: &KeyQuery) -> Decided<Value> {
        let query = KeyQuery { after: None, before: None, ..query.clone() };
        Ok(self.matching(caller, &query)?.len().into())
    }

    /// All pages of a list with the recoverable tokens; each page leaves its events.
    pub(super) fn reveal_tokens(&mut self, caller: &Caller, query: &KeyQuery) -> Decided<Value> {
        let is_shown =
            |key: &KeyFile| key.sealed_under.is_some() && caller.beyond(&Span::of(key)).is_empty();
        let mut reasons: Vec<Reason> = caller.not_current().into_iter().collect();
        for id in self.matching(caller, query)? {
            let key = Some(&self.keys[&id]).filter(|key| is_shown(key));
            let against = key.and_then(|key| self.against_opening(key));
            // A token under another recovery key is missing alone.
            reasons.extend(against.filter(|reason| *reason != Reason::Seal));
        }
        unless_refused(reasons)?;
        let (mut shown, mut rest) = (Vec::new(), query.clone());
        loop {
            let mut page = self.matching(caller, &rest)?;
            page.truncate(query.page());
            let Some(last) = page.last() else { return Ok(shown.into()) };
            rest.after = Some(*last);
            let events = self.last_event;
            for id in page {
                let key = self.keys[&id].clone();
                let against = is_shown(&key).then(|| self.against_opening(&key)).flatten();
                let token = is_shown(&key).then_some(&key.current.text);
                let token = token.filter(|_| against.is_none());
                let key_shown = self.shown_key(id);
                shown.push(
                    json!({ "key": key_shown, "token": token, "misses_key": against.is_some() }),
                );
                if token.is_some() {
                    self.note_reveal(caller, &key);
                }
            }
            if self.last_event > events {
                // The next page is a call of its own.
                self.purge_if_due();
            }
        }
    }

    /// The cursor of one query, used for another: it fits only if nothing but place and limit
    /// differ.
    pub(super) fn use_cursor(
        &self,
        caller: &Caller,
        of: &KeyQuery,
        used_for: &KeyQuery,
        gave_cursor: bool,
    ) -> Decided<Value> {
        let essence = |query: &KeyQuery| {
            let scope = self.scope(caller, query)?;
            unless_refused(self.against_query(query))?;
            let mut essence = KeyQuery { after: None, limit: None, ..query.clone() };
            essence.owners = scope.clone().into_iter().flatten().collect();
            let states: BTreeSet<State> = states(query).into_iter().collect();
            essence.states = Some(states.into_iter().collect());
            essence.prefixes.sort_unstable_by_key(ToString::to_string);
            essence.prefixes.dedup();
            essence.tags.sort_unstable();
            essence.tags.dedup();
            Ok::<_, Vec<Reason>>((scope.is_some(), essence))
        };
        let (first, second) = (essence(of)?, essence(used_for)?);
        if gave_cursor && first != second {
            return Err(vec![Reason::Invalid("cursor")]);
        }
        Ok(Value::Null)
    }

    /// The owners whose keys are listed; `None` means all owners.
    fn scope(&self, caller: &Caller, query: &KeyQuery) -> Decided<Option<BTreeSet<OwnerId>>> {
        let asked: BTreeSet<OwnerId> = query.owners.iter().copied().collect();
        if asked.len() > 64 {
            return Err(vec![Reason::Invalid("owners")]);
        }
        match caller.owner {
            Some(own) if asked.iter().any(|owner| *owner != own) => {
                Err(vec![Reason::NotFound(Resource::Owner)])
            }
            Some(own) => Ok(Some([own].into())),
            None if asked.is_empty() => Ok(None),
            None => Ok(Some(asked)),
        }
    }

    /// The reasons against what a query asks for.
    fn against_query(&self, query: &KeyQuery) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if query.name_start.as_ref().is_some_and(|start| start.len() > 255) {
            reasons.push(Reason::Invalid("name"));
        }
        let is_known = |prefix| self.prefixes.iter().any(|(known, _)| known == prefix);
        if !query.prefixes.iter().all(is_known) {
            reasons.push(Reason::Invalid("prefix"));
        }
        if query.permission.as_ref().is_some_and(|name| self.is_read(name).is_none()) {
            reasons.push(Reason::Invalid("permission"));
        }
        if query.unused_since.is_some() && self.opening.usage.is_none() {
            reasons.push(Reason::Invalid("unused_since"));
        }
        reasons.extend(against_tags(&query.tags));
        reasons
    }

    /// Returns whether a permission only reads; `None` for one that the catalogue lacks.
    fn is_read(&self, name: &str) -> Option<bool> {
        let mut known = self.opening.catalogue.iter();
        known.find(|(known, _)| *known == name).map(|(_, is_read)| *is_read)
    }

    /// Returns whether a key has what the query asks for beside owner, kind and state.
    fn has_asked(&self, key: &KeyFile, query: &KeyQuery) -> bool {
        let name = || key.name.as_deref();
        let grants = |asked: &String| key.access.grants(asked, self.is_read(asked) == Some(true));
        let used_at = || self.last_used_at(key.id).unwrap_or(key.created_at);
        query.name_start.as_ref().is_none_or(|start| name().is_some_and(|n| n.starts_with(start)))
            && query.tags.iter().all(|tag| key.tags.contains(tag))
            && (query.prefixes.is_empty() || query.prefixes.contains(&key.prefix))
            && query.permission.as_ref().is_none_or(grants)
            && query.expires_before.is_none_or(|end| key.expires_at.is_some_and(|at| at < end))
            && query.unused_since.is_none_or(|since| used_at() < since)
    }

    /// The keys that match, newest first.
    fn matching(&self, caller: &Caller, query: &KeyQuery) -> Decided<Vec<KeyId>> {
        let scope = self.scope(caller, query)?;
        unless_refused(self.against_query(query))?;
        let (kind, states): (Option<Kind>, _) = (query.kind, states(query));
        let creator = query.created_by_key;
        let newest_first = self.keys.values().rev();
        let found = newest_first
            .filter(|key| scope.as_ref().is_none_or(|owners| owners.contains(&key.owner)))
            .filter(|key| kind.is_none_or(|kind| kind == key.kind))
            .filter(|key| creator.is_none() || creator == key.created_by_key)
            .filter(|key| states.contains(&key.state(self.now)))
            .filter(|key| self.has_asked(key, query))
            .filter(|key| query.after.is_none_or(|after| key.id < after))
            .filter(|key| query.before.is_none_or(|before| key.id > before));
        Ok(found.map(|key| key.id).collect())
    }

    pub(super) fn list_owners(&self, caller: &Caller, query: &OwnerQuery) -> Decided<Value> {
        caller.require_admin()?;
        unless_refused(against_tags(&query.tags).into_iter().collect())?;
        let found = self
            .owners
            .values()
            .filter(|owner| query.tags.iter().all(|tag| owner.tags.contains(tag)))
            .filter(|owner| query.after.is_none_or(|after| owner.id > after))
            .filter(|owner| query.suspended.is_none_or(|asked| asked == owner.suspended.is_some()));
        Ok(found.map(super::OwnerFile::shown).collect())
    }

    pub(super) fn read_events(&self, caller: &Caller, query: &EventQuery) -> Decided<Answer> {
        let asked = query.owner;
        if asked.is_some_and(|asked| !caller.reaches(asked)) {
            return Err(vec![Reason::NotFound(Resource::Owner)]);
        }
        let owner = caller.owner.or(asked);
        // An owner sees the events of its own time alone.
        let own = match caller.owner {
            Some(own) => Some(self.owner_in_reach(caller, own)?.incarnation),
            None => None,
        };
        if query.actor.as_ref().is_some_and(String::is_empty) {
            return Err(vec![Reason::Invalid("actor")]);
        }
        let events = self.events.iter().cloned();
        let events = events.map(|event| if caller.is_admin { event } else { eyes::hidden(event) });
        let is_meant = |event: &Event| {
            event.sequence > query.after
                && query.before.is_none_or(|before| event.sequence < before)
                && query.key.is_none_or(|key| event.key == Some(key))
                && owner.is_none_or(|owner| event.owner == Some(owner))
                && own.is_none_or(|own| event.incarnation == own)
                && query.actor.as_ref().is_none_or(|by| by == event.authority.actor.as_str())
                && query.acting_key.is_none_or(|key| acting_key(event) == Some(key))
                && query.kind.is_none_or(|kind| event.kind == kind)
                && query.since.is_none_or(|since| event.at >= since)
                && query.until.is_none_or(|until| event.at < until)
        };
        let mut items: Vec<Event> = events.filter(is_meant).collect();
        if query.before.is_some() {
            items.reverse();
        }
        Ok(Answer::Events { items, pruned_through: self.pruned_through() })
    }

    /// The number of the last event that was pruned.
    pub(crate) fn pruned_through(&self) -> u64 {
        self.events.first().map_or(0, |oldest| oldest.sequence - 1)
    }
}

/// Returns the key with which the caller acted.
fn acting_key(event: &Event) -> Option<KeyId> {
    match event.authority.role {
        Role::Delegate { key, .. } | Role::OwnerByKey { key, .. } => Some(key),
        _ => None,
    }
}

/// Defaults to unrevoked keys.
fn states(query: &KeyQuery) -> Vec<State> {
    let unrevoked = || vec![State::Active, State::Expired, State::Deactivated, State::Blocked];
    query.states.clone().unwrap_or_else(unrevoked)
}
