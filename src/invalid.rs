//! What is wrong with something that came from outside.

use std::fmt;

/// A refused input: which field, and what is wrong with it.
///
/// Says sizes and limits, never the contents of anything that could be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    field: &'static str,
    problem: Problem,
}

/// What is wrong with a refused input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A character that is not allowed there.
    Character {
        /// Its byte position.
        position: usize,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The same thing stands there twice.
    Duplicate {
        /// The public name that is repeated.
        name: String,
    },
    /// Nothing where something must be.
    Empty,
    /// A network whose address has bits beyond the network's length.
    HostBits {
        /// The network without them.
        corrected: String,
    },
    /// Not of the form that it must have.
    Malformed {
        /// The form it must have.
        expected: &'static str,
    },
    /// A number outside its range.
    OutOfRange {
        /// The number given.
        given: u64,
        /// The smallest allowed.
        min: u64,
        /// The greatest allowed; [`u64::MAX`] where there is none.
        max: u64,
        /// In what these are: `ms`, `s`, or nothing for a number.
        unit: &'static str,
    },
    /// Refused by a check of the service's own.
    Refused {
        /// What the service's check said.
        message: String,
    },
    /// A required thing is missing, or given where it can't be used.
    Required {
        /// What has to be done.
        what: &'static str,
    },
    /// Nested too deeply.
    TooDeep {
        /// The greatest depth.
        limit: usize,
    },
    /// Too many bytes.
    TooLong {
        /// The number of bytes given.
        given: usize,
        /// The greatest number.
        limit: usize,
    },
    /// Too many members.
    TooMany {
        /// The number given.
        given: usize,
        /// The greatest number.
        limit: usize,
    },
    /// A public name that is not known here.
    Unknown {
        /// The name.
        name: String,
    },
}

impl Invalid {
    /// A refusal of `field` because of `problem`.
    #[must_use]
    pub fn new(field: &'static str, problem: Problem) -> Self {
        Self { field, problem }
    }

    /// The name of the refused field.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field;
        match &self.problem {
            Problem::Character { position, allowed } => {
                write!(f, "{field}: character not allowed at byte {position} (allowed: {allowed})")
            }
            Problem::Duplicate { name } => write!(f, "{field}: `{name}` stands there twice"),
            Problem::Empty => write!(f, "{field}: must not be empty"),
            Problem::HostBits { corrected } => {
                write!(f, "{field}: host bits are set, the network is {corrected}")
            }
            Problem::Malformed { expected } => write!(f, "{field}: must be {expected}"),
            Problem::OutOfRange { given, min, max, unit } => {
                let space = if unit.is_empty() { "" } else { " " };
                match *max {
                    u64::MAX => write!(f, "{field}: {given}{space}{unit} is less than {min}")?,
                    max => write!(f, "{field}: {given}{space}{unit} is outside {min} to {max}")?,
                }
                write!(f, "{space}{unit}")
            }
            Problem::Refused { message } => write!(f, "{field}: {message}"),
            Problem::Required { what } => write!(f, "{field}: {what}"),
            Problem::TooDeep { limit } => write!(f, "{field}: nested deeper than {limit}"),
            Problem::TooLong { given, limit } => {
                write!(f, "{field}: {given} bytes, at most {limit} allowed")
            }
            Problem::TooMany { given, limit } => {
                write!(f, "{field}: {given} given, at most {limit} allowed")
            }
            Problem::Unknown { name } => write!(f, "{field}: `{name}` is not known"),
        }
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_told_with_their_unit() {
        let shown = |max, unit| {
            let problem = Problem::OutOfRange { given: 0, min: 1, max, unit };
            Invalid::new("field", problem).to_string()
        };
        assert_eq!(shown(9, ""), "field: 0 is outside 1 to 9");
        assert_eq!(shown(9, "ms"), "field: 0 ms is outside 1 to 9 ms");
        assert_eq!(shown(u64::MAX, "s"), "field: 0 s is less than 1 s");
    }
}
