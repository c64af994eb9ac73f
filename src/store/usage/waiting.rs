//! Sums that are not written yet.

use std::collections::HashMap;

use super::logs::Entry;
use crate::backend::UsageChange;
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::{LastAddress, RefusedCounts, Used};

/// The sum of a key: small, since there may be one for each.
#[derive(Debug, Default)]
struct Sum {
    last_used_at: Option<Timestamp>,
    accepted: u64,
    rare: Option<Box<Rare>>,
}

/// What few keys have.
#[derive(Debug, Default)]
struct Rare {
    last_address: Option<LastAddress>,
    refused: RefusedCounts,
}

impl Sum {
    fn used(&self) -> Used {
        let (last_address, refused) = match &self.rare {
            Some(rare) => (rare.last_address, rare.refused),
            None => Default::default(),
        };
        let Self { last_used_at, accepted, .. } = *self;
        Used { last_used_at, last_address, accepted, refused }
    }

    fn set(&mut self, used: Used) {
        let Used { last_used_at, last_address, accepted, refused } = used;
        let is_rare = last_address.is_some() || refused != RefusedCounts::default();
        let rare = is_rare.then(|| Box::new(Rare { last_address, refused }));
        *self = Self { last_used_at, accepted, rare };
    }
}

/// Sums by key: those that grow, and those that are on their way.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    growing: HashMap<KeyId, Sum>,
    /// Taken out of `growing`, by descending key: the next to be written stand last.
    on_their_way: Vec<(KeyId, Sum)>,
}

impl Waiting {
    /// Adds the entries of a log; only where uses are counted, their number.
    pub(super) fn add(&mut self, log: &[Entry], counts: bool) {
        for entry in log {
            let sum = self.growing.entry(entry.key).or_default();
            let count = u64::from(entry.count);
            match entry.refused {
                Some(reason) => sum.rare.get_or_insert_default().refused.add(reason, count),
                None => {
                    sum.last_used_at = sum.last_used_at.max(Some(entry.at));
                    sum.accepted += if counts { count } else { 0 };
                    if let Some(address) = entry.address {
                        let seen = LastAddress { address, at: entry.at };
                        let mut used = sum.used();
                        used.add(&Used { last_address: Some(seen), ..Used::default() });
                        sum.set(used);
                    }
                }
            }
        }
    }

    /// How many keys wait.
    pub(super) fn len(&self) -> usize {
        self.growing.len() + self.on_their_way.len()
    }

    /// What waits of a key.
    pub(super) fn of(&self, key: KeyId) -> Used {
        let mut used = Used::default();
        let way = &self.on_their_way;
        if let Ok(position) = way.binary_search_by(|(other, _)| key.cmp(other)) {
            used.add(&way[position].1.used());
        }
        if let Some(sum) = self.growing.get(&key) {
            used.add(&sum.used());
        }
        used
    }

    /// The next to be written, up to so many; they stay until they are written.
    pub(super) fn next(&mut self, most: usize) -> Vec<UsageChange> {
        if self.on_their_way.is_empty() {
            self.on_their_way = std::mem::take(&mut self.growing).into_iter().collect();
            // In order, so that neighbours in the database are written together.
            self.on_their_way.sort_unstable_by_key(|(key, _)| std::cmp::Reverse(*key));
        }
        let next = self.on_their_way.iter().rev().take(most);
        next.map(|(key, sum)| UsageChange::Add(*key, sum.used())).collect()
    }

    /// So many were written.
    pub(super) fn written(&mut self, count: usize) {
        self.on_their_way.truncate(self.on_their_way.len().saturating_sub(count));
        if self.on_their_way.is_empty() {
            self.on_their_way = Vec::new();
        }
    }

    /// Nobody knows whether so many were written: what may be written twice stays.
    pub(super) fn uncertain(&mut self, count: usize) {
        for (_, sum) in self.on_their_way.iter_mut().rev().take(count) {
            let once = Used { accepted: 0, refused: RefusedCounts::default(), ..sum.used() };
            sum.set(once);
        }
    }
}
