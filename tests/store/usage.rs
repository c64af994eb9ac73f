//! Usage of keys: noted by verification, answered at once, written in batches.
#![cfg(all(feature = "testing", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::common::{HOUR, builder, clock, owner};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind, Memory, UsageSubject};
use keyhasp::key::{RejectKind, RejectedCounts};
use keyhasp::store::{KeyUsage, UsageSettings};
use keyhasp::testing::{Failing, Fault, Moment, Target};
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Issued, KeyId, KeyStore, ListKeys, ManualClock,
    Store, Timestamp, Token, Verifier, VerifyRequest,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);

struct World {
    store: Arc<Store>,
    clock: Arc<ManualClock>,
    admin: AdminKeys,
    verifier: Verifier,
}

/// Nothing is written but when a test says so: the longest interval there is.
fn quiet() -> UsageSettings {
    UsageSettings::new().interval(HOUR)
}

impl World {
    fn on(backend: Arc<dyn Backend>, clock: Arc<ManualClock>, settings: UsageSettings) -> Self {
        let store = Arc::new(builder(&clock, 7).usage(settings).open_on(backend).unwrap());
        let admin = AdminKeys::new(Arc::<Store>::clone(&store), "root").unwrap();
        let verifier = Verifier::new(Arc::<Store>::clone(&store));
        Self { store, clock, admin, verifier }
    }

    fn new(settings: UsageSettings) -> (Self, Arc<Failing<Memory>>) {
        let backend = Arc::new(Failing::new(Memory::new()));
        let world = Self::on(Arc::<Failing<Memory>>::clone(&backend), clock(), settings);
        (world, backend)
    }

    fn key(&self, id: &str) -> Issued {
        let request = CreateOwner::with_key(CreateKey::new(Access::Full));
        self.admin.create_owner(&owner(id), request).unwrap().first_key.unwrap()
    }

    fn verify(&self, token: &Token) {
        let _ = self.verifier.verify(token.expose());
    }

    fn from(&self, token: &Token, address: [u8; 4]) {
        let request = VerifyRequest::new(token.expose().as_bytes()).address(address.into());
        self.store.verify_request(&request).unwrap();
    }

    fn usage(&self, key: KeyId) -> KeyUsage {
        self.admin.get(key).unwrap().usage.unwrap()
    }

    fn listed(&self) -> BTreeMap<KeyId, KeyUsage> {
        let page = self.admin.list(&ListKeys::new()).unwrap();
        page.items.into_iter().map(|key| (key.id, key.usage.unwrap())).collect()
    }
}

fn written(backend: &dyn Backend, key: KeyId) -> keyhasp::key::Used {
    backend.usage(&[UsageSubject::Key(key)]).unwrap()[0].used
}

#[test]
fn nothing_is_kept_unless_told() {
    let world = crate::common::World::new();
    let (keys, first) = world.owner("org");
    world.verifier.verify(first.token.expose()).unwrap();
    assert_eq!(keys.get(first.key.id).unwrap().usage, None);
    assert_eq!(first.key.usage, None);
}

#[test]
fn a_use_is_answered_at_once_and_written_when_flushed() {
    let (world, backend) = World::new(quiet());
    let (used, other) = (world.key("org"), world.key("other"));
    assert_eq!(used.key.usage, Some(KeyUsage::default()));
    let events = backend.last_event().unwrap();
    world.verify(&used.token);
    let now = world.clock_now();
    assert_eq!(world.usage(used.key.id).last_used_at, Some(now));
    assert_eq!(world.listed()[&used.key.id].last_used_at, Some(now));
    assert_eq!(world.usage(other.key.id), KeyUsage::default());
    assert_eq!(written(&*backend, used.key.id).last_used_at, None);
    world.store.flush_usage().unwrap();
    assert_eq!(written(&*backend, used.key.id).last_used_at, Some(now));
    assert_eq!(world.usage(used.key.id).last_used_at, Some(now));
    // Neither an event nor a version.
    assert_eq!(backend.last_event().unwrap(), events);
    assert_eq!(world.admin.get(used.key.id).unwrap().version, used.key.version);
}

impl World {
    fn clock_now(&self) -> Timestamp {
        use keyhasp::Clock;
        self.clock.now()
    }
}

#[test]
fn within_the_resolution_nothing_more_is_written() {
    let (world, backend) = World::new(quiet());
    let key = world.key("org");
    let first = world.clock_now();
    for _ in 0..100 {
        world.verify(&key.token);
        world.clock.advance(Duration::from_millis(500));
    }
    world.store.flush_usage().unwrap();
    let noted = written(&*backend, key.key.id);
    assert_eq!((noted.last_used_at, noted.accepted), (Some(first), 0));
    let operations = backend.operations();
    world.verify(&key.token);
    world.store.flush_usage().unwrap();
    assert_eq!(backend.operations(), operations, "nothing was to be written");
    world.clock.advance(MINUTE);
    world.verify(&key.token);
    world.store.flush_usage().unwrap();
    assert_eq!(written(&*backend, key.key.id).last_used_at, Some(world.clock_now()));
}

#[test]
fn what_a_clock_noted_before_it_stepped_back_counts_as_noted_now() {
    let (world, _) = World::new(quiet());
    let key = world.key("org");
    world.clock.advance(HOUR);
    world.verify(&key.token);
    let last = world.clock_now();
    world.clock.set(last.saturating_sub(HOUR));
    world.verify(&key.token);
    let noted = Some(world.clock_now());
    assert_eq!(world.usage(key.key.id).last_used_at, noted);
    world.store.flush_usage().unwrap();
    world.clock.advance(MINUTE);
    assert_eq!(world.usage(key.key.id).last_used_at, noted);
    // The time comes again, and the use is another one.
    world.clock.set(last);
    world.verify(&key.token);
    assert_eq!(world.usage(key.key.id).last_used_at, Some(last));
}

#[test]
fn refusals_of_the_right_secret_are_counted_by_reason() {
    let (world, backend) = World::new(quiet());
    let key = world.key("org");
    let id = key.key.id;
    world.admin.deactivate(id).unwrap();
    (0..3).for_each(|_| world.verify(&key.token));
    world.admin.block(id).unwrap();
    world.verify(&key.token);
    // A wrong secret says nothing of the key.
    let mut wrong = key.token.expose().as_bytes().to_vec();
    let position = wrong.len() - 10;
    wrong[position] ^= 1;
    assert!(world.verifier.verify(&wrong).is_err());
    let mut expected = RejectedCounts::default();
    expected.add(RejectKind::Deactivated, 3);
    expected.add(RejectKind::Blocked, 1);
    let found = world.usage(id);
    assert_eq!((found.rejected, found.last_used_at), (expected, None));
    world.store.flush_usage().unwrap();
    assert_eq!(world.usage(id), found);
    assert_eq!(written(&*backend, id).rejected, expected);
    let json = serde_json::to_value(world.usage(id)).unwrap();
    assert_eq!(json["rejected"], serde_json::json!({"blocked": 1, "deactivated": 3}));
}

#[test]
fn addresses_are_kept_if_wanted_and_for_as_long() {
    let (world, backend) = World::new(quiet().addresses(HOUR));
    let key = world.key("org");
    let id = key.key.id;
    world.from(&key.token, [192, 0, 2, 1]);
    let seen = world.usage(id).last_address.unwrap();
    assert_eq!((seen.address, seen.at), (IpAddr::from([192, 0, 2, 1]), world.clock_now()));
    world.clock.advance(MINUTE);
    world.from(&key.token, [192, 0, 2, 2]);
    world.store.flush_usage().unwrap();
    assert_eq!(world.usage(id).last_address.unwrap().address, IpAddr::from([192, 0, 2, 2]));
    world.clock.advance(HOUR + MINUTE);
    assert_eq!(world.usage(id).last_address, None);
    // It goes from the database when the key is written the next time.
    world.verify(&key.token);
    world.store.flush_usage().unwrap();
    assert_eq!(written(&*backend, id).last_address, None);

    let (world, _) = World::new(quiet());
    let key = world.key("org");
    world.from(&key.token, [192, 0, 2, 1]);
    assert_eq!(world.usage(key.key.id).last_address, None);
}

#[test]
fn addresses_of_keys_that_are_used_no_more_are_forgotten() {
    let (world, backend) = World::new(quiet().addresses(HOUR));
    let keys: Vec<Issued> = (0..2_060).map(|n| world.key(&format!("org-{n}"))).collect();
    keys.iter().for_each(|key| world.from(&key.token, [192, 0, 2, 1]));
    world.store.flush_usage().unwrap();
    let known = || {
        let is_known = |key: &&Issued| written(&*backend, key.key.id).last_address.is_some();
        keys.iter().filter(is_known).count()
    };
    assert_eq!(known(), 2_060);
    world.clock.advance(HOUR - MINUTE);
    // To the end, and from the beginning again.
    for _ in 0..3 {
        world.store.flush_usage().unwrap();
        assert_eq!(known(), 2_060);
    }
    world.clock.advance(MINUTE * 2);
    world.from(&keys[7].token, [192, 0, 2, 7]);
    for left in [12, 1] {
        world.store.flush_usage().unwrap();
        assert_eq!(known(), left);
    }
}

/// A store that can't look for old addresses has written the usage all the same, and looks again.
#[test]
fn what_was_used_is_written_though_addresses_are_not_looked_for() {
    let (world, backend) = World::new(quiet().addresses(HOUR));
    let (used, unused) = (world.key("org"), world.key("other"));
    world.from(&unused.token, [192, 0, 2, 1]);
    world.store.flush_usage().unwrap();
    world.clock.advance(HOUR + MINUTE);
    world.verify(&used.token);
    let moment = Moment::Before(BackendErrorKind::Corrupt);
    backend.inject(Fault { target: Target::Reads, nth: 1, moment, lasting: true });
    assert!(world.store.flush_usage().is_err());
    backend.heal();
    assert!(written(&*backend, used.key.id).last_used_at.is_some());
    assert!(written(&*backend, unused.key.id).last_address.is_some());
    world.store.flush_usage().unwrap();
    assert_eq!(written(&*backend, unused.key.id).last_address, None);
}

#[test]
fn addresses_that_are_kept_no_more_are_forgotten() {
    let dir = TempDir::new().unwrap();
    let open = |settings| {
        let options = SqliteOptions::exclusive();
        let backend =
            Arc::new(Sqlite::open_or_create(dir.path().join("keys.db"), options).unwrap().0);
        (World::on(Arc::<Sqlite>::clone(&backend), clock(), settings), backend)
    };
    let (world, backend) = open(quiet().addresses(HOUR));
    let key = world.key("org");
    world.from(&key.token, [192, 0, 2, 1]);
    world.store.flush_usage().unwrap();
    assert!(written(&*backend, key.key.id).last_address.is_some());
    world.store.close().unwrap();
    let (world, backend) = open(quiet());
    world.store.flush_usage().unwrap();
    assert_eq!(written(&*backend, key.key.id).last_address, None);
}

#[test]
fn a_failing_backend_keeps_nothing_from_being_written_later() {
    let (world, backend) = World::new(quiet().counts());
    let key = world.key("org");
    let id = key.key.id;
    let full = Moment::Before(BackendErrorKind::Full);
    backend.inject(Fault { target: Target::Usage, nth: 1, moment: full, lasting: true });
    for round in 1..4 {
        world.verify(&key.token);
        assert!(world.store.flush_usage().is_err());
        assert_eq!(world.usage(id).accepted, Some(round), "what isn't written is answered");
    }
    assert_eq!(written(&*backend, id).accepted, 0);
    backend.heal();
    world.store.flush_usage().unwrap();
    assert_eq!((written(&*backend, id).accepted, world.usage(id).accepted), (3, Some(3)));
}

/// Whether it took effect or not, nothing is counted twice, and the last use isn't lost.
#[test]
fn a_write_of_unknown_outcome_counts_nothing_twice() {
    for (moment, took_effect) in
        [(Moment::After, 5), (Moment::Before(BackendErrorKind::OutcomeUnknown), 0)]
    {
        let (world, backend) = World::new(quiet().counts());
        let key = world.key("org");
        (0..5).for_each(|_| world.verify(&key.token));
        backend.inject(Fault { target: Target::Usage, nth: 1, moment, lasting: false });
        assert!(world.store.flush_usage().is_err());
        world.store.recover().unwrap();
        world.store.flush_usage().unwrap();
        let noted = written(&*backend, key.key.id);
        assert_eq!((noted.accepted, noted.last_used_at), (took_effect, Some(world.clock_now())));
        assert_eq!(world.usage(key.key.id).accepted, Some(took_effect));
        assert_eq!(backend.commits_refused(), 0);
    }
}

#[test]
fn settings_outside_their_limits_are_refused() {
    let zero = Duration::ZERO;
    for (settings, field) in [
        (quiet().resolution(zero), "usage.resolution"),
        (quiet().resolution(HOUR * 25), "usage.resolution"),
        (quiet().interval(zero), "usage.interval"),
        (quiet().interval(HOUR * 2), "usage.interval"),
        (quiet().addresses(zero), "usage.addresses"),
    ] {
        let refused = builder(&clock(), 1).usage(settings).open(Memory::new());
        let Err(keyhasp::Error::Invalid(invalid)) = refused else { panic!("{settings:?}") };
        assert_eq!(invalid.field(), field);
    }
}

/// A place that outlives a store.
enum Place {
    Sqlite(TempDir),
    #[cfg(feature = "sled")]
    Sled(TempDir),
}

impl Place {
    fn each() -> Vec<Self> {
        vec![
            Self::Sqlite(TempDir::new().unwrap()),
            #[cfg(feature = "sled")]
            Self::Sled(TempDir::new().unwrap()),
        ]
    }

    fn open(&self) -> Arc<dyn Backend> {
        match self {
            Self::Sqlite(dir) => {
                let options = SqliteOptions::exclusive();
                Arc::new(Sqlite::open_or_create(dir.path().join("keys.db"), options).unwrap().0)
            }
            #[cfg(feature = "sled")]
            Self::Sled(dir) => {
                use keyhasp::backend::sled::{Sled, SledOptions};
                Arc::new(
                    Sled::open_or_create(dir.path().join("keys"), SledOptions::default())
                        .unwrap()
                        .0,
                )
            }
        }
    }
}

#[test]
fn nothing_is_lost_at_close_and_at_drop() {
    for place in Place::each() {
        for closes in [true, false] {
            let clock = clock();
            let id = if closes { "closed" } else { "dropped" };
            let world = World::on(place.open(), Arc::clone(&clock), quiet().counts());
            let key = world.key(id);
            // More than fit into the logs of a thread.
            let other = world.key(&format!("{id}-too"));
            for _ in 0..2_000 {
                world.verify(&key.token);
                world.verify(&other.token);
            }
            if closes {
                world.store.close().unwrap();
            }
            drop(world);
            let world = World::on(place.open(), clock, quiet().counts());
            assert_eq!(world.usage(key.key.id).accepted, Some(2_000));
            assert_eq!(world.usage(other.key.id).last_used_at, Some(world.clock_now()));
        }
    }
}

/// However verifications, flushes, failures and time mix: every use is counted once, and shown as
/// soon as it is over.
#[test]
fn sums_are_what_was_verified() {
    for seed in 0..20 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (world, backend) = World::new(quiet().counts());
        let keys: Vec<_> = (0..5).map(|n| world.key(&format!("org{n}"))).collect();
        let mut model = vec![(0_u64, None, 0_u64); keys.len()];
        for step in 0..400 {
            let n = random.next_u32() as usize % keys.len();
            let id = keys[n].key.id;
            let context = format!("seed {seed}, step {step}");
            match random.next_u32() % 20 {
                0 => drop(world.store.flush_usage()),
                1 => {
                    let full = Moment::Before(BackendErrorKind::Full);
                    let nth = u64::from(random.next_u32() % 2);
                    backend.inject(Fault {
                        target: Target::Usage,
                        nth,
                        moment: full,
                        lasting: false,
                    });
                }
                2 => world.clock.advance(MINUTE * (random.next_u32() % 3)),
                3 => {
                    let is_on = world.admin.get(id).unwrap().deactivated.is_some();
                    let switch = if is_on { AdminKeys::activate } else { AdminKeys::deactivate };
                    drop(switch(&world.admin, id).unwrap());
                }
                4 => {
                    let found = world.usage(id);
                    let refused = found.rejected.get(RejectKind::Deactivated);
                    let found = (found.accepted.unwrap(), found.last_used_at, refused);
                    assert_eq!(found, model[n], "{context}");
                }
                _ => match world.verifier.verify(keys[n].token.expose()) {
                    Ok(_) => {
                        model[n].0 += 1;
                        model[n].1 = model[n].1.max(Some(world.clock_now()));
                    }
                    Err(_) => model[n].2 += 1,
                },
            }
        }
        backend.heal();
        world.store.flush_usage().unwrap();
        for (key, model) in keys.iter().zip(&model) {
            let used = written(&*backend, key.key.id);
            let refused = used.rejected.get(RejectKind::Deactivated);
            assert_eq!((used.accepted, used.last_used_at, refused), *model, "seed {seed}");
        }
    }
}

#[test]
fn uses_of_many_threads_are_all_counted() {
    const EACH: usize = 20_000;
    let (world, backend) = World::new(quiet().counts());
    let keys: Vec<_> = (0..3).map(|n| world.key(&format!("org{n}"))).collect();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (world, keys) = (&world, &keys);
            scope.spawn(move || {
                for n in 0..EACH {
                    // Partly one key, partly in turns.
                    let key = if thread < 2 { 0 } else { n % keys.len() };
                    world.verify(&keys[key].token);
                }
            });
        }
        // Answers and writes meanwhile; what is shown never goes down.
        let mut before = 0;
        for _ in 0..50 {
            world.store.flush_usage().unwrap();
            let now: u64 = world.listed().values().filter_map(|usage| usage.accepted).sum();
            assert!(now >= before, "{now} after {before}");
            before = now;
        }
    });
    let all: u64 = world.listed().values().filter_map(|usage| usage.accepted).sum();
    assert_eq!(all, 4 * EACH as u64);
    world.store.flush_usage().unwrap();
    let all: u64 = keys.iter().map(|key| written(&*backend, key.key.id).accepted).sum();
    assert_eq!(all, 4 * EACH as u64);
}

/// The writer of the store itself, at its interval: waited for, as long as it takes.
#[test]
fn it_is_written_at_the_interval() {
    let (world, backend) = World::new(UsageSettings::new().interval(Duration::from_secs(1)));
    let key = world.key("org");
    world.verify(&key.token);
    while written(&*backend, key.key.id).last_used_at.is_none() {
        thread::yield_now();
    }
}
