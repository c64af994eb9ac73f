//! Permission sets in the index: whose they are, and that their numbers are used again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::Index;
use super::fixtures::{self, PERMISSIONS, index, key, owner, put_owner};
use crate::backend::{ScannedKey, ScannedOwner};
use crate::clock::Timestamp;
use crate::key::Kind;
use crate::permission::{Access, PermissionSet};

/// An access to the permissions whose bits are set; to none of them but `links:read` for 0.
pub(super) fn access(bits: u32) -> Access {
    let granted = (0..PERMISSIONS).filter(|at| bits >> at & 1 == 1);
    let granted = granted.map(|at| format!("links:{at}"));
    Access::limited(granted.chain(["links:read".to_owned()])).unwrap()
}

pub(super) fn key_with(number: u64, of: &str, bits: u32) -> ScannedKey {
    ScannedKey { access: access(bits), ..key(fixtures::id(number), of) }
}

pub(super) fn owner_with(id: &str, bits: u32) -> ScannedOwner {
    ScannedOwner { max_access: access(bits), ..owner(id) }
}

/// Makes an index whose numbers are used again at once.
fn restless() -> Index {
    let index = index();
    index.lock().sets.numbers.quarantine = 0;
    index
}

fn shown(index: &Index, key: &ScannedKey) -> Option<PermissionSet> {
    index.search(key.id).find(|packed| {
        let entry = packed.judged_at(Timestamp::MIN)?;
        index.by_owner(&entry, packed.seen()).map(|by_owner| by_owner.permissions)
    })
}

/// Numbers are used again: there are as many as there are sets.
#[test]
fn an_access_that_changes_often_takes_no_more_numbers() {
    let index = index();
    put_owner(&index, &owner("org"));
    for round in 0..5_000 {
        let key = key_with(1, "org", round % (1 << PERMISSIONS));
        index.put_key(&key).unwrap();
        assert_eq!(shown(&index, &key), Some(key.access.compile(index.catalogue())));
    }
    let (used, all) = index.lock().sets.count();
    // The key's and the owner's; and those in quarantine.
    assert_eq!(used, 2);
    assert!(all < 1_100, "{all}");
}

#[derive(Clone, Debug)]
enum Step {
    Owner(u8, u32),
    Key { number: u64, of: u8, bits: u32, is_trial: bool, is_revoked: bool },
    RemoveKey(u64),
    RemoveOwner(u8),
    Retain(BTreeSet<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    let key = (0..6_u64, 0..3_u8, 0..8_u32, 0..4_u8);
    prop_oneof![
        2 => (0..3_u8, 0..8_u32).prop_map(|(of, bits)| Step::Owner(of, bits)),
        6 => key.prop_map(|(number, of, bits, how)| Step::Key {
            number, of, bits, is_trial: how == 1, is_revoked: how == 2,
        }),
        1 => (0..6_u64).prop_map(Step::RemoveKey),
        1 => (0..3_u8).prop_map(Step::RemoveOwner),
        1 => prop::collection::btree_set(0..6_u64, 0..6).prop_map(Step::Retain),
    ]
}

fn id(of: u8) -> String {
    format!("org-{of}")
}

proptest! {
    /// Each key has, whatever comes and goes, its own permissions, and the numbers in use are those of
    /// the different sets that keys and owners have.
    #[test]
    fn numbers_are_those_of_the_sets_in_use(steps in prop::collection::vec(step(), 0..80)) {
        let index = restless();
        let mut owners: BTreeMap<u8, u32> = BTreeMap::new();
        let mut keys: BTreeMap<u64, (u8, ScannedKey)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Owner(of, bits) => {
                    put_owner(&index, &owner_with(&id(of), bits));
                    owners.insert(of, bits);
                    // As the engine does where that narrows what they may.
                    for (_, key) in keys.values().filter(|(owner, _)| *owner == of) {
                        index.put_key(key).unwrap();
                    }
                }
                Step::Key { number, of, bits, is_trial, is_revoked } => {
                    let of = keys.get(&number).map_or(of, |(owner, _)| *owner);
                    if !owners.contains_key(&of) {
                        continue;
                    }
                    let kind = if is_trial { Kind::Trial } else { Kind::Standard };
                    let key =
                        ScannedKey { kind, revoked: is_revoked, ..key_with(number, &id(of), bits) };
                    index.put_key(&key).unwrap();
                    keys.insert(number, (of, key));
                }
                Step::RemoveKey(number) => {
                    if let Some((_, key)) = keys.remove(&number) {
                        index.remove_key(key.id, &key.owner).unwrap();
                    }
                }
                Step::RemoveOwner(of) => {
                    if owners.remove(&of).is_none() {
                        continue;
                    }
                    for (_, key) in keys.values().filter(|(owner, _)| *owner == of) {
                        index.remove_key(key.id, &key.owner).unwrap();
                    }
                    keys.retain(|_, (owner, _)| *owner != of);
                    index.remove_owner(&owner(&id(of)).id);
                }
                Step::Retain(kept) => {
                    keys.retain(|number, _| kept.contains(number));
                    let ids = keys.values().map(|(_, key)| key.id).collect();
                    let known = owners.keys().map(|of| owner(&id(*of)).id);
                    index.retain(&ids, &known.collect());
                }
            }
            let compile = |access: &Access| access.compile(index.catalogue());
            let mut sets: BTreeSet<String> = BTreeSet::new();
            let mut add = |set: PermissionSet| {
                if !set.is_empty() {
                    sets.insert(format!("{set:?}"));
                }
            };
            owners.values().for_each(|bits| add(compile(&access(*bits))));
            for (of, key) in keys.values() {
                let granted = compile(&key.access);
                let allowed = match key.kind {
                    _ if key.revoked => PermissionSet::EMPTY,
                    Kind::Standard => granted.intersection(&compile(&access(owners[of]))),
                    Kind::Trial => granted,
                };
                prop_assert_eq!(shown(&index, key), Some(allowed));
                add(allowed);
            }
            let (used, all) = index.lock().sets.count();
            prop_assert_eq!(used, sets.len());
            prop_assert!(all <= 6 + 3 + 2, "{} numbers", all);
        }
    }
}

/// Reads the permissions of two keys while they are changed, and numbers go from one to the other: no
/// reader sees those of the other, nor a mixture.
#[test]
fn no_key_has_permissions_of_another() {
    let index = restless();
    put_owner(&index, &owner("org"));
    // All bits of the lower half, or of the upper half, with one of them left out.
    let half = PERMISSIONS / 2;
    let bits = |number: u64, round: u32| {
        let mine = ((1 << half) - 1) & !(1 << (round % half));
        if number == 0 { mine } else { mine << half }
    };
    let keys = |round| [0, 1].map(|number| key_with(number, "org", bits(number, round)));
    keys(0).iter().for_each(|key| index.put_key(key).unwrap());
    let expected = [0, 1].map(|number| {
        let sets = (0..half).map(|round| access(bits(number, round)).compile(index.catalogue()));
        sets.collect::<Vec<_>>()
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (number, key) in keys(0).into_iter().enumerate() {
            let (index, expected, stop) = (&index, &expected[number], &stop);
            scope.spawn(move || {
                let mut seen = 0;
                while !stop.load(Ordering::Relaxed) || seen < 100 {
                    let Some(set) = shown(index, &key) else { panic!("key {number} is missing") };
                    assert!(expected.contains(&set), "{set:?}");
                    seen += 1;
                }
            });
        }
        for round in 0..30_000 {
            keys(round).iter().for_each(|key| index.put_key(key).unwrap());
        }
        stop.store(true, Ordering::Relaxed);
    });
}
