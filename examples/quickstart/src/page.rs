//! Layout of the story: indented, aligned, in colour only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use keyhasp::{KeyId, Timestamp, Token};

/// Indentation of each line.
const INDENT: &str = "   ";
/// Width of a page in characters.
const WIDTH: usize = 92;

#[derive(Clone, Copy)]
enum Colour {
    Bold,
    Dim,
    Green,
    Red,
    Yellow,
}

/// Standard output, one step after another.
pub(crate) struct Page {
    out: io::Stdout,
    colour: bool,
    steps: u32,
}

impl Page {
    /// Writes in colour on a terminal that can show it, unless NO_COLOR is set.
    pub(crate) fn on_stdout() -> Self {
        let out = io::stdout();
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = out.is_terminal() && !is_set("NO_COLOR") && !is_dumb;
        Self { out, colour, steps: 0 }
    }

    /// Writes the title.
    pub(crate) fn title(&mut self, text: &str) -> io::Result<()> {
        let title = self.paint(Colour::Bold, text);
        writeln!(self.out, "{title}\n")
    }

    /// Writes the heading of a step, with the story's time at its end.
    pub(crate) fn step(&mut self, title: &str, now: Timestamp) -> io::Result<()> {
        self.steps += 1;
        let (number, now) = (self.steps, moment(now));
        let gap = WIDTH.saturating_sub(number.to_string().len() + 2 + title.len());
        let heading = self.paint(Colour::Bold, &format!("{number}. {title}"));
        let now = self.paint(Colour::Dim, &format!("{now:>gap$}"));
        writeln!(self.out, "\n{heading}{now}\n")
    }

    /// Writes a sentence or two about the step.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        for line in wrap(text, WIDTH - INDENT.len()) {
            writeln!(self.out, "{INDENT}{line}")?;
        }
        self.out.flush()
    }

    /// Writes an empty line.
    pub(crate) fn space(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// Writes a name and its value.
    pub(crate) fn fact(&mut self, name: &str, text: &str) -> io::Result<()> {
        writeln!(self.out, "{INDENT}{name:<10} {text}")
    }

    /// Writes that a token or a permission was accepted.
    pub(crate) fn accepted(&mut self, what: &str, detail: &str) -> io::Result<()> {
        let word = self.paint(Colour::Green, "accepted");
        writeln!(self.out, "{INDENT}{word}  {what:<33} {detail}")
    }

    /// Writes that a token was rejected.
    pub(crate) fn rejected(&mut self, what: &str, why: &str) -> io::Result<()> {
        let word = self.paint(Colour::Red, "rejected");
        writeln!(self.out, "{INDENT}{word}  {what:<33} {why}")
    }

    /// Writes that a call or a permission was refused.
    pub(crate) fn refused(&mut self, what: &str, why: &str) -> io::Result<()> {
        let word = self.paint(Colour::Red, "refused ");
        writeln!(self.out, "{INDENT}{word}  {what:<33} {why}")
    }

    /// Writes that time passes.
    pub(crate) fn later(&mut self, by: Duration) -> io::Result<()> {
        let later = self.paint(Colour::Dim, &format!("... {} later ...", span(by)));
        writeln!(self.out, "\n{INDENT}{later}\n")
    }

    /// Writes a whole token, with an explanation. No other place shows a whole token.
    pub(crate) fn show_once(&mut self, words: &str, token: &Token) -> io::Result<()> {
        self.space()?;
        self.say(words)?;
        let token = self.paint(Colour::Yellow, token.expose());
        writeln!(self.out, "\n{INDENT}   {token}\n")
    }

    /// Writes a table, each column as wide as its widest cell.
    pub(crate) fn table<const N: usize>(
        &mut self,
        head: [&str; N],
        rows: &[[String; N]],
    ) -> io::Result<()> {
        let wide = |at: usize| {
            let cells = rows.iter().map(|row| row[at].chars().count());
            cells.chain([head[at].len()]).max().unwrap_or_default()
        };
        let widths: [usize; N] = std::array::from_fn(wide);
        let line = |cells: [&str; N]| {
            let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head = self.paint(Colour::Dim, &line(head));
        writeln!(self.out, "{INDENT}{head}")?;
        for row in rows {
            writeln!(self.out, "{INDENT}{}", line(row.each_ref().map(String::as_str)))?;
        }
        Ok(())
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Bold => 1,
            Colour::Dim => 2,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Shortens a token to five characters of its key's public id, and nothing of its secret.
pub(crate) fn shortened(token: &Token) -> String {
    let text = token.expose();
    let (prefix, body) = text.rsplit_once('_').unwrap_or_default();
    format!("{prefix}_…{}…", body.get(17..22).unwrap_or_default())
}

/// Shortens a key's id to its end.
pub(crate) fn short_id(id: KeyId) -> String {
    let text = id.to_string();
    format!("…{}", text.rsplit('-').next().unwrap_or_default())
}

/// Formats a moment to the minute, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    at.to_string().chars().take(16).collect::<String>().replace('T', " ")
}

/// Formats a moment, or `never`.
pub(crate) fn moment_or_never(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "never".into(), moment)
}

/// Formats a number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn span(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    match (minutes / (24 * 60), minutes / 60, minutes) {
        (days @ 2.., _, _) => format!("{days} days"),
        (_, 1, _) => "an hour".into(),
        (_, hours @ 2.., _) => format!("{hours} hours"),
        (_, _, minutes) => format!("{minutes} minutes"),
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let needed = lines.last().map_or(0, |line| line.chars().count() + 1) + word.chars().count();
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if needed <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
