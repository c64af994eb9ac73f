//! Expired keys give up their place or their name to a change that needs it, and to no other.

use std::collections::BTreeMap;

use crate::backend::{Change, Rejection};
use crate::clock::Timestamp;
use crate::event::{EventKind, Fields};
use crate::id::KeyId;
use crate::key::{KeyRecord, Kind, OwnerRecord, StoreRules};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure_eq};
use crate::testing::conformance::instance::{Instance, Lab};
use crate::testing::sample;

list![
    rule_an_expired_key_gives_up_its_place,
    rule_an_expired_key_gives_up_its_name,
    rule_the_longest_expired_keys_lapse_first,
    rule_no_key_lapses_that_has_not_expired,
    rule_no_key_lapses_without_leave,
    rule_no_key_lapses_without_need,
    rule_no_key_lapses_in_a_refused_change,
    rule_the_last_standard_key_does_not_lapse,
    rule_a_lapsed_key_that_counts_again_needs_place_and_name,
    durable_expired_keys_lapse_after_an_opening,
];

/// The moment by which keys must have expired, in these cases.
const BY: u64 = 100;

fn by() -> Option<Timestamp> {
    Some(sample::at(BY))
}

fn expiring(n: u32, at: u64) -> Result<KeyRecord, Failure> {
    Ok(KeyRecord { expires_at: Some(sample::at(at)), ..sample::key(n, "acme")? })
}

fn trial(n: u32, at: u64) -> Result<KeyRecord, Failure> {
    Ok(KeyRecord { kind: Kind::Trial, ..expiring(n, at)? })
}

fn named(key: KeyRecord, name: &str) -> Result<KeyRecord, Failure> {
    Ok(KeyRecord { name: sample::name(name)?, ..key })
}

/// A creation at a moment of its own, for which keys may lapse.
fn creation(key: &KeyRecord) -> Result<Change, Failure> {
    let mut change = sample::create_key(key)?.lapsing(by());
    change.operations[0].event.at = sample::at(200);
    Ok(change)
}

/// A store with unique names, and an owner that may have as many keys as it has.
fn full<'a>(lab: &Lab<'a>, keys: &[KeyRecord]) -> Result<Instance<'a>, Failure> {
    let rules = StoreRules { unique_names: true, keep_standard_key: true, ..StoreRules::default() };
    let backend = lab.with_rules(rules)?;
    let max_keys = u32::try_from(keys.len()).unwrap_or(u32::MAX);
    let owner = OwnerRecord { max_keys, ..sample::owner("acme")? };
    let keys = keys.iter().map(sample::create_key).collect::<Result<Vec<_>, _>>()?;
    backend.apply(sample::in_one([sample::create_owner(&owner)?].into_iter().chain(keys)))?;
    Ok(backend)
}

fn lapsed(key: &KeyRecord) -> KeyRecord {
    let at = sample::at(200);
    KeyRecord { lapsed_at: Some(at), version: key.version.next(), updated_at: at, ..key.clone() }
}

fn expect_lapsed(backend: &Instance<'_>, change: Change, keys: &[&KeyRecord]) -> Tested {
    let applied = backend.apply(change)?;
    let expected: BTreeMap<KeyId, _> = keys.iter().map(|key| (key.id, key.owner)).collect();
    ensure_eq!(applied.lapsed, expected, "the keys that lapsed");
    keys.iter().try_for_each(|key| backend.expect_key(&lapsed(key)))
}

fn expect_too_many(backend: &Instance<'_>, change: Change, limit: u32) -> Tested {
    backend.expect_refusal(change, &Rejection::TooManyKeys { limit }, "a key too many")?;
    Ok(())
}

/// One write and one event, before that of the creation, with its time and its authority.
fn rule_an_expired_key_gives_up_its_place(lab: &Lab<'_>) -> Tested {
    let keys = [sample::key(1, "acme")?, expiring(2, BY)?];
    let backend = full(lab, &keys)?;
    let mut change = creation(&sample::key(3, "acme")?)?;
    change.operations[0].event.authority = sample::largest_authority("acme")?;
    let cause = change.operations[0].event.clone();
    let first = backend.last_event()? + 1;
    let applied = backend.apply(change)?;
    ensure_eq!((applied.first_event, applied.last_event), (first, first + 1), "events");
    ensure_eq!(applied.lapsed, BTreeMap::from([(keys[1].id, keys[1].owner)]), "lapsed");
    let lapsed = lapsed(&keys[1]);
    backend.expect_key(&lapsed)?;
    let events = backend.all_events()?;
    let [.., lapse, creation] = events.as_slice() else {
        return Err(Failure::new("two events were expected"));
    };
    ensure_eq!((lapse.sequence, creation.sequence), (first, first + 1), "order of the events");
    ensure_eq!(lapse.kind, EventKind::KeyLapsed, "kind of the first event");
    ensure_eq!((lapse.key, lapse.owner), (Some(lapsed.id), Some(lapsed.owner)), "its key");
    ensure_eq!((lapse.version, lapse.generation), (lapsed.version, None), "its version");
    ensure_eq!(lapse.fields, Fields::LAPSED, "its fields");
    ensure_eq!((lapse.at, &lapse.authority), (cause.at, &cause.authority), "its actor");
    ensure_eq!(creation.draft, cause, "the event of the creation");
    // Its place is taken now.
    expect_too_many(&backend, creation_of(4)?, 2)
}

fn creation_of(n: u32) -> Result<Change, Failure> {
    creation(&sample::key(n, "acme")?)
}

fn rule_an_expired_key_gives_up_its_name(lab: &Lab<'_>) -> Tested {
    let first = named(expiring(1, BY)?, "deploy")?;
    // Expired for longer, but it is another name that is needed.
    let longer = named(expiring(2, 1)?, "build")?;
    let backend = full(lab, &[first.clone(), longer.clone(), sample::key(3, "acme")?])?;
    let second = named(sample::key(4, "acme")?, "deploy")?;
    expect_lapsed(&backend, creation(&second)?, &[&first])?;
    backend.expect_key(&longer)?;
    let third = named(sample::key(5, "acme")?, "deploy")?;
    backend.expect_refusal(
        creation(&third)?,
        &Rejection::NameTaken(second.id),
        "a name that is taken again",
    )?;
    // A renaming needs a name too.
    let renamed = named(sample::changed_key(&sample::key(3, "acme")?), "build")?;
    expect_lapsed(&backend, at_200(sample::replace_key(&renamed)?), &[&longer])
}

fn at_200(change: Change) -> Change {
    let mut change = change.lapsing(by());
    change.operations[0].event.at = sample::at(200);
    change
}

/// Among those of one moment, the one with the least id first; also through a batch and for several places.
fn rule_the_longest_expired_keys_lapse_first(lab: &Lab<'_>) -> Tested {
    let times = [50, 10, 10, 30, 20, 99];
    let keys = times.iter().zip(1..).map(|(at, n)| expiring(n, *at));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let backend = full(lab, &keys)?;
    expect_lapsed(&backend, creation_of(11)?, &[&keys[1]])?;
    let applied = backend.apply_all(&[creation_of(12)?, creation_of(13)?])?;
    let order: Vec<_> = applied.iter().flat_map(|applied| applied.lapsed.keys()).collect();
    ensure_eq!(order, [&keys[2].id, &keys[4].id], "the keys that lapsed in a batch");
    let two = sample::in_one([creation_of(14)?, sample::create_key(&sample::key(15, "acme")?)?]);
    expect_lapsed(&backend, two, &[&keys[3], &keys[0]])
}

fn rule_no_key_lapses_that_has_not_expired(lab: &Lab<'_>) -> Tested {
    let keys = [expiring(1, BY + 1)?, sample::key(2, "acme")?];
    let backend = full(lab, &keys)?;
    expect_too_many(&backend, creation_of(3)?, 2)?;
    // One that has expired, but is revoked, takes no place that it could give up.
    let revoked = KeyRecord { expires_at: Some(sample::at(1)), ..sample::revoked(&keys[0])? };
    backend.apply(sample::replace_key(&revoked)?)?;
    expect_lapsed(&backend, creation_of(3)?, &[])?;
    expect_too_many(&backend, creation_of(4)?, 2)?;
    backend.expect_key(&revoked)
}

fn rule_no_key_lapses_without_leave(lab: &Lab<'_>) -> Tested {
    let keys = [named(expiring(1, 1)?, "deploy")?, sample::key(2, "acme")?];
    let backend = full(lab, &keys)?;
    let third = sample::key(3, "acme")?;
    expect_too_many(&backend, creation(&third)?.lapsing(None), 2)?;
    backend.expect_refusal(
        sample::create_key(&named(third, "deploy")?)?,
        &Rejection::NameTaken(keys[0].id),
        "a name without leave",
    )?;
    backend.expect_key(&keys[0])
}

fn rule_no_key_lapses_without_need(lab: &Lab<'_>) -> Tested {
    let keys = [named(expiring(1, 1)?, "deploy")?, sample::key(2, "acme")?];
    let backend = full(lab, &keys)?;
    let changed = named(sample::changed_key(&keys[1]), "build")?;
    expect_lapsed(&backend, at_200(sample::replace_key(&changed)?), &[])?;
    // The change frees a place itself.
    let revoke = sample::replace_key(&sample::revoked(&changed)?)?;
    let swap = sample::in_one([creation_of(3)?, revoke]);
    expect_lapsed(&backend, swap, &[])?;
    backend.expect_key(&keys[0])
}

fn rule_no_key_lapses_in_a_refused_change(lab: &Lab<'_>) -> Tested {
    let keys = [expiring(1, 1)?, sample::key(2, "acme")?];
    let backend = full(lab, &keys)?;
    let last = backend.last_event()?;
    // One place could be had, but not two.
    let two = sample::in_one([creation_of(3)?, sample::create_key(&sample::key(4, "acme")?)?]);
    expect_too_many(&backend, two, 2)?;
    backend.expect_key(&keys[0])?;
    ensure_eq!(backend.last_event()?, last, "the last event");
    expect_lapsed(&backend, creation_of(3)?, &[&keys[0]])
}

/// Unless the same change brings another one.
fn rule_the_last_standard_key_does_not_lapse(lab: &Lab<'_>) -> Tested {
    let keys = [named(expiring(1, 1)?, "deploy")?, trial(2, 50)?];
    let backend = full(lab, &keys)?;
    // Another trial key takes the place of the trial key, though that expired later.
    expect_lapsed(&backend, creation(&trial(3, 300)?)?, &[&keys[1]])?;
    expect_too_many(&backend, creation(&trial(4, 300)?)?, 2)?;
    backend.expect_refusal(
        creation(&named(trial(4, 300)?, "deploy")?)?,
        &Rejection::NameTaken(keys[0].id),
        "the name of the last standard key",
    )?;
    let heir = named(sample::key(4, "acme")?, "deploy")?;
    expect_lapsed(&backend, creation(&heir)?, &[&keys[0]])?;
    // The lapsed key doesn't count as a standard key.
    backend.expect_refusal(
        sample::replace_key(&sample::revoked(&heir)?)?,
        &Rejection::LastStandardKey,
        "the revocation of the only one left",
    )?;
    Ok(())
}

fn rule_a_lapsed_key_that_counts_again_needs_place_and_name(lab: &Lab<'_>) -> Tested {
    let keys = [named(expiring(1, 1)?, "deploy")?, sample::key(2, "acme")?];
    let backend = full(lab, &keys)?;
    let heir = named(sample::key(3, "acme")?, "deploy")?;
    expect_lapsed(&backend, creation(&heir)?, &[&keys[0]])?;
    // While it stays lapsed it may be changed, and keep its name.
    let lapsed = sample::changed_key(&lapsed(&keys[0]));
    backend.apply(sample::replace_key(&lapsed)?)?;
    let again = KeyRecord {
        lapsed_at: None,
        expires_at: Some(sample::at(300)),
        ..sample::changed_key(&lapsed)
    };
    backend.expect_refusal(
        at_200(sample::replace_key(&again)?),
        &Rejection::NameTaken(heir.id),
        "its old name",
    )?;
    let nameless = KeyRecord { name: None, ..again };
    expect_too_many(&backend, at_200(sample::replace_key(&nameless)?), 2)?;
    backend.apply(sample::replace_key(&sample::revoked(&keys[1])?)?)?;
    backend.apply(at_200(sample::replace_key(&nameless)?))?;
    backend.expect_key(&nameless)
}

fn durable_expired_keys_lapse_after_an_opening(lab: &Lab<'_>) -> Tested {
    let keys = [expiring(1, 20)?, expiring(2, 10)?, sample::key(3, "acme")?];
    let backend = full(lab, &keys)?;
    expect_lapsed(&backend, creation_of(4)?, &[&keys[1]])?;
    if !backend.keeps() {
        return Ok(());
    }
    let backend = backend.reopened()?;
    backend.expect_key(&lapsed(&keys[1]))?;
    expect_lapsed(&backend, creation_of(5)?, &[&keys[0]])?;
    expect_too_many(&backend, creation_of(6)?, 3)
}
