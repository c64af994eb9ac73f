//! Inputs that are rejected.

use std::fmt;

/// A rejected input: the field, and the problem with it.
///
/// It contains sizes and limits, and never text that could be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    field: &'static str,
    problem: Problem,
}

/// The problem with a rejected input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A character is not allowed there.
    Character {
        /// The byte position of the character, from 0.
        position: usize,
        /// The characters that are allowed.
        allowed: &'static str,
    },
    /// The same name or number is given twice.
    Duplicate {
        /// The repeated name or number.
        name: String,
    },
    /// The value is empty.
    Empty,
    /// The network's address has bits beyond the network's length.
    HostBits {
        /// The network without those bits.
        corrected: String,
    },
    /// The value does not have the required form.
    Malformed {
        /// The required form.
        expected: &'static str,
    },
    /// The number is outside its range.
    OutOfRange {
        /// The number given.
        given: u64,
        /// The smallest allowed number.
        min: u64,
        /// The greatest allowed number, or [`u64::MAX`] if there is no upper limit.
        max: u64,
        /// The unit of all three: `ms`, `s`, or empty for a plain number.
        unit: &'static str,
    },
    /// The service's own check rejects the value.
    Refused {
        /// The message of the service's check.
        message: String,
    },
    /// A required value is missing, or the value needs another setting.
    Required {
        /// An instruction for the caller.
        what: &'static str,
    },
    /// The name is the store's own, for what it does by itself.
    Reserved {
        /// The name.
        name: &'static str,
    },
    /// The same secret is given under two numbers.
    SameSecret {
        /// The two numbers.
        numbers: [u16; 2],
    },
    /// The value is nested too deeply.
    TooDeep {
        /// The greatest allowed depth.
        limit: usize,
    },
    /// The moment is too early.
    TooEarly {
        /// The moment given, by RFC 3339.
        given: String,
        /// The earliest allowed moment.
        earliest: String,
    },
    /// The moment is too late.
    TooLate {
        /// The moment given, by RFC 3339.
        given: String,
        /// The latest allowed moment.
        latest: String,
    },
    /// The value has too many bytes.
    TooLong {
        /// The number of bytes given.
        given: usize,
        /// The greatest allowed number.
        limit: usize,
    },
    /// The value has too many members.
    TooMany {
        /// The number given.
        given: usize,
        /// The greatest allowed number.
        limit: usize,
    },
    /// The name is not known to this store.
    Unknown {
        /// The name.
        name: String,
    },
}

impl Invalid {
    /// Creates a rejection of `field` because of `problem`.
    #[must_use]
    pub fn new(field: &'static str, problem: Problem) -> Self {
        Self { field, problem }
    }

    /// Returns the name of the rejected field.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Returns the problem with it.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

impl fmt::Display for Problem {
    /// Writes the problem without the name of the field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character { position, allowed } => {
                write!(f, "character not allowed at byte {position} (allowed: {allowed})")
            }
            Self::Duplicate { name } => write!(f, "`{name}` is given twice, allowed once"),
            Self::Empty => f.write_str("must not be empty"),
            Self::HostBits { corrected } => {
                write!(f, "host bits are set, write the network as {corrected}")
            }
            Self::Malformed { expected } => write!(f, "must be {expected}"),
            Self::OutOfRange { given, min, max, unit } => {
                let space = if unit.is_empty() { "" } else { " " };
                match *max {
                    u64::MAX => write!(f, "{given}{space}{unit} is less than {min}")?,
                    max => write!(f, "{given}{space}{unit} is outside {min} to {max}")?,
                }
                write!(f, "{space}{unit}")
            }
            Self::Refused { message } => f.write_str(message),
            Self::Required { what } => f.write_str(what),
            Self::Reserved { name } => {
                write!(f, "`{name}` is the store's own name; give the caller another")
            }
            Self::SameSecret { numbers: [first, second] } => {
                write!(f, "the same secret is given as number {first} and as {second}")
            }
            Self::TooDeep { limit } => {
                write!(f, "nested too deeply, at most {limit} levels allowed")
            }
            Self::TooEarly { given, earliest } => {
                write!(f, "{given} is too early, {earliest} is the earliest allowed")
            }
            Self::TooLate { given, latest } => {
                write!(f, "{given} is too late, {latest} is the latest allowed")
            }
            Self::TooLong { given, limit } => write!(f, "{given} bytes, at most {limit} allowed"),
            Self::TooMany { given, limit } => write!(f, "{given} given, at most {limit} allowed"),
            Self::Unknown { name } => write!(f, "`{name}` is not known to this store"),
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
