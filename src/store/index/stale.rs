//! Rules for the slots of an owner's keys that were filled before changes of the owner.
//!
//! An owner has epochs. A slot notes the epoch in which it was filled. A change that reaches the
//! keys of a large owner begins an epoch, and leaves a rule for the slots of each one before. A
//! verification judges such a slot by its rule at once, until the slot has been filled again.

use std::collections::BTreeMap;

use super::index::IndexError;
use crate::id::OwnerId;

/// The number of epochs, which are used in turn.
const EPOCHS: u8 = 10;

const RULE_BITS: u32 = 4;
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
    /// The key's record is being read again, for a caller who waits for it; until then it stands.
    pub(super) const READ: Self = Self(8);

    /// Whether slots of the epoch are as they should be.
    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether another rule is a part of this one.
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the key's record must be read.
    pub(super) fn needs_record(self) -> bool {
        self.has(Self::UNKNOWN) || self.has(Self::READ)
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
    /// and the epoch that begins. `None` if all have rules: nothing is known then of the slots before
    /// this epoch, and the caller sees to those of this one.
    pub(super) fn begin(self, epoch: u8, rule: StaleRule) -> (Self, Option<u8>) {
        let next = (epoch + 1) % EPOCHS;
        let others = (0..EPOCHS).filter(|at| *at != epoch && !self.of(*at).is_none());
        if !self.of(next).is_none() {
            return (others.fold(self, |rules, at| rules.add(at, StaleRule::UNKNOWN)), None);
        }
        let rules = others.chain([epoch]).fold(self, |rules, at| rules.add(at, rule));
        (rules, Some(next))
    }

    /// These rules once all records were read: of a slot that wasn't filled again, nothing is known.
    pub(super) fn after_reading(self) -> Self {
        let was_read = |at: &u8| self.of(*at).has(StaleRule::READ);
        (0..EPOCHS).filter(was_read).fold(self, |rules, at| {
            let without = Self(rules.0 & !(u64::from(StaleRule::READ.0) << Self::place(at)));
            without.add(at, StaleRule::UNKNOWN)
        })
    }

    /// These rules after a walk through all slots, which had the rules `before` at its beginning. Those
    /// that need records end only if they could be followed throughout.
    pub(super) fn after_round(self, before: Self, followed_all: bool) -> Self {
        let is_done =
            |at: &u8| !before.of(*at).is_none() && (followed_all || !self.of(*at).needs_record());
        let clear = |rules: Self, at| Self(rules.0 & !(RULE_MASK << Self::place(at)));
        (0..EPOCHS).filter(is_done).fold(self, clear)
    }

    fn add(self, epoch: u8, rule: StaleRule) -> Self {
        Self(self.0 | u64::from(rule.0) << Self::place(epoch))
    }

    fn place(epoch: u8) -> u32 {
        RULES_AT + RULE_BITS * u32::from(epoch % EPOCHS)
    }
}

const _: () = assert!(RULES_AT + RULE_BITS * EPOCHS as u32 <= 64 && EPOCHS <= 16);

/// The owners with slots that are to be filled again. For the writer.
#[derive(Debug, Default)]
pub(super) struct StaleOwners {
    by_number: BTreeMap<u32, StaleOwner>,
    /// Those whose keys' records must be read again, each with the ticket of the last change since
    /// which that is so. No ticket comes twice: a reading that ends knows whether it began after the
    /// last change.
    unread: BTreeMap<OwnerId, u64>,
    last_ticket: u64,
    /// The hash at which the walk goes on; `None` at the beginning of a round.
    at: Option<u64>,
    /// The last error of the round.
    failure: Option<IndexError>,
}

#[derive(Debug)]
struct StaleOwner {
    /// `None` if the owner was removed.
    id: Option<OwnerId>,
    /// The rules at the beginning of the round; `None` if it wasn't there yet.
    before: Option<StaleRules>,
    /// Its records had to be read when a piece of the round was walked.
    was_unread: bool,
    /// A slot of it couldn't be filled in the round.
    has_failed: bool,
}

/// An owner at the end of a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walked {
    pub(super) number: u32,
    pub(super) is_gone: bool,
    /// Its rules at the beginning of the round.
    pub(super) before: StaleRules,
    /// Its records didn't have to be read meanwhile.
    pub(super) followed_all: bool,
}

impl StaleOwners {
    /// Adds an owner with rules, or one that was removed.
    pub(super) fn add(&mut self, number: u32, id: Option<OwnerId>) {
        let fresh = StaleOwner { id, before: None, was_unread: false, has_failed: false };
        let owner = self.by_number.entry(number).or_insert_with(|| StaleOwner { ..fresh });
        if id.is_none() {
            // Slots that the round has passed are to go too.
            *owner = fresh;
        }
    }

    /// Forgets an owner without rules.
    pub(super) fn remove(&mut self, number: u32) {
        self.by_number.remove(&number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// Lists the owners that were removed, and have slots that are to be emptied.
    pub(super) fn gone(&self) -> impl Iterator<Item = u32> {
        let gone = self.by_number.iter().filter(|(_, owner)| owner.id.is_none());
        gone.map(|(number, _)| *number)
    }

    /// Whether a walk has something to do: for an owner whose records must be read first it hasn't.
    pub(super) fn has_work(&self) -> bool {
        let waits = |owner: &StaleOwner| owner.id.is_some_and(|id| self.unread.contains_key(&id));
        self.at.is_some() || self.by_number.values().any(|owner| !waits(owner))
    }

    /// Notes that the records of an owner's keys must be read again.
    pub(super) fn add_unread(&mut self, id: OwnerId) {
        self.last_ticket += 1;
        self.unread.insert(id, self.last_ticket);
    }

    /// Notes that they needn't be read any more.
    pub(super) fn end_unread(&mut self, id: &OwnerId) {
        self.unread.remove(id);
    }

    /// Returns the ticket of the last change since which the records of an owner's keys must be read.
    pub(super) fn unread(&self, id: &OwnerId) -> Option<u64> {
        self.unread.get(id).copied()
    }

    pub(super) fn all_unread(&self) -> Vec<OwnerId> {
        self.unread.keys().copied().collect()
    }

    /// Whether the owner of this number has rules, and the records of its keys needn't be read.
    pub(super) fn is_read(&self, number: u32) -> bool {
        let id = self.by_number.get(&number).and_then(|owner| owner.id);
        id.is_some_and(|id| !self.unread.contains_key(&id))
    }

    /// Returns the hash at which the walk goes on. At the beginning of a round, notes the rules.
    pub(super) fn walk_from(&mut self, rules: impl Fn(u32) -> StaleRules) -> u64 {
        for (number, owner) in &mut self.by_number {
            if self.at.is_none() {
                *owner = StaleOwner {
                    before: Some(rules(*number)),
                    was_unread: false,
                    has_failed: false,
                    ..*owner
                };
            }
            // This piece passes over slots of it.
            owner.was_unread |= owner.id.is_some_and(|id| self.unread.contains_key(&id));
        }
        self.at.unwrap_or_default()
    }

    /// Notes that a slot of an owner couldn't be filled. The rest of the round passes over the owner, whose
    /// rules stay.
    pub(super) fn fail(&mut self, number: u32, error: IndexError) {
        if let Some(owner) = self.by_number.get_mut(&number) {
            owner.has_failed = true;
        }
        self.failure = Some(error);
    }

    /// Whether a slot of the owner of this number couldn't be filled in the round.
    pub(super) fn has_failed(&self, number: u32) -> bool {
        self.by_number.get(&number).is_some_and(|owner| owner.has_failed)
    }

    /// Returns the last error of a round, at its end.
    pub(super) fn take_failure(&mut self) -> Option<IndexError> {
        if self.at.is_none() { self.failure.take() } else { None }
    }

    /// Notes where the walk goes on; `None` at the end of a round. Returns the owners then that were
    /// there at its beginning.
    pub(super) fn walked_to(&mut self, next: Option<u64>) -> Vec<Walked> {
        self.at = next;
        if next.is_some() {
            return Vec::new();
        }
        let whole = self.by_number.iter().filter(|(_, owner)| !owner.has_failed);
        let walked = whole.filter_map(|(number, owner)| {
            let StaleOwner { id, before, was_unread, .. } = owner;
            Some(Walked {
                number: *number,
                is_gone: id.is_none(),
                before: (*before)?,
                followed_all: !was_unread,
            })
        });
        walked.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A round that was under way when an owner came, or in which its records had to be read, is no
    /// whole one for it.
    #[test]
    fn a_round_is_whole_for_those_who_were_there_from_its_beginning() {
        let id = |name| OwnerId::new(name).unwrap();
        let rules = |_| StaleRules(1 << RULES_AT);
        let round = |owners: &mut StaleOwners, between: &dyn Fn(&mut StaleOwners)| {
            assert_eq!(owners.walk_from(rules), 0);
            assert!(owners.walked_to(Some(7)).is_empty());
            between(owners);
            assert_eq!(owners.walk_from(rules), 7);
            let walked = owners.walked_to(None);
            walked.iter().map(|owner| (owner.number, owner.followed_all)).collect::<Vec<_>>()
        };
        let mut owners = StaleOwners::default();
        owners.add(1, Some(id("a")));
        owners.add(2, Some(id("b")));
        owners.add_unread(id("b"));
        let come = |owners: &mut StaleOwners| {
            owners.end_unread(&id("b"));
            owners.add(3, None);
        };
        assert_eq!(round(&mut owners, &come), [(1, true), (2, false)]);
        let must_read = |owners: &mut StaleOwners| owners.add_unread(id("a"));
        assert_eq!(round(&mut owners, &must_read), [(1, false), (2, true), (3, true)]);
        let is_read = |owners: &mut StaleOwners| owners.end_unread(&id("a"));
        assert_eq!(round(&mut owners, &is_read), [(1, false), (2, true), (3, true)]);
        // One that is removed in mid-round is walked for from the beginning.
        assert_eq!(round(&mut owners, &|owners| owners.add(2, None)), [(1, true), (3, true)]);
        assert_eq!(round(&mut owners, &|_| {}), [(1, true), (2, true), (3, true)]);
    }

    proptest! {
        /// Each slot has the rules of the changes since it was filled, and no other; when the epochs
        /// are used up, nothing is known of any before the last one. After a round that followed all
        /// rules, only those are left that came during the round.
        #[test]
        fn a_slot_has_the_rules_since_it_was_filled(
            first in 0..EPOCHS,
            changes in prop::collection::vec((1..16_u8, 0..1_u32 << 24), 0..30),
            rounds in prop::collection::btree_set(0..30_usize, 0..6),
        ) {
            let (mut rules, mut epoch) = (StaleRules::default(), first);
            // The epoch of a slot that is filled after each change, and its rule since.
            let mut slots = vec![(first, StaleRule::default())];
            for (made, (rule, number)) in changes.into_iter().enumerate() {
                if rounds.contains(&made) {
                    rules = rules.after_round(rules, true);
                    prop_assert!(rules.is_none());
                    slots = vec![(epoch, StaleRule::default())];
                }
                let rule = StaleRule(rule);
                let (after, begun) = rules.begin(epoch, rule);
                rules = after.with_max_access(number);
                prop_assert_eq!(rules.max_access(), number);
                prop_assert_eq!(begun.is_some(), slots.len() < usize::from(EPOCHS));
                for slot in &mut slots {
                    if begun.is_some() {
                        slot.1 = slot.1.with(rule);
                    } else if slot.0 != epoch {
                        slot.1 = slot.1.with(StaleRule::UNKNOWN);
                    }
                    prop_assert_eq!(rules.of(slot.0), slot.1);
                    let read = rules.after_reading().of(slot.0);
                    let unknown = slot.1.needs_record();
                    prop_assert!(!read.has(StaleRule::READ));
                    prop_assert_eq!(read.has(StaleRule::UNKNOWN), unknown);
                    prop_assert_eq!(read.has(StaleRule::CUT), slot.1.has(StaleRule::CUT));
                    let kept = rules.after_round(rules, false).of(slot.0);
                    prop_assert_eq!(kept, if unknown { slot.1 } else { StaleRule::default() });
                }
                if let Some(begun) = begun {
                    epoch = begun;
                    slots.push((epoch, StaleRule::default()));
                    prop_assert!(rules.of(epoch).is_none());
                }
            }
        }
    }
}
