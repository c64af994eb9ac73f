//! The states before and after a mutation, and the checks when an operation fails in between.

use std::fmt::Debug;

use keyhasp::store::Unavailable;
use keyhasp::token::{Inspection, inspect};
use keyhasp::{Error, VerifyError};

use crate::dump::{Concerned, Dump};
use crate::mutations::{Act, Cast};
use crate::world::{Verdict, World};

const RECOVERING: Unavailable = Unavailable::Recovering;

/// The states before a call and after it, if nothing fails.
#[derive(Debug)]
pub struct Expected {
    before: State,
    after: State,
    /// All tokens, with those that the call issues.
    tokens: Vec<String>,
    concerned: Concerned,
}

#[derive(Debug)]
struct State {
    dump: Dump,
    verdicts: Vec<Verdict>,
}

impl Expected {
    /// Makes the call, and keeps the states before and after it.
    ///
    /// # Errors
    /// The call fails or changes nothing.
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

    /// Returns all tokens, with those that the call issues.
    #[must_use]
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Checks that the answer agrees with the store's health and with its answer to every token.
    /// Returns the states that the database may have from now on: after the call, or not.
    ///
    /// # Errors
    /// A violation.
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
                self.indeterminate(&verdicts, true)?;
                Ok(&[true])
            }
            (Err(Error::OutcomeUnknown(_)), Some(RECOVERING)) => {
                self.indeterminate(&verdicts, false)?;
                Ok(&[false, true])
            }
            (Err(Error::Backend(_)), None) => {
                same(&verdicts, &self.before.verdicts)?;
                Ok(&[false])
            }
            (_, health) => Err(format!("after {answer:?} its health is {health:?}")),
        }
    }

    /// Checks the answers after a recovery that failed half-way: records that it settled are as in
    /// the database, all others still indeterminate.
    ///
    /// # Errors
    /// A violation.
    pub fn still_indeterminate(&self, world: &World) -> Result<(), String> {
        let took_effect = !dump(world)?.differs(&self.before.dump).is_empty();
        self.indeterminate(&world.verdicts(&self.tokens), took_effect)
    }

    /// Checks that the store takes further changes, and the call again if it took no effect.
    ///
    /// # Errors
    /// A violation.
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

    /// Checks that the store has one of these states, in index and database; returns whether it is
    /// the one after the call.
    ///
    /// # Errors
    /// A violation.
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

    /// Checks the answers before the store has recovered: keys that the call concerns are
    /// `Unavailable`.
    ///
    /// # Errors
    /// A violation.
    pub fn indeterminate(&self, verdicts: &[Verdict], is_acknowledged: bool) -> Result<(), String> {
        let otherwise = if is_acknowledged { &self.after } else { &self.before };
        for (at, verdict) in verdicts.iter().enumerate() {
            let Concerned { everything, keys } = &self.concerned;
            let Inspection::WellFormed { id, .. } = inspect(self.tokens[at].as_bytes()) else {
                return Err("it issued something else than a token".to_owned());
            };
            let is_concerned = *everything || keys.contains(&id);
            let known = self.before.verdicts[at] != Err(VerifyError::Unrecognized);
            // An acknowledged change may be visible already.
            let is_visible = is_acknowledged && *verdict == otherwise.verdicts[at];
            let is_right = match verdict {
                _ if is_visible => true,
                Err(VerifyError::Unavailable(RECOVERING)) => is_concerned,
                Err(VerifyError::Unrecognized) if is_concerned => !known,
                _ if is_concerned => false,
                verdict => *verdict == otherwise.verdicts[at],
            };
            if !is_right {
                let was = otherwise.verdicts[at];
                return Err(format!("token {at}, indeterminate: {verdict:?}; it was {was:?}"));
            }
        }
        Ok(())
    }
}

/// Dumps the backend.
///
/// # Errors
/// Those of the backend.
pub fn dump(world: &World) -> Result<Dump, String> {
    Dump::of(&*world.backend).map_err(text)
}

/// Compares verdicts.
///
/// # Errors
/// The first that differs.
pub fn same(found: &[Verdict], expected: &[Verdict]) -> Result<(), String> {
    let differing = found.iter().zip(expected).position(|(found, expected)| found != expected);
    match differing {
        None => Ok(()),
        Some(at) => Err(format!("token {at}: {:?} instead of {:?}", found[at], expected[at])),
    }
}

/// Puts an error into words.
pub fn text(error: impl Debug) -> String {
    format!("{error:?}")
}
