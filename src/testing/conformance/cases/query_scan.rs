//! Scans show what the index needs, and look-ups find what was asked for.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::backend::{Scanned, ScannedKey, ScannedOwner};
use crate::id::NumericId;
use crate::key::{KeyRecord, Kind, Limits, OwnerRecord, TokensValidFrom};
use crate::permission::Access;
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Instance;
use crate::testing::conformance::instance::Lab;
use crate::testing::differences;
use crate::testing::sample;

list![
    query_a_scan_shows_owners_before_keys,
    query_a_scan_shows_every_record_once,
    query_a_scan_shows_what_the_index_needs_of_keys,
    query_a_scan_shows_what_the_index_needs_of_owners,
    query_a_scan_shows_limits,
    query_a_scan_tells_the_last_event,
    query_a_scan_tells_no_event_that_came_while_it_ran,
    query_a_scan_of_an_owner_shows_it_alone,
    query_a_scan_of_nobody_shows_nothing,
    query_what_is_not_there_is_not_found,
];

fn query_a_scan_shows_owners_before_keys(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    for (n, owner) in [(1, "zeta"), (2, "acme"), (3, "mid")] {
        let owner_and_key = [
            sample::create_owner(&sample::owner(owner)?)?,
            sample::create_key(&sample::key(n, owner)?)?,
        ];
        backend.apply(sample::in_one(owner_and_key))?;
    }
    let mut is_key = Vec::new();
    backend.scan(&mut |scanned| is_key.push(matches!(scanned, Scanned::Key(_))))?;
    ensure_eq!(is_key, [false, false, false, true, true, true], "which of a scan are keys");
    let mut is_key = Vec::new();
    backend.scan_owner(&sample::owner_id("acme")?, &mut |scanned| {
        is_key.push(matches!(scanned, Scanned::Key(_)));
    })?;
    ensure_eq!(is_key, [false, true], "which of the scan of an owner are keys");
    Ok(())
}

fn query_a_scan_shows_every_record_once(lab: &Lab<'_>) -> Tested {
    const OWNERS: u32 = 40;
    const KEYS: u32 = 5;
    let backend = lab.fresh()?;
    let mut batch = Vec::new();
    for o in 0..OWNERS {
        let owner = format!("owner-{o}");
        batch.push(sample::create_owner(&sample::owner(&owner)?)?);
        for k in 0..KEYS {
            batch.push(sample::create_key(&sample::key(k * OWNERS + o, &owner)?)?);
        }
    }
    backend.apply_all(&batch)?;
    let (owners, keys, _) = backend.scanned()?;
    ensure_eq!(owners.len(), OWNERS as usize, "owners scanned");
    ensure_eq!(keys.len(), (OWNERS * KEYS) as usize, "keys scanned");
    let owners: BTreeSet<_> = owners.iter().map(|owner| owner.id).collect();
    let keys: BTreeSet<_> = keys.iter().map(|key| key.id).collect();
    ensure_eq!(owners.len(), OWNERS as usize, "different owners scanned");
    ensure_eq!(keys.len(), (OWNERS * KEYS) as usize, "different keys scanned");
    Ok(())
}

/// The time for which a scan waits for a commit. A backend whose commits wait for scans makes each wait
/// as long.
const WHILE_SCANNED: Duration = Duration::from_millis(200);

/// Keys of which each has one thing that the others don't.
fn different_keys() -> Result<Vec<KeyRecord>, crate::invalid::Invalid> {
    let mut keys = Vec::new();
    for n in 0..10 {
        keys.push(sample::key(n, "acme")?);
    }
    keys[1].kind = Kind::Trial;
    keys[2].access = Access::limited(["links:*", "*:read"])?;
    keys[3].expires_at = Some(sample::at(99));
    keys[4].deactivated = Some(sample::switch(1)?);
    keys[5].blocked = Some(sample::switch(2)?);
    keys[6].revoked = Some(sample::switch(3)?);
    keys[7].previous = vec![sample::previous(7, 1)?, sample::previous(7, 2)?];
    keys[7].current = sample::token(7, 3)?;
    keys[8] = sample::largest_key(8, "acme")?;
    keys[9].limits = sample::limits()?;
    Ok(keys)
}

/// Every field of every key, from both scans.
fn query_a_scan_shows_what_the_index_needs_of_keys(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let expected = different_keys()?;
    let create: Vec<_> = expected.iter().map(sample::create_key).collect::<Result<_, _>>()?;
    backend.apply_all(&create)?;
    let mut shown = Vec::new();
    backend.scan_owner(&sample::owner_id("acme")?, &mut |scanned| {
        if let Scanned::Key(key) = scanned {
            shown.push(key);
        }
    })?;
    for scan in [shown, backend.scanned()?.1] {
        ensure_eq!(scan.len(), expected.len(), "keys scanned");
        for key in &expected {
            let Some(found) = scan.iter().find(|found| found.id == key.id) else {
                return Err(missing("key", key.id));
            };
            let differing = differences::of_scanned_keys(found, &ScannedKey::from(key));
            ensure!(differing.is_empty(), "key {} differs in {differing:?}", key.id);
        }
    }
    Ok(())
}

fn query_a_scan_shows_what_the_index_needs_of_owners(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let suspended = Some(sample::switch(1)?);
    let expected = [
        sample::owner("plain")?,
        OwnerRecord { suspended, ..sample::owner("suspended")? },
        OwnerRecord { max_access: Access::ReadOnly, ..sample::owner("max_access")? },
        OwnerRecord {
            tokens_valid_from: Some(TokensValidFrom::of(sample::at(9))),
            ..sample::owner("mark")?
        },
        OwnerRecord { limits: sample::limits()?, ..sample::owner("limits")? },
        sample::largest_owner("largest")?,
    ];
    let create: Vec<_> = expected.iter().map(sample::create_owner).collect::<Result<_, _>>()?;
    backend.apply_all(&create)?;
    let mut shown = Vec::new();
    for owner in &expected {
        backend.scan_owner(&owner.id, &mut |scanned| {
            if let Scanned::Owner(owner) = scanned {
                shown.push(owner);
            }
        })?;
    }
    for scan in [shown, backend.scanned()?.0] {
        ensure_eq!(scan.len(), expected.len(), "owners scanned");
        for owner in &expected {
            let Some(found) = scan.iter().find(|found| found.id == owner.id) else {
                return Err(missing("owner", owner.id));
            };
            let differing = differences::of_scanned_owners(found, &ScannedOwner::from(owner));
            ensure!(differing.is_empty(), "owner {} differs in {differing:?}", owner.id);
        }
    }
    Ok(())
}

/// The scan shows them among records without limits, and no limit after it was lifted.
fn query_a_scan_shows_limits(lab: &Lab<'_>) -> Tested {
    const KEYS: u32 = 30;
    let backend = lab.fresh()?;
    let all = sample::limits()?;
    let some = [
        Limits { networks: all.networks.clone(), ..Limits::default() },
        Limits { rate: all.rate, ..Limits::default() },
        Limits { quota: all.quota, ..Limits::default() },
        Limits { not_before: all.not_before, ..Limits::default() },
        sample::largest_limits()?,
    ];
    // One of three keys, so that they lie among others.
    let limits_of = |n: u32| match n % 3 {
        0 => some[(n / 3) as usize % some.len()].clone(),
        _ => Limits::default(),
    };
    let acme = OwnerRecord { limits: all, ..sample::owner("acme")? };
    backend.apply(sample::create_owner(&acme)?)?;
    backend.apply(sample::create_owner(&sample::owner("beta")?)?)?;
    let mut keys = Vec::new();
    for n in 0..KEYS {
        let key = KeyRecord { limits: limits_of(n), ..sample::key(n, "acme")? };
        backend.apply(sample::create_key(&key)?)?;
        keys.push(key);
    }
    expect_limits(&backend, &acme, &keys)?;
    for key in &mut keys {
        *key = KeyRecord { limits: Limits::default(), ..sample::changed_key(key) };
        backend.apply(sample::replace_key(key)?)?;
    }
    let acme = OwnerRecord { limits: Limits::default(), ..sample::changed_owner(&acme) };
    backend.apply(sample::replace_owner(&acme)?)?;
    expect_limits(&backend, &acme, &keys)
}

/// Checks what both scans show of one owner and its keys.
fn expect_limits(backend: &Instance<'_>, owner: &OwnerRecord, keys: &[KeyRecord]) -> Tested {
    let mut one = (Vec::new(), Vec::new());
    backend.scan_owner(&owner.id, &mut |scanned| match scanned {
        Scanned::Owner(owner) => one.0.push(owner),
        Scanned::Key(key) => one.1.push(key),
        Scanned::Damaged(_) => {}
    })?;
    let (owners, scanned, _) = backend.scanned()?;
    for (owners, scanned) in [one, (owners, scanned)] {
        let shown = owners.iter().find(|shown| shown.id == owner.id);
        ensure_eq!(shown.map(|shown| &shown.limits), Some(&owner.limits), "an owner's limits");
        for key in keys {
            let shown = scanned.iter().find(|shown| shown.id == key.id);
            let expected = Some(&key.limits).filter(|limits| !limits.is_empty());
            let limits = shown.map(|shown| shown.limits.as_deref());
            ensure_eq!(limits, Some(expected), "limits of key {}", key.id);
        }
    }
    Ok(())
}

fn query_a_scan_tells_the_last_event(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    ensure_eq!(backend.scanned()?.2, 1, "number of the scan of an empty store");
    let acme = sample::owner("acme")?;
    let key = sample::key(1, "acme")?;
    backend.apply(sample::in_one([sample::create_owner(&acme)?, sample::create_key(&key)?]))?;
    ensure_eq!(backend.scanned()?.2, 3, "number of the scan after two events");
    backend.refuse(sample::create_owner(&acme)?)?;
    backend.apply(sample::note(&key)?)?;
    backend.prune_events(sample::at(1), 100)?;
    ensure_eq!(backend.scanned()?.2, 4, "number of the scan after pruning");
    Ok(())
}

/// At the last record that the scan shows, another thread commits a change of a record that it has
/// passed. A number that is read after the records tells of that change, which the store then never reads.
/// A backend may let the commit wait until the scan is over.
fn query_a_scan_tells_no_event_that_came_while_it_ran(lab: &Lab<'_>) -> Tested {
    const KEYS: usize = 3;
    let instance = lab.with_owners(&["acme"])?;
    let backend = &*instance;
    for n in 1..=3 {
        backend.apply(sample::create_key(&sample::key(n, "acme")?)?)?;
    }
    let before = backend.last_event()?;
    let late = sample::create_owner(&sample::owner("late")?)?;
    let (last_is_shown, shown) = channel();
    let (is_committed, committed) = channel();
    let (through, commit) = thread::scope(|scope| {
        let commit = scope.spawn(move || {
            // Also if the scan has failed before.
            let _ = shown.recv();
            let outcome = backend.apply(late);
            let _ = is_committed.send(());
            outcome
        });
        let (mut keys, mut names_late) = (0, false);
        let through = backend.scan(&mut |scanned| match scanned {
            Scanned::Owner(owner) => names_late |= owner.id.as_str() == "late",
            Scanned::Key(_) => {
                keys += 1;
                if keys == KEYS {
                    let _ = last_is_shown.send(());
                    let _ = committed.recv_timeout(WHILE_SCANNED);
                }
            }
            Scanned::Damaged(_) => {}
        });
        drop(last_is_shown);
        ((through, names_late), commit.join())
    });
    let (through, names_late) = (through.0?, through.1);
    commit.map_err(|payload| Failure::of_panic(&*payload))??;
    ensure!(
        through == before,
        "creating owner late while a scan showed its last key: the scan tells event {through}, but {before} \
         was the last before it began{}",
        if names_late { "" } else { ", and it doesn't show the owner" }
    );
    Ok(())
}

/// Also where the ids of others begin as its own does.
fn query_a_scan_of_an_owner_shows_it_alone(lab: &Lab<'_>) -> Tested {
    let owners = ["a", "ab", "a b", "A", "a%", "a_", "é", "e"];
    let backend = lab.with_owners(&owners)?;
    for (owner, n) in owners.into_iter().zip(0..) {
        backend.apply(sample::create_key(&sample::key(n, owner)?)?)?;
        backend.apply(sample::create_key(&sample::key(n + 100, owner)?)?)?;
    }
    for (owner, n) in owners.into_iter().zip(0..) {
        let (mut shown, mut keys) = (Vec::new(), BTreeSet::new());
        backend.scan_owner(&sample::owner_id(owner)?, &mut |scanned| match scanned {
            Scanned::Key(key) => {
                keys.insert(key.id);
            }
            Scanned::Owner(owner) => shown.push(owner.id),
            Scanned::Damaged(_) => {}
        })?;
        ensure_eq!(shown, [sample::owner_id(owner)?], "owners shown of {owner:?}");
        let expected = BTreeSet::from([n, n + 100].map(sample::key_id));
        ensure_eq!(keys, expected, "keys shown of {owner:?}");
    }
    Ok(())
}

fn query_a_scan_of_nobody_shows_nothing(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    backend.apply(sample::create_key(&sample::key(1, "acme")?)?)?;
    for nobody in ["acm", "acme2", "ACME"] {
        let mut shown = 0;
        backend.scan_owner(&sample::owner_id(nobody)?, &mut |_| shown += 1)?;
        ensure_eq!(shown, 0, "records shown of {nobody:?}");
    }
    Ok(())
}

fn query_what_is_not_there_is_not_found(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    backend.apply(sample::create_key(&key)?)?;
    for owner in ["acm", "acme ", "ACME", "acme2"] {
        backend.expect_no_owner(&sample::owner_id(owner)?)?;
    }
    for key in [sample::key_id(0), sample::key_id(2)] {
        backend.expect_no_key(key)?;
    }
    for value in [0, 1, key.id.as_u128() ^ 1 << 127, u128::MAX] {
        backend.expect_no_key(crate::id::KeyId::from_u128(value))?;
    }
    for id in [1, 2, NumericId::MAX] {
        let found = backend.key_by_numeric_id(NumericId::new(id)?)?;
        ensure!(found.is_none(), "numeric id {id} finds a key");
    }
    Ok(())
}

/// A record that should have been shown.
#[track_caller]
fn missing(what: &str, id: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{what} {id} isn't shown"))
}
