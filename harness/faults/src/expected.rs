//! What is there before a mutation and after it, and all that must hold if something fails in
//! between.

use std::fmt::Debug;

use keyhasp::store::Unavailable;
use keyhasp::token::{Inspection, inspect};
use keyhasp::{Error, VerifyError};

use crate::dump::{Concerned, Dump};
use crate::mutations::{Act, Cast};
use crate::world::{Verdict, World};

const RECOVERING: Unavailable = Unavailable::Recovering;

/// What there is before the call and after it, if nothing fails.
#[derive(Debug)]
pub struct Expected {
    before: State,
    after: State,
    /// Every token, also those that the call issues.
    tokens: Vec<String>,
    concerned: Concerned,
}

#[derive(Debug)]
struct State {
    dump: Dump,
    verdicts: Vec<Verdict>,
}

impl Expected {
    /// Does it, and notes what was before and what is after.
    ///
    /// # Errors
    /// If it fails or does nothing.
    pub fn of(world: &World, cast: &Cast, act: Act) -> Result<Self, String> {
        let before = dump(world)?;
        let known = world.verdicts(&cast.tokens);
        let issued = act(world, cast).map_err(text)?;
        let tokens = [&cast.tokens[..], &issued].concat();
        let unknown = issued.iter().map(|_| Err(VerifyError::Unrecognized));
        let before = State { verdicts: known.into_iter().chain(unknown).collect(), dump: before };
        let after = State { dump: dump(world)?, verdicts: world.verdicts(&tokens) };
        if before.dump.differs(&after.dump).is_empty() {
            return Err("it does nothing".to_owned());
        }
        let concerned = before.dump.concerned(&after.dump);
        Ok(Self { before, after, tokens, concerned })
    }

    /// Every token, also those that the call issues.
    #[must_use]
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// What the caller heard goes together with what the store says of itself and of every token.
    /// Returns which states may be found from now on: the one before, the one after.
    ///
    /// # Errors
    /// What doesn't go together.
    pub fn heard<T: Debug>(
        &self,
        world: &World,
        answer: &Result<T, Error>,
    ) -> Result<&'static [bool], String> {
        let unavailable = world.store.health().unavailable;
        let verdicts = world.verdicts(&self.tokens);
        match (answer, unavailable) {
            (Ok(_), None) => {
                same(&verdicts, &self.after.verdicts)?;
                Ok(&[true])
            }
            (Ok(_), Some(RECOVERING)) => {
                self.in_doubt(&verdicts, true)?;
                Ok(&[true])
            }
            (Err(Error::OutcomeUnknown(_)), Some(RECOVERING)) => {
                self.in_doubt(&verdicts, false)?;
                Ok(&[false, true])
            }
            (Err(Error::Backend(_)), None) => {
                same(&verdicts, &self.before.verdicts)?;
                Ok(&[false])
            }
            (_, health) => Err(format!("after {answer:?} its health is {health:?}")),
        }
    }

    /// A recovery has failed half-way: what it hasn't found out is still in doubt, and what it has
    /// (a purged key can't be marked again) is as the database has it.
    ///
    /// # Errors
    /// What isn't so.
    pub fn still_in_doubt(&self, world: &World) -> Result<(), String> {
        let took_effect = !dump(world)?.differs(&self.before.dump).is_empty();
        self.in_doubt(&world.verdicts(&self.tokens), took_effect)
    }

    /// The store takes further changes; what was not done can be done now.
    ///
    /// # Errors
    /// What doesn't go on.
    pub fn goes_on(
        &self,
        world: &World,
        name: &str,
        act: Act,
        cast: &Cast,
        took: bool,
    ) -> Result<(), String> {
        world.admin.block(cast.other).map_err(|error| format!("it doesn't go on: {error:?}"))?;
        let other = cast.tokens.last().map(|token| world.verdicts(std::slice::from_ref(token)));
        if !matches!(other.as_deref(), Some([Err(VerifyError::Rejected(_))])) {
            return Err(format!("blocked afterwards, it is {other:?}"));
        }
        if !took {
            act(world, cast).map_err(|error| format!("tried again: {error:?}"))?;
        }
        let last = dump(world)?;
        if name != "prune events" && last.events.len() <= self.before.dump.events.len() {
            return Err("the log didn't grow".to_owned());
        }
        Ok(())
    }

    /// Whether the store has one of these states, index and database alike; whether the one after.
    /// # Errors
    /// What isn't so.
    pub fn is(&self, world: &World, may_be: &[bool]) -> Result<bool, String> {
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
    /// # Errors
    /// What isn't so.
    pub fn in_doubt(&self, verdicts: &[Verdict], is_acknowledged: bool) -> Result<(), String> {
        let otherwise = if is_acknowledged { &self.after } else { &self.before };
        for (at, verdict) in verdicts.iter().enumerate() {
            let Concerned { everything, keys } = &self.concerned;
            let Inspection::WellFormed { id, .. } = inspect(self.tokens[at].as_bytes()) else {
                return Err("it issued something else than a token".to_owned());
            };
            let is_concerned = *everything || keys.contains(&id);
            let known = self.before.verdicts[at] != Err(VerifyError::Unrecognized);
            // What was acknowledged may be in force already.
            let is_in_force = is_acknowledged && *verdict == otherwise.verdicts[at];
            let is_right = match verdict {
                _ if is_in_force => true,
                Err(VerifyError::Unavailable(RECOVERING)) => is_concerned,
                Err(VerifyError::Unrecognized) if is_concerned => !known,
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

/// All that the backend holds.
///
/// # Errors
/// As the backend.
pub fn dump(world: &World) -> Result<Dump, String> {
    Dump::of(&*world.backend).map_err(text)
}

/// Verdicts are as expected.
///
/// # Errors
/// Which one isn't.
pub fn same(found: &[Verdict], expected: &[Verdict]) -> Result<(), String> {
    let differing = found.iter().zip(expected).position(|(found, expected)| found != expected);
    match differing {
        None => Ok(()),
        Some(at) => Err(format!("token {at}: {:?} instead of {:?}", found[at], expected[at])),
    }
}

/// An error in words.
pub fn text(error: impl Debug) -> String {
    format!("{error:?}")
}
