//! The check values by which an opening knows the service's secrets again.

use std::fmt;

use super::{Field, PepperNumber, Sink, Source};

/// A check that shows at open whether a pepper is the same as before: a keyed hash that says
/// nothing more of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PepperCheck {
    /// The pepper's number.
    pub number: PepperNumber,
    /// The check value.
    pub value: [u8; 16],
    /// Whether the pepper is retired, for ever: no token under it is accepted.
    pub retired: bool,
}

impl fmt::Debug for PepperCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PepperCheck")
            .field("number", &self.number)
            .field("retired", &self.retired)
            .finish_non_exhaustive()
    }
}

/// A check that shows at open whether a recovery key is the same as before: a derived key that says
/// nothing more of it.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryKeyCheck {
    /// The recovery key's number.
    pub number: u16,
    /// The check value.
    pub value: [u8; 16],
}

impl fmt::Debug for RecoveryKeyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryKeyCheck").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Field for PepperCheck {
    const WIDTH: usize = 3;

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { number, value, retired } = self;
        number.put(sink)?;
        value.put(sink)?;
        retired.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            number: Field::get(name, source)?,
            value: Field::get(name, source)?,
            retired: Field::get(name, source)?,
        })
    }
}

impl Field for RecoveryKeyCheck {
    const WIDTH: usize = 2;

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { number, value } = self;
        number.put(sink)?;
        value.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self { number: Field::get(name, source)?, value: Field::get(name, source)? })
    }
}
