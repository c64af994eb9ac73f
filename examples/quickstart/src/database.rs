//! The database of the tour, and the store on it.

use std::error::Error;
#[cfg(any(feature = "sled", feature = "sqlite"))]
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyhasp::backend::Memory;
#[cfg(any(feature = "sled", feature = "sqlite"))]
use keyhasp::backend::Opened;
#[cfg(feature = "sled")]
use keyhasp::backend::sled::{Sled, SledOptions};
#[cfg(feature = "sqlite")]
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::{KeyStore, StoreBuilder};
use tempfile::TempDir;

use crate::args::{Args, Kind};

/// A backend, with the path of its file or directory.
pub(crate) struct Database {
    kind: Kind,
    path: PathBuf,
    /// Removed at the end, with its contents.
    temporary: Option<TempDir>,
}

impl Database {
    /// Takes the database of the command line, or makes a temporary one.
    pub(crate) fn choose(args: Args) -> Result<Self, String> {
        let missing = match args.backend {
            Kind::Sled if !cfg!(feature = "sled") => Some("sled"),
            Kind::Sqlite if !cfg!(feature = "sqlite") => Some("sqlite"),
            _ => None,
        };
        if let Some(name) = missing {
            return Err(format!(
                "this build has no {name} backend: build it with `--features {name}`, as in\n  \
                 cargo run -p quickstart --features {name} -- --backend {name}"
            ));
        }
        if let Some(path) = args.db {
            return Ok(Self { kind: args.backend, path, temporary: None });
        }
        let temporary = TempDir::with_prefix("keyhasp-quickstart-")
            .map_err(|error| format!("no temporary directory can be made: {error}"))?;
        let path = temporary.path().join("keys.db");
        Ok(Self { kind: args.backend, path, temporary: Some(temporary) })
    }

    /// Opens a store. One process at a time has the database open.
    pub(crate) fn open(&self, builder: StoreBuilder) -> Result<Arc<dyn KeyStore>, Box<dyn Error>> {
        let store = match self.kind {
            Kind::Memory => builder.open(Memory::new()),
            #[cfg(feature = "sqlite")]
            Kind::Sqlite => Sqlite::open_or_create(&self.path, SqliteOptions::exclusive())
                .map_err(Into::into)
                .and_then(|(backend, opened)| {
                    self.tell(opened);
                    builder.open(backend)
                }),
            #[cfg(feature = "sled")]
            Kind::Sled => Sled::open_or_create(&self.path, SledOptions::default())
                .map_err(Into::into)
                .and_then(|(backend, opened)| {
                    self.tell(opened);
                    builder.open(backend)
                }),
            #[cfg(not(all(feature = "sqlite", feature = "sled")))]
            other => return Err(format!("{other:?} is not in this build").into()),
        };
        match store {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => Err(format!("{} can't be used: {error}", self.path.display()).into()),
        }
    }

    /// Says that a database of the command line is new: where there was one before, the operator
    /// learns that it isn't there.
    #[cfg(any(feature = "sled", feature = "sqlite"))]
    fn tell(&self, opened: Opened) {
        if opened == Opened::Created && !self.is_temporary() {
            let path = self.path.display();
            // Without standard error, the story goes on.
            let _ = writeln!(io::stderr(), "quickstart: {path} is new: nothing was there before");
        }
    }

    pub(crate) fn backend(&self) -> &'static str {
        match self.kind {
            Kind::Memory => "memory",
            Kind::Sled => "sled",
            Kind::Sqlite => "sqlite",
        }
    }

    /// Returns the file or directory. The memory backend has none.
    pub(crate) fn path(&self) -> Option<&Path> {
        (self.kind != Kind::Memory).then_some(&self.path)
    }

    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }
}
