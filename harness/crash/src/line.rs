//! The lines that a process writes before and after each call. One system call writes each line, so
//! that the parent reads it whole after a kill.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use keyhasp::KeyId;

use crate::operation::{Made, Operation};

/// The longest write to a pipe that is atomic (POSIX demands 512, Linux has 4,096).
const WHOLE: usize = 4_096;

/// A line of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The store is open.
    Open,
    /// An operation is called; its name occurs once in a database's life.
    Intent(String, Operation),
    /// The call succeeded.
    Done(String, Made),
    /// The call returned an error that says that nothing happened.
    Refused(String, String),
    /// The call's outcome is unknown.
    Unknown(String),
    /// A use of a key was accepted, at this cost.
    Used(KeyId, u32),
    /// Usage is flushed.
    Flushing(u64),
    /// The flush succeeded.
    Flushed(u64),
    /// The store is being closed.
    Closing,
    /// The store is closed, and every thread has ended.
    Closed,
    /// The process met a failure that must not happen.
    Trouble(String),
}

impl Line {
    fn text(&self) -> String {
        match self {
            Self::Open => "open\n".to_owned(),
            Self::Intent(name, operation) => format!("intent {name} {operation}\n"),
            Self::Done(name, made) => format!(
                "done {name} {} {} {}\n",
                or_dash(made.key.as_ref()),
                or_dash(made.numeric_id.as_ref()),
                or_dash(made.token.as_ref()),
            ),
            Self::Refused(name, why) => format!("refused {name} {}\n", flat(why)),
            Self::Unknown(name) => format!("unknown {name}\n"),
            Self::Used(key, cost) => format!("used {key} {cost}\n"),
            Self::Flushing(number) => format!("flushing {number}\n"),
            Self::Flushed(number) => format!("flushed {number}\n"),
            Self::Closing => "closing\n".to_owned(),
            Self::Closed => "closed\n".to_owned(),
            Self::Trouble(what) => format!("trouble {}\n", flat(what)),
        }
    }

    /// Parses a line without its newline.
    ///
    /// # Errors
    /// The text is no line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.splitn(3, ' ');
        let none = || format!("not a line: `{text}`");
        let head = words.next().unwrap_or_default();
        let mut next = || words.next().map(str::to_owned).ok_or_else(none);
        Ok(match head {
            "open" => Self::Open,
            "intent" => Self::Intent(next()?, next()?.parse()?),
            "done" => {
                let name = next()?;
                let rest = next()?;
                let [key, numeric_id, token] = *rest.split(' ').collect::<Vec<_>>() else {
                    return Err(none());
                };
                let parsed = |id: &str| id.parse().map_err(|_| none());
                let number = |id: &str| id.parse().map_err(|_| none());
                let key = not_dash(key).map(parsed).transpose()?;
                let numeric_id = not_dash(numeric_id).map(number).transpose()?;
                let token = not_dash(token).map(str::to_owned);
                Self::Done(name, Made { key, numeric_id, token })
            }
            "refused" => Self::Refused(next()?, next()?),
            "unknown" => Self::Unknown(next()?),
            "used" => {
                let key = next()?.parse().map_err(|_| none())?;
                Self::Used(key, next()?.parse().map_err(|_| none())?)
            }
            "flushing" => Self::Flushing(next()?.parse().map_err(|_| none())?),
            "flushed" => Self::Flushed(next()?.parse().map_err(|_| none())?),
            "closing" => Self::Closing,
            "closed" => Self::Closed,
            "trouble" => Self::Trouble(text.to_owned()),
            _ => return Err(none()),
        })
    }
}

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn not_dash(word: &str) -> Option<&str> {
    (word != "-").then_some(word)
}

fn flat(text: &str) -> String {
    text.replace('\n', " ").chars().take(1_000).collect()
}

/// The file or pipe to which lines are written.
#[derive(Clone, Debug)]
pub struct Lines(Arc<File>);

impl Lines {
    /// Writes to this file or pipe.
    #[must_use]
    pub fn to(file: File) -> Self {
        Self(Arc::new(file))
    }

    /// Writes a line by one system call.
    ///
    /// # Errors
    /// The pipe is closed, or the line is too long for an atomic write.
    pub fn say(&self, line: &Line) -> io::Result<()> {
        let text = line.text();
        if text.len() > WHOLE {
            return Err(io::Error::other("a line is too long to be written in one step"));
        }
        if (&*self.0).write(text.as_bytes())? == text.len() {
            Ok(())
        } else {
            Err(io::Error::other("a line was written in part"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_and_parse() {
        let made =
            Made { key: Some(KeyId::from_u128(5)), numeric_id: Some(3), token: Some("x_1".into()) };
        let lines = [
            Line::Open,
            Line::Intent("a".into(), "create-owner o".parse().unwrap()),
            Line::Done("a".into(), made),
            Line::Done("a".into(), Made::default()),
            Line::Refused("a".into(), "not allowed: so".into()),
            Line::Unknown("a".into()),
            Line::Used(KeyId::from_u128(5), 2),
            Line::Flushing(3),
            Line::Flushed(3),
            Line::Closing,
            Line::Closed,
        ];
        for line in lines {
            assert_eq!(Line::parse(line.text().trim_end()), Ok(line));
        }
        assert!(Line::parse("done a -").is_err());
    }
}
