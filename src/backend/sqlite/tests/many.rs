//! More rows than one transaction shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::scan::{self, Part};
use super::super::scan_owner::{OneOwner, Progress};
use super::super::transaction::Snapshot;
use super::fixtures::{Fixture, at, create_owner, event, owner_id, previous, replace, switch};
use crate::backend::Write;
use crate::backend::{
    Backend, Change, EventFilter, EventQuery, KeyFilter, Scanned, ScannedKey, StateSet,
};
use crate::event::EventKind;
use crate::id::OwnerId;

const KEYS: u128 = 2_500;

fn keys_in(rows: &[Scanned]) -> Vec<&ScannedKey> {
    rows.iter().filter_map(key_in).collect()
}

fn key_in(row: &Scanned) -> Option<&ScannedKey> {
    match row {
        Scanned::Key(key) => Some(key),
        _ => None,
    }
}

#[test]
fn a_scan_shows_everything_once_and_previous_tokens_with_their_key() {
    let fixture = Fixture::with_keys(1..=KEYS);
    // At the ends of a transaction's rows, and elsewhere.
    let rotated = [1, 2, 1_000, 1_024, 1_025, 2_048, KEYS];
    for number in rotated {
        let mut key = fixture.key(number);
        key.previous = vec![previous(1), previous(2)];
        fixture.commit(replace(&key));
    }
    let mut seen = Vec::new();
    let mut with_previous = Vec::new();
    let last = fixture.sqlite.scan(&mut |scanned| match scanned {
        Scanned::Owner(owner) => assert!(seen.is_empty() && owner.id == owner_id("acme")),
        Scanned::Key(key) => {
            seen.push(key.id.as_u128());
            if !key.previous.is_empty() {
                assert_eq!(key.previous.len(), 2);
                assert_eq!(key.previous[1].token.generation.get(), 2);
                with_previous.push(key.id.as_u128());
            }
        }
        Scanned::Damaged(row) => panic!("{row:?}"),
    });
    assert_eq!(last.unwrap(), fixture.sqlite.last_event().unwrap());
    assert_eq!(seen, (1..=KEYS).collect::<Vec<_>>());
    assert_eq!(with_previous, rotated);
}

#[test]
fn so_many_keys_are_expected_as_there_are_or_as_fit() {
    let fixture = Fixture::with_keys(1..=KEYS);
    assert_eq!(u128::from(fixture.sqlite.expected_keys()), KEYS);
    let raw = fixture.raw();
    raw.execute("UPDATE owners SET keys_all = 1 << 60", []).unwrap();
    let fit = u128::from(fixture.sqlite.expected_keys());
    assert!((KEYS..KEYS * 10).contains(&fit), "{fit}");
}

#[test]
fn a_scan_that_takes_long_is_cut_into_pieces() {
    let fixture = Fixture::with_keys(1..=300);
    let mut key = fixture.key(130);
    key.previous = vec![previous(1)];
    fixture.commit(replace(&key));
    let raw = fixture.raw();
    let (mut rows, mut after, mut pieces) = (Vec::new(), Some(Vec::new()), 0);
    while let Some(from) = &after {
        let part = Part::After(from, Duration::ZERO);
        let piece = scan::keys(&raw, part, &BTreeMap::new()).unwrap();
        after = piece.next;
        rows.extend(piece.rows);
        pieces += 1;
    }
    assert_eq!(pieces, 5);
    let found = keys_in(&rows);
    assert!(found.iter().map(|key| key.id.as_u128()).eq(1..=300));
    let rotated = found.iter().filter(|key| !key.previous.is_empty());
    assert!(rotated.map(|key| key.id.as_u128()).eq([130]));
    // Owners likewise.
    for n in 0..100 {
        fixture.commit(create_owner(&format!("owner {n}")));
    }
    let first = scan::owners(&raw, Part::After(&[], Duration::ZERO)).unwrap();
    assert_eq!(first.rows.len(), 64);
    let after = first.next.unwrap();
    let rest = scan::owners(&raw, Part::After(&after, Duration::ZERO)).unwrap();
    assert!(rest.next.is_none());
    let owners = first.rows.iter().chain(&rest.rows).map(|row| match row {
        Scanned::Owner(owner) => owner.id,
        other => panic!("{other:?}"),
    });
    let owners: Vec<OwnerId> = owners.collect();
    assert!(owners.len() == 101 && owners.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn many_owners_are_scanned_and_listed_in_order() {
    let fixture = Fixture::new();
    let names: BTreeSet<String> = (0..2_100).map(|n| format!("owner {n}")).collect();
    let changes: Vec<Change> = names.iter().map(|name| create_owner(name)).collect();
    assert!(fixture.sqlite.commit(&changes).unwrap().iter().all(Result::is_ok));
    let mut seen = Vec::new();
    let visit = &mut |scanned| match scanned {
        Scanned::Owner(owner) => seen.push(owner.id.to_string()),
        other => panic!("{other:?}"),
    };
    fixture.sqlite.scan(visit).unwrap();
    assert!(seen.iter().eq(&names));
}

#[test]
fn one_owner_is_scanned_at_one_moment_or_again() {
    let fixture = Fixture::with_keys(1..=KEYS);
    let mut odd = fixture.key(7);
    odd.deactivated = switch();
    odd.previous = vec![previous(1)];
    fixture.commit(replace(&odd));

    let raw = fixture.raw();
    let gather = |found: &mut OneOwner| {
        let snapshot = Snapshot::begin(&raw).unwrap();
        found.gather(&snapshot, &owner_id("acme"), Duration::ZERO).unwrap()
    };
    let mut found = OneOwner::default();
    let mut steps = 0;
    while gather(&mut found) == Progress::More {
        steps += 1;
    }
    assert!(steps > 10, "{steps}");
    let keys = keys_in(&found.rows);
    let ids: BTreeSet<u128> = keys.iter().map(|key| key.id.as_u128()).collect();
    assert!(ids.into_iter().eq(1..=KEYS) && keys.len() == KEYS as usize);
    let odd = keys.iter().find(|key| key.id.as_u128() == 7).unwrap();
    assert!(odd.deactivated && odd.previous.len() == 1);

    // A commit between two transactions: what was gathered is of two moments.
    let mut found = OneOwner::default();
    assert!(gather(&mut found) == Progress::More);
    fixture.commit(create_owner("other"));
    assert!(gather(&mut found) == Progress::Disturbed);

    // The call itself begins again, and in the end takes as long as it needs.
    let mut seen = 0;
    let visit = &mut |_| seen += 1;
    fixture.sqlite.scan_owner(&owner_id("acme"), visit).unwrap();
    assert_eq!(seen, 1 + KEYS as usize);
    let mut seen = 0;
    fixture.sqlite.scan_owner(&owner_id("nobody"), &mut |_| seen += 1).unwrap();
    assert_eq!(seen, 0);
}

#[test]
fn a_scan_lets_its_caller_read_and_write() {
    let fixture = Fixture::with_keys(1..=5);
    let mut others = 0;
    let visit = &mut |scanned: Scanned| {
        if let Scanned::Key(key) = scanned {
            fixture.sqlite.key(key.id).unwrap().unwrap();
            fixture.commit(create_owner(&format!("{}", key.id)));
            others += 1;
        }
    };
    fixture.sqlite.scan(visit).unwrap();
    assert_eq!(others, 5);
}

#[test]
fn many_keys_are_counted() {
    let fixture = Fixture::with_keys(1..=KEYS * 5);
    let mut filter = KeyFilter::new(StateSet::UNREVOKED, at(5));
    assert_eq!(fixture.sqlite.count_keys(&filter).unwrap(), 12_500);
    filter.owner = Some(owner_id("acme"));
    assert_eq!(fixture.sqlite.count_keys(&filter).unwrap(), 12_500);
    filter.owner = Some(owner_id("other"));
    assert_eq!(fixture.sqlite.count_keys(&filter).unwrap(), 0);
}

#[test]
fn many_events_are_pruned_in_steps() {
    let fixture = Fixture::new();
    // The event of the creation is of the first millisecond.
    let changes: Vec<Change> = (1..1_700_u64)
        .map(|n| {
            let mut event = event(EventKind::TokenRevealed);
            event.at = at(n);
            Change::of(Write::Nothing, event)
        })
        .collect();
    assert!(fixture.sqlite.commit(&changes).unwrap().iter().all(Result::is_ok));
    let pruned_through = || {
        let filter = EventFilter::default();
        let query = EventQuery { after: 0, before: None, filter, limit: 1, examine: 1 };
        fixture.sqlite.events(&query).unwrap().pruned_through
    };
    assert_eq!(fixture.sqlite.prune_events(at(0), 5_000).unwrap(), 0);
    // Just as many as go in one step; one more; and more than there are.
    for (before, removed, through) in [(500, 500, 500), (501, 1, 501), (5_000, 1_198, 1_699)] {
        assert_eq!(fixture.sqlite.prune_events(at(before), 5_000).unwrap(), removed);
        assert_eq!(pruned_through(), through);
    }
    assert_eq!(fixture.sqlite.last_event().unwrap(), 1_700);
}
