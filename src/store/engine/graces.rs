//! The watch over graces of previous tokens that a clock reckoned that was ahead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock_watch::{ClockWatch, TOLERANCE};
use crate::backend::ScannedKey;
use crate::clock::Timestamp;
use crate::id::{Generation, KeyId};
use crate::key::PreviousToken;

/// The time for which a key isn't looked at again whose graces couldn't be mended.
const PAUSE: Duration = Duration::from_secs(60);

/// The watch over graces that began at a time to come.
///
/// Its record says when a grace began. If that lies ahead, the grace ends after its length by the
/// clock that runs on in sleep. The next call that may change something puts that end into the
/// record.
#[derive(Debug)]
pub(in crate::store) struct GraceWatch {
    /// Wall-clock milliseconds at which the latest grace began, of keys that aren't due. Relaxed: no
    /// other memory is read by it.
    latest: AtomicU64,
    /// Whether anything is noted below. Relaxed: a thread notes the end before it publishes the
    /// token's slot, and `verify` reads the slot before this.
    is_any: AtomicBool,
    /// Locked, since verifications read it while others change it.
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    /// The times since the opening at which graces end that were reckoned ahead.
    ends: BTreeMap<(KeyId, Generation), Duration>,
    /// The keys whose graces are to be mended, each with the time since the opening at which that is
    /// tried. A key that couldn't be mended is found here again, without a look at all keys.
    due: BTreeMap<KeyId, Duration>,
}

/// A key whose graces a thread mends. If the thread drops this, the next call tries again.
#[derive(Debug)]
pub(in crate::store) struct Mending<'a> {
    graces: &'a GraceWatch,
    key: KeyId,
    again: Option<Duration>,
}

impl Mending<'_> {
    /// Ends the work: there is nothing left to mend.
    pub(in crate::store) fn end(mut self) {
        self.again = None;
    }

    /// Puts the work off for a minute: the next call would meet the same problem.
    pub(in crate::store) fn put_off(mut self, watch: &ClockWatch) {
        self.again = Some(watch.elapsed().saturating_add(PAUSE));
    }
}

impl Drop for Mending<'_> {
    fn drop(&mut self) {
        if let Some(again) = self.again {
            // Another thread may have noted the key meanwhile.
            self.graces.change(|noted| _ = noted.due.entry(self.key).or_insert(again));
        }
    }
}

impl GraceWatch {
    pub(in crate::store) fn new() -> Self {
        Self { latest: AtomicU64::new(0), is_any: AtomicBool::new(false), noted: Mutex::default() }
    }

    /// Notes the graces of a key, new or changed, before it is published.
    pub(in crate::store) fn note(&self, key: &ScannedKey, watch: &ClockWatch) {
        if key.revoked {
            return self.forget(key.id);
        }
        let latest = key.previous.iter().map(|previous| previous.since.as_millis()).max();
        let is_any = self.is_any.load(Ordering::Relaxed);
        if latest.is_none() && !is_any {
            return;
        }
        let right = watch.expected_now().saturating_add(TOLERANCE);
        let ahead = || key.previous.iter().filter(|previous| previous.since > right);
        let mut is_due = false;
        if is_any || ahead().next().is_some() {
            let elapsed = watch.elapsed();
            is_due = self.change(|noted| {
                let is_ahead =
                    |generation| ahead().any(|previous| previous.token.generation == generation);
                noted.forget_ends(key.id, |generation| !is_ahead(generation));
                for previous in ahead() {
                    let place = (key.id, previous.token.generation);
                    noted.ends.entry(place).or_insert(elapsed.saturating_add(length(previous)));
                    noted.due.entry(key.id).or_default();
                }
                noted.due.contains_key(&key.id)
            });
        }
        // That of a key that is due would have all keys looked at again, for nothing.
        if let Some(latest) = latest.filter(|_| !is_due) {
            self.latest.fetch_max(latest, Ordering::Relaxed);
        }
    }

    /// Forgets a key that is revoked or gone.
    pub(in crate::store) fn forget(&self, key: KeyId) {
        if self.is_any.load(Ordering::Relaxed) {
            self.change(|noted| {
                noted.forget_ends(key, |_| true);
                noted.due.remove(&key);
            });
        }
    }

    /// Forgets all keys that aren't among these.
    pub(in crate::store) fn retain(&self, keys: &BTreeSet<KeyId>) {
        if self.is_any.load(Ordering::Relaxed) {
            self.change(|noted| {
                noted.ends.retain(|(key, _), _| keys.contains(key));
                noted.due.retain(|key, _| keys.contains(key));
            });
        }
    }

    /// Returns whether a previous token's grace is over, though its end lies ahead.
    #[inline]
    pub(in crate::store) fn is_over(
        &self,
        key: KeyId,
        generation: Generation,
        watch: &ClockWatch,
    ) -> bool {
        self.is_any.load(Ordering::Relaxed)
            && self.lock().ends.get(&(key, generation)).is_some_and(|end| *end <= watch.elapsed())
    }

    /// Returns the keys whose graces are to be mended now; none while the clock is ahead.
    pub(in crate::store) fn due(&self, watch: &ClockWatch) -> BTreeSet<KeyId> {
        if !self.is_any.load(Ordering::Relaxed) || watch.ahead().is_some() {
            return BTreeSet::new();
        }
        let elapsed = watch.elapsed();
        let noted = self.lock();
        noted.due.iter().filter(|(_, at)| **at <= elapsed).map(|(key, _)| *key).collect()
    }

    /// Notes keys whose graces are to be mended.
    pub(in crate::store) fn add_due(&self, keys: &BTreeSet<KeyId>) {
        self.change(|noted| keys.iter().for_each(|key| _ = noted.due.entry(*key).or_default()));
    }

    /// Begins to mend the graces of a key.
    pub(in crate::store) fn begin(&self, key: KeyId) -> Mending<'_> {
        self.change(|noted| noted.due.remove(&key));
        Mending { graces: self, key, again: Some(Duration::ZERO) }
    }

    /// Returns the latest begin of a grace, for [`settle`](Self::settle).
    pub(in crate::store) fn latest(&self) -> Timestamp {
        Timestamp::clamped_millis(self.latest.load(Ordering::Relaxed))
    }

    /// Sets the latest begin of a grace after all were examined, unless one was noted meanwhile.
    pub(in crate::store) fn settle(&self, seen: Timestamp, latest: Timestamp) {
        let (seen, latest) = (seen.as_millis(), latest.as_millis());
        let _ = self.latest.compare_exchange(seen, latest, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns a previous token as it is if its grace doesn't begin ahead. Otherwise its grace
    /// begins now, and lasts for what is left of its length.
    pub(in crate::store) fn settled(
        &self,
        key: KeyId,
        previous: &PreviousToken,
        now: Timestamp,
        watch: &ClockWatch,
    ) -> PreviousToken {
        let end = self.lock().ends.get(&(key, previous.token.generation)).copied();
        let is_known = end.is_some() && watch.ahead().is_none();
        if !is_known && !is_ahead(previous.since, now) {
            return previous.clone();
        }
        let left = end.map(|end| end.saturating_sub(watch.elapsed()));
        let left = left.unwrap_or_else(|| length(previous)).min(length(previous));
        PreviousToken { since: now, ends_at: now.saturating_add(left), ..previous.clone() }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Noted) -> T) -> T {
        let mut noted = self.lock();
        let changed = change(&mut noted);
        let is_any = !noted.ends.is_empty() || !noted.due.is_empty();
        self.is_any.store(is_any, Ordering::Relaxed);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    /// Forgets the ends of some of a key's graces.
    fn forget_ends(&mut self, key: KeyId, is_gone: impl Fn(Generation) -> bool) {
        let of_key = self.ends.range(range_of(key)).map(|(place, _)| *place);
        let gone: Vec<_> = of_key.filter(|place| is_gone(place.1)).collect();
        gone.iter().for_each(|place| _ = self.ends.remove(place));
    }
}

/// Returns whether a grace that began at `since` began at a time to come.
pub(in crate::store) fn is_ahead(since: Timestamp, now: Timestamp) -> bool {
    since > now.saturating_add(TOLERANCE)
}

fn length(previous: &PreviousToken) -> Duration {
    previous.ends_at.since(previous.since)
}

fn range_of(key: KeyId) -> std::ops::RangeInclusive<(KeyId, Generation)> {
    (key, Generation::FIRST)..=(key, Generation::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::Memory;
    use crate::clock::{Clock, ManualClock};
    use crate::id::OwnerId;
    use crate::key::Prefix;
    use crate::permission::{Access, Catalogue};
    use crate::store::types::request::{CreateKey, CreateOwner, Rotate};
    use crate::store::{AdminKeys, Store};

    const HOUR: Duration = Duration::from_secs(60 * 60);

    /// A key that is revoked, or that goes with its owner, has no grace.
    #[test]
    fn the_graces_of_a_key_that_ends_are_forgotten() {
        let owner = OwnerId::new("org").unwrap();
        let end: [fn(&AdminKeys, KeyId, OwnerId); 3] = [
            |admin, key, _| _ = admin.revoke(key).unwrap(),
            |admin, _, owner| _ = admin.revoke_all(&owner, None).unwrap(),
            |admin, _, owner| {
                let _ = admin.suspend_owner(&owner).unwrap();
                admin.purge_owner(&owner).unwrap();
            },
        ];
        for (way, end) in end.into_iter().enumerate() {
            let clock = Arc::new(ManualClock::new(Timestamp::clamped_millis(1_767_225_600_000)));
            let catalogue = Catalogue::builder().read("links:read").build().unwrap();
            let builder = Store::builder(catalogue, [Prefix::new("acme").unwrap()]);
            let builder = builder.clock(Arc::<ManualClock>::clone(&clock));
            let store = Arc::new(builder.open(Memory::new()).unwrap());
            let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
            let first = CreateOwner::with_key(CreateKey::new(Access::Full));
            let key = admin.create_owner(&owner, first).unwrap().first_key.unwrap().key.id;
            clock.set(clock.now().saturating_add(HOUR * 24));
            admin.rotate(key, Rotate::with_grace(HOUR)).unwrap();
            let counts = || {
                let noted = store.engine.records.graces.lock();
                (noted.ends.len(), noted.due.len())
            };
            assert_eq!(counts(), (1, 1));
            end(&admin, key, owner);
            store.finish_sweeps().unwrap();
            assert_eq!(counts(), (0, 0), "{way}");
            assert!(!store.engine.records.graces.is_any.load(Ordering::Relaxed));
        }
    }
}
