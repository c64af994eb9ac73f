//! The time-based alerts of a key that were already written as events.

use std::time::Duration;

use super::{Field, Sink, Source};
use crate::clock::Timestamp;
use crate::id::Generation;
use crate::invalid::{Invalid, Problem};

/// An alert about a key, written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// The key has expired, at this moment.
    Expired(Timestamp),
    /// The key expires at this moment, which is near.
    Expiring(Timestamp),
    /// The key's token of this generation is old.
    TokenOld(Generation),
    /// The key wasn't used since this moment.
    Unused(Timestamp),
    /// The previous token of this generation is still in use.
    PreviousTokenUsed(Generation),
    /// The key's tokens are rejected often. The alert isn't written again before a moment.
    Rejected {
        /// The moment at which the store noticed it.
        at: Timestamp,
        /// The moment before which the alert isn't written again.
        until: Timestamp,
    },
}

/// The progress of each alert of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlertState {
    /// The expiry that was alerted when it had come.
    pub expired: Option<Alerted<Timestamp>>,
    /// The expiry that was alerted when it was near.
    pub expiring: Option<Alerted<Timestamp>>,
    /// The newest token that was alerted as old.
    pub token_old: Option<Alerted<Generation>>,
    /// The last use before the alert of an unused key.
    pub unused: Option<Alerted<Timestamp>>,
    /// The previous tokens that were alerted as still in use.
    pub previous_token_used: Option<Alerted<AlertedTokens>>,
    /// The moment before which rejections aren't alerted again.
    pub rejected: Option<Timestamp>,
}

/// The subject of an alert that was written, and when it was.
///
/// An alert that was written at a time after now was written early, by a clock that was ahead. It
/// doesn't count: the alert is written again when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alerted<T> {
    /// The subject.
    pub of: T,
    /// When the event was written.
    pub at: Timestamp,
}

/// Returns the subject of the last alert, if that counts at `now`.
fn counted<T: Copy>(alerted: Option<Alerted<T>>, now: Timestamp) -> Option<T> {
    alerted.filter(|alerted| alerted.at <= now).map(|alerted| alerted.of)
}

impl<T: Field> Field for Alerted<T> {
    const WIDTH: usize = T::WIDTH + 1;

    fn columns(name: &str, columns: &mut Vec<String>) {
        T::columns(name, columns);
        columns.push(format!("{name}_at"));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.of.put(sink)?;
        self.at.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self { of: Field::get(name, source)?, at: Field::get(name, source)? })
    }
}

impl Field for AlertState {
    const WIDTH: usize = 5 * Alerted::<Timestamp>::WIDTH + 1;

    fn columns(_: &str, columns: &mut Vec<String>) {
        // The columns of `expiring` are named for trial keys, the first whose expiry was alerted ahead.
        for name in ["expired", "trial_ending", "token_old", "unused", "previous_token_used"] {
            Alerted::<Timestamp>::columns(&format!("alerted_{name}"), columns);
        }
        columns.push("alerted_rejected".into());
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { expired, expiring, token_old, unused, previous_token_used, rejected } = self;
        expired.put(sink)?;
        expiring.put(sink)?;
        token_old.put(sink)?;
        unused.put(sink)?;
        previous_token_used.put(sink)?;
        rejected.put(sink)
    }

    fn get<S: Source>(_: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            expired: Field::get("alerted_expired", source)?,
            expiring: Field::get("alerted_trial_ending", source)?,
            token_old: Field::get("alerted_token_old", source)?,
            unused: Field::get("alerted_unused", source)?,
            previous_token_used: Field::get("alerted_previous_token_used", source)?,
            rejected: Field::get("alerted_rejected", source)?,
        })
    }
}

/// Tokens of a key that were alerted, in any order: the newest of them, and which of the
/// [`REACH`](Self::REACH) generations before it. Older generations count as alerted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertedTokens {
    newest: Generation,
    /// Bit 0 is the generation before the newest.
    before: u64,
}

impl Field for AlertedTokens {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.number(self.number())
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.number_as(name, |number| Self::from_number(number).ok())
    }
}

impl AlertedTokens {
    /// The number of generations before the newest that are kept apart.
    pub const REACH: u32 = 39;
    /// The low bits of the number under which they are stored: the newest generation.
    const NEWEST_BITS: u32 = 24;

    /// Makes a set of this token alone.
    #[must_use]
    pub fn of(generation: Generation) -> Self {
        Self { newest: generation, before: 0 }
    }

    /// Returns whether a token is among them.
    #[must_use]
    pub fn contains(self, generation: Generation) -> bool {
        match self.newest.get().checked_sub(generation.get()) {
            None => false,
            Some(0) => true,
            Some(distance) => distance > Self::REACH || self.before & Self::bit(distance) != 0,
        }
    }

    /// Adds one more.
    #[must_use]
    pub fn with(self, generation: Generation) -> Self {
        let (newest, given) = (self.newest.get(), generation.get());
        let distance = newest.abs_diff(given);
        if given <= newest {
            return Self { before: self.before | Self::bit(distance), ..self };
        }
        let shifted = self.before.checked_shl(distance).unwrap_or(0) & Self::all();
        Self { newest: generation, before: shifted | Self::bit(distance) }
    }

    /// The number under which they are stored: the newest generation in the low 24 bits, those
    /// before it above them. Less than 2^63.
    #[must_use]
    pub fn number(self) -> u64 {
        self.before << Self::NEWEST_BITS | u64::from(self.newest.get())
    }

    /// Reads a stored number.
    ///
    /// # Errors
    /// [`Invalid`] for a number that stands for none.
    pub fn from_number(number: u64) -> Result<Self, Invalid> {
        let low = number & ((1 << Self::NEWEST_BITS) - 1);
        let newest = Generation::new(u32::try_from(low).unwrap_or(0))?;
        let before = number >> Self::NEWEST_BITS;
        // Generations begin with 1.
        let there_are = (1 << Self::REACH.min(newest.get() - 1)) - 1;
        if before > there_are {
            let problem = Problem::OutOfRange { given: before, min: 0, max: there_are, unit: "" };
            return Err(Invalid::new("alerted_tokens", problem));
        }
        Ok(Self { newest, before })
    }

    /// Finds the bit of a generation; none for the newest itself, and for what lies out of reach.
    fn bit(distance: u32) -> u64 {
        if (1..=Self::REACH).contains(&distance) { 1 << (distance - 1) } else { 0 }
    }

    fn all() -> u64 {
        (1 << Self::REACH) - 1
    }
}

impl AlertState {
    /// Notes that an alert is written now; `false` if it was before.
    #[must_use]
    pub fn note(&mut self, alert: Alert, now: Timestamp) -> bool {
        /// Puts a subject in the place of another.
        fn put<T: PartialEq + Copy>(
            place: &mut Option<Alerted<T>>,
            now: Timestamp,
            next: impl FnOnce(Option<T>) -> T,
        ) -> bool {
            let before = counted(*place, now);
            let of = next(before);
            if before == Some(of) {
                return false;
            }
            *place = Some(Alerted { of, at: now });
            true
        }
        match alert {
            Alert::Expired(at) => put(&mut self.expired, now, |_| at),
            Alert::Expiring(at) => put(&mut self.expiring, now, |_| at),
            Alert::TokenOld(generation) => put(&mut self.token_old, now, |before| {
                before.map_or(generation, |it| it.max(generation))
            }),
            Alert::Unused(since) => put(&mut self.unused, now, |_| since),
            Alert::PreviousTokenUsed(generation) => {
                put(&mut self.previous_token_used, now, |before| {
                    before.map_or(AlertedTokens::of(generation), |them| them.with(generation))
                })
            }
            Alert::Rejected { at, until } => {
                let window =
                    Duration::from_millis(until.as_millis().saturating_sub(at.as_millis()));
                // An entry further ahead was written before the clock stepped back.
                let is_ahead = |last| last > until.saturating_add(window);
                let is_new = self.rejected.is_none_or(|last| last <= at || is_ahead(last));
                self.rejected = if is_new { Some(until) } else { self.rejected };
                is_new
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_is_written_once() {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let generation = |number| Generation::new(number).unwrap();
        let mut state = AlertState::default();
        for (alert, is_new) in [
            (Alert::Expired(at(1)), true),
            (Alert::Expired(at(1)), false),
            (Alert::Expiring(at(1)), true),
            (Alert::Expired(at(2)), true),
            (Alert::Unused(at(2)), true),
            (Alert::Unused(at(2)), false),
            (Alert::Unused(at(3)), true),
            (Alert::TokenOld(generation(2)), true),
            (Alert::TokenOld(generation(1)), false),
            (Alert::TokenOld(generation(3)), true),
            (Alert::PreviousTokenUsed(generation(3)), true),
            (Alert::PreviousTokenUsed(generation(3)), false),
            // Its grace is longer than that of the one after it.
            (Alert::PreviousTokenUsed(generation(2)), true),
            (Alert::PreviousTokenUsed(generation(2)), false),
            (Alert::PreviousTokenUsed(generation(9)), true),
            (Alert::PreviousTokenUsed(generation(2)), false),
            (Alert::PreviousTokenUsed(generation(4)), true),
            (Alert::Rejected { at: at(5), until: at(10) }, true),
            (Alert::Rejected { at: at(9), until: at(14) }, false),
            (Alert::Rejected { at: at(10), until: at(15) }, true),
        ] {
            assert_eq!(state.note(alert, at(20)), is_new, "{alert:?}");
        }
    }

    #[test]
    fn an_alert_that_was_written_early_is_written_again() {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let generation = |number| Generation::new(number).unwrap();
        for alert in [
            Alert::Expired(at(100)),
            Alert::Expiring(at(200)),
            Alert::TokenOld(generation(2)),
            Alert::Unused(at(3)),
            Alert::PreviousTokenUsed(generation(1)),
        ] {
            let mut state = AlertState::default();
            let told =
                [1_000, 1_001, 100, 100, 101, 1_000, 2_000].map(|now| state.note(alert, at(now)));
            assert_eq!(told, [true, false, true, false, false, false, false], "{alert:?}");
        }
    }

    proptest! {
        /// Keeps tokens apart as a set does, in any order. Their stored number reads back.
        #[test]
        fn tokens_are_told_apart(numbers in prop::collection::vec(1..120_u32, 1..12)) {
            let generation = |number| Generation::new(number).unwrap();
            let mut set = BTreeSet::new();
            let mut tokens: Option<AlertedTokens> = None;
            for number in numbers {
                let given = generation(number);
                tokens = Some(tokens.map_or(AlertedTokens::of(given), |them| them.with(given)));
                set.insert(number);
                let (alerted, newest) = (tokens.unwrap(), *set.last().unwrap());
                for other in 1..130 {
                    let is_near = other > newest || newest - other <= AlertedTokens::REACH;
                    let is_alerted = if is_near { set.contains(&other) } else { true };
                    prop_assert_eq!(alerted.contains(generation(other)), is_alerted, "{}", other);
                }
                prop_assert!(alerted.number() < 1 << 63);
                prop_assert_eq!(AlertedTokens::from_number(alerted.number()), Ok(alerted));
            }
        }

        #[test]
        fn numbers_read_back_or_are_refused(number in prop_oneof![any::<u64>(), 0..1_u64 << 30]) {
            if let Ok(alerted) = AlertedTokens::from_number(number) {
                prop_assert_eq!(alerted.number(), number);
            }
        }
    }

    #[test]
    fn numbers_that_stand_for_none() {
        for number in [0, 1 << 24, 1 << 24 | 1, 1 << 32, 1 << 63 | 100, u64::MAX] {
            assert!(AlertedTokens::from_number(number).is_err(), "{number}");
        }
        assert!(AlertedTokens::from_number(1 << 24 | 2).is_ok());
    }
}
