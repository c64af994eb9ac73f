//! Two stores on one file: one in use, one that sleeps.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::{
    Access, AdminKeys, Catalogue, Clock, CreateKey, CreateOwner, KeyStore, ListEvents, OwnerId,
    Prefix, Rotate, Store, Timestamp, Verifier, VerifyError,
};

/// The limit of the write-ahead log.
pub(crate) const WAL_LIMIT: u64 = 8 << 20;
/// The time after the last foreign reader within which the log must be under its limit.
const SOON: Duration = Duration::from_secs(1);
/// The changes that must follow as well, for a loaded machine that makes few in that time.
const CHANGES: u64 = 1_000;
const PAUSE: Duration = Duration::from_millis(5);
/// The speed of wall time.
const FASTER: u32 = 600;
/// The speed where no event is pruned, so that this shows at once.
const MUCH_FASTER: u32 = 60_000;
/// The retention in wall time, which is ten seconds of the test's.
const RETENTION: Duration = Duration::from_secs(3_600 + 2_400);
/// The age, in the clock's time, at which the store that is in use polls. It goes stale in an hour.
const FRESH: Duration = Duration::from_secs(600);
const KEYS: usize = 64;

/// A clock that goes faster. Its monotonic time is real where no event is pruned.
#[derive(Debug)]
struct Fast {
    began: Instant,
    faster: u32,
    monotonic: u32,
}

impl Clock for Fast {
    fn now(&self) -> Timestamp {
        let start = Timestamp::from_millis(1_767_225_600_000).unwrap();
        start.saturating_add(self.lived())
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed() * self.monotonic
    }
}

impl Fast {
    /// Returns the wall time that has passed.
    fn lived(&self) -> Duration {
        self.began.elapsed() * self.faster
    }
}

pub(crate) struct Shop {
    directory: tempfile::TempDir,
    clock: Arc<Fast>,
    store: Arc<Store>,
    sleeper: Arc<Store>,
    /// The valid tokens, by worker.
    tokens: [Mutex<VecDeque<String>>; 3],
    /// The last token that was revoked.
    revoked: Mutex<Option<String>>,
    changes: AtomicU64,
}

impl Shop {
    /// Opens the stores; with the bug `keeps_all` they prune no event.
    pub(crate) fn open(keeps_all: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (faster, monotonic) = if keeps_all { (MUCH_FASTER, 1) } else { (FASTER, FASTER) };
        let clock = Arc::new(Fast { began: Instant::now(), faster, monotonic });
        let open = |bound: u64, keep: Option<Duration>| {
            let options = SqliteOptions::shared(Duration::from_secs(bound)).unwrap();
            let options = options.busy_timeout(Duration::from_secs(120)).unwrap();
            let backend =
                Sqlite::open_or_create(directory.path().join("keys.db"), options).unwrap().0;
            let catalogue = Catalogue::builder().read("links:read").write("links:write");
            let prefixes = [Prefix::new("acme").unwrap()];
            let mut builder = Store::builder(catalogue.build().unwrap(), prefixes)
                .clock(Arc::<Fast>::clone(&clock));
            if let Some(keep) = keep {
                builder = builder.event_retention(keep);
            }
            Arc::new(builder.open(backend).unwrap())
        };
        let store = open(3_600, (!keeps_all).then_some(RETENTION));
        let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
        for n in 0..3 {
            let _ = admin.create_owner(&owner(n), CreateOwner::without_key()).unwrap();
        }
        // Both poll four times in an hour, so never in most runs.
        let sleeper = open(3_600, None);
        let (tokens, revoked) = (Default::default(), Mutex::default());
        Self { directory, clock, store, sleeper, tokens, revoked, changes: AtomicU64::new(0) }
    }

    pub(crate) fn path(&self) -> &Path {
        static PATH: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
        PATH.get_or_init(|| self.directory.path().join("keys.db"))
    }

    /// Returns the length of the write-ahead log.
    pub(crate) fn log_length(&self) -> u64 {
        std::fs::metadata(self.path().with_extension("db-wal")).map_or(0, |data| data.len())
    }

    /// Creates, rotates, blocks, revokes and purges, and keeps the number of keys about the same.
    pub(crate) fn work(&self, n: usize, done: &AtomicBool) -> u64 {
        let admin = AdminKeys::new(Arc::clone(&self.store), "root").unwrap();
        let mut keys = VecDeque::new();
        let mut changes = 0;
        while !done.load(Ordering::SeqCst) {
            let created = admin.create(&owner(n), CreateKey::new(Access::Full)).unwrap();
            let id = created.key.id;
            let rotated = admin.rotate(id, Rotate::forced()).unwrap();
            admin.block(id).unwrap();
            admin.unblock(id).unwrap();
            let token = rotated.token.expose().to_owned();
            keys.push_back((id, token.clone()));
            self.tokens[n].lock().unwrap().push_back(token);
            changes += 4;
            self.changes.fetch_add(4, Ordering::SeqCst);
            if keys.len() > KEYS {
                let (id, token) = keys.pop_front().unwrap();
                self.tokens[n].lock().unwrap().pop_front();
                admin.revoke(id).unwrap();
                assert!(
                    self.store.verify(token.as_bytes()).is_err(),
                    "accepted after it was revoked"
                );
                *self.revoked.lock().unwrap() = Some(token);
                admin.purge(id).unwrap();
                changes += 2;
            }
        }
        changes
    }

    /// Verifies valid tokens and revoked ones.
    pub(crate) fn verify(&self, done: &AtomicBool) -> u64 {
        let verifier = Verifier::new(Arc::clone(&self.store));
        let mut verified = 0;
        while !done.load(Ordering::SeqCst) {
            if self.store.health().staleness > Some(FRESH) {
                self.store.refresh().unwrap();
            }
            for tokens in &self.tokens {
                let token = tokens.lock().unwrap().back().cloned();
                if let Some(token) = token {
                    // A worker may have revoked it meanwhile.
                    let _ = verifier.verify(&token);
                    verified += 1;
                }
            }
            let revoked = self.revoked.lock().unwrap().clone();
            if let Some(token) = revoked {
                let answer = verifier.verify(&token);
                assert!(
                    matches!(answer, Err(VerifyError::Unrecognized | VerifyError::Rejected(_))),
                    "{answer:?}"
                );
            }
            std::thread::yield_now();
        }
        verified
    }

    /// Waits after the last foreign reader until the log is under its limit; returns the time it
    /// took.
    pub(crate) fn log_is_back(&self, all_work: impl Fn() -> bool) -> Result<Duration, String> {
        let (began, before) = (Instant::now(), self.changes.load(Ordering::SeqCst));
        loop {
            let (length, took) = (self.log_length(), began.elapsed());
            if length <= WAL_LIMIT || !all_work() {
                return Ok(took);
            }
            let changes = self.changes.load(Ordering::SeqCst) - before;
            if took > SOON && changes > CHANGES {
                return Err(format!("{length} bytes of log after {took:.0?}, {changes} changes"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Checks that no event is older than the retention and the time between two prunings.
    pub(crate) fn events_are_pruned(&self) -> Result<(), String> {
        let admin = AdminKeys::new(Arc::clone(&self.store), "root").unwrap();
        let (now, lived) = (self.clock.now(), self.clock.lived());
        // A change prunes, unless another one did less than a sixtieth of the retention ago.
        let _ = admin.create(&owner(0), CreateKey::new(Access::Full)).unwrap();
        let events = admin.events(&ListEvents::new().limit(1)).unwrap();
        let oldest = now.since(events.items[0].at);
        let pruned = events.pruned_through;
        println!("{pruned} events pruned; the oldest is {oldest:.0?} old of {RETENTION:.0?}");
        if pruned == 0 && lived > RETENTION {
            return Err(format!("no event was pruned in {lived:.0?}"));
        }
        if oldest > RETENTION + RETENTION / 60 {
            return Err(format!("an event of {oldest:.0?} is left"));
        }
        Ok(())
    }

    /// Checks that the store that slept past the pruning knows every key, and no removed one.
    pub(crate) fn sleeper_finds_its_way_back(&self) -> Result<(), String> {
        self.sleeper.refresh().unwrap();
        for tokens in &self.tokens {
            for token in tokens.lock().unwrap().iter() {
                if let Err(error) = self.sleeper.verify(token.as_bytes()) {
                    return Err(format!("the sleeper doesn't know a key: {error:?}"));
                }
            }
        }
        let revoked = self.revoked.lock().unwrap().clone();
        if let Some(token) = revoked
            && self.sleeper.verify(token.as_bytes()).is_ok()
        {
            return Err("the sleeper accepts a revoked key".to_owned());
        }
        let (here, there) = (self.store.health().tokens, self.sleeper.health().tokens);
        if here != there {
            return Err(format!("{here} tokens in the index, {there} in the sleeper's"));
        }
        Ok(())
    }
}

fn owner(n: usize) -> OwnerId {
    OwnerId::new(format!("org-{n}")).unwrap()
}
