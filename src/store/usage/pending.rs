//! Sums that are not written yet.

use std::collections::BTreeMap;

use super::thread_logs::Entry;
use crate::backend::UsageChange;
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::{LastAddress, RejectedCounts, Used};

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
    rejected: RejectedCounts,
}

impl Sum {
    fn used(&self) -> Used {
        let (last_address, rejected) = match &self.rare {
            Some(rare) => (rare.last_address, rare.rejected),
            None => Default::default(),
        };
        let Self { last_used_at, accepted, .. } = *self;
        Used { last_used_at, last_address, accepted, rejected }
    }

    fn set(&mut self, used: Used) {
        let Used { last_used_at, last_address, accepted, rejected } = used;
        let is_rare = last_address.is_some() || rejected != RejectedCounts::default();
        let rare = is_rare.then(|| Box::new(Rare { last_address, rejected }));
        *self = Self { last_used_at, accepted, rare };
    }
}

/// Sums by key: those that grow, and those that are on their way. In order, so that neighbours in
/// the database are written together; and no map that now and then moves everything, for it may be
/// a verification that adds.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    growing: BTreeMap<KeyId, Sum>,
    on_their_way: BTreeMap<KeyId, Sum>,
    /// How often all that grew was sent on its way.
    departures: u64,
}

impl Waiting {
    /// Adds the entries of a log; only where uses are counted, their number.
    pub(super) fn add(&mut self, log: &[Entry], counts: bool) {
        for entry in log {
            let sum = self.growing.entry(entry.key).or_default();
            let count = u64::from(entry.count);
            match entry.rejected {
                Some(reason) => sum.rare.get_or_insert_default().rejected.add(reason, count),
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
        for sums in [&self.on_their_way, &self.growing] {
            if let Some(sum) = sums.get(&key) {
                used.add(&sum.used());
            }
        }
        used
    }

    /// The flush_number with which all leaves that waits now.
    pub(super) fn next_flush_number(&self) -> u64 {
        self.departures + u64::from(!self.growing.is_empty())
    }

    /// The next to be written, up to so many, of those that leave by a flush_number; they stay until
    /// they are written.
    pub(super) fn next(&mut self, most: usize, flush_number: u64) -> Vec<UsageChange> {
        if self.on_their_way.is_empty() && self.departures < flush_number {
            self.on_their_way = std::mem::take(&mut self.growing);
            self.departures += 1;
        }
        let next = self.on_their_way.iter().take(most);
        next.map(|(key, sum)| UsageChange::Add(*key, sum.used())).collect()
    }

    /// So many were written.
    pub(super) fn written(&mut self, count: usize) {
        for _ in 0..count {
            self.on_their_way.pop_first();
        }
    }

    /// Nobody knows whether so many were written: what may be written twice stays.
    pub(super) fn indeterminate(&mut self, count: usize) {
        for sum in self.on_their_way.values_mut().take(count) {
            let once = Used { accepted: 0, rejected: RejectedCounts::default(), ..sum.used() };
            sum.set(once);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: u128, at: u64) -> Entry {
        let at = Timestamp::from_millis(at).unwrap();
        Entry {
            key: KeyId::from_u128(7 << 76 | 1 << 63 | key),
            at,
            rejected: None,
            address: None,
            count: 1,
        }
    }

    /// However much comes meanwhile, only what waited at a flush_number leaves by it, and all of that.
    #[test]
    fn a_departure_takes_what_waited() {
        let mut waiting = Waiting::default();
        waiting.add(&[1, 5, 9].map(|key| entry(key, 1)), true);
        let first = waiting.next_flush_number();
        let mut write = |flush_number| {
            let mut written = Vec::new();
            loop {
                let next = waiting.next(2, flush_number);
                if next.is_empty() {
                    return written;
                }
                waiting.written(next.len());
                written.extend(next);
                // Those that come meanwhile, one of them again.
                waiting.add(&[2, 5].map(|key| entry(key, 2)), true);
            }
        };
        let used = |key, millis, accepted| {
            let last_used_at = Some(Timestamp::from_millis(millis).unwrap());
            UsageChange::Add(entry(key, 0).key, Used { last_used_at, accepted, ..Used::default() })
        };
        assert_eq!(write(first), [used(1, 1, 1), used(5, 1, 1), used(9, 1, 1)]);
        assert_eq!(write(first), []);
        assert_eq!(write(first + 1), [used(2, 2, 2), used(5, 2, 2)]);
        assert_eq!((waiting.next_flush_number(), waiting.len()), (first + 2, 2));
    }
}
