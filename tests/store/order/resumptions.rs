//! Owners that are resumed beside other changes.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use keyhasp::backend::{BackendError, BackendErrorKind};
use keyhasp::key::RejectReason;
use keyhasp::{Access, CreateKey, Error, Issued, KeyStore, UpdateKey, UpdateOwner, VerifyError};

use super::{Process, rejected, two};
use crate::common::owner;

/// Two processes that know the owner `org` and its two keys, and that it is suspended.
fn suspended(directory: &Path) -> (Process, Process, Issued, Issued) {
    let (a, b, issued) = two(directory);
    let other = a.admin.create(&owner("org"), CreateKey::new(Access::Full)).unwrap();
    let _ = a.admin.suspend_owner(&owner("org")).unwrap();
    b.store.refresh().unwrap();
    (a, b, issued, other)
}

/// The owner is suspended until its keys are as they were when it was resumed.
#[test]
fn an_owner_that_is_resumed_comes_after_its_keys() {
    for fails in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (a, b, issued, other) = suspended(directory.path());
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
    let (a, b, issued, other) = suspended(directory.path());
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
    let (a, b, issued, other) = suspended(directory.path());
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
    let narrowed = UpdateOwner::new().max_access(Access::ReadOnly);
    let updated = b.admin.update_owner(&owner("org"), narrowed);
    assert!(matches!(updated, Err(Error::OutcomeUnknown(_))), "{updated:?}");
    b.store.recover().unwrap();
    assert_eq!(b.verdict(&issued), rejected(RejectReason::Revoked));
    assert_eq!(b.verdict(&other), Ok(()));
}

/// A process that commits without a pause holds up no call of another, and keeps no owner suspended.
#[test]
fn a_call_reads_no_further_than_the_log_went_when_it_began() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, issued, other) = suspended(directory.path());
    let revoked = a.owner("elsewhere");
    let _ = a.admin.resume_owner(&owner("org")).unwrap();
    let commits = Arc::new(AtomicUsize::default());
    let (admin, count) = (a.admin.clone(), Arc::clone(&commits));
    let mut acts = (0..100).map(move |at| {
        count.fetch_add(1, Ordering::Relaxed);
        let access = [Access::ReadOnly, Access::Full][at % 2].clone();
        let _ = admin.update_owner(&owner("org"), UpdateOwner::new().max_access(access)).unwrap();
        let _ = admin.update(other.key.id, UpdateKey::new().name(format!("name {at}"))).unwrap();
    });
    *b.backend.before_key.lock().unwrap() = Some(Box::new(move || {
        let _ = acts.next();
        Ok(())
    }));
    let _ = b.admin.revoke(revoked.key.id).unwrap();
    assert_eq!(b.verdict(&revoked), rejected(RejectReason::Revoked));
    assert_eq!(b.verdict(&issued), Ok(()));
    assert!(commits.load(Ordering::Relaxed) < 20, "{commits:?}");
}

/// The log is read again after the owner: what came between is no later than its record.
#[test]
fn an_owner_that_is_resumed_while_the_log_is_read_comes_after_its_keys() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, issued, other) = suspended(directory.path());
    let narrowed = UpdateOwner::new().max_access(Access::ReadOnly);
    let _ = a.admin.update_owner(&owner("org"), narrowed).unwrap();
    let (admin, id) = (a.admin.clone(), issued.key.id);
    let mut acts = Some(move || {
        let _ = admin.revoke(id).unwrap();
        let _ = admin.resume_owner(&owner("org")).unwrap();
    });
    *b.backend.before_owner.lock().unwrap() = Some(Box::new(move || {
        if let Some(act) = acts.take() {
            act();
        }
        Ok(())
    }));
    b.store.refresh().unwrap();
    assert_eq!(b.verdict(&issued), rejected(RejectReason::Revoked));
    assert_eq!(b.verdict(&other), Ok(()));
}
