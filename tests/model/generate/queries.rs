//! Queries: lists, counts and events.

use keyhasp::EventKind;
use keyhasp::id::{KeyId, OwnerId};
use keyhasp::key::{Kind, State};

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
            after: self.chance.percent(12).then(|| self.key()),
            before: self.chance.percent(12).then(|| self.key()),
            limit: self
                .chance
                .maybe(60, |chance| chance.pick(&[0, 1, 1, 2, 3, 5, 10, 1_000, 10_000_000])),
        }
    }

    pub(super) fn owner_query(&mut self) -> OwnerQuery {
        OwnerQuery {
            suspended: self.chance.maybe(30, |chance| chance.percent(50)),
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
        EventQuery {
            after,
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
