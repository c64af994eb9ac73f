//! Pages of keys are in order and complete, and look at no more than they may.

use crate::backend::{KeyFilter, KeyPage, KeyPageQuery, StateSet};
use crate::id::KeyId;
use crate::key::{KeyRecord, Kind, PrefixNumber, State, Tags, TokenRecord};
use crate::permission::Access;
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

use crate::testing::conformance::instance::Instance;
use crate::testing::conformance::walk;

list![
    query_keys_come_newest_first,
    query_keys_are_those_of_an_owner,
    query_keys_are_those_of_a_kind,
    query_keys_are_those_that_a_key_created,
    query_keys_are_those_in_certain_states,
    query_keys_expire_at_their_expiry,
    query_keys_match_the_whole_filter,
    query_keys_are_those_before_and_after_bounds,
    query_pages_of_keys_show_every_field,
    query_pages_of_keys_keep_to_their_limit,
    query_pages_of_keys_examine_no_more_than_told,
    query_pages_of_keys_are_complete,
    query_pages_of_keys_go_on_while_keys_come_and_go,
    query_pages_of_no_keys_are_empty,
    query_keys_are_counted,
];

const OWNERS: [&str; 3] = ["acme", "acme2", "beta"];
/// All of them expire, some before and some after this.
const NOW: u64 = 50;

pub(super) fn all() -> KeyFilter {
    KeyFilter::new(StateSet::ALL, sample::at(NOW))
}

/// Thirty keys in which owners, kinds and switches mix, oldest first.
pub(super) fn mixed() -> Result<Vec<KeyRecord>, Failure> {
    let mut keys = Vec::new();
    for n in 0..30 {
        let mut key = sample::key(n, OWNERS[n as usize % 3])?;
        if n % 4 == 3 {
            key.kind = Kind::Trial;
        }
        // The second key and one that isn't there have created some, for all owners alike.
        key.created_by_key = match n % 5 {
            2 => Some(sample::key_id(1)),
            4 => Some(sample::key_id(1_000)),
            _ => None,
        };
        key.name = match n % 6 {
            0 => None,
            1 => sample::name("build")?,
            2 => sample::name("Build")?,
            3 => sample::name(&format!("build server {n}"))?,
            4 => sample::name(&format!("b\u{fc}ro {n}"))?,
            _ => sample::name("nightly build")?,
        };
        // The second prefix, in tokens before the current one too.
        let prefix = PrefixNumber::new(u8::from(n % 3 == 1))?;
        key.current.digest.prefix = prefix;
        if n % 4 == 1 {
            key.current =
                TokenRecord { digest: key.current.digest.clone(), ..sample::token(n, 2)? };
            key.previous = vec![sample::previous(n, 1)?];
        }
        key.access = match n % 4 {
            0 => Access::Full,
            1 => Access::ReadOnly,
            2 => Access::limited(["links:read", "users:write"])?,
            _ => Access::limited(["links:*"])?,
        };
        key.tags = match n % 4 {
            0 => Tags::default(),
            1 => Tags::new(["ci"])?,
            2 => Tags::new(["ci", "env=prod"])?,
            _ => Tags::new(["CI", "ci2", "env=test"])?,
        };
        key.expires_at = (n % 2 == 0).then(|| sample::at(40 + u64::from(n)));
        key.deactivated = if n % 5 == 1 { Some(sample::switch(1)?) } else { None };
        key.blocked = if n % 7 == 2 { Some(sample::switch(1)?) } else { None };
        key.revoked = if n % 11 == 3 { Some(sample::switch(1)?) } else { None };
        keys.push(key);
    }
    Ok(keys)
}

/// A store with these keys, created in an order that no query uses.
pub(super) fn store<'a>(lab: &Lab<'a>, keys: &[KeyRecord]) -> Result<Instance<'a>, Failure> {
    let backend = lab.with_owners(&OWNERS)?;
    let (odd, even): (Vec<_>, Vec<_>) =
        keys.iter().enumerate().partition(|(position, _)| position % 2 == 1);
    let create: Vec<_> = odd
        .into_iter()
        .chain(even)
        .map(|(_, key)| sample::create_key(key))
        .collect::<Result<_, _>>()?;
    backend.apply_all(&create)?;
    Ok(backend)
}

/// The keys that a filter should show, newest first.
pub(super) fn expected(keys: &[KeyRecord], filter: &KeyFilter) -> Vec<KeyId> {
    keys.iter().rev().filter(|key| filter.matches(key)).map(|key| key.id).collect()
}

pub(super) fn expect_shown(
    backend: &Instance<'_>,
    keys: &[KeyRecord],
    filter: &KeyFilter,
) -> Tested {
    let shown = walk::keys(&**backend, filter, walk::WIDE)?;
    ensure_eq!(shown, expected(keys, filter), "keys of {filter:?}");
    Ok(())
}

fn query_keys_come_newest_first(lab: &Lab<'_>) -> Tested {
    let keys = mixed()?;
    expect_shown(&store(lab, &keys)?, &keys, &all())
}

fn query_keys_are_those_of_an_owner(lab: &Lab<'_>) -> Tested {
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    for owner in OWNERS.into_iter().chain(["acm", "ACME", "nobody"]) {
        let owner = Some(sample::owner_id(owner)?);
        expect_shown(&backend, &keys, &KeyFilter { owner, ..all() })?;
    }
    Ok(())
}

fn query_keys_are_those_of_a_kind(lab: &Lab<'_>) -> Tested {
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    for kind in [Kind::Standard, Kind::Trial] {
        expect_shown(&backend, &keys, &KeyFilter { kind: Some(kind), ..all() })?;
    }
    Ok(())
}

/// Those of one owner, in one state, and between bounds too; also after a creator or a created key
/// has changed or is gone.
fn query_keys_are_those_that_a_key_created(lab: &Lab<'_>) -> Tested {
    let mut keys = mixed()?;
    let backend = store(lab, &keys)?;
    let states = StateSet::of([State::Expired]);
    let of_owner = KeyFilter { owner: Some(sample::owner_id("acme")?), ..all() };
    let check = |keys: &[KeyRecord]| {
        for creator in [0, 1, 1_000, u32::MAX] {
            let created_by_key = Some(sample::key_id(creator));
            for filter in [all(), of_owner.clone(), KeyFilter { states, ..all() }] {
                let filter = KeyFilter { created_by_key, ..filter };
                let expected = expected(keys, &filter);
                for bounds in walk::NARROW.into_iter().chain([walk::WIDE]) {
                    let shown = walk::keys(&*backend, &filter, bounds)?;
                    ensure_eq!(shown, expected, "keys of {filter:?} by pages of {bounds:?}");
                }
                let count = backend.count_keys(&filter)?;
                ensure_eq!(count, expected.len() as u64, "how many keys of {filter:?}");
                let page = page(&backend, (Some(2), Some(27)), filter.clone())?;
                let shown: Vec<KeyId> = page.keys.iter().map(|key| key.id).collect();
                let between = |id: &KeyId| *id > sample::key_id(2) && *id < sample::key_id(27);
                let expected: Vec<KeyId> = expected.into_iter().filter(between).collect();
                ensure_eq!(shown, expected, "keys of {filter:?} between bounds");
            }
        }
        Ok::<(), Failure>(())
    };
    check(&keys)?;
    for n in [1, 2, 4] {
        keys[n] = sample::changed_key(&keys[n]);
        backend.apply(sample::replace_key(&keys[n])?)?;
    }
    check(&keys)?;
    backend.apply_all(&[sample::remove_key(&keys[7])?, sample::remove_key(&keys[1])?])?;
    keys.remove(7);
    keys.remove(1);
    check(&keys)
}

fn query_keys_are_those_in_certain_states(lab: &Lab<'_>) -> Tested {
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    for state in State::ALL {
        let states = StateSet::of([state]);
        let filter = KeyFilter { states, ..all() };
        ensure!(!expected(&keys, &filter).is_empty(), "no sample key is {state:?}");
        expect_shown(&backend, &keys, &filter)?;
    }
    let states = StateSet::of([State::Expired, State::Blocked]);
    for states in [StateSet::UNREVOKED, states, StateSet::of([])] {
        expect_shown(&backend, &keys, &KeyFilter { states, ..all() })?;
    }
    Ok(())
}

/// To the millisecond: active until it, expired from it on.
fn query_keys_expire_at_their_expiry(lab: &Lab<'_>) -> Tested {
    let expiry = sample::at(NOW);
    let keys = [KeyRecord { expires_at: Some(expiry), ..sample::key(1, "acme")? }];
    let backend = store(lab, &keys)?;
    let millisecond = std::time::Duration::from_millis(1);
    let moments = [
        (expiry.saturating_sub(millisecond), State::Active),
        (expiry, State::Expired),
        (expiry.saturating_add(millisecond), State::Expired),
    ];
    for (now, state) in moments {
        let filter = KeyFilter { states: StateSet::of([state]), now, ..all() };
        let shown = walk::keys(&*backend, &filter, walk::WIDE)?;
        ensure_eq!(shown, [keys[0].id], "keys that are {state:?} at {now}");
        ensure_eq!(backend.count_keys(&filter)?, 1, "how many are {state:?} at {now}");
    }
    Ok(())
}

/// Every combination of owner, kind and state, at three times; and counts say the same.
fn query_keys_match_the_whole_filter(lab: &Lab<'_>) -> Tested {
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    let kinds = [None, Some(Kind::Standard), Some(Kind::Trial)];
    for owner in [None, Some(sample::owner_id("acme")?), Some(sample::owner_id("beta")?)] {
        for (kind, now) in kinds.into_iter().zip([0, NOW, 1_000]) {
            for state in State::ALL {
                let states = StateSet::of([state, State::Deactivated]);
                let filter = KeyFilter { owner, kind, ..KeyFilter::new(states, sample::at(now)) };
                expect_shown(&backend, &keys, &filter)?;
            }
        }
    }
    Ok(())
}

fn page(
    backend: &Instance<'_>,
    bounds: (Option<u32>, Option<u32>),
    filter: KeyFilter,
) -> Result<KeyPage, Failure> {
    let (after, before) = (bounds.0.map(sample::key_id), bounds.1.map(sample::key_id));
    let query = KeyPageQuery { filter, before, after, limit: 100, examine: 100 };
    Ok(backend.page_keys(&query)?)
}

/// The bounds themselves are not shown; a bound need not be a key that is there.
fn query_keys_are_those_before_and_after_bounds(lab: &Lab<'_>) -> Tested {
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    let of_owner = KeyFilter { owner: Some(sample::owner_id("beta")?), ..all() };
    let bounds = [None, Some(0), Some(7), Some(8), Some(29), Some(30), Some(u32::MAX)];
    for filter in [all(), of_owner] {
        for (after, before) in bounds.iter().flat_map(|a| bounds.iter().map(|b| (*a, *b))) {
            let shown = page(&backend, (after, before), filter.clone())?;
            let shown: Vec<KeyId> = shown.keys.iter().map(|key| key.id).collect();
            let mut expected = expected(&keys, &filter);
            expected.retain(|id| after.is_none_or(|after| *id > sample::key_id(after)));
            expected.retain(|id| before.is_none_or(|before| *id < sample::key_id(before)));
            ensure_eq!(shown, expected, "keys after {after:?} and before {before:?}");
        }
    }
    Ok(())
}

fn query_pages_of_keys_show_every_field(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let keys = [sample::key(1, "acme")?, sample::largest_key(2, "acme")?];
    backend.apply_all(&[sample::create_key(&keys[0])?, sample::create_key(&keys[1])?])?;
    let of_owner = KeyFilter { owner: Some(keys[0].owner), ..all() };
    for filter in [all(), of_owner] {
        let page = page(&backend, (None, None), filter)?;
        ensure_eq!(page.keys.len(), 2, "keys on the page");
        for (shown, key) in page.keys.iter().zip(keys.iter().rev()) {
            let differing = crate::testing::differences::of_keys(shown, key);
            ensure!(differing.is_empty(), "key {} differs in {differing:?}", key.id);
        }
    }
    Ok(())
}

fn query_pages_of_keys_keep_to_their_limit(lab: &Lab<'_>) -> Tested {
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    let filters = [all(), KeyFilter { states: StateSet::of([State::Expired]), ..all() }];
    for filter in filters {
        let expected = expected(&keys, &filter);
        for limit in [1, 2, expected.len() - 1] {
            let (before, after, examine) = (None, None, 1_000);
            let query = KeyPageQuery { filter: filter.clone(), before, after, limit, examine };
            let page = backend.page_keys(&query)?;
            let shown: Vec<KeyId> = page.keys.iter().map(|key| key.id).collect();
            // No other limit bounds the page, so that it is as long as it may be.
            ensure_eq!(shown, expected[..limit], "a page of at most {limit}");
            ensure!(page.next.is_some(), "a page that was cut doesn't say so");
        }
    }
    Ok(())
}

/// However many keys would match, and however many more the page could hold.
fn query_pages_of_keys_examine_no_more_than_told(lab: &Lab<'_>) -> Tested {
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    let of_owner = KeyFilter { owner: Some(sample::owner_id("beta")?), ..all() };
    for filter in [all(), of_owner] {
        let expected = expected(&keys, &filter);
        for examine in [1, 3, 9] {
            let (before, after, limit) = (None, None, 100);
            let query = KeyPageQuery { filter: filter.clone(), before, after, limit, examine };
            let page = backend.page_keys(&query)?;
            let shown: Vec<KeyId> = page.keys.iter().map(|key| key.id).collect();
            // Every row matches, so that the page shows all that it looked at.
            ensure_eq!(shown, expected[..examine], "a page that looks at {examine}");
            ensure!(page.next.is_some(), "a page that ended early doesn't say so");
        }
    }
    Ok(())
}

/// Page by page, however long the pages, each key is shown once.
fn query_pages_of_keys_are_complete(lab: &Lab<'_>) -> Tested {
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    let owner = Some(sample::owner_id("acme2")?);
    let rare = StateSet::of([State::Revoked]);
    let filters = [
        all(),
        KeyFilter { owner, ..all() },
        KeyFilter { kind: Some(Kind::Trial), ..all() },
        KeyFilter { states: rare, ..all() },
        KeyFilter { owner, states: StateSet::of([State::Expired]), ..all() },
        KeyFilter { states: StateSet::of([]), ..all() },
    ];
    for filter in filters {
        for bounds in walk::NARROW {
            let shown = walk::keys(&*backend, &filter, bounds)?;
            ensure_eq!(shown, expected(&keys, &filter), "keys by pages of {bounds:?}");
        }
    }
    Ok(())
}

/// Those that were there throughout are shown once, also when `next` names one that is gone.
fn query_pages_of_keys_go_on_while_keys_come_and_go(lab: &Lab<'_>) -> Tested {
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    let mut query = KeyPageQuery { filter: all(), before: None, after: None, limit: 5, examine: 5 };
    let (mut shown, mut gone) = (Vec::new(), Vec::new());
    for come in 100..200 {
        let page = backend.page_keys(&query)?;
        shown.extend(page.keys.iter().map(|key| key.id));
        let Some(next) = page.next else { break };
        // The key at which the page ended and the one two after it go, a newer one comes.
        for key in keys.iter().rev().filter(|key| key.id <= next).step_by(2).take(2) {
            backend.apply(sample::remove_key(key)?)?;
            gone.push(key.id);
        }
        backend.apply(sample::create_key(&sample::key(come, "acme")?)?)?;
        ensure!(query.before.is_none_or(|before| next < before), "`next` doesn't move on");
        query.before = Some(next);
    }
    let stayed = |id: &KeyId| !gone.contains(id);
    let expected: Vec<KeyId> = expected(&keys, &all()).into_iter().filter(stayed).collect();
    shown.retain(stayed);
    ensure_eq!(shown, expected, "keys that were there throughout");
    Ok(())
}

fn query_pages_of_no_keys_are_empty(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&OWNERS)?;
    let of_owner = KeyFilter { owner: Some(sample::owner_id("acme")?), ..all() };
    for filter in [all(), of_owner] {
        for bounds in [(None, None), (Some(1), None), (None, Some(1)), (Some(2), Some(1))] {
            let page = page(&backend, bounds, filter.clone())?;
            ensure_eq!(page.keys.len(), 0, "keys of an empty store");
            ensure_eq!(page.next, None, "what comes after nothing");
        }
        ensure_eq!(backend.count_keys(&filter)?, 0, "how many keys an empty store has");
    }
    Ok(())
}

fn query_keys_are_counted(lab: &Lab<'_>) -> Tested {
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    let owner = Some(sample::owner_id("acme")?);
    let filters = [
        all(),
        KeyFilter { owner, ..all() },
        KeyFilter { kind: Some(Kind::Trial), ..all() },
        KeyFilter { states: StateSet::of([State::Active]), ..all() },
        KeyFilter { states: StateSet::UNREVOKED, ..all() },
        KeyFilter { owner, states: StateSet::of([State::Expired]), ..all() },
        KeyFilter { states: StateSet::of([]), ..all() },
    ];
    for filter in filters {
        let expected = expected(&keys, &filter).len() as u64;
        ensure_eq!(backend.count_keys(&filter)?, expected, "how many keys of {filter:?}");
    }
    backend.apply(sample::remove_key(&keys[0])?)?;
    ensure_eq!(backend.count_keys(&all())?, 29, "how many keys after one went");
    Ok(())
}
