//! Counts of the answers during which operations failed.

use std::fmt;

use keyhasp::Error;

/// The answer of a call during which an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// The call succeeded all the same.
    Acknowledged,
    /// An error said that nothing happened.
    Nothing,
    /// The outcome was unknown, and the recovery settled it.
    Unknown {
        /// Whether the call had taken effect.
        took_effect: bool,
    },
}

impl Ran {
    /// Sorts an answer.
    pub fn of<T>(answer: &Result<T, Error>, took_effect: bool) -> Self {
        match answer {
            Ok(_) => Self::Acknowledged,
            Err(Error::OutcomeUnknown(_)) => Self::Unknown { took_effect },
            Err(_) => Self::Nothing,
        }
    }
}

/// The counts of all calls.
#[derive(Debug, Default)]
pub struct Tally {
    acknowledged: u64,
    nothing: u64,
    unknown: [u64; 2],
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, ran: Ran) {
        match ran {
            Ran::Acknowledged => self.acknowledged += 1,
            Ran::Nothing => self.nothing += 1,
            Ran::Unknown { took_effect } => self.unknown[usize::from(took_effect)] += 1,
        }
    }

    /// Checks that both sorts of error occurred: a run without them proves little.
    ///
    /// # Panics
    /// If one is missing.
    pub fn assert_met(&self) {
        assert!(self.nothing > 0 && self.unknown.iter().sum::<u64>() > 0, "{self:?}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, nothing, unknown: [without, with] } = self;
        let failed = acknowledged + nothing + without + with;
        write!(
            f,
            "{failed} operations failed in turn: {acknowledged} answered, {nothing} said nothing \
             happened, {} of unknown outcome ({with} took effect); 0 lost, 0 half applied, \
             0 let in",
            without + with
        )
    }
}
