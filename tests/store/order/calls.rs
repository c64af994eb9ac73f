//! Calls that find their change made, or change what others have changed.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use std::{fmt, thread};

use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, BackendLayer, Change, CommitOutcome, Memory,
};
use keyhasp::key::RejectReason;
use keyhasp::{Access, CreateKey, Issued, KeyStore, UpdateKey, UpdateOwner};

use super::{Process, rejected, two};
use crate::common::{World, builder, clock, owner};

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
