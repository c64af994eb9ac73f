//! What other callers and other processes committed first holds first: two stores on one SQLite file, as
//! two processes have them, of which neither polls by itself.

#![cfg(all(feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used)] // It is a test.

mod calls;
mod replaced;
mod resumptions;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendError, BackendLayer, Change, CommitOutcome, Scanned};
use keyhasp::id::OwnerId;
use keyhasp::key::{KeyRecord, OwnerRecord, RejectReason, StoreRules};
use keyhasp::store::UsageSettings;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Issued, KeyId, KeyStore, Store, VerifyError,
};

use crate::common::{builder, clock, owner};

/// What happens before a call of the backend.
type Hook = Mutex<Option<Box<dyn FnMut() -> Result<(), BackendError> + Send>>>;

fn call(hook: &Hook) -> Result<(), BackendError> {
    hook.lock().unwrap().as_mut().map_or(Ok(()), |before| before())
}

/// A backend that counts the scans of the owner `org`, and does something before it reads a key or an
/// owner, or commits.
struct Watched {
    sqlite: Sqlite,
    scans: AtomicUsize,
    before_key: Hook,
    before_owner: Hook,
    before_commit: Hook,
    after_commit: Hook,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl BackendLayer for Watched {
    fn inner(&self) -> &dyn Backend {
        &self.sqlite
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        if owner.as_str() == "org" {
            self.scans.fetch_add(1, Ordering::Relaxed);
        }
        self.sqlite.scan_owner(owner, visit)
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        call(&self.before_key)?;
        Backend::key(&self.sqlite, id)
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        call(&self.before_owner)?;
        Backend::owner(&self.sqlite, id)
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        call(&self.before_commit)?;
        let outcome = self.sqlite.commit(batch)?;
        call(&self.after_commit)?;
        Ok(outcome)
    }
}

struct Process {
    store: Arc<Store>,
    admin: AdminKeys,
    backend: Arc<Watched>,
}

impl Process {
    fn open(path: &Path, seed: u64) -> Self {
        Self::open_with(path, seed, StoreRules::default())
    }

    fn open_with(path: &Path, seed: u64, rules: StoreRules) -> Self {
        let options = SqliteOptions::shared(Duration::from_secs(3_600)).unwrap();
        let sqlite = Sqlite::open_or_create(path, options.sync_off_for_tests()).unwrap().0;
        let backend = Arc::new(Watched {
            sqlite,
            scans: AtomicUsize::default(),
            before_key: Hook::default(),
            before_owner: Hook::default(),
            before_commit: Hook::default(),
            after_commit: Hook::default(),
        });
        let usage = UsageSettings::new().interval(Duration::from_secs(3_600));
        let builder = builder(&clock(), seed).without_sweeps_for_tests().usage(usage).rules(rules);
        let store = Arc::new(builder.open_on(Arc::<Watched>::clone(&backend)).unwrap());
        let admin = AdminKeys::new(Arc::clone(&store) as Arc<dyn KeyStore>, "root").unwrap();
        Self { store, admin, backend }
    }

    fn owner(&self, id: &str) -> Issued {
        let request = CreateOwner::with_key(CreateKey::new(Access::Full));
        self.admin.create_owner(&owner(id), request).unwrap().first_key.unwrap()
    }

    fn verdict(&self, issued: &Issued) -> Result<(), VerifyError> {
        verdict(&self.store, issued)
    }

    fn allows_writing(&self, issued: &Issued) -> bool {
        let verified = self.store.verify(issued.token.expose().as_bytes()).unwrap();
        verified.allows(self.store.catalogue().permission("links:write").unwrap())
    }
}

fn verdict(store: &Store, issued: &Issued) -> Result<(), VerifyError> {
    store.verify(issued.token.expose().as_bytes()).map(drop)
}

fn rejected(reason: RejectReason) -> Result<(), VerifyError> {
    Err(VerifyError::Rejected(reason))
}

/// Two processes that know the owner `org` and its key.
fn two(directory: &Path) -> (Process, Process, Issued) {
    let path = directory.join("keys.db");
    let (a, b) = (Process::open(&path, 1), Process::open(&path, 2));
    let issued = a.owner("org");
    b.store.refresh().unwrap();
    assert_eq!(b.verdict(&issued), Ok(()));
    (a, b, issued)
}
