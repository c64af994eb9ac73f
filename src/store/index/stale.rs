//! What changes of an owner mean for the slots of its keys that were filled before them.
//!
//! An owner has epochs. A slot notes the epoch in which it was filled. A change that reaches the
//! keys of a large owner begins an epoch, and leaves a rule for the slots of each one before. A
//! verification judges such a slot by its rule at once, until the slot has been filled again.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::OwnerId;

/// The number of epochs, which are used in turn.
const EPOCHS: u8 = 13;

const RULE_BITS: u32 = 3;
const RULE_MASK: u64 = (1 << RULE_BITS) - 1;
/// Below it lies the number of the permission set of the owner's maximum access.
const RULES_AT: u32 = 24;

/// A rule for the slots of one epoch: any of several that add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StaleRule(u8);

impl StaleRule {
    /// Standard keys may do no more than the owner's maximum access.
    pub(super) const CUT: Self = Self(1);
    /// The key is revoked.
    pub(super) const REVOKED: Self = Self(2);
    /// The key's record must be read again before the store can answer.
    pub(super) const UNKNOWN: Self = Self(4);

    /// Whether slots of the epoch are as they should be.
    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether another rule is a part of this one.
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// This rule and another one.
    #[must_use]
    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The rules of one owner for the slots of all epochs, and its maximum access, in one word: a reader
/// sees them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StaleRules(pub(super) u64);

impl StaleRules {
    /// Returns the rule for the slots of an epoch.
    pub(super) fn of(self, epoch: u8) -> StaleRule {
        // Cut to the width of a rule.
        #[allow(clippy::cast_possible_truncation)]
        StaleRule((self.0 >> Self::place(epoch) & RULE_MASK) as u8)
    }

    /// Returns the number of the permission set of the owner's maximum access.
    pub(super) fn max_access(self) -> u32 {
        // Cut to the width of a set's number.
        #[allow(clippy::cast_possible_truncation)]
        let number = (self.0 & ((1 << RULES_AT) - 1)) as u32;
        number
    }

    /// These rules with another maximum access.
    pub(super) fn with_max_access(self, number: u32) -> Self {
        Self(self.0 >> RULES_AT << RULES_AT | u64::from(number))
    }

    /// Whether there is no rule.
    pub(super) fn is_none(self) -> bool {
        self.0 >> RULES_AT == 0
    }

    /// Adds a rule for the slots of this epoch and of all before it that have one. Returns the rules
    /// and the epoch that begins. Without another epoch, nothing is known of any slot of the owner,
    /// and none begins.
    pub(super) fn begin(self, epoch: u8, rule: StaleRule) -> (Self, Option<u8>) {
        let next = (epoch + 1) % EPOCHS;
        let (rule, begun) =
            if self.of(next).is_none() { (rule, Some(next)) } else { (StaleRule::UNKNOWN, None) };
        let reached = |at: &u8| *at == epoch || !self.of(*at).is_none();
        let rules = (0..EPOCHS).filter(reached).fold(self, |rules, at| rules.add(at, rule));
        (rules, begun)
    }

    fn add(self, epoch: u8, rule: StaleRule) -> Self {
        Self(self.0 | u64::from(rule.0) << Self::place(epoch))
    }

    fn place(epoch: u8) -> u32 {
        RULES_AT + RULE_BITS * u32::from(epoch % EPOCHS)
    }
}

const _: () = assert!(RULES_AT + RULE_BITS * EPOCHS as u32 <= 64 && EPOCHS <= 16);

/// The owners with slots that are to be filled again.
#[derive(Debug, Default)]
pub(super) struct StaleOwners {
    by_number: BTreeMap<u32, StaleOwner>,
    /// Those whose keys' records must be read again.
    unread: BTreeSet<OwnerId>,
    /// The hash at which the walk goes on; 0 at the beginning of a round.
    at: u64,
}

#[derive(Debug)]
struct StaleOwner {
    /// `None` if the owner was removed.
    id: Option<OwnerId>,
    /// The number of its changes, and as it was when the round began.
    changes: u64,
    at_round: Option<u64>,
}

impl StaleOwners {
    /// Adds an owner after a change.
    pub(super) fn add(&mut self, number: u32, id: Option<OwnerId>) {
        let fresh = || StaleOwner { id, changes: 0, at_round: None };
        let owner = self.by_number.entry(number).or_insert_with(fresh);
        owner.id = id;
        owner.changes += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// Returns the id that an owner's number has; `None` also if the owner isn't here.
    pub(super) fn id(&self, number: u32) -> Option<OwnerId> {
        self.by_number.get(&number)?.id
    }

    pub(super) fn add_unread(&mut self, id: OwnerId) {
        self.unread.insert(id);
    }

    pub(super) fn forget_unread(&mut self, id: &OwnerId) {
        self.unread.remove(id);
    }

    pub(super) fn is_unread(&self, id: &OwnerId) -> bool {
        self.unread.contains(id)
    }

    pub(super) fn unread(&self) -> Vec<OwnerId> {
        self.unread.iter().copied().collect()
    }

    /// Returns the hash at which the walk goes on.
    pub(super) fn walk_from(&mut self) -> u64 {
        if self.at == 0 {
            self.by_number.values_mut().for_each(|owner| owner.at_round = Some(owner.changes));
        }
        self.at
    }

    /// Notes where the walk goes on; `None` at the end of a round. Returns the owners, with the ids of
    /// those that weren't removed, of which every slot was looked at since their last change.
    pub(super) fn walked_to(&mut self, next: Option<u64>) -> Vec<(u32, Option<OwnerId>)> {
        self.at = next.unwrap_or_default();
        if next.is_some() {
            return Vec::new();
        }
        let is_done = |owner: &StaleOwner| {
            let is_unread = owner.id.is_some_and(|id| self.unread.contains(&id));
            !is_unread
        };
        let done = self.by_number.extract_if(.., |_, owner| is_done(owner));
        done.map(|(number, owner)| (number, owner.id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An owner's rules end after a whole round that began after its last change, once its keys'
    /// records were read.
    #[test]
    fn rules_end_after_a_round_since_the_last_change() {
        let id = |name| OwnerId::new(name).unwrap();
        let mut owners = StaleOwners::default();
        let round = |owners: &mut StaleOwners, between: &dyn Fn(&mut StaleOwners)| {
            assert_eq!(owners.walk_from(), 0);
            assert!(owners.walked_to(Some(7)).is_empty());
            between(owners);
            assert_eq!(owners.walk_from(), 7);
            let done = owners.walked_to(None);
            done.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
        };
        owners.add(1, Some(id("a")));
        owners.add(2, Some(id("b")));
        owners.add_unread(id("b"));
        let changes = |owners: &mut StaleOwners| {
            owners.add(1, Some(id("a")));
            owners.add(3, None);
        };
        assert_eq!(round(&mut owners, &changes), Vec::<u32>::new());
        assert_eq!(round(&mut owners, &|_| {}), [1, 3]);
        assert_eq!(round(&mut owners, &|owners| owners.forget_unread(&id("b"))), [2]);
        assert!(owners.is_empty());
    }

    proptest! {
        /// Each slot has the rules of the changes since it was filled, and no other; when the epochs
        /// are used up, nothing is known of any.
        #[test]
        fn a_slot_has_the_rules_since_it_was_filled(
            first in 0..EPOCHS,
            changes in prop::collection::vec((1..8_u8, 0..1_u32 << 24), 0..30),
        ) {
            let (mut rules, mut epoch) = (StaleRules::default(), first);
            // The epoch of a slot that is filled after each change, and its rule since.
            let mut slots = vec![(first, StaleRule::default())];
            for (made, (rule, number)) in changes.into_iter().enumerate() {
                let rule = StaleRule(rule);
                let (after, begun) = rules.begin(epoch, rule);
                rules = after.with_max_access(number);
                prop_assert_eq!(rules.max_access(), number);
                prop_assert_eq!(begun.is_some(), made + 1 < usize::from(EPOCHS));
                for slot in &mut slots {
                    slot.1 = slot.1.with(if begun.is_some() { rule } else { StaleRule::UNKNOWN });
                    prop_assert_eq!(rules.of(slot.0), slot.1);
                }
                if let Some(begun) = begun {
                    epoch = begun;
                    slots.push((epoch, StaleRule::default()));
                    prop_assert!(rules.of(epoch).is_none());
                }
                prop_assert!(!rules.is_none());
            }
        }
    }
}
