//! The place of a service's data.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyhasp::backend::Opened;
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::store::{Health, StoreBuilder};
use keyhasp::{KeyStore, Peppers};
use tempfile::{NamedTempFile, TempDir};

use super::Outcome;

/// The names of the secrets of all examples.
const SECRETS: [&str; 3] = ["pepper", "sealing", "session"];

/// A database and the secrets beside it: the pepper in `FILE.pepper`, others in `FILE.NAME`.
///
/// An example must find its secrets again by itself. A real service keeps them apart from the
/// database, so that a thief of the database doesn't have them.
#[derive(Debug)]
pub(crate) struct Place {
    database: PathBuf,
    /// The file that shows that there was a database when this process began, if one does.
    data: Option<PathBuf>,
    /// The file that shows that secrets were drawn for it before, if one does.
    traces: Option<PathBuf>,
    /// The temporary directory, which is removed on drop.
    _temporary: Option<TempDir>,
}

impl Place {
    /// Takes this file, or a file in a temporary directory if none is given.
    pub(crate) fn new(database: Option<String>) -> io::Result<Self> {
        if let Some(database) = database.map(PathBuf::from) {
            let data = find_data(&database)?;
            let traces = find_secret(&database)?;
            return Ok(Self { database, data, traces, _temporary: None });
        }
        let temporary = tempfile::tempdir()?;
        let database = temporary.path().join("keys.db");
        Ok(Self { database, data: None, traces: None, _temporary: Some(temporary) })
    }

    /// Tests whether there was no database when this process began.
    pub(crate) fn is_new(&self) -> bool {
        self.data.is_none()
    }

    /// Opens a store on the database, with the pepper. After closing it can be opened again.
    pub(crate) fn open(&self, store: StoreBuilder) -> Outcome<Arc<dyn KeyStore>> {
        self.open_as(store, SqliteOptions::exclusive())
    }

    /// Opens a store on the database, with the pepper and these options.
    pub(crate) fn open_as(
        &self,
        store: StoreBuilder,
        options: SqliteOptions,
    ) -> Outcome<Arc<dyn KeyStore>> {
        let peppers = Peppers::new(1, self.secret("pepper")?)?;
        let database = self.open_database(options)?;
        let store = store.peppers(peppers).on_health_change(|health| {
            for problem in problems(health) {
                // Without standard error, the answers alone report the problem.
                let _ = writeln!(io::stderr(), "{problem}");
            }
        });
        Ok(Arc::new(store.open(database)?))
    }

    /// Opens the database. Creates one where none was, and says so: on a volume that isn't mounted,
    /// the operator sees that the service begins with nothing.
    fn open_database(&self, options: SqliteOptions) -> Outcome<Sqlite> {
        if self.data.is_some() {
            return Ok(Sqlite::open(&self.database, options)?);
        }
        let (database, opened) = Sqlite::open_or_create(&self.database, options)?;
        if opened == Opened::Created && self._temporary.is_none() {
            let _ = writeln!(io::stderr(), "{}", created(&self.database));
        }
        Ok(database)
    }

    /// Returns the secret of this name. Draws it for a new database, and reads it from its file
    /// later. Another secret in the place of a lost one would only hide the loss.
    pub(crate) fn secret(&self, name: &str) -> Outcome<[u8; 32]> {
        let file = beside(&self.database, &format!(".{name}"));
        if let Some(secret) = read(&file)? {
            return Ok(secret);
        }
        if let Some(shows) = self.data.as_ref().or(self.traces.as_ref()) {
            let (database, shows, file) =
                (self.database.display(), shows.display(), file.display());
            let missing = format!(
                "{database} was in use before, as {shows} shows, but its secret {file} is missing: put \
                 that file back, from where the service's secrets are kept"
            );
            return Err(match self.data {
                Some(_) => missing.into(),
                // A start that was cut short leaves such a file too.
                None => format!("{missing}; if there never was a database, remove {shows}").into(),
            });
        }
        match draw(&file) {
            // Another process was faster: both open the database with the secret of that process.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                read(&file)?.ok_or_else(|| describe(&file, &error).into())
            }
            drawn => drawn.map_err(|error| describe(&file, &error).into()),
        }
    }
}

impl Place {
    /// Keeps a text in a file of this name beside the database, which only the user of this process
    /// can read, and returns the file. Replaces one that is there.
    pub(crate) fn keep(&self, name: &str, text: &str) -> Outcome<String> {
        let file = beside(&self.database, &format!(".{name}"));
        let written = || -> io::Result<()> {
            let mut draft = draft(&file)?;
            writeln!(draft, "{text}")?;
            draft.as_file().sync_all()?;
            draft.persist(&file)?;
            Ok(())
        };
        written().map_err(|error| describe(&file, &error))?;
        Ok(file.display().to_string())
    }
}

/// Lists what an operator has to look at, in sentences. Clients hear only that the service can't
/// answer.
pub(crate) fn problems(health: &Health) -> Vec<String> {
    let problems = health.problems().into_iter().map(|problem| problem.to_string());
    let failing = health.threads.iter().filter(|thread| thread.work.is_failing);
    let errors = failing.filter_map(|thread| Some(thread.work.last_error.as_ref()?.text.clone()));
    problems.chain(errors).collect()
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The sentence for an operator whose database was created now.
fn created(database: &Path) -> String {
    format!(
        "{} is new: if there was a database before, stop, and see whether its volume is mounted",
        database.display()
    )
}

/// Finds a file that shows that there is or was a database: its own, its log, or a lock file with
/// the number of an event in it. It is asked before the secrets are read: a process that creates the
/// database writes its secrets first.
fn find_data(database: &Path) -> io::Result<Option<PathBuf>> {
    for file in [database.to_owned(), beside(database, "-wal")] {
        match fs::metadata(&file) {
            Ok(metadata) if metadata.len() > 0 => return Ok(Some(file)),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let lock = beside(database, ".lock");
    let is_used = match fs::read(&lock) {
        // A file that is only locked has no number yet.
        Ok(note) => note.get(1..9).is_some_and(|number| number != [0; 8]),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        // It is another user's, or locked on Windows: a process has used it.
        Err(_) => true,
    };
    Ok(is_used.then_some(lock))
}

/// Finds any of the secrets.
fn find_secret(database: &Path) -> io::Result<Option<PathBuf>> {
    for name in SECRETS {
        let file = beside(database, &format!(".{name}"));
        if file.try_exists()? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn describe(file: &Path, error: &io::Error) -> String {
    format!("{}: {error}", file.display())
}

/// Reads the secret in this file. Returns `None` if there is no such file.
fn read(file: &Path) -> Outcome<Option<[u8; 32]>> {
    match fs::read(file) {
        Ok(secret) => match secret.try_into() {
            Ok(secret) => Ok(Some(secret)),
            Err(_) => {
                Err(format!("{} must contain exactly the 32 bytes of a secret", file.display())
                    .into())
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(describe(file, &error).into()),
    }
}

/// Opens a temporary file beside the one whose name it gets.
fn draft(file: &Path) -> io::Result<NamedTempFile> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
}

/// Draws a secret and syncs it to disk before its first use. Only the user of this process can read
/// the temporary file. It gets its name when it is complete, unless another process was faster.
fn draw(file: &Path) -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let mut draft = draft(file)?;
    draft.write_all(&secret)?;
    draft.as_file().sync_all()?;
    draft.persist_noclobber(file)?;
    Ok(secret)
}
