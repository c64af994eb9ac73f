//! Keys with a rate or a quota, used by many at once while others change them: never is more
//! accepted than the limit allows, and of a quota nothing is lost.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyhasp::backend::Backend;
use keyhasp::{
    Access, CreateKey, CreateOwner, Grant, KeyId, KeyStore, ManualClock, OwnerKeys, Quota, Rate,
    Refusal, Rotate, SetLimits, UpdateKey, UpdateOwner, VerifyRequest,
};

use crate::Wrap;
use crate::chance::Chance;
use crate::common::{World, builder, clock, owner};
use crate::stirred::Stirred;

/// How many verify at once, and how often each.
const THREADS: u64 = 4;
const TRIES: usize = 2_000;
const OWNER: &str = "org";

/// Whose the limit is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    Key,
    Owner,
}

/// Two keys of one owner, of which the first or both together are limited.
struct Limited {
    world: World,
    keys: OwnerKeys,
    first: KeyId,
    /// Tokens that were issued, each with its key.
    tokens: Mutex<Vec<(KeyId, String)>>,
    /// How many uses of each key were accepted.
    accepted: Mutex<BTreeMap<KeyId, u64>>,
    of: Of,
}

impl Limited {
    fn new(
        backend: Arc<dyn Backend>,
        seed: u64,
        of: Of,
        limits: SetLimits,
        wrap: Wrap<'_>,
    ) -> Self {
        let clock = clock();
        let stirred = Arc::new(Stirred::new(backend, seed));
        let store: Arc<dyn KeyStore> = Arc::new(builder(&clock, seed).open_on(stirred).unwrap());
        let world = World::of(wrap(store), clock);
        let (own, all) = match of {
            Of::Key => (limits, SetLimits::new()),
            Of::Owner => (SetLimits::new(), limits),
        };
        let request = CreateOwner::with_key(CreateKey::new(Access::Full).limits(own)).limits(all);
        let (keys, first) = world.owner_with(OWNER, request);
        let second = keys.create(CreateKey::new(Access::Full)).unwrap();
        let tokens = [&first, &second].map(|key| (key.key.id, key.token.expose().to_owned()));
        let tokens = Mutex::new(tokens.to_vec());
        let accepted = Mutex::default();
        Self { world, keys, first: first.key.id, tokens, accepted, of }
    }

    fn clock(&self) -> &ManualClock {
        &self.world.clock
    }

    /// One use by a token that was issued at some time.
    fn ask(&self, chance: &mut Chance) -> Result<Grant, Refusal> {
        let (key, text) = chance.pick_late(&self.tokens.lock().unwrap()).unwrap();
        self.ask_with(key, &text)
    }

    fn ask_with(&self, key: KeyId, text: &str) -> Result<Grant, Refusal> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let request = VerifyRequest::new(text.as_bytes()).address(address);
        let told = self.world.store.verify_request(&request);
        *self.accepted.lock().unwrap().entry(key).or_default() += u64::from(told.is_ok());
        told
    }

    /// What was accepted of what is limited.
    fn accepted(&self) -> u64 {
        let accepted = self.accepted.lock().unwrap();
        match self.of {
            Of::Key => accepted.get(&self.first).copied().unwrap_or(0),
            Of::Owner => accepted.values().sum(),
        }
    }

    /// Changes something of the limited key or its owner; of other limits only if told.
    fn disturb(&self, chance: &mut Chance, round: u64, with_limits: bool) {
        let (admin, key) = (&self.world.admin, self.first);
        let name = UpdateKey::new().name(format!("n{round}"));
        let networks = ["127.0.0.0/8", "0.0.0.0/0", "127.0.0.1"];
        let limits = SetLimits::new().networks([chance.pick(&networks).parse().unwrap()]);
        match chance.below(if with_limits { 7 } else { 5 }) {
            0 => {
                let issued = admin.rotate(key, Rotate::new()).unwrap();
                self.tokens.lock().unwrap().push((key, issued.token.expose().to_owned()));
            }
            1 => {
                admin.block(key).unwrap();
                admin.unblock(key).unwrap();
            }
            2 => {
                self.keys.deactivate(key).unwrap();
                self.keys.activate(key).unwrap();
            }
            3 => drop(self.keys.update(key, name).unwrap()),
            4 => {
                admin.suspend_owner(&owner(OWNER)).unwrap();
                admin.resume_owner(&owner(OWNER)).unwrap();
            }
            5 => drop(admin.update(key, UpdateKey::new().limits(limits)).unwrap()),
            _ => {
                drop(admin.update_owner(&owner(OWNER), UpdateOwner::new().limits(limits)).unwrap());
            }
        }
    }

    /// All at once: those who verify, and one who changes things and moves the clock.
    fn play(&self, seed: u64, with_limits: bool, steps: impl Fn(&mut Chance) -> Duration) {
        let (running, rounds) = (AtomicU64::new(THREADS), AtomicU64::new(0));
        let failed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (running, failed) = (&running, &failed);
                scope.spawn(move || {
                    let mut chance = Chance::new(seed * 100 + thread);
                    for _ in 0..TRIES {
                        match self.ask(&mut chance) {
                            Ok(_)
                            | Err(
                                Refusal::Unrecognized
                                | Refusal::Unfit(_)
                                | Refusal::RateLimited(_)
                                | Refusal::QuotaExhausted { .. },
                            ) => {}
                            Err(other) => {
                                println!("{other:?} (seed {seed})");
                                failed.store(true, Ordering::Relaxed);
                            }
                        }
                        if chance.percent(5) {
                            std::thread::yield_now();
                        }
                    }
                    running.fetch_sub(1, Ordering::Relaxed);
                });
            }
            let mut chance = Chance::new(seed * 100 + 99);
            while running.load(Ordering::Relaxed) > 0 {
                let round = rounds.fetch_add(1, Ordering::Relaxed);
                self.disturb(&mut chance, round, with_limits);
                self.clock().advance(steps(&mut chance));
            }
        });
        assert!(!failed.load(Ordering::Relaxed), "no race excuses it (seed {seed})");
    }
}

/// A quota, while all else changes: what was accepted, and how many uses there were.
pub(crate) fn quota(backend: Arc<dyn Backend>, seed: u64, of: Of, wrap: Wrap<'_>) -> (u64, u64) {
    let uses = [0, 1, 20, 300, 1_500][(seed % 5) as usize];
    let limits = SetLimits::new().quota(Quota::once(uses).unwrap());
    let limited = Limited::new(backend, seed, of, limits, wrap);
    limited.play(seed, true, |_| Duration::ZERO);
    // When all is quiet, the rest is there to the last use.
    let (key, text) = {
        let tokens = limited.tokens.lock().unwrap();
        tokens.iter().rfind(|(key, _)| *key == limited.first).unwrap().clone()
    };
    let mut more = 0;
    while limited.ask_with(key, &text).is_ok() && more <= uses {
        more += 1;
    }
    (limited.accepted(), uses)
}

/// A rate, while the key but not its rate changes: what was accepted, and how many uses the rate
/// allows in the time that passed.
pub(crate) fn rate(backend: Arc<dyn Backend>, seed: u64, of: Of, wrap: Wrap<'_>) -> (u64, u64) {
    let (count, per, burst) = [(1, 1_000, 1), (3, 10, 2), (7, 20, 40)][(seed % 3) as usize];
    let per_ms = Duration::from_millis(per);
    let rate = Rate::new(count, per_ms).unwrap().with_burst(burst).unwrap();
    let limited = Limited::new(backend, seed, of, SetLimits::new().rate(rate), wrap);
    let start = limited.world.now();
    limited.play(seed, false, |chance| Duration::from_millis(chance.below(4) as u64));
    let passed = limited.world.now().since(start).as_millis() as u64;
    (limited.accepted(), u64::from(burst) + passed * u64::from(count) / per)
}
