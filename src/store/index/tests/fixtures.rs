//! Fixtures of the tests of the whole index.

use std::sync::Arc;

use super::super::Index;
use crate::clock::{ManualClock, Timestamp};
use crate::key::{Limit, PepperNumber, SetBy};
use crate::permission::Catalogue;

pub(super) fn index() -> Index {
    let catalogue = Catalogue::builder().read("links:read").build().unwrap();
    let clock = ManualClock::new(Timestamp::clamped_millis(1_767_225_600_000));
    Index::new(catalogue, vec![PepperNumber::new(1)], Arc::new(clock))
}

pub(super) fn by_admin<T>(value: T) -> Option<Limit<T>> {
    Some(Limit { value, by: SetBy::Administrator })
}

/// Returns the numbers of the keys' records, the owners' records and the lists that are in use;
/// then those of all entries.
pub(super) fn count(index: &Index) -> ([usize; 3], [usize; 3]) {
    index.limits.count(&index.lock().limits)
}
