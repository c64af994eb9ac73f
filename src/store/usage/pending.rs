//! The sums that aren't written yet.

use std::collections::BTreeMap;

use super::thread_logs::Entry;
use crate::backend::UsageChange;
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::{LastAddress, RejectedCounts, Used};

/// The usage of one key. Small, since there may be one for each key.
#[derive(Debug, Default)]
struct Sum {
    last_used_at: Option<Timestamp>,
    accepted: u64,
    rare: Option<Box<Rare>>,
}

/// The parts of a sum that few keys have.
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

/// Sums by key: those that still grow, and those that a flush writes.
///
/// Sorted by key, so that neighbours in the database are written together. Not a hash map: it now
/// and then moves all its entries, and a verification may be the thread that adds.
#[derive(Debug)]
pub(super) struct PendingSums {
    growing: BTreeMap<KeyId, Sum>,
    flushing: BTreeMap<KeyId, Sum>,
    /// Number of flushes that have begun.
    flushes: u64,
    /// The latest time of a use, and of a flush.
    latest: Timestamp,
    /// The earliest time to which the clock has stepped back since a scan for alerts.
    stepped_back_to: Option<Timestamp>,
}

impl Default for PendingSums {
    fn default() -> Self {
        let (growing, flushing) = Default::default();
        Self { growing, flushing, flushes: 0, latest: Timestamp::MIN, stepped_back_to: None }
    }
}

impl PendingSums {
    /// Adds the entries of a log. Adds the number of uses only if `counts`.
    pub(super) fn add(&mut self, log: &[Entry], counts: bool) {
        for entry in log {
            let sum = self.growing.entry(entry.key).or_default();
            let count = u64::from(entry.count);
            match entry.rejected {
                Some(reason) => sum.rare.get_or_insert_default().rejected.add(reason, count),
                None => {
                    self.latest = self.latest.max(entry.at);
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

    /// Notes a flush at `now`; returns whether the clock has stepped back, behind a use or a flush.
    pub(super) fn steps_back(&mut self, now: Timestamp) -> bool {
        let steps_back = std::mem::replace(&mut self.latest, now) > now;
        if steps_back {
            self.stepped_back_to = Some(self.stepped_back_to.map_or(now, |to| to.min(now)));
        }
        steps_back
    }

    /// Takes the earliest time to which the clock has stepped back.
    pub(super) fn take_step_back(&mut self) -> Option<Timestamp> {
        self.stepped_back_to.take()
    }

    /// Returns the number of sums.
    pub(super) fn len(&self) -> usize {
        self.growing.len() + self.flushing.len()
    }

    /// Returns the usage of a key that isn't written yet.
    pub(super) fn of(&self, key: KeyId) -> Used {
        let mut used = Used::default();
        for sums in [&self.flushing, &self.growing] {
            if let Some(sum) = sums.get(&key) {
                used.add(&sum.used());
            }
        }
        used
    }

    /// Returns the number of the flush that writes all the sums of now.
    pub(super) fn next_flush_number(&self) -> u64 {
        self.flushes + u64::from(!self.growing.is_empty())
    }

    /// Returns up to `max` sums to write next, of the flushes up to `flush_number`. The sums stay until
    /// [`written`](Self::written).
    pub(super) fn next(&mut self, max: usize, flush_number: u64) -> Vec<UsageChange> {
        if self.flushing.is_empty() && self.flushes < flush_number {
            self.flushing = std::mem::take(&mut self.growing);
            self.flushes += 1;
        }
        let next = self.flushing.iter().take(max);
        next.map(|(key, sum)| UsageChange::Add(*key, sum.used())).collect()
    }

    /// Removes the first sums, which were written.
    pub(super) fn written(&mut self, count: usize) {
        for _ in 0..count {
            self.flushing.pop_first();
        }
    }

    /// Clears the counts of the first sums, of which it is unknown whether they were written: a
    /// count that is written twice would be wrong. The time and the address of the last use stay.
    pub(super) fn indeterminate(&mut self, count: usize) {
        for sum in self.flushing.values_mut().take(count) {
            let without_counts =
                Used { accepted: 0, rejected: RejectedCounts::default(), ..sum.used() };
            sum.set(without_counts);
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

    /// A flush writes all sums that there were when it began, and none that came meanwhile.
    #[test]
    fn a_flush_writes_the_sums_of_its_beginning() {
        let mut pending = PendingSums::default();
        pending.add(&[1, 5, 9].map(|key| entry(key, 1)), true);
        let first = pending.next_flush_number();
        let mut write = |flush_number| {
            let mut written = Vec::new();
            loop {
                let next = pending.next(2, flush_number);
                if next.is_empty() {
                    return written;
                }
                pending.written(next.len());
                written.extend(next);
                // Uses that come meanwhile, one of them of a key that was there before.
                pending.add(&[2, 5].map(|key| entry(key, 2)), true);
            }
        };
        let used = |key, millis, accepted| {
            let last_used_at = Some(Timestamp::from_millis(millis).unwrap());
            UsageChange::Add(entry(key, 0).key, Used { last_used_at, accepted, ..Used::default() })
        };
        assert_eq!(write(first), [used(1, 1, 1), used(5, 1, 1), used(9, 1, 1)]);
        assert_eq!(write(first), []);
        assert_eq!(write(first + 1), [used(2, 2, 2), used(5, 2, 2)]);
        assert_eq!((pending.next_flush_number(), pending.len()), (first + 2, 2));
    }
}
