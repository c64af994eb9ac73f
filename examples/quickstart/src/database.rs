//! Which database the tour uses, and how a store is opened on it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyhasp::backend::Memory;
#[cfg(feature = "sled")]
use keyhasp::backend::sled::{Sled, SledOptions};
#[cfg(feature = "sqlite")]
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::{KeyStore, StoreBuilder};
use tempfile::TempDir;

use crate::args::{Args, Kind};

/// A backend, and where its file or directory lies.
pub(crate) struct Database {
    kind: Kind,
    path: PathBuf,
    /// Removed, with all that is in it, at the end.
    temporary: Option<TempDir>,
}

impl Database {
    /// The database that was asked for, or a temporary one.
    pub(crate) fn choose(args: Args) -> Result<Self, String> {
        let missing = match args.backend {
            Kind::Sled if !cfg!(feature = "sled") => Some("sled"),
            Kind::Sqlite if !cfg!(feature = "sqlite") => Some("sqlite"),
            _ => None,
        };
        if let Some(name) = missing {
            return Err(format!(
                "this build has no {name} backend: build it with `--features {name}`, as in\n  \
                 cargo run --example quickstart --features {name} -- --backend {name}"
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

    /// Opens a store; one process has the database at a time.
    pub(crate) fn open(&self, builder: StoreBuilder) -> Result<Arc<dyn KeyStore>, Box<dyn Error>> {
        let store = match self.kind {
            Kind::Memory => builder.open(Memory::new()),
            #[cfg(feature = "sqlite")]
            Kind::Sqlite => Sqlite::open(&self.path, SqliteOptions::exclusive())
                .map_err(Into::into)
                .and_then(|backend| builder.open(backend)),
            #[cfg(feature = "sled")]
            Kind::Sled => Sled::open(&self.path, SledOptions::default())
                .map_err(Into::into)
                .and_then(|backend| builder.open(backend)),
            #[cfg(not(all(feature = "sqlite", feature = "sled")))]
            other => return Err(format!("{other:?} is not in this build").into()),
        };
        match store {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => Err(format!("{} can't be used: {error}", self.path.display()).into()),
        }
    }

    pub(crate) fn backend(&self) -> &'static str {
        match self.kind {
            Kind::Memory => "memory",
            Kind::Sled => "sled",
            Kind::Sqlite => "sqlite",
        }
    }

    /// The file or directory; none in memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        (self.kind != Kind::Memory).then_some(&self.path)
    }

    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }
}
