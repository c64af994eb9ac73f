//! Changes of owners, and the slots of their keys.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::refill::Reach;
use super::super::{ByOwner, Entry, Index, IndexError, Made, Memo};
use super::fixtures;
use super::sets::{access as access_of, key_with, owner_with};
use crate::backend::{ScannedKey, ScannedOwner};
use crate::clock::{ManualClock, Timestamp};
use crate::id::{KeyId, OwnerId};
use crate::key::{IssueEpochs, Kind, PepperNumber, TokenRecord, TokensValidFrom};
use crate::permission::{Access, Catalogue, CatalogueBuilder, PermissionSet};

const PERMISSIONS: [&str; 4] = ["a:read", "b:read", "c:read", "d:read"];
const OWNERS: usize = 2;
const KEYS: u8 = 12;
const NOW: u64 = 1_767_225_600_000;

fn now() -> Timestamp {
    Timestamp::clamped_millis(NOW)
}

/// One of the 15 lists of permissions.
fn access(bits: u8) -> Access {
    let granted = (0..4).filter(|at| bits >> at & 1 == 1).map(|at| PERMISSIONS[at]);
    Access::limited(granted).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Puts a key, as it is or with a new token.
    Put {
        key: u8,
        bits: u8,
        is_trial: bool,
    },
    Remove {
        key: u8,
    },
    /// Changes an owner's maximum access.
    Limit {
        owner: usize,
        bits: u8,
        made: Made,
    },
    /// Invalidates all tokens of an owner's keys.
    Invalidate {
        owner: usize,
        made: Made,
    },
    /// Revokes all keys of an owner; whether pieces are pending still when the index learns of it, and
    /// whether it learns of an invalidation with it.
    RevokeAll {
        owner: usize,
        made: Made,
        is_pending: bool,
        and_invalidates: bool,
    },
    /// Removes an owner with its keys, and creates another in its place: detached first, or not.
    Replace {
        owner: usize,
        detaches: bool,
    },
    /// Puts the keys of an owner again whose records must be read, all or some.
    Read {
        owner: usize,
        all: bool,
    },
    /// Fills the slots of so many keys again.
    Fill {
        keys: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let made = || prop_oneof![Just(Made::Here), Just(Made::Elsewhere)];
    prop_oneof![
        6 => (0..KEYS, 1..16_u8, any::<bool>())
            .prop_map(|(key, bits, is_trial)| Step::Put { key, bits, is_trial }),
        1 => (0..KEYS).prop_map(|key| Step::Remove { key }),
        3 => (0..OWNERS, 1..16_u8, made())
            .prop_map(|(owner, bits, made)| Step::Limit { owner, bits, made }),
        1 => (0..OWNERS, made()).prop_map(|(owner, made)| Step::Invalidate { owner, made }),
        1 => (0..OWNERS, made(), any::<bool>(), any::<bool>()).prop_map(
            |(owner, made, is_pending, and_invalidates)| Step::RevokeAll {
                owner, made, is_pending, and_invalidates: and_invalidates && made == Made::Elsewhere,
            },
        ),
        1 => (0..OWNERS, any::<bool>())
            .prop_map(|(owner, detaches)| Step::Replace { owner, detaches }),
        1 => (0..OWNERS, any::<bool>()).prop_map(|(owner, all)| Step::Read { owner, all }),
        2 => (1..5_usize).prop_map(|keys| Step::Fill { keys }),
    ]
}

/// The records, and the index that shows them.
struct Shown {
    index: Index,
    owners: Vec<ScannedOwner>,
    keys: BTreeMap<u8, ScannedKey>,
    /// The epoch of each owner that the last invalidation elsewhere began.
    elsewhere: [u32; OWNERS],
}

impl Shown {
    fn new() -> Self {
        let catalogue = PERMISSIONS.into_iter().fold(Catalogue::builder(), CatalogueBuilder::read);
        let clock = std::sync::Arc::new(ManualClock::new(now()));
        let index = Index::new(catalogue.build().unwrap(), vec![PepperNumber::new(1)], clock);
        index.reuse_owner_numbers();
        let owners: Vec<_> = (0..OWNERS)
            .map(|number| ScannedOwner {
                max_access: access(0b1111),
                ..fixtures::owner(&format!("org{number}"))
            })
            .collect();
        for owner in &owners {
            assert_eq!(index.change_owner(owner, Made::Here), Ok(Reach::Nothing));
        }
        Self { index, owners, keys: BTreeMap::new(), elsewhere: [0; OWNERS] }
    }

    fn owner_of(&self, key: u8) -> &ScannedOwner {
        &self.owners[Self::owner_number(key)]
    }

    /// Most keys are the first one's.
    fn owner_number(key: u8) -> usize {
        usize::from(key > 8)
    }

    fn put(&mut self, key: u8, bits: u8, is_trial: bool) {
        let owner = self.owner_of(key);
        let epoch = owner.tokens_valid_from.map_or(0, |from| from.epoch);
        let id = KeyId::from_u128(7 << 76 | u128::from(key));
        let record = ScannedKey {
            kind: if is_trial { Kind::Trial } else { Kind::Standard },
            access: access(bits),
            current: TokenRecord {
                issued_at: now(),
                epochs: IssueEpochs { owner: epoch, store: 0 },
                ..fixtures::token(1, [key; 32])
            },
            ..fixtures::key(id, owner.id.as_str())
        };
        self.index.put_key(&record).unwrap();
        self.keys.insert(key, record);
    }

    fn change(&self, owner: usize, made: Made) {
        let changed = &self.owners[owner];
        if self.index.change_owner(changed, made).unwrap() == Reach::Few {
            self.put_all(owner);
        }
    }

    /// Puts an owner and its keys, as a reload does.
    fn put_all(&self, owner: usize) {
        let mut memo = Memo::default();
        let mut load = self.index.load(&mut memo);
        load.put_owner(&self.owners[owner]).unwrap();
        self.of(owner).for_each(|key| load.put_key(key).unwrap());
        drop(load);
        self.end_unread(owner);
    }

    fn of(&self, owner: usize) -> impl Iterator<Item = &ScannedKey> {
        let id = self.owners[owner].id;
        self.keys.values().filter(move |key| key.owner == id)
    }

    fn read(&self, owner: usize, all: bool) {
        for key in self.of(owner).take(if all { usize::MAX } else { 2 }) {
            self.index.put_key(key).unwrap();
        }
        if all {
            self.end_unread(owner);
        }
    }

    fn end_unread(&self, owner: usize) {
        let id = &self.owners[owner].id;
        if let Some(ticket) = self.index.unread(id) {
            self.index.end_unread(id, ticket);
        }
    }

    fn invalidate(&mut self, owner: usize, made: Made) {
        let from = &mut self.owners[owner].tokens_valid_from;
        let epoch = from.map_or(0, |from| from.epoch) + 1;
        let (moment, swept, invalidated) = (now(), epoch, epoch);
        *from = Some(TokensValidFrom { moment, epoch, ended_at: now(), swept, invalidated });
        if made == Made::Elsewhere {
            self.elsewhere[owner] = epoch;
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Put { key, bits, is_trial } => self.put(key, bits, is_trial),
            Step::Remove { key } => {
                if let Some(record) = self.keys.remove(&key) {
                    self.index.remove_key(record.id, &record.owner).unwrap();
                }
            }
            Step::Limit { owner, bits, made } => {
                self.owners[owner].max_access = access(bits);
                self.change(owner, made);
            }
            Step::Invalidate { owner, made } => {
                self.invalidate(owner, made);
                self.change(owner, made);
            }
            Step::RevokeAll { owner, made, is_pending, and_invalidates } => {
                let id = self.owners[owner].id;
                let from = TokensValidFrom::after_sweep(self.owners[owner].tokens_valid_from);
                self.owners[owner].tokens_valid_from = Some(from);
                self.owners[owner].sweeps = is_pending.then(Default::default);
                let all = self.keys.values_mut().filter(|key| key.owner == id);
                all.for_each(|key| key.revoked = true);
                if and_invalidates {
                    self.invalidate(owner, made);
                }
                self.change(owner, made);
            }
            Step::Replace { owner, detaches } => {
                let id = self.owners[owner].id;
                let detached = detaches.then(|| self.index.detach_owner(&id));
                if !detaches {
                    self.index.remove_owner(&id);
                }
                self.keys.retain(|_, key| key.owner != id);
                self.owners[owner].tokens_valid_from = None;
                self.owners[owner].sweeps = None;
                self.elsewhere[owner] = 0;
                self.change(owner, Made::Here);
                drop(detached);
            }
            Step::Read { owner, all } => self.read(owner, all),
            Step::Fill { keys } => _ = self.index.refill(keys).unwrap(),
        }
    }

    fn judged(&self, key: u8) -> Option<(Entry, ByOwner)> {
        let id = KeyId::from_u128(7 << 76 | u128::from(key));
        self.index.search(id).find(|packed| {
            let entry = packed.judged_at(Timestamp::MAX)?;
            Some((entry, self.index.by_owner(&entry, packed.seen())?))
        })
    }

    /// Checks the answers for all keys; exact ones, if nothing is left to do.
    fn check(&self, is_done: bool) {
        let compile = |access: &Access| access.compile(self.index.catalogue());
        for key in 0..KEYS {
            let Some(record) = self.keys.get(&key) else {
                assert!(self.judged(key).is_none(), "{key} is gone");
                continue;
            };
            let owner = self.owner_of(key);
            let (entry, answer) = self.judged(key).expect("it is there");
            let exact: PermissionSet = match record.kind {
                Kind::Trial => compile(&record.access),
                Kind::Standard => compile(&record.access).intersection(&compile(&owner.max_access)),
            };
            let is_settled = is_done || self.index.unread(&owner.id).is_none();
            assert!(answer.is_known || !is_settled, "{key} isn't known");
            assert!(!answer.suspended);
            // At once, whatever else must be read.
            let revoked = answer.revoked || entry.standing.revoked;
            assert!(revoked == record.revoked || !answer.is_known, "{key}: revoked {revoked}");
            let is_within = exact.is_superset(&answer.permissions);
            assert!(is_within || !answer.is_known, "{key} may do too much");
            // A revoked key's slot has no set.
            let may_all = exact == answer.permissions || record.revoked;
            assert!(!is_settled || may_all, "{key} may do too little");
            let swept = owner.tokens_valid_from.map_or(0, |from| from.swept);
            let is_superseded = record.current.epochs.owner < swept;
            let is_over = entry.standing.ends_at.is_some_and(|end| end <= now());
            let is_right = is_superseded == is_over || record.revoked;
            assert!(!is_settled || is_right, "{key}: {is_superseded}, {is_over}");
            // Elsewhere no caller waits until it holds here.
            let must_end = record.current.epochs.owner < self.elsewhere[Self::owner_number(key)];
            assert!(!must_end || is_over || !answer.is_known, "{key} outlives an invalidation");
        }
        assert_eq!(self.index.tokens(), self.keys.len());
        for owner in &self.owners {
            let state = self.index.lock().owners.get(&self.index.owners, &owner.id).unwrap();
            let rules = self.index.owners.stale(state.number);
            assert!(rules.is_none() || rules.max_access() == state.max_access);
        }
    }
}

/// A slot that can't be filled keeps its rule, and no other one waiting.
#[test]
fn a_slot_that_cannot_be_filled_keeps_no_other_waiting() {
    let index = fixtures::index();
    // Sets that have numbers throughout: no number gets free.
    fixtures::put_owner(&index, &fixtures::owner("all"));
    for bits in [0b0011, 0b1100] {
        index.put_key(&key_with(20 + u64::from(bits), "all", bits)).unwrap();
    }
    for (id, first, bits) in [("a", 0, 0b0011), ("b", 10, 0b1100)] {
        fixtures::put_owner(&index, &fixtures::owner(id));
        (0..6).for_each(|key| index.put_key(&key_with(first + key, id, bits)).unwrap());
    }
    // The keys of `a` get a set that has no number, those of `b` the owner's own.
    for (id, bits) in [("a", 0b0110), ("b", 0b0100)] {
        let reach = index.change_owner(&owner_with(id, bits), Made::Here);
        assert_eq!(reach, Ok(Reach::Rules));
    }
    let most = std::mem::take(&mut index.lock().sets.numbers.max);
    let has_rules = |id: &str| {
        let owner = index.owner_named(&OwnerId::new(id).unwrap()).unwrap();
        !index.owners.stale(owner.number).is_none()
    };
    let fill = || loop {
        match index.refill(1) {
            Ok(true) => {}
            end => return end,
        }
    };
    for _ in 0..2 {
        assert_eq!(fill(), Err(IndexError::Full));
        assert_eq!((has_rules("a"), has_rules("b")), (true, false));
    }
    index.lock().sets.numbers.max = most;
    assert_eq!(fill(), Ok(false));
    assert!(!has_rules("a"));
    let expected = access_of(0b0010).compile(index.catalogue());
    for key in 0..6 {
        let judged = index.search(fixtures::id(key)).find(|slot| {
            let entry = slot.judged_at(Timestamp::MIN)?;
            index.by_owner(&entry, slot.seen()).map(|by_owner| by_owner.permissions)
        });
        assert_eq!(judged, Some(expected));
    }
}

proptest! {
    /// A change of an owner takes away at once, and its gifts are there when
    /// the records have been read, however many slots are still to be filled again. In the end no
    /// rule is left.
    #[test]
    fn changes_of_owners_hold_at_once(steps in prop::collection::vec(step(), 1..80)) {
        let mut shown = Shown::new();
        for step in steps {
            shown.take(step);
            shown.check(false);
        }
        for owner in shown.index.all_unread() {
            let owner = shown.owners.iter().position(|known| known.id == owner).unwrap();
            shown.read(owner, true);
        }
        for _ in 0..100 {
            if !shown.index.refill(3).unwrap() {
                break;
            }
            shown.check(true);
        }
        shown.check(true);
        prop_assert!(!shown.index.refill(3).unwrap());
        for owner in &shown.owners {
            let number = shown.index.owner_named(&owner.id).unwrap().number;
            prop_assert_eq!(shown.index.owners.word(number), Some(0));
            prop_assert_eq!(shown.index.owners.stale(number).0, 0);
        }
        prop_assert_eq!(shown.index.tokens(), shown.keys.len());
    }
}
