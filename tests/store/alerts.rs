//! Events that no call makes: each at its time, once.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

mod expiring;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{HOUR, START, World, builder, clock};
use keyhasp::backend::{Backend, BackendError, BackendLayer, Change, CommitOutcome, Memory};
use keyhasp::event::Event;
use keyhasp::store::{AlertSettings, ListEvents, StoreBuilder, UsageSettings};
use keyhasp::{
    Access, Clock, CreateKey, EventKind, Expiry, Issued, KeyStore, ManualClock, Rotate, Store,
    Timestamp,
};
use proptest::prelude::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TOLD: [EventKind; 7] = [
    EventKind::KeyExpired,
    EventKind::KeyExpiring,
    EventKind::TrialEnding,
    EventKind::TokenOld,
    EventKind::KeyUnused,
    EventKind::PreviousTokenUsed,
    EventKind::KeyRejected,
];

/// A store that looks out, and its world.
struct Alerts {
    world: World,
    store: Arc<Store>,
    watch: AlertSettings,
    backend: Arc<dyn Backend>,
    /// Stores that were there before: dropped, they would close the backend.
    former: Vec<Arc<Store>>,
}

fn all() -> AlertSettings {
    AlertSettings::new()
        .expiries()
        .trials_ending_within(3 * DAY)
        .tokens_older_than(90 * DAY)
        .keys_unused_for(30 * DAY)
        .previous_tokens_used_within(HOUR)
}

fn open(watch: AlertSettings, backend: &Arc<dyn Backend>, clock: &Arc<ManualClock>) -> Arc<Store> {
    let configure =
        |builder: StoreBuilder| builder.alerts(watch.only_when_asked()).usage(UsageSettings::new());
    // Each opening draws other ids and tokens.
    let seed = u64::try_from(clock.monotonic().as_nanos()).unwrap();
    Arc::new(configure(builder(clock, seed)).open_on(Arc::clone(backend)).unwrap())
}

impl Alerts {
    fn new(watch: AlertSettings) -> Self {
        let clock = clock();
        let backend: Arc<dyn Backend> = Arc::new(Memory::new());
        let store = open(watch, &backend, &clock);
        let world = World::of(Arc::clone(&store) as Arc<dyn KeyStore>, clock);
        Self { world, store, watch, backend, former: Vec::new() }
    }

    /// Another start on the same records.
    fn reopen(&mut self) {
        let clock = Arc::clone(&self.world.clock);
        let store = open(self.watch, &self.backend, &clock);
        self.former.push(std::mem::replace(&mut self.store, store));
        self.world = World::of(Arc::clone(&self.store) as Arc<dyn KeyStore>, clock);
    }

    /// The events that looking out leads to now.
    fn run_alerts(&self) -> Vec<EventKind> {
        let before = self.last();
        let told = self.store.run_alerts().unwrap();
        let events = self.told_after(before);
        assert_eq!(told, events.len());
        events.iter().map(|event| event.kind).collect()
    }

    fn last(&self) -> u64 {
        self.events(0).last().map_or(0, |event| event.sequence)
    }

    fn events(&self, after: u64) -> Vec<Event> {
        let query = ListEvents::new().after(after).limit(1_000);
        self.world.admin.events(&query).unwrap().items
    }

    fn told_after(&self, after: u64) -> Vec<Event> {
        self.events(after).into_iter().filter(|event| TOLD.contains(&event.kind)).collect()
    }

    fn trial(&self, lives: Duration) -> Issued {
        let (keys, _) = self.world.owner("org");
        let admin = &self.world.admin;
        let expiry = Expiry::At(self.world.after(lives));
        let owner = keys.owner().unwrap().id;
        admin.create(&owner, CreateKey::trial(Access::Full, expiry)).unwrap()
    }

    fn later(&self, by: Duration) {
        self.world.clock.advance(by);
    }

    fn verify(&self, issued: &Issued) {
        self.world.verifier.verify(issued.token.expose()).unwrap();
    }
}

#[test]
fn an_expiry_is_told_once_and_again_when_it_was_moved() {
    let mut alerts = Alerts::new(AlertSettings::new().expiries());
    let (keys, _) = alerts.world.owner("org");
    let expiry = Expiry::At(alerts.world.after(HOUR));
    let issued = keys.create(CreateKey::new(Access::Full).expires(expiry)).unwrap();
    alerts.later(HOUR - Duration::from_millis(1));
    assert_eq!(alerts.run_alerts(), []);
    alerts.later(Duration::from_millis(1));
    assert_eq!(alerts.run_alerts(), [EventKind::KeyExpired]);
    let event = alerts.told_after(0).pop().unwrap();
    assert_eq!((event.key, event.at), (Some(issued.key.id), alerts.world.now()));
    assert_eq!((event.version, event.authority.actor.as_str()), (issued.key.version, "keyhasp"));
    assert_eq!(alerts.run_alerts(), []);
    alerts.reopen();
    assert_eq!(alerts.run_alerts(), []);

    let later = Expiry::At(alerts.world.after(HOUR));
    alerts.world.admin.extend_expiry(issued.key.id, later).unwrap();
    alerts.later(HOUR);
    assert_eq!(alerts.run_alerts(), [EventKind::KeyExpired]);
}

#[test]
fn what_came_while_nobody_looked_is_told_for_a_week() {
    let mut alerts = Alerts::new(AlertSettings::new().expiries());
    let (keys, _) = alerts.world.owner("org");
    for lives in [HOUR, 8 * DAY] {
        let expiry = Expiry::At(alerts.world.after(lives));
        keys.create(CreateKey::new(Access::Full).expires(expiry)).unwrap();
    }
    alerts.later(HOUR + 8 * DAY);
    alerts.reopen();
    assert_eq!(alerts.run_alerts(), [EventKind::KeyExpired]);
}

#[test]
fn each_at_its_time() {
    let alerts = Alerts::new(all());
    let trial = alerts.trial(20 * DAY);
    alerts.later(17 * DAY - Duration::from_millis(1));
    assert_eq!(alerts.run_alerts(), []);
    alerts.later(Duration::from_millis(1));
    assert_eq!(alerts.run_alerts(), [EventKind::TrialEnding]);
    alerts.later(3 * DAY);
    assert_eq!(alerts.run_alerts(), [EventKind::KeyExpired]);
    // The trial and its owner's first key, neither used since they were made.
    alerts.later(10 * DAY);
    assert_eq!(alerts.run_alerts(), [EventKind::KeyUnused; 2]);
    alerts.later(60 * DAY);
    assert_eq!(alerts.run_alerts(), [EventKind::TokenOld; 2]);
    assert_eq!(alerts.run_alerts(), []);
    // A new token is young, and its key as good as used.
    alerts.world.admin.convert_trial(trial.key.id, Expiry::Never).unwrap();
    alerts.world.admin.rotate(trial.key.id, Rotate::new()).unwrap();
    alerts.later(30 * DAY);
    assert_eq!(alerts.run_alerts(), [EventKind::KeyUnused]);
    alerts.later(60 * DAY);
    assert_eq!(alerts.run_alerts(), [EventKind::TokenOld]);
}

#[test]
fn a_trial_that_is_over_is_not_about_to_end() {
    let alerts = Alerts::new(AlertSettings::new().trials_ending_within(3 * DAY));
    let trial = alerts.trial(20 * DAY);
    alerts.later(20 * DAY);
    assert_eq!(alerts.run_alerts(), []);
    let expiry = Expiry::At(alerts.world.after(DAY));
    alerts.world.admin.extend_expiry(trial.key.id, expiry).unwrap();
    assert_eq!(alerts.run_alerts(), [EventKind::TrialEnding]);
}

#[test]
fn nothing_is_told_of_the_revoked() {
    let alerts = Alerts::new(all());
    let trial = alerts.trial(20 * DAY);
    alerts.world.admin.revoke(trial.key.id).unwrap();
    alerts.later(365 * DAY);
    let told = alerts.run_alerts();
    assert_eq!(told.len(), 2, "of the first key alone: {told:?}");
}

#[test]
fn an_previous_token_in_use_is_told_at_the_end_of_its_grace() {
    let alerts = Alerts::new(AlertSettings::new().previous_tokens_used_within(HOUR));
    let (keys, first) = alerts.world.owner("org");
    let second = keys.rotate(first.key.id, Rotate::with_grace(6 * HOUR)).unwrap();
    alerts.verify(&first);
    alerts.later(5 * HOUR - Duration::from_millis(1));
    alerts.verify(&first);
    assert_eq!(alerts.run_alerts(), []);
    alerts.later(Duration::from_millis(1));
    alerts.verify(&second);
    assert_eq!(alerts.run_alerts(), []);
    alerts.verify(&first);
    assert_eq!(alerts.run_alerts(), [EventKind::PreviousTokenUsed]);
    assert_eq!(alerts.told_after(0)[0].generation, Some(first.key.generation));
    alerts.verify(&first);
    assert_eq!(alerts.run_alerts(), []);
}

/// Graces needn't end in the order in which tokens were issued.
#[test]
fn each_previous_token_in_use_is_told_whichever_ends_first() {
    let mut alerts = Alerts::new(AlertSettings::new().previous_tokens_used_within(HOUR));
    let (keys, first) = alerts.world.owner("org");
    let second = keys.rotate(first.key.id, Rotate::with_grace(7 * DAY)).unwrap();
    keys.rotate(first.key.id, Rotate::with_grace(HOUR)).unwrap();
    alerts.verify(&second);
    assert_eq!(alerts.run_alerts(), [EventKind::PreviousTokenUsed]);
    alerts.later(7 * DAY - HOUR);
    let before = alerts.last();
    for _ in 0..2 {
        alerts.verify(&first);
        alerts.run_alerts();
        alerts.reopen();
    }
    let told = alerts.told_after(before);
    let generations: Vec<_> = told.iter().map(|event| event.generation).collect();
    assert_eq!(generations, [Some(first.key.generation)]);
}

#[test]
fn unused_keys_are_told_of_only_where_uses_are_kept() {
    let watch = AlertSettings::new().keys_unused_for(DAY);
    let refused = builder(&clock(), 1).alerts(watch).open(Memory::new()).unwrap_err();
    assert!(matches!(&refused, keyhasp::Error::Invalid(why) if why.field() == "keys_unused_for"));
    assert!(refused.to_string().contains("StoreBuilder::usage"), "{refused}");
    let opened = |usage| builder(&clock(), 1).alerts(watch).usage(usage).open(Memory::new());
    assert!(opened(UsageSettings::new()).is_ok());
    assert!(opened(UsageSettings::new().resolution(DAY)).is_err());
    assert!(opened(UsageSettings::new().resolution(DAY).counts()).is_ok());
}

#[test]
fn a_key_in_steady_use_is_not_told_of_as_unused() {
    let watch = AlertSettings::new().keys_unused_for(HOUR).only_when_asked();
    let usage = UsageSettings::new().resolution(HOUR / 4 * 3);
    let clock = clock();
    let store = builder(&clock, 1).alerts(watch).usage(usage).open(Memory::new()).unwrap();
    let store = Arc::new(store);
    let world = World::of(Arc::clone(&store) as Arc<dyn KeyStore>, clock);
    let (_, issued) = world.owner("org");
    for _ in 0..60 {
        world.clock.advance(HOUR / 6);
        world.verifier.verify(issued.token.expose()).unwrap();
        assert_eq!(store.run_alerts().unwrap(), 0);
    }
}

#[test]
fn refusals_are_told_also_after_a_clock_that_was_ahead() {
    let alerts = Alerts::new(AlertSettings::new().rejections(3, Duration::from_secs(60)));
    let (_, issued) = alerts.world.owner("org");
    alerts.world.admin.block(issued.key.id).unwrap();
    let right = alerts.world.now();
    let refuse = || {
        (0..10).for_each(|_| {
            alerts.world.verifier.verify(issued.token.expose()).unwrap_err();
        });
        alerts.run_alerts()
    };
    alerts.world.clock.set(right.saturating_add(365 * DAY));
    assert_eq!(refuse(), [EventKind::KeyRejected]);
    alerts.world.clock.set(right);
    for _ in 0..3 {
        alerts.world.clock.advance(2 * DAY);
        assert_eq!(refuse(), [EventKind::KeyRejected]);
    }
}

#[test]
fn windows_of_refusals_have_limits() {
    for window in [Duration::ZERO, DAY + Duration::from_millis(1)] {
        let watch = AlertSettings::new().rejections(1, window);
        let refused = builder(&clock(), 1).alerts(watch).open(Memory::new()).unwrap_err();
        assert!(
            matches!(refused, keyhasp::Error::Invalid(why) if why.field() == "rejections.window")
        );
    }
}

/// One thing after another, of one key that expires.
#[derive(Clone, Debug)]
enum Step {
    Later(u64),
    LookOut,
    ExtendExpiry(u64),
    Reopen,
    Revoke,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..30_u64).prop_map(Step::Later),
        4 => Just(Step::LookOut),
        2 => (1..40_u64).prop_map(Step::ExtendExpiry),
        1 => Just(Step::Reopen),
        1 => Just(Step::Revoke),
    ]
}

proptest! {
    /// Whatever happens between: an expiry is told by the first look after it, and by no other.
    #[test]
    fn each_expiry_is_told_by_the_first_look_after_it(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut alerts = Alerts::new(AlertSettings::new().expiries());
        let (keys, _) = alerts.world.owner("org");
        let hours = |hours: u64| HOUR * u32::try_from(hours).unwrap();
        let mut expiry = alerts.world.after(hours(20));
        let request = CreateKey::new(Access::Full).expires(Expiry::At(expiry));
        let id = keys.create(request).unwrap().key.id;
        let mut told: Option<Timestamp> = None;
        let mut is_revoked = false;
        for step in steps {
            match step {
                Step::Later(by) => alerts.later(hours(by)),
                Step::LookOut => {
                    let is_due = !is_revoked && expiry <= alerts.world.now() && told != Some(expiry);
                    // What expired a week before a start isn't told; no sequence takes so long.
                    let expected: &[_] = if is_due { &[EventKind::KeyExpired] } else { &[] };
                    prop_assert_eq!(alerts.run_alerts(), expected);
                    if is_due {
                        told = Some(expiry);
                    }
                }
                Step::ExtendExpiry(by) if !is_revoked => {
                    let later = expiry.max(alerts.world.now()).saturating_add(hours(by));
                    alerts.world.admin.extend_expiry(id, Expiry::At(later)).unwrap();
                    expiry = later;
                }
                Step::ExtendExpiry(_) => {}
                Step::Reopen => {
                    let since = alerts.world.now().since(expiry);
                    if since < 6 * DAY {
                        alerts.reopen();
                    }
                }
                Step::Revoke => {
                    alerts.world.admin.revoke(id).unwrap();
                    is_revoked = true;
                }
            }
        }
        prop_assert!(alerts.world.now().as_millis() >= START);
    }
}

#[test]
fn often_refused_is_told_once_in_a_window_and_floods_are_bounded() {
    let alerts = Alerts::new(AlertSettings::new().rejections(3, HOUR));
    let keys: Vec<Issued> =
        (0..15).map(|number| alerts.world.owner(&format!("org-{number}")).1).collect();
    let admin = &alerts.world.admin;
    keys.iter().for_each(|issued| _ = admin.block(issued.key.id).unwrap());
    let refuse = |issued: &Issued| {
        let text = issued.token.expose();
        assert!(alerts.world.verifier.verify(text).is_err());
        // A wrong secret counts for no key.
        assert!(alerts.world.verifier.verify(&text[..text.len() - 1]).is_err());
    };
    (0..3).for_each(|_| refuse(&keys[0]));
    assert_eq!(alerts.run_alerts(), []);
    (0..3).for_each(|_| refuse(&keys[0]));
    assert_eq!(alerts.run_alerts(), [EventKind::KeyRejected]);
    (0..30).for_each(|_| refuse(&keys[0]));
    assert_eq!(alerts.run_alerts(), []);
    // Ten in a minute, this one included.
    keys.iter().for_each(|issued| (0..4).for_each(|_| refuse(issued)));
    assert_eq!(alerts.run_alerts().len(), 9);
    alerts.later(Duration::from_secs(60));
    keys.iter().for_each(refuse);
    assert_eq!(alerts.run_alerts().len(), 5);
}

#[test]
fn uses_that_are_not_written_yet_count() {
    let watch = AlertSettings::new().keys_unused_for(30 * DAY).only_when_asked();
    let world_clock = clock();
    let store = builder(&world_clock, 1).alerts(watch).usage(UsageSettings::new());
    let store = Arc::new(store.open(Memory::new()).unwrap());
    let world = World::of(Arc::clone(&store) as Arc<dyn KeyStore>, world_clock);
    let (_, issued) = world.owner("org");
    let told = || store.run_alerts().unwrap();
    world.clock.advance(29 * DAY);
    world.verifier.verify(issued.token.expose()).unwrap();
    world.clock.advance(DAY);
    assert_eq!(told(), 0);
    world.clock.advance(29 * DAY);
    assert_eq!((told(), told()), (1, 0));
    // Used again, and unused again.
    world.verifier.verify(issued.token.expose()).unwrap();
    world.clock.advance(30 * DAY);
    assert_eq!((told(), told()), (1, 0));
}

/// Each process looks out; what one has told the other doesn't.
#[cfg(feature = "sqlite")]
#[test]
fn two_processes_tell_once() {
    use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};

    let directory = tempfile::tempdir().unwrap();
    let world_clock = clock();
    let open = |seed| {
        let options = SqliteOptions::shared(Duration::from_secs(600)).unwrap();
        let database = Sqlite::open_or_create(directory.path().join("keys.db"), options).unwrap().0;
        let builder = builder(&world_clock, seed).usage(UsageSettings::new());
        let store = builder.alerts(all().only_when_asked()).open(database);
        Arc::new(store.unwrap())
    };
    let (one, other) = (open(1), open(2));
    let world = World::of(Arc::clone(&one) as Arc<dyn KeyStore>, Arc::clone(&world_clock));
    let (keys, _) = world.owner("org");
    let expiry = Expiry::At(world.after(HOUR));
    keys.create(CreateKey::new(Access::Full).expires(expiry)).unwrap();
    other.refresh().unwrap();
    world_clock.advance(HOUR);
    assert_eq!((one.run_alerts().unwrap(), other.run_alerts().unwrap()), (1, 0));
    drop((world, keys, one, other));
    assert_eq!(open(3).run_alerts().unwrap(), 0);
}

/// A due alert stays due until it is written.
#[cfg(feature = "testing")]
#[test]
fn what_could_not_be_told_is_told_later() {
    use keyhasp::backend::BackendErrorKind;
    use keyhasp::testing::{Failing, Fault, Moment, Target};

    let kind = BackendErrorKind::Io;
    for nth in 1.. {
        let failing = Arc::new(Failing::new(Memory::new()));
        let world_clock = clock();
        let watch = all().rejections(0, HOUR).only_when_asked();
        let store = builder(&world_clock, 1).alerts(watch).usage(UsageSettings::new());
        let store = Arc::new(store.open_on(Arc::clone(&failing) as Arc<dyn Backend>).unwrap());
        let world = World::of(Arc::clone(&store) as Arc<dyn KeyStore>, Arc::clone(&world_clock));
        let (keys, first) = world.owner("org");
        let expiry = Expiry::At(world.after(HOUR));
        let expiring = keys.create(CreateKey::new(Access::Full).expires(expiry)).unwrap();
        keys.rotate(first.key.id, Rotate::with_grace(HOUR)).unwrap();
        world.verifier.verify(first.token.expose()).unwrap();
        world_clock.advance(HOUR);
        assert!(world.verifier.verify(expiring.token.expose()).is_err());

        failing.inject(Fault {
            target: Target::Any,
            nth,
            moment: Moment::Before(kind),
            lasting: false,
        });
        let before = store.run_alerts().is_ok();
        failing.heal();
        store.run_alerts().unwrap();
        let query = ListEvents::new().limit(1_000);
        let events = world.admin.events(&query).unwrap().items;
        let mut told: Vec<EventKind> =
            events.iter().map(|event| event.kind).filter(|kind| TOLD.contains(kind)).collect();
        told.sort();
        let expected =
            [EventKind::KeyExpired, EventKind::PreviousTokenUsed, EventKind::KeyRejected];
        assert_eq!(told, expected, "where operation {nth} fails");
        if before {
            assert!(nth > 6, "only {nth} operations");
            return;
        }
    }
}

/// Counts the commits.
#[derive(Debug)]
struct Commits {
    backend: Arc<dyn Backend>,
    batches: AtomicUsize,
}

impl BackendLayer for Commits {
    fn inner(&self) -> &dyn Backend {
        &*self.backend
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.backend.commit(batch)
    }
}

/// More than one round checks.
const MANY: usize = 1_100;

/// Alerts that an earlier process wrote cost no commit, and a new one doesn't wait for a later scan.
#[test]
fn after_a_restart_alerts_that_were_written_delay_none() {
    let mut alerts = Alerts::new(AlertSettings::new().tokens_older_than(90 * DAY));
    (0..MANY).for_each(|number| _ = alerts.world.owner(&format!("org-{number}")));
    alerts.later(30 * DAY);
    let (_, last) = alerts.world.owner("org");
    alerts.later(60 * DAY);
    assert_eq!((alerts.store.run_alerts().unwrap(), alerts.store.run_alerts().unwrap()), (MANY, 0));

    let commits =
        Arc::new(Commits { backend: Arc::clone(&alerts.backend), batches: AtomicUsize::new(0) });
    alerts.backend = Arc::<Commits>::clone(&commits);
    alerts.later(30 * DAY);
    alerts.reopen();
    let before = commits.batches.load(Ordering::Relaxed);
    assert_eq!(alerts.store.run_alerts().unwrap(), 1);
    assert_eq!(commits.batches.load(Ordering::Relaxed) - before, 1);
    let told = alerts.told_after(alerts.backend.last_event().unwrap() - 1);
    assert_eq!((told[0].kind, told[0].key), (EventKind::TokenOld, Some(last.key.id)));
}
