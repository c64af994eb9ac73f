//! Owners and rules that others have replaced.

use std::sync::atomic::Ordering;

use keyhasp::key::{RejectReason, StoreRules};
use keyhasp::store::Unavailable;
use keyhasp::{Access, ChangeRules, Clock, CreateKey, KeyStore, UpdateOwner, VerifyError};

use super::{Process, rejected, two};
use crate::common::{clock, owner};

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

#[test]
fn rules_that_another_process_changes_at_once_are_no_own_ones() {
    let directory = tempfile::tempdir().unwrap();
    let (_a, b, issued) = two(directory.path());
    let rules = StoreRules { unique_names: true, ..StoreRules::default() };
    let path = directory.path().join("keys.db");
    let mut act = Some(move || {
        let admin = Process::open_with(&path, 3, rules).admin;
        let _ = admin.change_rules(ChangeRules::new().rules(StoreRules::default())).unwrap();
    });
    *b.backend.after_commit.lock().unwrap() = Some(Box::new(move || {
        if let Some(act) = act.take() {
            act();
        }
        Ok(())
    }));
    let _ = b.admin.change_rules(ChangeRules::new().rules(rules)).unwrap();
    assert_eq!(b.verdict(&issued), Err(VerifyError::Unavailable(Unavailable::RulesChanged)));
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
