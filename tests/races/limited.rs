//! Keys with a rate or a quota, used by many at once while others change them: never is more
//! accepted than the limit allows, and of a quota nothing is lost.

use keyhasp::RejectReason;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyhasp::backend::Backend;
use keyhasp::store::UsageSettings;
use keyhasp::{
    Access, CreateKey, CreateOwner, KeyId, ManualClock, OwnerKeys, Quota, Rate, Rotate, SetLimits,
    Store, UpdateKey, UpdateOwner, VerifiedKey, VerifyError, VerifyRequest,
};

use crate::Wrap;
use crate::chance::Chance;
use crate::common::{World, builder, clock, owner};
use crate::yielding::YieldingBackend;

/// How many verify at once, and how often each.
const THREADS: u64 = 4;
const TRIES: usize = 2_000;
const OWNER: &str = "org";

/// The record that has the limit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    Key,
    Owner,
}

/// Two keys of one owner, of which the first or both together are limited.
struct Limited {
    world: World,
    /// The store itself, which can be told to write what was used.
    store: Arc<Store>,
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
        let stirred = Arc::new(YieldingBackend::new(backend, seed));
        let usage = UsageSettings::new().counts().interval(Duration::from_secs(1));
        let builder = builder(&clock, seed).usage(usage);
        let store = Arc::new(builder.open_on(stirred).unwrap());
        let world = World::of(wrap(Arc::<Store>::clone(&store) as _), clock);
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
        Self { world, store, keys, first: first.key.id, tokens, accepted, of }
    }

    fn clock(&self) -> &ManualClock {
        &self.world.clock
    }

    /// One use by a token that was issued at some time.
    fn ask(&self, chance: &mut Chance) -> Result<VerifiedKey, VerifyError> {
        let (key, text) = chance.pick_late(&self.tokens.lock().unwrap()).unwrap();
        self.ask_with(key, &text)
    }

    fn ask_with(&self, key: KeyId, text: &str) -> Result<VerifiedKey, VerifyError> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let request = VerifyRequest::new(text.as_bytes()).address(address);
        let told = self.world.store.verify_request(&request);
        *self.accepted.lock().unwrap().entry(key).or_default() += u64::from(told.is_ok());
        told
    }

    /// Whether as many uses of each key are counted as were accepted.
    fn counts(&self) -> Result<(), String> {
        self.store.flush_usage().map_err(|error| error.to_string())?;
        for (key, accepted) in self.accepted.lock().unwrap().iter() {
            let usage = self.world.admin.get(*key).unwrap().usage;
            let counted = usage.and_then(|usage| usage.accepted);
            if counted != Some(*accepted) {
                return Err(format!("{counted:?} uses are counted of {accepted}"));
            }
        }
        Ok(())
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
                        // Only state, rate and quota may reject these keys.
                        if let Err(
                            other @ (VerifyError::Unavailable(_)
                            | VerifyError::Rejected(
                                RejectReason::AddressMissing
                                | RejectReason::AddressRejected
                                | RejectReason::NotYet(_),
                            )),
                        ) = self.ask(&mut chance)
                        {
                            println!("{other:?} (seed {seed})");
                            failed.store(true, Ordering::Relaxed);
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

/// A quota, while everything around it changes: the accepted uses, and how many there were.
pub(crate) fn quota(backend: Arc<dyn Backend>, seed: u64, of: Of, wrap: Wrap<'_>) -> (u64, u64) {
    let uses = [0, 1, 20, 300, 1_500][(seed % 5) as usize];
    let limits = SetLimits::new().quota(Quota::one_time(uses).unwrap());
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

/// Counts a thread out, also if it panics: then no thread waits for it for ever.
struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A use that was accepted, by the number of changes of the quota that had been begun or made when
/// it was asked for and when it was answered.
type When = (u64, u64);

/// Changes a quota while it is used, and counts its uses. Of no quota are more uses accepted than
/// it has; of the last one, as many as it has, less at most one for each thread. The count is that
/// of the accepted uses.
pub(crate) fn renewed(
    backend: Arc<dyn Backend>,
    seed: u64,
    of: Of,
    wrap: Wrap<'_>,
) -> Result<(), String> {
    let once = |uses| SetLimits::new().quota(Quota::one_time(uses).unwrap());
    let mut quotas = vec![200];
    let limited = Limited::new(backend, seed, of, once(200), wrap);
    // Odd while it changes.
    let changes = AtomicU64::new(0);
    let tokens = limited.tokens.lock().unwrap().clone();
    let counted = match of {
        Of::Key => &tokens[..1],
        Of::Owner => &tokens[..],
    };
    let running = AtomicU64::new(THREADS);
    let accepted: Vec<When> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (limited, changes, running) = (&limited, &changes, &running);
                scope.spawn(move || {
                    let _running = Running(running);
                    let mut chance = Chance::new(seed * 100 + thread);
                    let mut accepted = Vec::new();
                    for _ in 0..TRIES / 2 {
                        let (key, text) = &chance.pick(counted);
                        let before = changes.load(Ordering::SeqCst);
                        let told = limited.ask_with(*key, text);
                        let when = (before, changes.load(Ordering::SeqCst));
                        match told {
                            Ok(_) => accepted.push(when),
                            Err(VerifyError::Rejected(RejectReason::QuotaExhausted { .. })) => {
                                std::thread::yield_now();
                            }
                            Err(other) => panic!("{other:?}"),
                        }
                    }
                    accepted
                })
            })
            .collect();
        let mut chance = Chance::new(seed * 100 + 99);
        while running.load(Ordering::Relaxed) > 0 {
            let uses = [1, 15, 40, 300][chance.below(4)];
            quotas.push(uses);
            changes.fetch_add(1, Ordering::SeqCst);
            let admin = &limited.world.admin;
            // Setting keeps the count; the refill begins another one.
            match of {
                Of::Key => {
                    drop(admin.update(limited.first, UpdateKey::new().limits(once(uses))).unwrap());
                    drop(admin.refill_quota(limited.first).unwrap());
                }
                Of::Owner => {
                    let update = UpdateOwner::new().limits(once(uses));
                    drop(admin.update_owner(&owner(OWNER), update).unwrap());
                    drop(admin.refill_owner_quota(&owner(OWNER)).unwrap());
                }
            }
            changes.fetch_add(1, Ordering::SeqCst);
            for _ in 0..chance.below(60) {
                std::thread::yield_now();
            }
        }
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let mut last = 0;
    while limited.ask_with(counted[0].0, &counted[0].1).is_ok() && last < 1_000 {
        last += 1;
    }
    let all = limited.accepted();
    // Between a setting and its refill, a quota that was raised has so many uses more.
    let raised: u64 = quotas.windows(2).map(|two| two[1].saturating_sub(two[0])).sum();
    let sum = quotas.iter().sum::<u64>() + raised;
    if all > sum {
        return Err(format!("{all} uses were accepted of {sum}"));
    }
    let newest = quotas.len() as u64 - 1;
    for (number, quota) in (0..).zip(&quotas) {
        // What was asked for and answered under one quota, and what may have been under it.
        let sure = accepted.iter().filter(|when| **when == (2 * number, 2 * number)).count() as u64;
        let maybe = accepted
            .iter()
            .filter(|(asked, told)| *asked <= 2 * number + 1 && *told + 1 >= 2 * number)
            .count() as u64;
        if sure > *quota {
            return Err(format!("{sure} uses were accepted of quota {number}, which has {quota}"));
        }
        // A thread that was interrupted while the quota changed twice may have taken a use of the
        // one after the next, and not know to which to refund it.
        if number == newest && !(sure + last..=maybe + last + THREADS).contains(quota) {
            return Err(format!(
                "of the last quota, {quota}, {sure} to {maybe} and {last} uses were accepted"
            ));
        }
    }
    limited.counts()
}
