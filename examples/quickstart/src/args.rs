//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
A tour of keyhasp: three organisations and the whole life of their API keys.

Usage: cargo run -p quickstart -- [OPTIONS]

Options:
  --backend NAME  where keys and events lie: memory, sqlite (the default) or sled
                  (sled needs `--features sled` before the `--`)
  --db FILE       use this database and keep it, for sled a directory; can be used again.
                  Without it: a temporary one, removed at the end
  -h, --help      this help

Colour is used on a terminal, unless NO_COLOR is set. The exit code is 0 if every answer was
correct, 1 if an answer was wrong, 2 for a wrong command line.
";

/// The choice of the command line.
pub(crate) enum Command {
    Help,
    Tour(Args),
}

#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) backend: Kind,
    pub(crate) db: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Sled,
    #[default]
    Sqlite,
}

/// Reads the arguments, the program's name left out.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parsed = Args::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let (option, attached) = split(&arg);
        let mut value = |what: &str| {
            let value = attached.clone().or_else(|| args.next()).filter(|value| !value.is_empty());
            value.ok_or_else(|| format!("{option} wants {what}"))
        };
        match option.as_str() {
            "-h" | "--help" if attached.is_none() => return Ok(Command::Help),
            "--backend" => parsed.backend = backend(&value("memory, sqlite or sled")?)?,
            "--db" => parsed.db = Some(value("the path of a database")?.into()),
            _ => return Err(format!("`{option}` is not an option of this program")),
        }
    }
    if parsed.backend == Kind::Memory && parsed.db.is_some() {
        return Err("--db goes with sqlite or sled: the memory backend has no file".into());
    }
    Ok(Command::Tour(parsed))
}

/// Splits `--option=value` into the option and its value.
fn split(arg: &OsString) -> (String, Option<OsString>) {
    match arg.to_str().and_then(|text| text.split_once('=')) {
        Some((option, value)) => (option.to_owned(), Some(value.into())),
        None => (arg.to_string_lossy().into_owned(), None),
    }
}

fn backend(name: &OsString) -> Result<Kind, String> {
    match name.to_str() {
        Some("memory") => Ok(Kind::Memory),
        Some("sled") => Ok(Kind::Sled),
        Some("sqlite") => Ok(Kind::Sqlite),
        _ => Err(format!(
            "there is no backend `{}`: choose memory, sqlite or sled",
            name.to_string_lossy()
        )),
    }
}
