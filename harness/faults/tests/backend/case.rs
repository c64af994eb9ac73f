//! A mutation during which one or two operations fail, and the checks afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};

use keyhasp::backend::{Backend, BackendError, BackendErrorKind, Memory, Sharing};
use keyhasp::key::StoreRules;
use keyhasp::store::Unavailable;
use keyhasp::testing::{Failing, Fault, Moment, Target};
use keyhasp::{
    AdminKeys, Catalogue, Error, KeyStore, ManualClock, Prefix, RecoveryKeys, Store, Timestamp,
    Verifier,
};
use keyhasp_altered::{Alter, Intercepted};
use keyhasp_faults::expected::{Expected, text};
use keyhasp_faults::mutations::{Act, Cast, fill};
use keyhasp_faults::tally::Ran;
use keyhasp_faults::world::{HOUR, START, World, await_recovery};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Wraps the failing backend before it is handed to the store.
pub type Wrap<'a> = &'a dyn Fn(Arc<dyn Backend>) -> Arc<dyn Backend>;

/// A mutation.
pub struct Case<'a> {
    pub name: &'a str,
    pub act: Act,
    pub shared: bool,
    pub wrap: Wrap<'a>,
}

/// The expected states, and the number of the call's operations.
pub struct Known {
    pub expected: Expected,
    pub operations: u64,
}

/// A way for an operation to fail.
#[derive(Clone, Copy, Debug)]
pub struct How {
    target: Target,
    moment: Moment,
    lasting: bool,
}

/// Reports memory as shared, or as it is.
#[derive(Debug)]
struct As(bool);

impl Alter for As {
    fn sharing(&self, inner: Sharing) -> Sharing {
        // The store polls when it is opened, and not again during a test.
        if self.0 { Sharing::Shared { max_staleness: HOUR } } else { inner }
    }
}

type Backends = Failing<Intercepted<As>>;

/// Decides which thread may recover. The store's own thread tries now and then. Its tries fail
/// until a test allows them, so that a test can look at indeterminate records.
#[derive(Clone, Debug)]
struct Turn {
    test: ThreadId,
    by_itself: Arc<AtomicBool>,
}

impl Alter for Turn {
    fn recover(&self) -> Result<(), BackendError> {
        if thread::current().id() == self.test || self.by_itself.load(Ordering::SeqCst) {
            return Ok(());
        }
        let error = BackendError::new(BackendErrorKind::Io, "altered", "recover");
        Err(error.with_source("it is not its turn"))
    }
}

/// A store in memory, with its records.
struct Ground {
    failing: Arc<Backends>,
    turn: Turn,
    world: World,
    cast: Cast,
}

impl How {
    /// Lists all ways, once or from then on.
    pub fn all(lasting: &'static [bool]) -> impl Iterator<Item = Self> {
        let kinds = [
            (Target::Any, Moment::Before(BackendErrorKind::Io)),
            (Target::Any, Moment::After),
            (Target::Writes, Moment::Before(BackendErrorKind::Full)),
            (Target::Writes, Moment::Before(BackendErrorKind::OutcomeUnknown)),
        ];
        let how = |(target, moment)| lasting.iter().map(move |l| (target, moment, *l));
        let all = kinds.into_iter().flat_map(how);
        all.map(|(target, moment, lasting)| Self { target, moment, lasting })
    }

    /// Returns how many of a call's operations can fail so.
    pub fn most(self, operations: u64) -> u64 {
        // A mutation commits, or prunes, once.
        if self.target == Target::Writes { 1 } else { operations }
    }

    /// Tells whether the outcome of a write is unknown then.
    pub fn is_unknown(self) -> bool {
        let unknown = Moment::Before(BackendErrorKind::OutcomeUnknown);
        self.moment == Moment::After || self.moment == unknown
    }

    /// Tells whether the test lets the store recover by itself, which takes a while.
    pub fn leaves_it_alone(self) -> bool {
        !self.lasting && self.is_unknown()
    }

    /// Makes the fault of one operation.
    pub fn fault(self, nth: u64) -> Fault {
        let Self { target, moment, lasting } = self;
        Fault { target, nth, moment, lasting }
    }
}

/// Lets recoveries fail, so that a test can look at indeterminate records.
const UNWELL: Fault = Fault {
    target: Target::Recoveries,
    nth: 1,
    moment: Moment::Before(BackendErrorKind::Io),
    lasting: true,
};

/// The way in which a store recovers.
#[derive(Clone, Copy, Debug)]
enum Recovery {
    /// Its own thread recovers.
    ByItself,
    /// The test asks for it.
    OnRequest,
    /// The test asks for it twice, and the first time an operation fails.
    Fails(How, u64),
}

impl Ground {
    fn recovers_by_itself(&self) -> Result<(), String> {
        self.turn.by_itself.store(true, Ordering::SeqCst);
        await_recovery(&*self.world.store)
    }
}

impl Case<'_> {
    /// Makes the call without a failure, and keeps the states before and after. Time and randomness
    /// are the same in each run.
    pub fn expect(&self) -> Result<Known, String> {
        self.expect_after(|_| Ok(()))
    }

    /// Does the same after a first call during which an operation failed, and which used up
    /// randomness. `None` if that call took effect.
    pub fn expect_again(&self, known: &Known, how: How, nth: u64) -> Result<Option<Known>, String> {
        let fail = |ground: &Ground| {
            ground.failing.inject(how.fault(nth));
            Ok(self.once(known, ground, Recovery::OnRequest)?.1)
        };
        if fail(&self.ground()?)? {
            return Ok(None);
        }
        self.expect_after(|ground| fail(ground).map(|_| ())).map(Some)
    }

    fn expect_after(&self, first: impl Fn(&Ground) -> Result<(), String>) -> Result<Known, String> {
        let ground = self.ground()?;
        first(&ground)?;
        let before = ground.failing.operations();
        (self.act)(&ground.world, &ground.cast).map_err(text)?;
        let operations = ground.failing.operations() - before;
        let ground = self.ground()?;
        first(&ground)?;
        let expected = Expected::of(&ground.world, &ground.cast, self.act)?;
        Ok(Known { expected, operations })
    }

    /// Lets an operation of the call fail, and perhaps one more: in the recovery, and when a call
    /// that took no effect is made again.
    pub fn run(
        &self,
        known: &Known,
        how: How,
        nth: u64,
        then: Option<(&Option<Known>, How, u64)>,
    ) -> Result<Ran, String> {
        let Known { expected, .. } = known;
        let ground = self.ground()?;
        let world = &ground.world;
        ground.failing.inject(how.fault(nth));
        let recovery = match then {
            Some((_, second, nth)) => Recovery::Fails(second, nth),
            None if how.leaves_it_alone() => Recovery::ByItself,
            None => Recovery::OnRequest,
        };
        let (answer, mut took_effect) = self.once(known, &ground, recovery)?;
        let ran = Ran::of(&answer, took_effect);
        if let Some((Some(known), second, nth)) = then {
            ground.failing.inject(second.fault(nth));
            took_effect = self.once(known, &ground, Recovery::OnRequest).map_err(again)?.1;
        }
        expected.goes_on(world, self.name, self.act, &ground.cast, took_effect)?;
        if ground.failing.commits_refused() > 0 {
            return Err("it wanted to commit before it had recovered".to_owned());
        }
        // A store that is opened now must answer the same.
        let again = self.open(&ground.world.backend, &|backend| backend, 10)?;
        let tokens = |world: &World| world.store.health().tokens;
        let (here, there) =
            (world.verdicts(&ground.cast.tokens), again.verdicts(&ground.cast.tokens));
        if here != there || tokens(world) != tokens(&again) {
            return Err("opened again, it answers otherwise".to_owned());
        }
        Ok(ran)
    }

    /// Makes the call with faults injected, and lets the store recover.
    fn once(
        &self,
        known: &Known,
        ground: &Ground,
        recovery: Recovery,
    ) -> Result<(Result<Vec<String>, Error>, bool), String> {
        let (world, failing) = (&ground.world, &ground.failing);
        let is_recovering = || world.store.health().unavailable == Some(Unavailable::Recovering);
        failing.inject(UNWELL);
        let answer = (self.act)(world, &ground.cast);
        let may_be = known.expected.heard(world, &answer)?;
        if is_recovering() && world.store.recover().is_ok() {
            return Err("it recovered although it can't".to_owned());
        }
        // A failed recovery changes no answer.
        known.expected.heard(world, &answer).map_err(|why| format!("still: {why}"))?;
        failing.heal();
        match recovery {
            Recovery::ByItself if is_recovering() => ground.recovers_by_itself()?,
            Recovery::Fails(second, nth) if is_recovering() => {
                failing.inject(second.fault(nth));
                if world.store.recover().is_err() {
                    let still = known.expected.still_indeterminate(world);
                    still.map_err(|why| format!("recovering: {why}"))?;
                }
                failing.heal();
            }
            _ => {}
        }
        world.store.recover().map_err(text)?;
        if let Some(unavailable) = world.store.health().unavailable {
            return Err(format!("recovered, its health is {unavailable:?}"));
        }
        Ok((answer, known.expected.is(world, may_be)?))
    }

    fn ground(&self) -> Result<Ground, String> {
        let memory: Arc<dyn Backend> = Arc::new(Memory::new());
        let failing =
            Arc::new(Failing::new(Intercepted::new(Arc::clone(&memory), As(self.shared))));
        let turn = Turn { test: thread::current().id(), by_itself: Arc::default() };
        let by_turn = Intercepted::new(Arc::<Backends>::clone(&failing) as _, turn.clone());
        let wrapped = (self.wrap)(Arc::new(by_turn));
        let world = self.open(&memory, &|_| Arc::clone(&wrapped), 9)?;
        let cast = fill(&world).map_err(text)?;
        Ok(Ground { failing, turn, world, cast })
    }

    fn open(&self, memory: &Arc<dyn Backend>, wrap: Wrap<'_>, seed: u64) -> Result<World, String> {
        let catalogue = Catalogue::builder().read("links:read").write("links:write");
        let catalogue =
            catalogue.read("domains:read").write("domains:write").build().map_err(text)?;
        let now = Timestamp::from_millis(START).map_err(text)?;
        let clock = Arc::new(ManualClock::new(now));
        let metadata = memory.metadata().map_err(text)?;
        let fresh = StoreRules { recoverable_tokens: true, ..StoreRules::default() };
        let rules = metadata.map_or(fresh, |metadata| metadata.rules);
        // A thread that writes pieces of sweeps would write beside the calls that are counted.
        let store = Store::builder(catalogue, ["acme", "acme_test"].map(prefix))
            .without_sweeps_for_tests()
            .rules(rules)
            .clock(Arc::<ManualClock>::clone(&clock))
            .random(ChaCha20Rng::seed_from_u64(seed))
            .recovery_keys(RecoveryKeys::new(1, [7; 32]).map_err(text)?)
            .open_on(wrap(Arc::clone(memory)))
            .map_err(text)?;
        if seed != 9 {
            // The clock of the first store stands there.
            clock.advance(HOUR / 4);
        }
        let store: Arc<dyn KeyStore> = Arc::new(store);
        let admin = AdminKeys::new(Arc::clone(&store), "root").map_err(text)?;
        let verifier = Verifier::new(Arc::clone(&store));
        Ok(World { backend: Arc::clone(memory), store, clock, admin, verifier })
    }
}

fn prefix(text: &str) -> Prefix {
    Prefix::new(text).expect("a prefix")
}

fn again(why: String) -> String {
    format!("made again: {why}")
}
