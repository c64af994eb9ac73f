//! Owners in the index by number: a number is used again, and no owner is taken for another.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::limits::limit_table::LimitTable;
use super::super::{Index, LeaseWord, LeftWord};
use super::fixtures::{by_admin, id, index, key, owner, put_owner};
use crate::backend::ScannedOwner;
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId, Version};
use crate::key::{Limits, Quota, Rate, VersionedQuota};
use crate::store::types::reserved::Whose;

/// Makes an index whose owners' numbers are used again at once.
fn restless() -> Index {
    let index = index();
    index.reuse_owner_numbers();
    index
}

/// An id that is too long for a slot.
fn long(of: usize) -> String {
    format!("an owner whose id is long: {of}")
}

fn shown(index: &Index, id: KeyId) -> Option<OwnerId> {
    index.search(id).find(|packed| {
        let entry = packed.judged_at(Timestamp::MIN)?;
        index.by_owner(&entry, packed.seen())?;
        index.owner(entry.owner, entry.short_owner, packed.seen())
    })
}

/// Returns the numbers that are in use, and all that there are.
fn count(index: &Index) -> (usize, usize) {
    index.lock().owners.numbers.count()
}

#[test]
fn owners_that_come_and_go_take_no_more_numbers() {
    let index = index();
    for round in 0..5_000 {
        let (name, key_id) = (long(round), id(round as u64 % 7));
        put_owner(&index, &owner(&name));
        if round % 2 == 0 {
            index.put_key(&key(key_id, &name)).unwrap();
            assert_eq!(shown(&index, key_id), Some(OwnerId::new(&name).unwrap()));
            index.remove_key(key_id, &owner(&name).id).unwrap();
        }
        index.remove_owner(&owner(&name).id);
        assert_eq!(shown(&index, key_id), None);
    }
    let (used, all) = count(&index);
    assert_eq!(used, 0);
    // Those in quarantine.
    assert!(all < 1_100, "{all}");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Owner {
        of: usize,
        suspended: bool,
    },
    Key {
        number: u64,
        of: usize,
    },
    RemoveKey {
        number: u64,
        of: usize,
    },
    /// Removes the owner, and its keys after it or not at all.
    RemoveOwner {
        of: usize,
        with_keys: bool,
    },
    Fill {
        keys: usize,
    },
}

const OWNERS: usize = 4;
const KEYS: u64 = 4;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..OWNERS, any::<bool>())
            .prop_map(|(of, suspended)| Step::Owner { of, suspended }),
        4 => (0..KEYS, 0..OWNERS).prop_map(|(number, of)| Step::Key { number, of }),
        1 => (0..KEYS, 0..OWNERS).prop_map(|(number, of)| Step::RemoveKey { number, of }),
        2 => (0..OWNERS, any::<bool>())
            .prop_map(|(of, with_keys)| Step::RemoveOwner { of, with_keys }),
        1 => (1..4_usize).prop_map(|keys| Step::Fill { keys }),
    ]
}

/// The id of an owner's key.
fn key_of(of: usize, number: u64) -> KeyId {
    id(of as u64 * KEYS + number)
}

proptest! {
    /// Each key is, whatever comes and goes, its owner's, with its owner's switch; the keys of one that
    /// is gone are not there. Numbers in use are those of the owners that are there, and of those
    /// whose slots are still to be emptied.
    #[test]
    fn a_number_is_free_when_nothing_names_it(steps in prop::collection::vec(step(), 0..60)) {
        let index = restless();
        let mut owners: BTreeMap<usize, bool> = BTreeMap::new();
        let mut keys: BTreeMap<KeyId, usize> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Owner { of, suspended } => {
                    let record = ScannedOwner { suspended, ..owner(&long(of)) };
                    put_owner(&index, &record);
                    index.clear_owner_flags(&record);
                    owners.insert(of, suspended);
                }
                Step::Key { number, of } if owners.contains_key(&of) => {
                    index.put_key(&key(key_of(of, number), &long(of))).unwrap();
                    keys.insert(key_of(of, number), of);
                }
                Step::Key { .. } => {}
                Step::RemoveKey { number, of } => {
                    if keys.remove(&key_of(of, number)).is_some() {
                        index.remove_key(key_of(of, number), &owner(&long(of)).id).unwrap();
                    }
                }
                Step::RemoveOwner { of, with_keys } => {
                    owners.remove(&of);
                    index.remove_owner(&owner(&long(of)).id);
                    let gone = keys.extract_if(.., |_, owner| *owner == of);
                    for (id, _) in gone.collect::<Vec<_>>() {
                        if with_keys {
                            index.remove_key(id, &owner(&long(of)).id).unwrap();
                        }
                    }
                }
                Step::Fill { keys } => _ = index.refill(keys).unwrap(),
            }
            for of in 0..OWNERS {
                for number in 0..KEYS {
                    let is_there = keys.contains_key(&key_of(of, number));
                    let own = is_there.then(|| owner(&long(of)).id);
                    prop_assert_eq!(shown(&index, key_of(of, number)), own);
                }
            }
            for (of, suspended) in &owners {
                let number = index.owner_named(&owner(&long(*of)).id).unwrap().number;
                prop_assert_eq!(index.owners.word(number), Some(u32::from(*suspended)));
            }
            prop_assert!(count(&index).0 >= owners.len());
        }
        while index.refill(2).unwrap() {}
        let (used, all) = count(&index);
        prop_assert_eq!((used, index.tokens()), (owners.len(), keys.len()));
        prop_assert!(all <= 3 * OWNERS, "{} numbers", all);
    }
}

/// Uses that were taken from an owner's quota are never another's, though that has the number and a
/// quota of the same version.
#[test]
fn uses_are_given_back_to_no_other_owner() {
    let index = restless();
    let quota = Quota::one_time(1_000).unwrap();
    let version = Version::FIRST;
    let quota = by_admin(VersionedQuota { quota, quota_version: version });
    let limited =
        |of| ScannedOwner { limits: Limits { quota, ..Limits::default() }, ..owner(&long(of)) };
    let holder = |of| index.owner_named(&owner(&long(of)).id).unwrap();
    let (lease, left) = (LeaseWord::new(None, 10), LeftWord::UNKNOWN);
    put_owner(&index, &limited(1));
    let first = holder(1);
    assert!(index.put_lease(Whose::Owner(first), version, lease, left));
    let (_, spent) = index.spend_lease(Whose::Owner(first), Timestamp::MIN, 3).unwrap();
    let spent = spent.unwrap().lease.with_units(3);
    index.remove_owner(&owner(&long(1)).id);
    put_owner(&index, &limited(2));
    let second = holder(2);
    assert_eq!(second.number, first.number);
    assert!(index.put_lease(Whose::Owner(second), version, lease, left));

    assert!(index.give_back(Whose::Owner(first), version, spent).is_none());
    assert!(!index.put_lease(Whose::Owner(first), version, lease, left));
    assert!(index.take_lease(Whose::Owner(first)).is_none());
    assert!(index.leased(Whose::Owner(first), Timestamp::MIN).is_none());
    assert_eq!((index.owner_by(first), index.owner_by(second)), (None, Some(limited(2).id)));
    let (rest, _) = index.take_lease(Whose::Owner(second)).unwrap();
    assert_eq!(rest.held(), 10);
}

/// An owner's id and limits that are read when another owner has the number by then don't count.
#[test]
fn what_is_read_late_is_no_other_owners() {
    let index = restless();
    LimitTable::set_quarantine(&mut index.lock().limits, 0);
    let rate = by_admin(Rate::new(1, Duration::from_secs(1)).unwrap());
    let limits = || Limits { rate, ..Limits::default() };
    let limited = |of| ScannedOwner { limits: limits(), ..owner(&long(of)) };
    put_owner(&index, &limited(1));
    index.put_key(&key(id(1), &long(1))).unwrap();
    let mut found = 0;
    let late = index.search(id(1)).find(|packed| {
        let entry = packed.judged_at(Timestamp::MIN)?;
        found += 1;
        let limiter = index.owner_limiter(entry.owner).unwrap();
        assert!(index.validate(&limiter));
        index.remove_key(id(1), &limited(1).id).unwrap();
        index.remove_owner(&limited(1).id);
        put_owner(&index, &limited(2));
        assert_eq!(index.owner_named(&limited(2).id).unwrap().number, entry.owner);
        assert!(!index.validate(&limiter));
        index.owner(entry.owner, entry.short_owner, packed.seen())
    });
    assert_eq!((late, found), (None, 1));
}
