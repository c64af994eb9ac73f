//! What a process says of what it does: lines, each written by one call of the system, so that
//! what was said before a kill is read whole after it.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use keyhasp::KeyId;

use crate::operation::{Made, Operation};

/// Up to here a write to a pipe is one step (POSIX asks 512, Linux has 4,096).
const WHOLE: usize = 4_096;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The store is open.
    Open,
    /// Before the call: the name of the operation, single for ever, and what it is.
    Intent(String, Operation),
    /// The call returned: done.
    Done(String, Made),
    /// The call returned: nothing happened.
    Refused(String, String),
    /// The call returned: nobody knows.
    Unknown(String),
    /// A use of a key was accepted, at this cost.
    Used(KeyId, u32),
    /// Before the call: what was used is to be written.
    Flushing(u64),
    /// The call returned: it is written.
    Flushed(u64),
    /// The store is being closed.
    Closing,
    /// The store is closed, and every thread has ended.
    Closed,
    /// Something that must not be.
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

    /// The line of a text without its end.
    ///
    /// # Errors
    /// It is none.
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

/// Where lines are written to.
#[derive(Clone, Debug)]
pub struct Lines(Arc<File>);

impl Lines {
    /// Into a file or a pipe.
    #[must_use]
    pub fn to(file: File) -> Self {
        Self(Arc::new(file))
    }

    /// Writes a line in one step.
    ///
    /// # Errors
    /// Nobody reads any more, or the line is too long for one step.
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
