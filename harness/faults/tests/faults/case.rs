//! One mutation, one operation that fails, and all that must hold then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyhasp::backend::Backend;
use keyhasp::store::Unavailable;
use keyhasp::token::{Inspection, inspect};
use keyhasp::{Error, Refusal};
use keyhasp_faults::dump::{Concerned, Dump};
use keyhasp_faults::failing::{Failing, Plan};
use keyhasp_faults::mutations::Act;
use keyhasp_faults::vfs::watch;
use keyhasp_faults::world::{Opening, Verdict, World, scratch};

use crate::ground::{self, Template};
use crate::tally::Ran;

/// Recovery is tried at once and again after 50 ms, 100 ms and so on.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mutation on a ground.
pub struct Case<'a> {
    pub name: &'a str,
    pub act: Act,
    pub template: &'a Template,
    pub shared: bool,
    /// Put between backend and store.
    pub wrap: &'a dyn Fn(Arc<dyn Backend>) -> Arc<dyn Backend>,
}

/// What there is before the call and after it, if nothing fails.
pub struct Expected {
    before: State,
    after: State,
    /// Every token, also those that the call issues.
    tokens: Vec<String>,
    concerned: Concerned,
}

struct State {
    dump: Dump,
    verdicts: Vec<Verdict>,
}

const RECOVERING: Unavailable = Unavailable::Recovering;

impl Case<'_> {
    /// Finds out what is expected: time and randomness are the same each time.
    pub fn expect(&self) -> Result<Expected, String> {
        let directory = scratch();
        let failing = Arc::new(Failing::new(directory.path()));
        let _watched = watch(directory.path(), failing);
        let world = self.open(directory.path())?;
        let before = dump(&world)?;
        let known = world.verdicts(&self.template.cast.tokens);
        let issued = (self.act)(&world, &self.template.cast).map_err(text)?;
        let tokens = [&self.template.cast.tokens[..], &issued].concat();
        let unknown = issued.iter().map(|_| Err(Refusal::Unrecognized));
        let before = State { verdicts: known.into_iter().chain(unknown).collect(), dump: before };
        let after = State { dump: dump(&world)?, verdicts: world.verdicts(&tokens) };
        if before.dump.differs(&after.dump).is_empty() {
            return Err("it does nothing".to_owned());
        }
        let concerned = before.dump.concerned(&after.dump);
        let expected = Expected { before, after, tokens, concerned };
        drop(world);
        self.is_found(&expected, directory.path(), &[false, true])?;
        Ok(expected)
    }

    /// Fails one operation; `None` if the call was through before.
    pub fn run(&self, expected: &Expected, plan: Plan) -> Result<Option<Ran>, String> {
        let directory = scratch();
        let failing = Arc::new(Failing::new(directory.path()));
        let _watched = watch(directory.path(), Arc::<Failing>::clone(&failing) as _);
        let world = self.open(directory.path())?;
        // Whatever is found, nobody is left waiting.
        let _released = Released(&failing);
        failing.arm(plan);
        let answer = (self.act)(&world, &self.template.cast);
        let Some(struck) = failing.struck() else {
            failing.heal();
            answer.map_err(text)?;
            expected.is(&world, &[true])?;
            return Ok(None);
        };
        self.after(expected, &world, &failing, plan.lasting, answer, directory.path())
            .map(Some)
            .map_err(|why| format!("{struck}: {why}"))
    }

    fn after(
        &self,
        expected: &Expected,
        world: &World,
        failing: &Failing,
        lasting: bool,
        answer: Result<Vec<String>, Error>,
        directory: &std::path::Path,
    ) -> Result<Ran, String> {
        let unavailable = world.store.health().unavailable;
        let verdicts = world.verdicts(&expected.tokens);
        // Which states may be found from now on: the one before, the one after.
        let may_be: &[bool] = match &answer {
            Ok(_) => &[true],
            Err(Error::OutcomeUnknown(_)) => &[false, true],
            Err(Error::Backend(_)) => &[false],
            Err(error) => return Err(format!("the caller got {error:?}")),
        };
        match (&answer, unavailable) {
            (Ok(_), None) => same(&verdicts, &expected.after.verdicts)?,
            (Ok(_), Some(RECOVERING)) => expected.in_doubt(&verdicts, true)?,
            (Err(Error::OutcomeUnknown(_)), Some(RECOVERING)) => {
                expected.in_doubt(&verdicts, false)?;
            }
            (Err(Error::Backend(_)), None) => same(&verdicts, &expected.before.verdicts)?,
            (_, health) => return Err(format!("after {answer:?} its health is {health:?}")),
        }
        let crashed = scratch();
        ground::copy(directory, crashed.path());
        self.is_found(expected, crashed.path(), may_be).map_err(|why| format!("crashed: {why}"))?;

        failing.release();
        if lasting {
            // What it says is not the point: it must not say anything wrong.
            if world.store.recover().is_err() {
                expected.in_doubt(&world.verdicts(&expected.tokens), answer.is_ok())?;
            }
            failing.heal();
            world.store.recover().map_err(text)?;
        }
        let started = Instant::now();
        while world.store.health().unavailable == Some(RECOVERING) {
            if started.elapsed() > PATIENCE {
                return Err("the store didn't recover by itself".to_owned());
            }
            std::thread::yield_now();
        }
        let took_effect = expected.is(world, may_be)?;
        self.goes_on(expected, world, took_effect)?;
        let last = dump(world)?;
        world.store.close().map_err(text)?;
        let again = self.open_as_it_is(directory)?;
        let found = dump(&again)?.differs(&last);
        if !found.is_empty() {
            return Err(format!("closed and opened, it differs in {}", found.join("; ")));
        }
        Ok(match answer {
            Ok(_) => Ran::Acknowledged,
            Err(Error::OutcomeUnknown(_)) => Ran::Unknown { took_effect },
            Err(_) => Ran::Nothing,
        })
    }

    /// The store takes further changes; what was not done can be done now.
    fn goes_on(&self, expected: &Expected, world: &World, took: bool) -> Result<(), String> {
        let cast = &self.template.cast;
        world.admin.block(cast.other).map_err(|error| format!("it doesn't go on: {error:?}"))?;
        let other = cast.tokens.last().map(|token| world.verdicts(std::slice::from_ref(token)));
        if !matches!(other.as_deref(), Some([Err(Refusal::Unfit(_))])) {
            return Err(format!("blocked afterwards, it is {other:?}"));
        }
        if !took {
            (self.act)(world, cast).map_err(|error| format!("tried again: {error:?}"))?;
        }
        let last = dump(world)?;
        if self.name != "prune events" && last.events.len() <= expected.before.dump.events.len() {
            return Err("the log didn't grow".to_owned());
        }
        Ok(())
    }

    /// What the next process finds in a directory: one of these states.
    fn is_found(
        &self,
        expected: &Expected,
        directory: &std::path::Path,
        may_be: &[bool],
    ) -> Result<bool, String> {
        expected.is(&self.open_as_it_is(directory)?, may_be)
    }

    fn open(&self, directory: &std::path::Path) -> Result<World, String> {
        self.template.lay(directory);
        let opening =
            Opening { shared: self.shared, seed: 9, wrap: self.wrap, ..Opening::default() };
        let world = World::open(directory, &opening).map_err(text)?;
        world.clock.advance(keyhasp_faults::world::HOUR / 2);
        self.template.prepare(&world, directory);
        Ok(world)
    }

    fn open_as_it_is(&self, directory: &std::path::Path) -> Result<World, String> {
        let opening = Opening { shared: self.shared, seed: 10, ..Opening::default() };
        let world = World::open(directory, &opening).map_err(|error| format!("open: {error:?}"))?;
        world.clock.advance(keyhasp_faults::world::HOUR / 2);
        Ok(world)
    }
}

impl Expected {
    /// Whether the store has one of these states, index and database alike; whether the one after.
    fn is(&self, world: &World, may_be: &[bool]) -> Result<bool, String> {
        let found = dump(world)?;
        found.check()?;
        let mut differences = Vec::new();
        for (is_after, state) in [(false, &self.before), (true, &self.after)] {
            let differs = found.differs(&state.dump);
            if differs.is_empty() {
                if !may_be.contains(&is_after) {
                    let which = if is_after { "after the call" } else { "before the call" };
                    return Err(format!("it has the state {which}"));
                }
                same(&world.verdicts(&self.tokens), &state.verdicts)?;
                return Ok(is_after);
            }
            differences.push(differs.join("; "));
        }
        let [before, after] = [&differences[0], &differences[1]];
        Err(format!("half applied: it differs from before in {before}; from after in {after}"))
    }

    /// Before the store has found out: what the call is about is answered by nobody's state.
    fn in_doubt(&self, verdicts: &[Verdict], is_acknowledged: bool) -> Result<(), String> {
        let otherwise = if is_acknowledged { &self.after } else { &self.before };
        for (at, verdict) in verdicts.iter().enumerate() {
            let Concerned { everything, keys } = &self.concerned;
            let Inspection::WellFormed { id, .. } = inspect(self.tokens[at].as_bytes()) else {
                return Err("it issued something else than a token".to_owned());
            };
            let is_concerned = *everything || keys.contains(&id);
            let known = self.before.verdicts[at] != Err(Refusal::Unrecognized);
            // What was acknowledged may be in force already.
            let is_in_force = is_acknowledged && *verdict == otherwise.verdicts[at];
            let is_right = match verdict {
                _ if is_in_force => true,
                Err(Refusal::Unavailable(RECOVERING)) => is_concerned,
                Err(Refusal::Unrecognized) if is_concerned => !known,
                _ if is_concerned => false,
                verdict => *verdict == otherwise.verdicts[at],
            };
            if !is_right {
                let was = otherwise.verdicts[at];
                return Err(format!("token {at} in doubt: {verdict:?}; it was {was:?}"));
            }
        }
        Ok(())
    }
}

/// Lets everybody go when it is dropped.
struct Released<'a>(&'a Failing);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.heal();
    }
}

impl std::fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, template, shared, .. } = self;
        write!(f, "{name} ({:?}{})", template.ground, if *shared { ", shared" } else { "" })
    }
}

pub fn dump(world: &World) -> Result<Dump, String> {
    Dump::of(&*world.backend).map_err(text)
}

pub fn same(found: &[Verdict], expected: &[Verdict]) -> Result<(), String> {
    let differing = found.iter().zip(expected).position(|(found, expected)| found != expected);
    match differing {
        None => Ok(()),
        Some(at) => Err(format!("token {at}: {:?} instead of {:?}", found[at], expected[at])),
    }
}

pub fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}
