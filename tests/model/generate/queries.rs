//! Queries: lists, counts and events.

use std::time::Duration;

use keyhasp::id::{KeyId, OwnerId};
use keyhasp::key::{Kind, State};
use keyhasp::{EventKind, Prefix, Timestamp};

use super::Generator;
use crate::calls::{EventQuery, KeyQuery, OwnerQuery};
use crate::model::KeyFile;

impl Generator<'_> {
    pub(super) fn key_query(&mut self) -> KeyQuery {
        let creators = self.creators();
        let has_created = |key: &KeyFile| creators.contains(&key.id);
        let mut owners = Vec::new();
        if self.chance.percent(50) {
            owners.push(self.owner());
            while self.chance.percent(35) {
                owners.push(self.owner());
            }
        }
        if self.chance.percent(1) {
            owners.extend((0..65).map(|n| OwnerId::new(format!("o{n}")).unwrap()));
        }
        KeyQuery {
            owners,
            kind: self.chance.maybe(20, |chance| chance.pick(&[Kind::Standard, Kind::Trial])),
            created_by_key: self.chance.percent(15).then(|| self.key_that(has_created)),
            states: self.chance.maybe(45, |chance| {
                State::ALL.into_iter().filter(|_| chance.percent(60)).collect()
            }),
            name_start: self.chance.percent(10).then(|| self.name_start()),
            prefixes: if self.chance.percent(10) { self.some_prefixes() } else { Vec::new() },
            permission: self.chance.percent(10).then(|| self.permission()),
            expires_before: self.chance.percent(10).then(|| self.soon()),
            unused_since: self.chance.percent(10).then(|| self.past()),
            tags: if self.chance.percent(10) { self.tags() } else { Vec::new() },
            after: self.chance.percent(12).then(|| self.key()),
            before: self.chance.percent(12).then(|| self.key()),
            limit: self
                .chance
                .maybe(60, |chance| chance.pick(&[0, 1, 1, 2, 3, 5, 10, 1_000, 10_000_000])),
        }
    }

    fn name_start(&mut self) -> String {
        let long = "x".repeat(256);
        self.chance.pick(&["", "f", "first", "key", "key 3", "K", "é", &long]).into()
    }

    fn some_prefixes(&mut self) -> Vec<Prefix> {
        (0..=self.chance.below(3)).map(|_| self.prefix()).collect()
    }

    /// A permission, seldom one that isn't there or is none.
    fn permission(&mut self) -> String {
        let names: Vec<&str> = self.model.opening.catalogue.iter().map(|(name, _)| *name).collect();
        let name = self.chance.pick(&names);
        self.chance.pick(&[name, name, name, name, name, "links:delete", "links:*", ""]).into()
    }

    /// The expiry of a key or a moment close to it, or any other.
    fn soon(&mut self) -> Timestamp {
        let expiries: Vec<Timestamp> =
            self.model.keys.values().filter_map(|key| key.expires_at).collect();
        let expiry = self.chance.pick_late(&expiries).unwrap_or(self.model.now);
        match self.chance.below(4) {
            0 => expiry,
            1 => expiry.saturating_add(Duration::from_millis(1)),
            2 => self.past(),
            _ => Timestamp::MAX,
        }
    }

    pub(super) fn owner_query(&mut self) -> OwnerQuery {
        OwnerQuery {
            suspended: self.chance.maybe(30, |chance| chance.percent(50)),
            tags: if self.chance.percent(20) { self.tags() } else { Vec::new() },
            after: self.chance.percent(20).then(|| self.owner()),
            limit: self.chance.maybe(60, |chance| chance.pick(&[0, 1, 2, 10_000_000])),
        }
    }

    /// The keys with which delegates created others.
    pub(super) fn creators(&self) -> Vec<KeyId> {
        self.model.keys.values().filter_map(|key| key.created_by_key).collect()
    }

    pub(super) fn event_query(&mut self) -> EventQuery {
        let creators = self.creators();
        let has_created = |key: &KeyFile| creators.contains(&key.id);
        let after = match self.chance.below(4) {
            0 => 0,
            1 => self.model.pruned_through(),
            2 => self.model.last_event.saturating_sub(self.chance.below(20) as u64),
            _ => self.chance.below(200) as u64,
        };
        let before = match self.chance.below(8) {
            0 => Some(u64::MAX),
            1 => Some(self.model.last_event.saturating_sub(self.chance.below(20) as u64)),
            2 => Some(self.chance.below(200) as u64),
            _ => None,
        };
        EventQuery {
            after,
            before,
            limit: self.chance.maybe(60, |chance| chance.pick(&[0, 1, 3, 10, 10_000_000])),
            key: self.chance.percent(25).then(|| self.key()),
            owner: self.chance.percent(25).then(|| self.owner()),
            actor: self
                .chance
                .maybe(15, |chance| chance.pick(&["ann", "nobody", "zoë", ""]).into()),
            acting_key: self.chance.percent(15).then(|| self.key_that(has_created)),
            kind: self.chance.maybe(20, |chance| chance.pick(EventKind::ALL)),
            since: self.chance.percent(20).then(|| self.past()),
            until: self.chance.percent(20).then(|| self.past()),
        }
    }
}
