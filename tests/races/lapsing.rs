//! Keys that expire while callers create, extend, revoke and verify at once. The log is replayed by
//! the plainest rule of lapses: each change ends just the expired keys whose name or place it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyhasp::backend::Backend;
use keyhasp::{
    Access, CreateKey, CreateOwner, Error, Event, EventKind, Expiry, Key, KeyId, ListEvents,
    OwnerKeys, RejectReason, StoreRules, Timestamp, VerifyError,
};

use crate::chance::Chance;
use crate::common::{HOUR, World, builder, clock};
use crate::yielding::YieldingBackend;

const THREADS: u64 = 4;
const CALLS: usize = 40;
const MAX_KEYS: usize = 4;
const NAMES: [&str; 3] = ["ci", "deploy", "backup"];
const MINUTE: Duration = Duration::from_secs(60);
/// The time for which a key must have been expired.
const EXPIRED_FOR: Duration = MINUTE.saturating_mul(5);

#[derive(Clone, Debug)]
enum Ask {
    Create(Option<&'static str>),
    Extend(KeyId),
    Revoke(KeyId),
    Verify(KeyId),
}

/// An answer, as far as it matters.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Key(Shown),
    Accepted,
    Expired,
    Revoked,
    NameTaken,
    TooMany,
}

/// A key as it was shown.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    id: KeyId,
    version: u64,
    name: Option<String>,
    expires_at: Option<Timestamp>,
}

/// A call, with moments and times before it was made and after it was answered.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    ask: Ask,
    told: Told,
    moments: (u64, u64),
    times: (Timestamp, Timestamp),
}

/// A key after a change.
#[derive(Clone, Debug)]
struct State {
    shown: Shown,
    has_lapsed: bool,
    is_revoked: bool,
}

/// All keys of the owner.
type Keys = BTreeMap<KeyId, State>;

/// Counts of what happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) lapses_by_name: usize,
    pub(crate) lapses_by_place: usize,
    pub(crate) revived: usize,
    pub(crate) refused: usize,
    pub(crate) expired: usize,
}

/// One history, and what is wrong with it.
pub(crate) fn play(backend: Arc<dyn Backend>, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let rules = StoreRules { unique_names: true, keep_standard_key: true, ..StoreRules::default() };
    let (clock, backend) = (clock(), Arc::new(YieldingBackend::new(backend, seed)));
    let store = builder(&clock, seed).rules(rules).open_on(backend).unwrap();
    let world = World::of(Arc::new(store), clock);
    let first = CreateKey::new(Access::Full);
    let request = CreateOwner::with_key(first).max_keys(u32::try_from(MAX_KEYS).unwrap());
    let (keys, main) = world.owner_with("org", request);
    let desk = Desk {
        world: &world,
        keys,
        moments: AtomicU64::new(1),
        tokens: Mutex::new(vec![(main.key.id, main.token.expose().to_owned())]),
    };
    let mut calls = desk.play(seed);
    // When all is quiet, each creation finds a place.
    for nth in 0..MAX_KEYS {
        world.clock.advance(HOUR * 2);
        calls.push(desk.perform(format!("end.{nth}"), Ask::Create(None)));
    }
    let log = world.admin.events(&ListEvents::new().limit(1_000)).unwrap();
    assert!(log.next.is_none(), "they fit on a page");
    check(&calls, &log.items, Shown::from(&main.key), tally)
}

struct Desk<'a> {
    world: &'a World,
    keys: OwnerKeys,
    moments: AtomicU64,
    tokens: Mutex<Vec<(KeyId, String)>>,
}

impl Desk<'_> {
    /// All callers at once. They move the clock as well: beside a thread that moves it, a caller that
    /// waits for a processor would find every key long expired, and none that expired just now.
    fn play(&self, seed: u64) -> Vec<Call> {
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn(move || {
                        let mut chance = Chance::new(seed * 100 + thread);
                        let call = |nth| {
                            let minutes = u32::try_from(chance.below(4)).unwrap();
                            self.world.clock.advance(MINUTE * minutes);
                            let ask = self.choose(&mut chance);
                            self.perform(format!("{thread}.{nth}"), ask)
                        };
                        (0..CALLS).map(call).collect::<Vec<_>>()
                    })
                })
                .collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        })
    }

    fn choose(&self, chance: &mut Chance) -> Ask {
        let (key, _) = chance.pick_late(&self.tokens.lock().unwrap()).unwrap();
        match chance.below(20) {
            0..=7 => Ask::Create(chance.maybe(70, |chance| chance.pick(&NAMES))),
            8..=10 => Ask::Extend(key),
            11..=12 => Ask::Revoke(key),
            _ => Ask::Verify(key),
        }
    }

    fn perform(&self, name: String, ask: Ask) -> Call {
        let keys = self.keys.with_correlation_id(&*name).unwrap();
        let moment = || self.moments.fetch_add(1, Ordering::SeqCst);
        let now = || self.world.now();
        let (start, from) = (moment(), now());
        let told = match &ask {
            Ask::Create(name) => {
                let request = CreateKey::new(Access::Full).expires_in(MINUTE * 10);
                let request = name.map_or(request.clone(), |name| request.name(name));
                keys.create(request).map(|issued| {
                    let token = (issued.key.id, issued.token.expose().to_owned());
                    self.tokens.lock().unwrap().push(token);
                    issued.key
                })
            }
            Ask::Extend(key) => {
                keys.extend_expiry(*key, Expiry::At(from.saturating_add(MINUTE * 30)))
            }
            Ask::Revoke(key) => keys.revoke(*key).map(|changed| changed.whole().unwrap()),
            Ask::Verify(key) => return self.verify(name, *key),
        };
        let told = match told {
            Ok(key) => Told::Key(Shown::from(&key)),
            Err(Error::NameTaken(_)) => Told::NameTaken,
            Err(Error::TooManyKeys { .. }) => Told::TooMany,
            // The last standard key, a revoked one, and an expiry that isn't later.
            Err(Error::LastStandardKey | Error::State(_) | Error::Invalid(_)) => Told::Revoked,
            Err(error) => panic!("no race excuses {error:?}"),
        };
        Call { name, ask, told, moments: (start, moment()), times: (from, now()) }
    }

    fn verify(&self, name: String, key: KeyId) -> Call {
        let tokens = self.tokens.lock().unwrap();
        let token = tokens.iter().find(|(id, _)| *id == key).unwrap().1.clone();
        drop(tokens);
        let moment = || self.moments.fetch_add(1, Ordering::SeqCst);
        let (start, from) = (moment(), self.world.now());
        let told = match self.world.verifier.verify(&token) {
            Ok(_) => Told::Accepted,
            Err(VerifyError::Rejected(RejectReason::Expired)) => Told::Expired,
            Err(VerifyError::Rejected(RejectReason::Revoked)) => Told::Revoked,
            Err(error) => panic!("no race excuses {error:?}"),
        };
        let times = (from, self.world.now());
        Call { name, ask: Ask::Verify(key), told, moments: (start, moment()), times }
    }
}

impl From<&Key> for Shown {
    fn from(key: &Key) -> Self {
        let name = key.name.as_ref().map(ToString::to_string);
        Self { id: key.id, version: key.version.get(), name, expires_at: key.expires_at }
    }
}

/// The keys after a change, and the moments of the call that made it.
struct Position {
    keys: Keys,
    moments: (u64, u64),
}

fn check(calls: &[Call], log: &[Event], main: Shown, tally: &mut Tally) -> Result<(), String> {
    let by_name: BTreeMap<&str, &Call> =
        calls.iter().map(|call| (call.name.as_str(), call)).collect();
    let main = State { shown: main, has_lapsed: false, is_revoked: false };
    let mut positions =
        vec![Position { keys: Keys::from([(main.shown.id, main)]), moments: (0, 0) }];
    let name_of = |event: &Event| {
        event.authority.correlation_id.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    for events in log.chunk_by(|a, b| name_of(a) == name_of(b)) {
        let Some(call) = by_name.get(name_of(&events[0]).as_str()) else { continue };
        let before = &positions.last().unwrap().keys;
        let keys =
            after(before, events, call, tally).map_err(|what| format!("{what}: {call:?}"))?;
        positions.push(Position { keys, moments: call.moments });
    }
    for call in calls {
        if !answered(&positions, call, tally) {
            return Err(format!("no caller was to be answered so: {call:?}"));
        }
    }
    Ok(())
}

/// Replays a change, which must let just those keys lapse that it needs.
fn after(before: &Keys, events: &[Event], call: &Call, tally: &mut Tally) -> Result<Keys, String> {
    let Some((cause, lapses)) = events.split_last() else { return Err("no event".into()) };
    let Told::Key(shown) = &call.told else { return Err("a refused call has effects".into()) };
    if (cause.key, cause.version.get()) != (Some(shown.id), shown.version) {
        return Err("an answer about another version".into());
    }
    let is_new = before.get(&shown.id).is_none_or(|key| key.has_lapsed);
    let expected = if cause.kind == EventKind::KeyRevoked || !is_new {
        Needed::default()
    } else {
        let refused = |told| format!("{told:?} was expected");
        needed(before, shown, cause.at.saturating_sub(EXPIRED_FOR)).map_err(refused)?
    };
    if lapses.iter().any(|event| event.kind != EventKind::KeyLapsed) {
        return Err("two changes in one".into());
    }
    let lapsed: BTreeSet<KeyId> = lapses.iter().filter_map(|event| event.key).collect();
    let all: BTreeSet<KeyId> = expected.name.iter().chain(&expected.places).copied().collect();
    if lapsed != all {
        return Err(format!("{lapsed:?} lapsed, {expected:?} expected"));
    }
    tally.lapses_by_name += expected.name.len();
    tally.lapses_by_place += expected.places.len();
    tally.revived += usize::from(is_new && before.contains_key(&shown.id));
    let mut keys = before.clone();
    for key in lapsed {
        keys.get_mut(&key).ok_or("a lapse of no key")?.has_lapsed = true;
    }
    let is_revoked = cause.kind == EventKind::KeyRevoked;
    keys.insert(shown.id, State { shown: shown.clone(), has_lapsed: false, is_revoked });
    Ok(keys)
}

/// The keys that must lapse for their names and for their places.
#[derive(Debug, Default)]
struct Needed {
    name: Vec<KeyId>,
    places: Vec<KeyId>,
}

/// Finds the keys that must lapse so that the owner may have another one; only keys may that had
/// expired by a time.
fn needed(keys: &Keys, newcomer: &Shown, by: Timestamp) -> Result<Needed, Told> {
    let counts = |key: &&State| !key.has_lapsed && !key.is_revoked && key.shown.id != newcomer.id;
    let mut counting: Vec<&Shown> = keys.values().filter(counts).map(|key| &key.shown).collect();
    let has_expired = |key: &Shown| key.expires_at.is_some_and(|at| at <= by);
    let mut needed = Needed::default();
    let holder = counting.iter().position(|key| key.name.is_some() && key.name == newcomer.name);
    if let Some(holder) = holder {
        let key = counting.remove(holder);
        if !has_expired(key) {
            return Err(Told::NameTaken);
        }
        needed.name.push(key.id);
    }
    counting.sort_by_key(|key| (key.expires_at.is_none(), key.expires_at, key.id));
    while counting.len() >= MAX_KEYS {
        let key = counting.remove(0);
        if !has_expired(key) {
            return Err(Told::TooMany);
        }
        needed.places.push(key.id);
    }
    Ok(needed)
}

/// Whether a call that changed nothing can have met a state in which this is the answer.
fn answered(positions: &[Position], call: &Call, tally: &mut Tally) -> bool {
    let (start, end) = call.moments;
    let known = positions.iter().rposition(|position| position.moments.1 < start);
    let later = positions.iter().position(|position| position.moments.0 > end);
    let window: RangeInclusive<usize> = known.unwrap_or(0)..=later.unwrap_or(positions.len()) - 1;
    let met = |fits: &dyn Fn(&Keys) -> bool| {
        positions[window.clone()].iter().any(|position| fits(&position.keys))
    };
    let (from, to) = call.times;
    let refused = |shown: &dyn Fn(&Keys) -> Option<Shown>| {
        met(&|keys| {
            // The rule is asked at some time of the call. Which keys may lapse changes as each has
            // been expired for long enough.
            let (first, last) = (from.saturating_sub(EXPIRED_FOR), to.saturating_sub(EXPIRED_FOR));
            let expiries = keys.values().filter_map(|key| key.shown.expires_at);
            let mut times = expiries.filter(|at| (first..=last).contains(at)).chain([first]);
            shown(keys).is_some_and(|shown| {
                times.any(|by| needed(keys, &shown, by).err() == Some(call.told.clone()))
            })
        })
    };
    match (&call.ask, &call.told) {
        (_, Told::Key(_)) => true,
        (Ask::Create(name), _) => {
            tally.refused += 1;
            let name = name.map(str::to_owned);
            // No key has this id.
            let shown = Shown { id: KeyId::from_u128(0), version: 1, name, expires_at: None };
            refused(&|_| Some(shown.clone()))
        }
        (Ask::Extend(_) | Ask::Revoke(_), Told::Revoked) => true,
        (Ask::Extend(id) | Ask::Revoke(id), _) => {
            refused(&|keys| keys.get(id).map(|key| key.shown.clone()))
        }
        (Ask::Verify(id), told) => {
            tally.expired += usize::from(*told == Told::Expired);
            met(&|keys| {
                keys.get(id).is_some_and(|key| {
                    let is_over = |at| key.shown.expires_at.is_some_and(|expiry| expiry <= at);
                    match told {
                        Told::Revoked => key.is_revoked,
                        Told::Expired => !key.is_revoked && (key.has_lapsed || is_over(to)),
                        _ => !key.is_revoked && !key.has_lapsed && !is_over(from),
                    }
                })
            })
        }
    }
}
