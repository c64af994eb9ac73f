//! What other callers and other processes committed first holds first: two stores on one SQLite file, as
//! two processes have them, of which neither polls by itself.

#![cfg(all(feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used)] // It is a test.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, BackendLayer, Change, CommitOutcome, Memory, Scanned,
};
use keyhasp::id::OwnerId;
use keyhasp::key::{KeyRecord, OwnerRecord, RejectReason, StoreRules};
use keyhasp::store::{Unavailable, UsageSettings};
use keyhasp::{
    Access, AdminKeys, ChangeRules, Clock, CreateKey, CreateOwner, Error, Issued, KeyId, KeyStore,
    Store, UpdateKey, UpdateOwner, VerifyError,
};

use crate::common::{World, builder, clock, owner};

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
        self.sqlite.commit(batch)
    }
}

struct Process {
    store: Arc<Store>,
    admin: AdminKeys,
    backend: Arc<Watched>,
}

impl Process {
    fn open(path: &Path, seed: u64) -> Self {
        let options = SqliteOptions::shared(Duration::from_secs(3_600)).unwrap();
        let sqlite = Sqlite::open_or_create(path, options.sync_off_for_tests()).unwrap().0;
        let backend = Arc::new(Watched {
            sqlite,
            scans: AtomicUsize::default(),
            before_key: Hook::default(),
            before_owner: Hook::default(),
            before_commit: Hook::default(),
        });
        let usage = UsageSettings::new().interval(Duration::from_secs(3_600));
        let builder = builder(&clock(), seed).without_sweeps_for_tests().usage(usage);
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

type Act = fn(&Process, &Issued);

#[test]
fn a_change_that_another_process_has_made_holds_once_a_call_finds_it() {
    let acts: [(Act, RejectReason); 4] = [
        (|it, _| drop(it.admin.revoke_all(&owner("org"), None).unwrap()), RejectReason::Revoked),
        (|it, issued| drop(it.admin.revoke(issued.key.id).unwrap()), RejectReason::Revoked),
        (|it, issued| drop(it.admin.block(issued.key.id).unwrap()), RejectReason::Blocked),
        (|it, _| drop(it.admin.suspend_owner(&owner("org")).unwrap()), RejectReason::Suspended),
    ];
    for (act, reason) in acts {
        let directory = tempfile::tempdir().unwrap();
        let (a, b, issued) = two(directory.path());
        act(&a, &issued);
        assert_eq!(b.verdict(&issued), Ok(()), "it hasn't polled");
        act(&b, &issued);
        assert_eq!(b.verdict(&issued), rejected(reason));
    }
    let directory = tempfile::tempdir().unwrap();
    let (a, b, issued) = two(directory.path());
    let narrow = || UpdateOwner::new().max_access(Access::ReadOnly);
    let _ = a.admin.update_owner(&owner("org"), narrow()).unwrap();
    assert!(b.allows_writing(&issued));
    let _ = b.admin.update_owner(&owner("org"), narrow()).unwrap();
    assert!(!b.allows_writing(&issued));
    let _ = a.admin.revoke(issued.key.id).unwrap();
    assert!(b.admin.revoke_many([issued.key.id]).all(|outcome| outcome.is_ok()));
    assert_eq!(b.verdict(&issued), rejected(RejectReason::Revoked));
}

/// A backend that lets another thread act after a commit, before the store hears of it.
struct Late {
    memory: Memory,
    after_commit: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Late")
    }
}

impl BackendLayer for Late {
    fn inner(&self) -> &dyn Backend {
        &self.memory
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let outcome = self.memory.commit(batch);
        if let Some(act) = self.after_commit.lock().unwrap().take() {
            act();
        }
        outcome
    }
}

/// A button that is clicked twice: the second caller hears that the key is revoked once it is.
#[test]
fn a_change_that_another_caller_has_made_holds_once_a_call_finds_it() {
    let backend = Arc::new(Late { memory: Memory::new(), after_commit: Mutex::default() });
    let store = Arc::new(builder(&clock(), 1).open_on(Arc::<Late>::clone(&backend)).unwrap());
    let world = World::of(Arc::clone(&store) as Arc<dyn KeyStore>, clock());
    let (_, issued) = world.owner("org");
    let (say, heard) = mpsc::channel();
    let (admin, id) = (world.admin.clone(), issued.key.id);
    let token = issued.token.expose().to_owned();
    *backend.after_commit.lock().unwrap() = Some(Box::new(move || {
        let (answered, answers) = mpsc::channel();
        thread::spawn(move || {
            let answer = admin.revoke(id).map(|_| store.verify(token.as_bytes()).map(drop));
            let _ = answered.send(());
            say.send(answer).unwrap();
        });
        // It can't answer before this returns. A store in which it does answers at once.
        assert!(answers.recv_timeout(Duration::from_millis(100)).is_err(), "it didn't wait");
    }));
    let _ = world.admin.revoke(id).unwrap();
    assert_eq!(heard.recv().unwrap().unwrap(), rejected(RejectReason::Revoked));
}

/// A process that changes an owner reads a newer one of its id than it knows.
#[test]
fn no_key_of_a_purged_owner_lives_on_in_a_process_that_changes_its_successor() {
    type Change = fn(&Process);
    let changes: [(&str, Change); 5] = [
        ("limit", |it| {
            let read_only = UpdateOwner::new().max_access(Access::ReadOnly);
            let _ = it.admin.update_owner(&owner("org"), read_only).unwrap();
        }),
        ("invalidate", |it| {
            let (id, from) = (owner("org"), clock().now());
            let _ = it.admin.invalidate_owner_tokens_issued_before(&id, from).unwrap();
        }),
        ("revoke all", |it| {
            let another = Some(CreateKey::new(Access::Full));
            let _ = it.admin.revoke_all(&owner("org"), another).unwrap();
        }),
        ("resume", |it| {
            let _ = it.admin.suspend_owner(&owner("org")).unwrap();
            let _ = it.admin.resume_owner(&owner("org")).unwrap();
        }),
        ("create", |it| {
            let created = it.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
            assert_eq!(it.verdict(&created), Ok(()));
        }),
    ];
    for (name, change) in changes {
        for finished in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let (a, b, old) = two(directory.path());
            let _ = a.admin.suspend_owner(&owner("org")).unwrap();
            b.store.refresh().unwrap();
            assert_eq!(b.verdict(&old), rejected(RejectReason::Suspended));
            a.admin.purge_owner(&owner("org")).unwrap();
            if finished {
                a.store.finish_sweeps().unwrap();
            }
            let _ = a.owner("org");
            change(&b);
            assert_eq!(b.verdict(&old), Err(VerifyError::Unrecognized), "{name} {finished}");
            b.store.refresh().unwrap();
            assert_eq!(b.verdict(&old), Err(VerifyError::Unrecognized), "{name} {finished}");
        }
    }
}

/// The owner is suspended until its keys are as they were when it was resumed.
#[test]
fn an_owner_that_is_resumed_comes_after_its_keys() {
    for fails in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (a, b, issued) = two(directory.path());
        let other = a.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
        let _ = a.admin.suspend_owner(&owner("org")).unwrap();
        b.store.refresh().unwrap();
        let _ = a.admin.revoke(issued.key.id).unwrap();
        let _ = a.admin.resume_owner(&owner("org")).unwrap();
        let (say, heard) = mpsc::channel();
        let (store, token) = (Arc::downgrade(&b.store), issued.token.expose().to_owned());
        *b.backend.before_key.lock().unwrap() = Some(Box::new(move || {
            say.send(store.upgrade().unwrap().verify(token.as_bytes()).map(drop)).unwrap();
            match fails {
                false => Ok(()),
                true => Err(BackendError::new(BackendErrorKind::Io, "watched", "key")),
            }
        }));
        assert_eq!(b.store.refresh().is_err(), fails);
        assert_eq!(heard.recv().unwrap(), rejected(RejectReason::Suspended));
        if fails {
            assert_eq!(b.verdict(&issued), rejected(RejectReason::Suspended));
            *b.backend.before_key.lock().unwrap() = None;
            b.store.refresh().unwrap();
        }
        assert_eq!(b.verdict(&issued), rejected(RejectReason::Revoked));
        assert_eq!(b.verdict(&other), Ok(()));
    }
}

/// A key that was purged while its owner was suspended is still in the index when the owner is read
/// whole.
#[test]
fn an_owner_that_is_resumed_comes_after_its_purged_keys() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, issued) = two(directory.path());
    let other = a.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
    let _ = a.admin.suspend_owner(&owner("org")).unwrap();
    b.store.refresh().unwrap();
    let _ = a.admin.revoke(issued.key.id).unwrap();
    a.admin.purge(issued.key.id).unwrap();
    let narrowed = UpdateOwner::new().max_access(Access::ReadOnly);
    let _ = a.admin.update_owner(&owner("org"), narrowed).unwrap();
    let _ = a.admin.resume_owner(&owner("org")).unwrap();
    let io = || Err(BackendError::new(BackendErrorKind::Io, "watched", "key"));
    *b.backend.before_key.lock().unwrap() = Some(Box::new(io));
    b.store.refresh().unwrap_err();
    for issued in [&issued, &other] {
        assert_eq!(b.verdict(issued), rejected(RejectReason::Suspended));
    }
    *b.backend.before_key.lock().unwrap() = None;
    b.store.refresh().unwrap();
    assert_eq!(b.verdict(&issued), Err(VerifyError::Unrecognized));
    assert!(!b.allows_writing(&other));
}

/// What recovery reads may be newer than the log that it has read.
#[test]
fn an_owner_that_is_resumed_beside_a_recovery_comes_after_its_keys() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, issued) = two(directory.path());
    let other = a.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
    let _ = a.admin.suspend_owner(&owner("org")).unwrap();
    b.store.refresh().unwrap();
    let (admin, id) = (a.admin.clone(), issued.key.id);
    let backend = Arc::downgrade(&b.backend);
    *b.backend.before_commit.lock().unwrap() = Some(Box::new(move || {
        let admin = admin.clone();
        let mut acts = Some(move || {
            let _ = admin.revoke(id).unwrap();
            let _ = admin.resume_owner(&owner("org")).unwrap();
        });
        let backend = backend.upgrade().unwrap();
        *backend.before_owner.lock().unwrap() = Some(Box::new(move || {
            if let Some(act) = acts.take() {
                act();
            }
            Ok(())
        }));
        Err(BackendError::new(BackendErrorKind::OutcomeUnknown, "watched", "commit"))
    }));
    let renamed = UpdateOwner::new().max_access(Access::ReadOnly);
    let updated = b.admin.update_owner(&owner("org"), renamed);
    assert!(matches!(updated, Err(Error::OutcomeUnknown(_))), "{updated:?}");
    b.store.recover().unwrap();
    assert_eq!(b.verdict(&issued), rejected(RejectReason::Revoked));
    assert_eq!(b.verdict(&other), Ok(()));
}

/// An item of many that needs no change isn't acknowledged before it holds, though others are committed.
#[test]
fn an_item_of_many_that_was_revoked_elsewhere_is_answered_once_that_holds() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, issued) = two(directory.path());
    let other = b.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
    let _ = a.admin.revoke(issued.key.id).unwrap();
    let backend = Arc::downgrade(&b.backend);
    *b.backend.before_commit.lock().unwrap() = Some(Box::new(move || {
        let io = || Err(BackendError::new(BackendErrorKind::Io, "watched", "key"));
        let backend = backend.upgrade().unwrap();
        *backend.before_key.lock().unwrap() = Some(Box::new(io));
        Ok(())
    }));
    let ids = [issued.key.id, other.key.id];
    let outcomes: Vec<_> = b.admin.revoke_many(ids).map(|outcome| outcome.is_ok()).collect();
    assert_eq!(outcomes, [false, true]);
    *b.backend.before_key.lock().unwrap() = None;
    b.store.recover().unwrap();
    for issued in [&issued, &other] {
        assert_eq!(b.verdict(issued), rejected(RejectReason::Revoked));
    }
}

/// Nothing is in doubt in a process that learns from its own commit that another one changed the rules: it
/// can be closed, and loses no use.
#[test]
fn a_change_beside_new_rules_needs_no_recovery() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, issued) = two(directory.path());
    let (_, more) = (b.verdict(&issued), a.owner("more"));
    let rules = StoreRules { unique_names: true, ..StoreRules::default() };
    let _ = a.admin.change_rules(ChangeRules::new().rules(rules)).unwrap();
    let _ = b.admin.revoke(more.key.id).unwrap();
    let changed = Unavailable::RulesChanged;
    assert_eq!(b.verdict(&issued), Err(VerifyError::Unavailable(changed)));
    assert_eq!(b.store.health().unavailable, Some(changed));
    b.store.close().unwrap();
    a.store.refresh().unwrap();
    assert!(a.admin.get(issued.key.id).unwrap().usage.unwrap().last_used_at.is_some());
    assert_eq!(a.verdict(&more), rejected(RejectReason::Revoked));
}

/// The log is read again after the records: what came between is no later than they are.
#[test]
fn an_owner_that_is_resumed_while_the_log_is_read_comes_after_its_keys() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, issued) = two(directory.path());
    let other = a.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
    let _ = a.admin.suspend_owner(&owner("org")).unwrap();
    b.store.refresh().unwrap();
    let renamed = UpdateKey::new().name("other");
    let _ = a.admin.update(other.key.id, renamed).unwrap();
    let (admin, id) = (a.admin.clone(), issued.key.id);
    let mut acts = Some(move || {
        let _ = admin.revoke(id).unwrap();
        let _ = admin.resume_owner(&owner("org")).unwrap();
    });
    *b.backend.before_key.lock().unwrap() = Some(Box::new(move || {
        if let Some(act) = acts.take() {
            act();
        }
        Ok(())
    }));
    b.store.refresh().unwrap();
    assert_eq!(b.verdict(&issued), rejected(RejectReason::Revoked));
    assert_eq!(b.verdict(&other), Ok(()));
}

/// A key that is free again only because its owner is suspended isn't let in by a process that changes it.
#[test]
fn a_change_of_a_key_comes_with_what_its_owner_went_through_before() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, issued) = two(directory.path());
    let _ = a.admin.block(issued.key.id).unwrap();
    b.store.refresh().unwrap();
    let _ = a.admin.suspend_owner(&owner("org")).unwrap();
    let _ = a.admin.unblock(issued.key.id).unwrap();
    let _ = b.admin.update(issued.key.id, UpdateKey::new().name("renamed")).unwrap();
    assert_eq!(b.verdict(&issued), rejected(RejectReason::Suspended));
}

/// Nobody waits until a process has looked at each key that an owner had.
#[test]
fn no_owner_is_read_whole_for_what_it_had() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, old) = two(directory.path());
    let create = |process: &Process, count: usize| {
        let requests = (0..count).map(|_| (owner("org"), CreateKey::new(Access::Full)));
        process.admin.create_many(requests).last().unwrap().unwrap()
    };
    let last = create(&a, 600);
    b.store.refresh().unwrap();
    let _ = a.admin.suspend_owner(&owner("org")).unwrap();
    a.admin.purge_owner(&owner("org")).unwrap();
    let new = a.owner("org");
    let before = b.backend.scans.load(Ordering::Relaxed);
    b.store.refresh().unwrap();
    assert_eq!(b.backend.scans.load(Ordering::Relaxed), before, "purged and created again");
    assert_eq!(b.verdict(&new), Ok(()));
    for old in [&old, &last] {
        assert_eq!(b.verdict(old), Err(VerifyError::Unrecognized));
    }
    // More than one page of events of others stands before the call.
    let others = [a.owner("one"), a.owner("two")].map(|issued| issued.key.owner);
    let requests = (0..1_100).map(move |at| (others[at % 2], CreateKey::new(Access::Full)));
    assert!(a.admin.create_many(requests).all(|outcome| outcome.is_ok()));
    let replacement = Some(CreateKey::new(Access::Full));
    let revoked = b.admin.revoke_all(&owner("org"), replacement).unwrap();
    assert_eq!(b.backend.scans.load(Ordering::Relaxed), before, "revoked");
    assert_eq!(b.verdict(&new), rejected(RejectReason::Revoked));
    assert_eq!(b.verdict(&revoked.replacement.unwrap()), Ok(()));
}
