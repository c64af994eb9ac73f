//! A store on a SQLite file, with its time and randomness set.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind};
use keyhasp::key::StoreRules;
use keyhasp::{
    AdminKeys, Catalogue, Error, KeyId, KeyStore, ManualClock, Prefix, RecoveryKeys, Store,
    Timestamp, Verifier, VerifyError,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// 2026-01-01T00:00:00Z.
pub const START: u64 = 1_767_225_600_000;

/// Also the bound of a shared store, so that it only polls when it is opened.
pub const HOUR: Duration = Duration::from_secs(3_600);

/// How a store is opened.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// Whether as one of several processes.
    pub shared: bool,
    /// From which its randomness comes.
    pub seed: u64,
    /// What its clock shows.
    pub now: Timestamp,
    /// What is put between backend and store.
    pub wrap: &'a dyn Fn(Arc<dyn Backend>) -> Arc<dyn Backend>,
}

/// An open store.
#[derive(Debug)]
pub struct World {
    /// Its backend, for whoever looks past the store.
    pub backend: Arc<dyn Backend>,
    /// The store.
    pub store: Arc<dyn KeyStore>,
    /// Its clock.
    pub clock: Arc<ManualClock>,
    /// An administrator.
    pub admin: AdminKeys,
    /// Verifies.
    pub verifier: Verifier,
}

/// What a verification answers: key, number of permissions, and whether the token is the current
/// one; or why not.
pub type Verdict = Result<(KeyId, usize, bool), VerifyError>;

impl std::fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Default for Opening<'_> {
    fn default() -> Self {
        let now = Timestamp::from_millis(START).expect("a date");
        Self { shared: false, seed: 1, now, wrap: &|backend| backend }
    }
}

impl World {
    /// Opens the database of a directory with the rules that it has.
    ///
    /// # Errors
    /// As the store.
    pub fn open(directory: &Path, opening: &Opening<'_>) -> Result<Self, Error> {
        let options = match opening.shared {
            true => SqliteOptions::shared(HOUR)?,
            false => SqliteOptions::exclusive(),
        };
        // Nobody holds it for long.
        let options = options.busy_timeout(Duration::from_secs(30))?;
        let sqlite: Arc<dyn Backend> = Arc::new(Sqlite::open(database(directory), options)?);
        let backend = (opening.wrap)(sqlite);
        let (rules, prefixes) = match backend.metadata() {
            Ok(metadata) => {
                let accepted = metadata.prefixes.accepted().map(|entry| entry.prefix);
                (metadata.rules, accepted.collect())
            }
            Err(error) if error.kind() == BackendErrorKind::NotADatabase => {
                let prefixes = vec![Prefix::new("acme")?, Prefix::new("acme_test")?];
                (StoreRules { recoverable_tokens: true, ..StoreRules::default() }, prefixes)
            }
            Err(error) => return Err(error.into()),
        };
        let catalogue = Catalogue::builder().read("links:read").write("links:write");
        let catalogue = catalogue.read("domains:read").write("domains:write").build()?;
        let clock = Arc::new(ManualClock::new(opening.now));
        let store = Store::builder(catalogue, prefixes)
            .rules(rules)
            .clock(Arc::<ManualClock>::clone(&clock))
            .random(ChaCha20Rng::seed_from_u64(opening.seed))
            .recovery_keys(RecoveryKeys::new(1, [7; 32])?)
            .open_on(Arc::clone(&backend))?;
        let store: Arc<dyn KeyStore> = Arc::new(store);
        let admin = AdminKeys::new(Arc::clone(&store), "root")?;
        let verifier = Verifier::new(Arc::clone(&store));
        Ok(Self { backend, store, clock, admin, verifier })
    }

    /// What is answered to each of these tokens.
    pub fn verdicts(&self, tokens: &[String]) -> Vec<Verdict> {
        tokens.iter().map(|token| self.verdict(token)).collect()
    }

    fn verdict(&self, token: &str) -> Verdict {
        let verified = self.verifier.verify(token)?;
        Ok((verified.key_id(), verified.permissions().len(), verified.is_current()))
    }
}

/// The database file in a directory.
#[must_use]
pub fn database(directory: &Path) -> PathBuf {
    directory.join("keys.db")
}

/// A directory for a while, in memory where there is a file system for that: what is synced there is
/// for the watchers to say.
///
/// # Panics
/// If none can be made.
#[must_use]
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory for a while")
}
