//! A store on a SQLite file, with its time and randomness set.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use keyhasp::backend::Backend;
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::key::StoreRules;
use keyhasp::store::Unavailable;
use keyhasp::{
    AdminKeys, Catalogue, Error, KeyId, KeyStore, ManualClock, Prefix, RecoveryKeys, Store,
    Timestamp, Verifier, VerifyError,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// The time at which clocks start: 2026-01-01T00:00:00Z.
pub const START: u64 = 1_767_225_600_000;

/// Also the staleness that a shared store allows, so that it polls only when it is opened.
pub const HOUR: Duration = Duration::from_secs(3_600);

/// Settings for the opening of a store.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// Whether it is one of several processes.
    pub shared: bool,
    /// The seed of its randomness.
    pub seed: u64,
    /// The time of its clock.
    pub now: Timestamp,
    /// Wraps the backend before it is handed to the store.
    pub wrap: &'a dyn Fn(Arc<dyn Backend>) -> Arc<dyn Backend>,
}

/// An open store.
#[derive(Debug)]
pub struct World {
    /// Its backend, for looks past the store.
    pub backend: Arc<dyn Backend>,
    /// The store.
    pub store: Arc<dyn KeyStore>,
    /// Its clock.
    pub clock: Arc<ManualClock>,
    /// An administrator.
    pub admin: AdminKeys,
    /// A verifier.
    pub verifier: Verifier,
}

/// The answer to a token: key, number of permissions, and whether the token is current.
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
    /// Opens the database in a directory with the rules that it has.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open(directory: &Path, opening: &Opening<'_>) -> Result<Self, Error> {
        let options = match opening.shared {
            true => SqliteOptions::shared(HOUR)?,
            false => SqliteOptions::exclusive(),
        };
        // No test holds it for long.
        let options = options.busy_timeout(Duration::from_secs(30))?;
        let sqlite: Arc<dyn Backend> =
            Arc::new(Sqlite::open_or_create(database(directory), options)?.0);
        let backend = (opening.wrap)(sqlite);
        let (rules, prefixes) = match backend.metadata()? {
            Some(metadata) => {
                let accepted = metadata.prefixes.accepted().map(|entry| entry.prefix);
                (metadata.rules, accepted.collect())
            }
            None => {
                let prefixes = vec![Prefix::new("acme")?, Prefix::new("acme_test")?];
                (StoreRules { recoverable_tokens: true, ..StoreRules::default() }, prefixes)
            }
        };
        let catalogue = Catalogue::builder().read("links:read").write("links:write");
        let catalogue = catalogue.read("domains:read").write("domains:write").build()?;
        let clock = Arc::new(ManualClock::new(opening.now));
        // A thread that writes pieces of sweeps would write beside the calls that are counted.
        let store = Store::builder(catalogue, prefixes)
            .without_sweeps_for_tests()
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

    /// Verifies each of these tokens.
    pub fn verdicts(&self, tokens: &[String]) -> Vec<Verdict> {
        tokens.iter().map(|token| self.verdict(token)).collect()
    }

    fn verdict(&self, token: &str) -> Verdict {
        let verified = self.verifier.verify(token)?;
        Ok((verified.key_id(), verified.permissions().len(), verified.is_current()))
    }
}

/// Waits until a store has recovered by itself.
///
/// # Errors
/// It hasn't after ten minutes.
pub fn await_recovery(store: &dyn KeyStore) -> Result<(), String> {
    let started = Instant::now();
    while store.health().unavailable == Some(Unavailable::Recovering) {
        // It tries at once, after 50 ms, 100 ms and so on, so only a bug waits for this.
        if started.elapsed() > Duration::from_secs(600) {
            return Err("the store didn't recover by itself".to_owned());
        }
        thread::yield_now();
    }
    Ok(())
}

/// Returns the path of the database in a directory.
#[must_use]
pub fn database(directory: &Path) -> PathBuf {
    directory.join("keys.db")
}

/// Makes a temporary directory, in memory where the system has a file system for that: no test
/// rests on real syncs.
///
/// # Panics
/// If none can be made.
#[must_use]
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary directory")
}
