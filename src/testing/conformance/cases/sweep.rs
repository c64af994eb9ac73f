//! Sweeps: one commit revokes or removes all keys of an owner, and pieces write it into their records.

use crate::authority::{Actor, Authority, CorrelationId, Reason, Role};
use crate::backend::{
    AllWritten, Backend, Change, OwnerPageQuery, PieceOf, Precondition, Rejection, Write,
};
use crate::event::{EventDraft, EventKind};
use crate::id::{Generation, Incarnation, KeyId, OwnerId, Version};
use crate::invalid::Invalid;
use crate::key::{
    IssueEpochs, KeyRecord, MAX_SWEEPS, OwnerRecord, Quarantine, StoreRules, Sweep, SweepKind,
    TokenRecord,
};
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Failure, Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::conformance::walk;
use crate::testing::sample;

list![
    sweep_a_revocation_binds_the_owner_and_leaves_its_keys,
    sweep_what_is_bound_counts_in_the_next_commit,
    sweep_pieces_write_what_was_bound,
    sweep_a_piece_is_written_once,
    sweep_an_end_with_keys_left_is_refused,
    sweep_damaged_keys_count_no_more_once_they_go,
    sweep_the_greatest_key_is_known,
    sweep_a_key_may_have_created_keys_of_a_purged_owner_and_others,
    sweep_a_purged_owner_may_come_again,
    sweep_the_last_piece_removes_a_purged_owner,
    sweep_owners_with_sweeps_are_listed,
    sweep_no_more_than_can_be_kept,
    sweep_of_any_size_is_found_again,
];

/// Revokes all keys of the owner, whose version before this is the given record's.
fn revoke_keys(owner: &OwnerRecord) -> Result<Change, Invalid> {
    let owner = sample::changed_owner(owner);
    let draft = EventDraft {
        owner: Some(owner.id),
        version: owner.version,
        ..sample::event(EventKind::OwnerKeysRevoked)?
    };
    Ok(Change::of(Write::RevokeKeys(Box::new(owner)), draft))
}

fn purge(owner: &OwnerRecord) -> Result<Change, Invalid> {
    let draft = EventDraft { owner: Some(owner.id), ..sample::event(EventKind::OwnerPurged)? };
    Ok(Change::of(Write::PurgeOwner(owner.id, owner.version), draft))
}

/// A key that is issued in an epoch of its owner.
fn key_of_epoch(number: u32, epoch: u32) -> Result<KeyRecord, Invalid> {
    key_of(number, "acme", epoch)
}

fn key_of(number: u32, owner: &str, epoch: u32) -> Result<KeyRecord, Invalid> {
    let key = sample::key(number, owner)?;
    let epochs = IssueEpochs { owner: epoch, ..key.current.epochs };
    Ok(KeyRecord { current: TokenRecord { epochs, ..key.current }, ..key })
}

/// The stored record of the owner, which has sweeps.
fn swept_owner(backend: &dyn Backend) -> Result<(OwnerRecord, Vec<Sweep>), Failure> {
    match swept(backend)?.pop() {
        Some(OwnerRecord { sweeps: Some(sweeps), id, .. }) => match backend.owner(&id)? {
            Some(owner) => Ok((owner, sweeps.pending)),
            None => Err(Failure::new("an owner with sweeps isn't found")),
        },
        _ => Err(Failure::new("no owner with sweeps is listed")),
    }
}

fn swept(backend: &dyn Backend) -> Result<Vec<OwnerRecord>, Failure> {
    let query = OwnerPageQuery { swept: true, ..OwnerPageQuery::all(100) };
    Ok(backend.page_owners(&query)?.owners)
}

fn piece(owner: OwnerId, sweep: &Sweep) -> Change {
    let piece_of = Some(PieceOf { owner, binding: sweep.binding });
    Change { piece_of, ..Change::default() }
}

fn key_piece(sweep: &Sweep, key: &KeyRecord) -> Change {
    let write = Write::SweepKey(key.id, key.version);
    piece(key.owner, sweep).and(write, EventDraft::of_sweep(sweep, key))
}

fn end(owner: OwnerId, sweep: &Sweep) -> Result<Change, Invalid> {
    let draft = EventDraft { owner: Some(owner), ..sample::event(EventKind::OwnerSweepEnded)? };
    Ok(piece(owner, sweep).and(Write::EndSweep(AllWritten::Listed { damaged: 0 }), draft))
}

/// The owner's record says it; no key's does.
fn sweep_a_revocation_binds_the_owner_and_leaves_its_keys(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let keys = [key_of_epoch(1, 0)?, key_of_epoch(2, 0)?];
    let gone = sample::revoked(&keys[1])?;
    backend.apply_all(&[
        sample::create_key(&keys[0])?,
        sample::create_key(&keys[1])?,
        sample::replace_key(&gone)?,
    ])?;
    let acme = sample::owner("acme")?;
    let new = key_of_epoch(3, 1)?;
    let change = sample::in_one([revoke_keys(&acme)?, sample::create_key(&new)?]);
    let applied = backend.apply(change)?;
    ensure_eq!(applied.swept, 1, "keys that it revoked");
    for key in [&keys[0], &gone, &new] {
        backend.expect_key(key)?;
    }
    let (owner, sweeps) = swept_owner(&*backend)?;
    ensure_eq!(owner.version, sample::changed_owner(&acme).version, "the owner's version");
    ensure_eq!(owner.epoch(), 1, "epochs of the owner");
    let kinds: Vec<_> = sweeps.iter().map(|sweep| (sweep.kind, sweep.epoch)).collect();
    ensure_eq!(kinds, [(SweepKind::Revoke, 1)], "sweeps of the owner");
    ensure_eq!(sweeps[0].binding, applied.first_event, "the event that bound it");
    ensure!(sweeps[0].covers(&keys[0].current), "an earlier key isn't covered");
    ensure!(!sweeps[0].covers(&new.current), "a key of the same change is covered");
    Ok(())
}

/// Versions, names, places and the last standard key are judged as if the keys' records said it.
fn sweep_what_is_bound_counts_in_the_next_commit(lab: &Lab<'_>) -> Tested {
    let rules = StoreRules { unique_names: true, ..StoreRules::default() };
    let backend = lab.with_rules(rules)?;
    let acme = OwnerRecord { max_keys: 1, ..sample::owner("acme")? };
    let key = KeyRecord { name: sample::name("one")?, ..key_of_epoch(1, 0)? };
    backend.apply_all(&[sample::create_owner(&acme)?, sample::create_key(&key)?])?;
    let stale = KeyRecord { name: sample::name("one")?, ..key_of_epoch(2, 0)? };
    let next = KeyRecord { name: sample::name("one")?, ..key_of_epoch(2, 1)? };
    backend.expect_refusal(
        sample::create_key(&next)?,
        &Rejection::NameTaken(key.id),
        "a key of a taken name",
    )?;
    backend.apply(revoke_keys(&acme)?)?;
    backend.expect_refusal(
        sample::create_key(&stale)?,
        &Rejection::KeysChanged,
        "a key issued before the revocation",
    )?;
    let (expected, of) = (key.version, Precondition::Key(key.id, key.version));
    let found = Some(key.version.next());
    backend.expect_refusal(
        sample::replace_key(&sample::changed_key(&key))?,
        &Rejection::Conflict { expected, found, of },
        "a change of a revoked key",
    )?;
    backend.apply(sample::create_key(&next)?)?;
    let third = key_of_epoch(3, 1)?;
    backend.expect_refusal(
        sample::create_key(&third)?,
        &Rejection::TooManyKeys { limit: 1 },
        "a key too many",
    )?;
    let (_, sweeps) = swept_owner(&*backend)?;
    backend.apply(key_piece(&sweeps[0], &key))?;
    backend.expect_refusal(
        sample::create_key(&third)?,
        &Rejection::TooManyKeys { limit: 1 },
        "a key too many after the piece",
    )?;
    Ok(())
}

/// The record that the sweep says, with an event that names the binding one. The owner's version
/// stays.
fn sweep_pieces_write_what_was_bound(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let acme = OwnerRecord { incarnation: Incarnation::new(7)?, ..sample::owner("acme")? };
    let keys = [sample::largest_key(1, "acme")?, key_of_epoch(2, 0)?];
    let keys = keys.map(|key| KeyRecord { revoked: None, ..key });
    backend.apply(sample::create_owner(&acme)?)?;
    for key in &keys {
        let epochs = IssueEpochs::default();
        let key =
            KeyRecord { current: TokenRecord { epochs, ..key.current.clone() }, ..key.clone() };
        backend.apply(sample::create_key(&key)?)?;
    }
    let bound = backend.apply(revoke_keys(&acme)?)?;
    let (before, sweeps) = swept_owner(&*backend)?;
    for key in &keys {
        let Some(stored) = backend.key(key.id)? else {
            return Err(Failure::new("a key that isn't swept yet is gone"));
        };
        backend.apply(key_piece(&sweeps[0], &stored))?;
        let Some(expected) = sweeps[0].applied(stored) else {
            return Err(Failure::new("a revocation removes"));
        };
        backend.expect_key(&expected)?;
    }
    backend.apply(end(acme.id, &sweeps[0])?)?;
    backend.expect_owner(&OwnerRecord { sweeps: None, ..before })?;
    ensure_eq!(swept(&*backend)?.len(), 0, "owners with sweeps");
    let events = backend.all_events()?;
    let of_pieces = events.iter().filter(|event| event.sequence > bound.last_event);
    let told: Vec<_> = of_pieces.map(|event| (event.binding, event.incarnation)).collect();
    let expected = (Some(bound.first_event), Some(acme.incarnation));
    ensure_eq!(told, [expected; 3], "bindings and incarnations of the pieces' events");
    Ok(())
}

fn sweep_a_piece_is_written_once(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let (key, acme) = (key_of_epoch(1, 0)?, sample::owner("acme")?);
    backend.apply_all(&[sample::create_key(&key)?, revoke_keys(&acme)?])?;
    let (_, sweeps) = swept_owner(&*backend)?;
    let write = key_piece(&sweeps[0], &key);
    backend.apply(write.clone())?;
    let again = backend.refuse(write.clone())?;
    ensure!(matches!(again, Rejection::Conflict { .. }), "a piece again: {again}");
    let done = backend.key(key.id)?.map_or(Version::FIRST, |key| key.version);
    let other = KeyRecord { version: done, ..key.clone() };
    backend.expect_refusal(
        key_piece(&sweeps[0], &other),
        &Rejection::KeysChanged,
        "a piece of a key that says it already",
    )?;
    backend.apply(end(acme.id, &sweeps[0])?)?;
    for ended in [write, end(acme.id, &sweeps[0])?] {
        backend.expect_refusal(
            ended,
            &Rejection::KeysChanged,
            "a piece of a sweep that has ended",
        )?;
    }
    let alone = Change::of(Write::SweepKey(key.id, done), sample::event(EventKind::KeyRevoked)?);
    backend.expect_refusal(alone, &Rejection::KeysChanged, "a piece of no sweep")?;
    Ok(())
}

/// A list of keys may lack one. The counts have it.
fn sweep_an_end_with_keys_left_is_refused(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "other"])?;
    let keys = [key_of_epoch(1, 0)?, key_of_epoch(2, 0)?, key_of(3, "other", 0)?];
    for key in &keys {
        backend.apply(sample::create_key(key)?)?;
    }
    let (acme, other) = (sample::owner("acme")?, sample::owner("other")?);
    for (owner, change, keys) in
        [(&acme, revoke_keys(&acme)?, &keys[..2]), (&other, purge(&other)?, &keys[2..])]
    {
        let applied = backend.apply(change)?;
        ensure_eq!(applied.swept, keys.len() as u64, "keys that it covers");
        let (_, sweeps) = swept_owner(&*backend)?;
        for key in keys {
            let early = backend.refuse(end(owner.id, &sweeps[0])?)?;
            ensure!(matches!(early, Rejection::Damaged(_)), "an end with keys left: {early}");
            backend.apply(key_piece(&sweeps[0], key))?;
        }
        backend.apply(end(owner.id, &sweeps[0])?)?;
        ensure_eq!(swept(&*backend)?.len(), 0, "owners with sweeps");
    }
    Ok(())
}

/// A change that is no piece counts them too: what is bound afterwards covers all keys.
fn sweep_damaged_keys_count_no_more_once_they_go(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let (keys, mut acme) = ([key_of_epoch(1, 0)?, key_of_epoch(2, 0)?], sample::owner("acme")?);
    for key in &keys {
        backend.apply(sample::create_key(key)?)?;
    }
    let entry = Quarantine {
        id: keys[1].id,
        owner: None,
        version: Version::FIRST,
        blocked: None,
        revoked: None,
    };
    let draft = EventDraft { key: Some(keys[1].id), ..sample::event(EventKind::KeyRevoked)? };
    backend.apply(Change::of(Write::Quarantine(Box::new(entry)), draft))?;
    backend.apply(revoke_keys(&acme)?)?;
    acme = sample::changed_owner(&acme);
    let draft = EventDraft { key: Some(keys[1].id), ..sample::event(EventKind::KeyPurged)? };
    backend.apply(Change::of(Write::RemoveDamagedKey(keys[1].id), draft))?;
    backend.apply(sample::create_key(&key_of_epoch(3, 1)?)?)?;
    let applied = backend.apply(revoke_keys(&acme)?)?;
    ensure_eq!(applied.swept, 1, "keys that the second revocation covers");
    ensure_eq!(swept_owner(&*backend)?.1.len(), 2, "sweeps of the owner");
    Ok(())
}

/// The order of their owners doesn't matter. Those of the purged one are gone.
fn sweep_a_key_may_have_created_keys_of_a_purged_owner_and_others(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "other"])?;
    let creator = key_of_epoch(1, 0)?;
    let created = |number, owner| -> Result<_, Invalid> {
        Ok(KeyRecord { created_by_key: Some(creator.id), ..key_of(number, owner, 0)? })
    };
    let keys = [created(2, "acme")?, created(3, "other")?, created(4, "acme")?];
    backend.apply(sample::create_key(&creator)?)?;
    for key in &keys {
        backend.apply(sample::create_key(key)?)?;
    }
    backend.apply(purge(&sample::owner("other")?)?)?;
    let left = Precondition::CreatedKeys(creator.id, vec![keys[0].id, keys[2].id]);
    backend.apply(sample::replace_key(&sample::changed_key(&creator))?.requiring(left))?;
    Ok(())
}

/// The greatest of the owner's when the sweep was bound, whatever its state, and 0 without keys.
fn sweep_the_greatest_key_is_known(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "acmf"])?;
    let mut acme = sample::owner("acme")?;
    backend.apply(revoke_keys(&acme)?)?;
    acme = sample::changed_owner(&acme);
    let last = key_of_epoch(3, 1)?;
    for key in [key_of_epoch(2, 1)?, last.clone(), key_of(9, "acmf", 0)?] {
        backend.apply(sample::create_key(&key)?)?;
    }
    backend.apply(sample::replace_key(&sample::revoked(&last)?)?)?;
    backend.apply(revoke_keys(&acme)?)?;
    let (_, sweeps) = swept_owner(&*backend)?;
    let found: Vec<_> = sweeps.iter().map(|sweep| sweep.last_key).collect();
    ensure_eq!(found, [KeyId::from_u128(0), last.id], "greatest keys");
    Ok(())
}

/// It may at once, with nothing of the one before: its keys don't count, and its epochs go on.
fn sweep_a_purged_owner_may_come_again(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let owner = |number| -> Result<_, Invalid> {
        let incarnation = Incarnation::new(number)?;
        Ok(OwnerRecord { incarnation, max_keys: 1, ..sample::owner("acme")? })
    };
    let (first, second, key) = (owner(7)?, owner(9)?, key_of_epoch(1, 0)?);
    backend.apply_all(&[sample::create_owner(&first)?, sample::create_key(&key)?])?;
    let applied = backend.apply(purge(&first)?)?;
    ensure_eq!(applied.swept, 1, "keys that it removed");
    let late = backend.refuse(sample::replace_owner(&sample::changed_owner(&first))?)?;
    ensure!(matches!(late, Rejection::Conflict { found: None, .. }), "of a purged one: {late}");
    let late = backend.refuse(sample::replace_key(&sample::changed_key(&key))?)?;
    ensure!(matches!(late, Rejection::Conflict { found: None, .. }), "of its key: {late}");
    backend.expect_refusal(
        sample::create_key(&key_of_epoch(2, 1)?)?,
        &Rejection::OwnerMissing,
        "a key of a purged owner",
    )?;
    backend.apply(sample::create_owner(&second)?)?;
    let (stored, sweeps) = swept_owner(&*backend)?;
    ensure_eq!(stored.incarnation, second.incarnation, "the incarnation");
    ensure_eq!(stored.epoch(), 1, "its epochs");
    backend.expect_refusal(
        sample::create_key(&key_of_epoch(2, 0)?)?,
        &Rejection::KeysChanged,
        "a key issued in an epoch of the first",
    )?;
    let new = key_of_epoch(2, 1)?;
    backend.apply(sample::create_key(&new)?)?;
    backend.apply(key_piece(&sweeps[0], &key))?;
    backend.apply(end(first.id, &sweeps[0])?)?;
    backend.expect_no_key(key.id)?;
    backend.expect_key(&new)?;
    backend.expect_refusal(
        sample::create_key(&key_of_epoch(3, 1)?)?,
        &Rejection::TooManyKeys { limit: 1 },
        "a key too many",
    )?;
    let events = backend.all_events()?;
    let purged = events.iter().find(|event| event.kind == EventKind::KeyPurged);
    let incarnation = purged.and_then(|event| event.incarnation);
    ensure_eq!(incarnation, Some(first.incarnation), "the incarnation of the purged key's event");
    Ok(())
}

fn sweep_the_last_piece_removes_a_purged_owner(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "none"])?;
    let keys = [key_of_epoch(1, 0)?, key_of_epoch(2, 0)?];
    backend.apply_all(&[sample::create_key(&keys[0])?, sample::create_key(&keys[1])?])?;
    // Without keys there is but the end to write: no count is believed.
    let none = sample::owner("none")?;
    backend.apply(purge(&none)?)?;
    let (_, sweeps) = swept_owner(&*backend)?;
    backend.apply(end(none.id, &sweeps[0])?)?;
    backend.expect_no_owner(&none.id)?;
    let acme = sample::owner("acme")?;
    backend.apply(purge(&acme)?)?;
    let (stored, sweeps) = swept_owner(&*backend)?;
    ensure!(stored.is_purged(), "the stored record doesn't say that it is purged");
    let both = keys.iter().fold(piece(acme.id, &sweeps[0]), |piece, key| {
        piece.and(Write::SweepKey(key.id, key.version), EventDraft::of_sweep(&sweeps[0], key))
    });
    backend.apply(both)?;
    backend.apply(end(acme.id, &sweeps[0])?)?;
    keys.iter().try_for_each(|key| backend.expect_no_key(key.id))?;
    backend.expect_no_owner(&acme.id)?;
    let (owners, keys, _) = backend.scanned()?;
    ensure!(owners.is_empty() && keys.is_empty(), "something of it is scanned");
    Ok(())
}

fn sweep_owners_with_sweeps_are_listed(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["a", "acme", "b", "c"])?;
    for (id, number) in [("acme", 1), ("c", 2)] {
        backend.apply(sample::create_key(&key_of(number, id, 0)?)?)?;
        backend.apply(revoke_keys(&sample::owner(id)?)?)?;
    }
    let suspended = Some(sample::switch(1)?);
    for id in ["b", "c"] {
        let owner = backend.owner(&sample::owner_id(id)?)?;
        let owner = owner.ok_or_else(|| Failure::new("the owner is gone"))?;
        let changed = OwnerRecord { suspended: suspended.clone(), ..sample::changed_owner(&owner) };
        backend.apply(sample::replace_owner(&changed)?)?;
    }
    let expected: [(_, &[&str]); 3] =
        [(None, &["acme", "c"]), (Some(true), &["c"]), (Some(false), &["acme"])];
    for (suspended, expected) in expected {
        for bounds in walk::NARROW.into_iter().chain([walk::WIDE]) {
            let shown = walk::owners(&*backend, (suspended, true), bounds)?;
            let listed: Vec<_> = shown.iter().map(OwnerId::as_str).collect();
            ensure_eq!(listed, expected, "owners with sweeps, suspended {suspended:?}");
        }
    }
    let (owners, _, _) = backend.scanned()?;
    let scanned: Vec<_> =
        owners.iter().filter(|owner| owner.sweeps.is_some()).map(|o| o.id.to_string()).collect();
    ensure_eq!(scanned, ["acme", "c"], "owners that a scan shows with sweeps");
    Ok(())
}

fn sweep_no_more_than_can_be_kept(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let mut acme = sample::owner("acme")?;
    for epoch in 0..=MAX_SWEEPS as u32 {
        backend.apply(sample::create_key(&key_of_epoch(epoch + 1, epoch)?)?)?;
        let change = revoke_keys(&acme)?;
        if epoch as usize == MAX_SWEEPS {
            backend.expect_refusal(change, &Rejection::SweepsPending(acme.id), "one too many")?;
        } else {
            backend.apply(change)?;
            acme = sample::changed_owner(&acme);
        }
    }
    ensure_eq!(swept_owner(&*backend)?.1.len(), MAX_SWEEPS, "sweeps that are kept");
    Ok(())
}

/// Texts have the greatest length, and there are as many as there can be.
fn sweep_of_any_size_is_found_again(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let mut acme = sample::owner("acme")?;
    let mut authorities = Vec::new();
    let long = |len: usize| "\u{e9}".repeat(len / 2);
    for epoch in 0..MAX_SWEEPS as u32 {
        let key = key_of_epoch(epoch + 1, epoch)?;
        backend.apply(sample::create_key(&key)?)?;
        let mut change = revoke_keys(&acme)?;
        let authority = Authority {
            role: Role::OwnerByKey {
                owner: acme.id,
                key: key.id,
                generation: Generation::MAX,
                previous_tokens: epoch % 2 == 1,
            },
            actor: Actor::new(long(Actor::MAX_LEN))?,
            reason: Some(Reason::new(long(Reason::MAX_LEN))?),
            reason_for_owner: true,
            correlation_id: Some(CorrelationId::new(long(CorrelationId::MAX_LEN))?),
        };
        change.operations[0].event.authority = authority.clone();
        authorities.push(authority);
        backend.apply(change)?;
        acme = sample::changed_owner(&acme);
    }
    let (before, sweeps) = swept_owner(&*backend)?;
    let backend = if backend.keeps() { backend.reopened()? } else { backend };
    backend.expect_owner(&before)?;
    ensure_eq!(swept_owner(&*backend)?.1, sweeps, "sweeps");
    let found: Vec<_> = sweeps.into_iter().map(|sweep| sweep.authority).collect();
    ensure_eq!(found, authorities, "authorities of the sweeps");
    Ok(())
}
