//! Alerts of keys: their rules, and the state up to which each key was alerted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyhasp::authority::{Actor, Authority, Role};
use keyhasp::event::Fields;
use keyhasp::id::{Generation, KeyId};
use keyhasp::key::Kind;
use keyhasp::{EventKind, Timestamp};

use super::records::KeyFile;
use super::state::Model;

const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Largest number of alerts of rejections in a minute.
const MOST_REFUSED: usize = 10;

/// An alert of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Alert {
    pub(crate) kind: EventKind,
    pub(crate) key: KeyId,
    pub(crate) generation: Option<u32>,
}

/// The state up to which a key was alerted; kept with the key.
#[derive(Clone, Debug, Default)]
pub(super) struct AlertStateFile {
    expired: Told<Option<Timestamp>>,
    expiring: Told<Option<Timestamp>>,
    old_tokens: Told<BTreeSet<u32>>,
    unused: Told<Option<Timestamp>>,
    previous_tokens: Told<BTreeSet<u32>>,
    /// Not again before this moment.
    refused_until: Option<Timestamp>,
}

/// The subjects of alerts of one kind, and when the last alert was told. It doesn't count before
/// that time: the clock was ahead.
#[derive(Clone, Debug, Default)]
struct Told<T> {
    of: T,
    at: Option<Timestamp>,
}

impl<T: Clone + Default> Told<T> {
    fn at(&self, now: Timestamp) -> T {
        if self.at > Some(now) { T::default() } else { self.of.clone() }
    }

    fn put(&mut self, now: Timestamp, of: T) {
        *self = Self { of, at: Some(now) };
    }
}

impl Told<BTreeSet<u32>> {
    fn extend(&mut self, now: Timestamp, more: Option<u32>) {
        let mut of = self.at(now);
        of.extend(more);
        self.put(now, of);
    }
}

/// Observations of one opening of the store.
#[derive(Debug)]
pub(super) struct Alerts {
    opened_at: Timestamp,
    /// Keys that were changed since then.
    changed: BTreeSet<KeyId>,
    late_uses: BTreeSet<(KeyId, u32)>,
    windows: BTreeMap<KeyId, Window>,
    /// The times at which keys were found to be rejected too often.
    noticed_at: Vec<Timestamp>,
    /// Number of alerts that were held back because there were too many in a minute.
    held_back: usize,
    refused: BTreeSet<KeyId>,
    /// Expiries that no scan found before they came.
    missed: BTreeSet<(KeyId, Timestamp)>,
    /// The times at which unused keys are sure to be checked again.
    unused_again: BTreeMap<KeyId, Timestamp>,
}

/// Rejections of a key since the first one of a window.
#[derive(Debug)]
struct Window {
    began_at: Timestamp,
    count: u64,
    is_noticed: bool,
}

impl Alerts {
    pub(super) fn new(opened_at: Timestamp) -> Self {
        Self {
            opened_at,
            changed: BTreeSet::new(),
            late_uses: BTreeSet::new(),
            windows: BTreeMap::new(),
            noticed_at: Vec::new(),
            held_back: 0,
            refused: BTreeSet::new(),
            missed: BTreeSet::new(),
            unused_again: BTreeMap::new(),
        }
    }

    pub(super) fn note_change(&mut self, key: KeyId) {
        self.changed.insert(key);
    }
}

/// An alert, and whether it must be written. If a clock stepped back, some may be written or not.
type Due = (Alert, bool);

impl Model {
    /// Forgets the observations of the opening before, and the uses that it had noted.
    pub(super) fn begin_opening(&mut self) {
        self.forget_rates();
        self.noted_in.clear();
        self.latest_noted = Timestamp::MIN;
        self.alerts = Alerts::new(self.now);
        (self.expected, self.opened_at) = (self.now, self.now);
        self.newest_event = self.time_of_last_event();
        self.purges_from = Duration::ZERO;
        self.keys
            .values_mut()
            .flat_map(KeyFile::tokens_mut)
            .for_each(|token| token.known_end = None);
    }

    /// Notes that a previous token was accepted.
    pub(super) fn notice_previous(&mut self, id: KeyId, generation: u32, end: Option<Timestamp>) {
        let last_part = self.opening.watch.previous_tokens;
        if last_part.zip(end).is_some_and(|(last_part, end)| end.since(self.now) <= last_part) {
            self.alerts.late_uses.insert((id, generation));
        }
    }

    /// Notes that a right secret was rejected.
    pub(super) fn notice_refusal(&mut self, id: KeyId) {
        let (Some((limit, length)), now) = (self.opening.watch.rejections, self.now) else {
            return;
        };
        let alerts = &mut self.alerts;
        let new = || Window { began_at: now, count: 0, is_noticed: false };
        let window = alerts.windows.entry(id).or_insert_with(new);
        // Or the clock has stepped back by more than a window since.
        let is_ahead = window.began_at > now.saturating_add(length);
        if is_ahead || now >= window.began_at.saturating_add(length) {
            *window = new();
        }
        window.count += 1;
        if window.is_noticed || window.count <= limit {
            return;
        }
        alerts.noticed_at.retain(|at| *at <= now && now < at.saturating_add(MINUTE));
        if alerts.noticed_at.len() == MOST_REFUSED {
            alerts.held_back += 1;
            return;
        }
        window.is_noticed = true;
        alerts.noticed_at.push(now);
        alerts.refused.insert(id);
    }

    /// Returns the outcome that a scan must have now, given the alerts that the store wrote. Their
    /// order is the store's own choice.
    pub(super) fn run_alerts(&mut self, told: &[Alert]) -> Vec<Alert> {
        self.flush_usage();
        let mut due = self.due();
        let mut expected = Vec::new();
        for alert in told {
            if let Some(place) = due.iter().position(|(other, _)| other == alert) {
                expected.push(due.remove(place).0);
            }
        }
        expected.extend(due.iter().filter(|(_, must)| *must).map(|(alert, _)| *alert));
        self.note_looked(&expected);
        for alert in &expected {
            self.tell(alert);
        }
        expected
    }

    fn due(&self) -> Vec<Due> {
        let live: Vec<&KeyFile> = self.keys.values().filter(|key| key.is_live()).collect();
        let by_time = live.iter().flat_map(|key| {
            [self.expired(key), self.expiring(key), self.token_old(key), self.unused(key)]
        });
        let is_live = |id: &KeyId| self.keys.get(id).is_some_and(KeyFile::is_live);
        let late = self.alerts.late_uses.iter().filter(|(id, generation)| {
            is_live(id) && !self.told_of(*id).previous_tokens.at(self.now).contains(generation)
        });
        let window = self.opening.watch.rejections.map_or(Duration::ZERO, |(_, window)| window);
        // An alert that lies two windows ahead was written before the clock stepped back.
        let ahead = self.now.saturating_add(window).saturating_add(window);
        let refused = self.alerts.refused.iter().filter(|id| {
            let told = self.told_of(**id).refused_until;
            is_live(id) && told.is_none_or(|until| until <= self.now || until > ahead)
        });
        let late = late.map(|(id, generation)| {
            (alert(EventKind::PreviousTokenUsed, *id, Some(*generation)), true)
        });
        let refused = refused.map(|id| (alert(EventKind::KeyRejected, *id, None), true));
        by_time.flatten().chain(late).chain(refused).collect()
    }

    /// Returns the alert of an expiry, once for each expiry. A key that had expired a week before
    /// the opening isn't alerted, unless its expiry was changed since, which takes a clock that
    /// stepped back.
    fn expired(&self, key: &KeyFile) -> Option<Due> {
        let at = key.expires_at.filter(|at| *at <= self.now && self.opening.watch.expiries)?;
        let is_recent = at >= self.alerts.opened_at.saturating_sub(WEEK);
        let may_be = is_recent || self.alerts.changed.contains(&key.id);
        let is_due = may_be && self.told_of(key.id).expired.at(self.now) != Some(at);
        is_due.then_some((alert(EventKind::KeyExpired, key.id, None), is_recent))
    }

    /// Returns how long before its expiry a key is alerted, and by which event.
    fn ahead_of_expiry(&self, key: &KeyFile) -> Option<(Duration, EventKind)> {
        let watch = &self.opening.watch;
        match (key.kind, watch.trials_ending, watch.expiring) {
            (Kind::Trial, Some(ahead), _) => Some((ahead, EventKind::TrialEnding)),
            (_, _, ahead) => Some((ahead?, EventKind::KeyExpiring)),
        }
    }

    fn expiring(&self, key: &KeyFile) -> Option<Due> {
        let ((ahead, kind), at) = self.ahead_of_expiry(key).zip(key.expires_at)?;
        let is_due = (at.saturating_sub(ahead)..at).contains(&self.now)
            && self.told_of(key.id).expiring.at(self.now) != Some(at);
        let must = !self.alerts.missed.contains(&(key.id, at));
        is_due.then_some((alert(kind, key.id, None), must))
    }

    fn token_old(&self, key: &KeyFile) -> Option<Due> {
        let age = self.opening.watch.old_tokens?;
        let generation = key.current.generation;
        let is_due = self.now >= key.current.issued_at.saturating_add(age)
            && !self.told_of(key.id).old_tokens.at(self.now).contains(&generation);
        is_due.then_some((alert(EventKind::TokenOld, key.id, Some(generation)), true))
    }

    /// Returns the alert of an unused key, once until it is used again. If a clock stepped back,
    /// the next alert may be due before the key is checked again.
    fn unused(&self, key: &KeyFile) -> Option<Due> {
        let since = self.unused_since(key)?;
        let must = self.alerts.unused_again.get(&key.id).is_none_or(|from| *from <= self.now);
        let is_due = self.told_of(key.id).unused.at(self.now) != Some(since);
        is_due.then_some((alert(EventKind::KeyUnused, key.id, None), must))
    }

    /// Returns the time since which a key is unused, if that is long enough.
    fn unused_since(&self, key: &KeyFile) -> Option<Timestamp> {
        let time = self.opening.watch.unused?;
        let last = self.uses.get(&key.id).and_then(super::usage::UsesFile::last_used_at);
        let since = last.max(Some(key.current.issued_at))?;
        (self.now >= since.saturating_add(time)).then_some(since)
    }

    /// Notes that a scan was made, apart from the alerts that it wrote.
    fn note_looked(&mut self, told: &[Alert]) {
        let now = self.now;
        for key in self.keys.values().filter(|key| key.is_live()) {
            if let Some(at) = key.expires_at.filter(|at| *at <= now) {
                self.alerts.missed.insert((key.id, at));
            }
            if let Some(time) = self.opening.watch.unused
                && self.unused_since(key).is_some()
            {
                let next = now.saturating_add(time);
                let was_told = told.contains(&alert(EventKind::KeyUnused, key.id, None));
                let before = self.alerts.unused_again.get(&key.id).copied();
                let later = before.filter(|before| !was_told && *before > now);
                self.alerts.unused_again.insert(key.id, later.map_or(next, |at| at.max(next)));
            }
        }
        self.alerts.late_uses.clear();
        self.alerts.refused.clear();
    }

    fn tell(&mut self, alert: &Alert) {
        let (now, key) = (self.now, self.keys[&alert.key].clone());
        let since = self.unused_since(&key);
        let window = self.opening.watch.rejections.map_or(Duration::ZERO, |(_, window)| window);
        let told = self.told.entry(key.id).or_default();
        match alert.kind {
            EventKind::KeyExpired => told.expired.put(now, key.expires_at),
            EventKind::KeyExpiring | EventKind::TrialEnding => {
                told.expiring.put(now, key.expires_at);
            }
            EventKind::TokenOld => told.old_tokens.extend(now, alert.generation),
            EventKind::KeyUnused => told.unused.put(now, since),
            EventKind::PreviousTokenUsed => told.previous_tokens.extend(now, alert.generation),
            _ => told.refused_until = Some(now.saturating_add(window)),
        }
        let by = Authority::new(Role::Administrator, Actor::new("keyhasp").unwrap());
        let generation = alert.generation.map(|number| Generation::new(number).unwrap());
        let (owner, version) = (Some(key.owner), key.version);
        self.note(&by, alert.kind, owner, Some(key.id), version, generation, Fields::NONE);
    }

    fn told_of(&self, id: KeyId) -> AlertStateFile {
        self.told.get(&id).cloned().unwrap_or_default()
    }

    /// Returns the number of alerts of rejections that this opening held back.
    pub(crate) fn held_back(&self) -> usize {
        self.alerts.held_back
    }

    /// Returns the times at which alerts are due.
    pub(crate) fn moments_to_tell(&self) -> Vec<Timestamp> {
        let watch = &self.opening.watch;
        let mut moments = Vec::new();
        for key in self.keys.values().filter(|key| key.is_live()) {
            if let Some(part) = watch.previous_tokens {
                moments.extend(key.previous.iter().map(|(_, end)| end.saturating_sub(part)));
            }
            let ahead = key.expires_at.zip(self.ahead_of_expiry(key));
            moments.extend(ahead.map(|(at, (ahead, _))| at.saturating_sub(ahead)));
            moments.extend(watch.old_tokens.map(|age| key.current.issued_at.saturating_add(age)));
            let last = self.uses.get(&key.id).and_then(super::usage::UsesFile::last_used_at);
            moments.extend(watch.unused.zip(last).map(|(time, last)| last.saturating_add(time)));
        }
        moments
    }
}

fn alert(kind: EventKind, key: KeyId, generation: Option<u32>) -> Alert {
    Alert { kind, key, generation }
}
