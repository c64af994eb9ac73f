//! Entries: a token's words in a slot, packed and unpacked.

use std::fmt;

use super::hash_table::ReadVersion;
use super::hash_table::slot::{Found, Words};
use super::packing::{ShortOwner, bytes, words};
use crate::clock::Timestamp;
use crate::key::{Kind, ValidityInputs};

/// Bits of each packed field.
const TIME_BITS: u32 = 48;
const SET_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;
const OWNER_BITS: u32 = 28;

/// The bits of a set's and a generation's number that the near words hold.
const HALF: u64 = 0xffff;

/// The time of an event that never comes: later than every [`Timestamp`].
const NEVER: u64 = (1 << TIME_BITS) - 1;

/// The bytes of a digest that are kept and compared. No attacker guesses 192 bits, and the rest of
/// the entry then fits into the same cache line.
pub(in crate::store) const DIGEST_LEN: usize = 24;

/// One token, as the index knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    /// The digest's beginning.
    pub(in crate::store) digest: [u8; DIGEST_LEN],
    /// The number of the owner.
    pub(in crate::store) owner: u32,
    /// The owner's epoch in which the slot was filled.
    pub(in crate::store) epoch: u8,
    /// The owner's id, if it is short enough for the slot and no limit takes its place.
    pub(in crate::store) short_owner: Option<ShortOwner>,
    /// The key's limits, if it has any.
    pub(in crate::store) limited: Option<Limited>,
    /// The number of the permission set, already cut by the owner's maximum access.
    pub(in crate::store) set: u32,
    /// The number of the token.
    pub(in crate::store) generation: u32,
    /// The pepper's position among the open ones.
    pub(in crate::store) pepper: u8,
    /// The number of the prefix.
    pub(in crate::store) prefix: u8,
    /// The key's kind.
    pub(in crate::store) kind: Kind,
    /// Whether the token is the current one.
    pub(in crate::store) is_current: bool,
    /// Whether the last change of the key has an unknown outcome.
    pub(in crate::store) is_indeterminate: bool,
    /// Switches and times, but not the owner's switch: that lies with the owner.
    pub(in crate::store) standing: ValidityInputs,
}

/// The limits of a key, as its slot has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Limited {
    /// No token is accepted before this.
    pub(in crate::store) not_before: Option<Timestamp>,
    /// The number of the limit record with all other limits.
    pub(super) record: Option<u32>,
}

impl Limited {
    /// Packs limits into two words. Both are 0 if there are no limits.
    fn pack(limited: Option<Self>) -> [u64; 2] {
        let Some(Self { not_before, record }) = limited else { return [0; 2] };
        [
            not_before.map_or(0, Timestamp::as_millis),
            record.map_or(0, |record| u64::from(record) + 1),
        ]
    }

    #[inline]
    fn unpack([not_before, record]: [u64; 2]) -> Option<Self> {
        if not_before | record == 0 {
            return None;
        }
        Some(Self {
            not_before: (not_before != 0).then(|| Timestamp::clamped_millis(not_before)),
            record: record_of(record),
        })
    }
}

#[inline]
fn record_of(word: u64) -> Option<u32> {
    u32::try_from(word).ok()?.checked_sub(1)
}

/// The bit of the flag for an owner's id in the slot.
const SHORT_OWNER_AT: u32 = 14;

impl fmt::Debug for Entry {
    /// Shows all that decides, but not the digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("owner", &self.owner)
            .field("kind", &self.kind)
            .field("generation", &self.generation)
            .field("is_current", &self.is_current)
            .field("is_indeterminate", &self.is_indeterminate)
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}

/// An entry as it lies in a slot. A verification needs its digest first, and mostly nothing more.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Packed<'a>(pub(super) Found<'a>);

impl Entry {
    /// Cuts a digest to the bytes that are kept.
    #[inline]
    pub(in crate::store) fn cut(digest: &[u8; 32]) -> [u8; DIGEST_LEN] {
        std::array::from_fn(|at| digest[at])
    }

    /// Packs the entry into words.
    ///
    /// The near words are: three of digest; two of a short owner id, or of limits; one of the
    /// earlier of expiry and end, and half of the set; one of epoch, owner, half of the generation,
    /// and flags. The far word is seldom needed: the expiry, and the other parts of set and generation.
    pub(super) fn pack(&self) -> Words {
        let time = |at: Option<Timestamp>| at.map_or(NEVER, Timestamp::as_millis);
        let expiry = time(self.standing.expires_at);
        let over = expiry.min(time(self.standing.ends_at));
        let (set, generation) = (u64::from(self.set), u64::from(self.generation));
        let mut flags = 0;
        for flag in [
            set > HALF || generation > HALF,
            self.short_owner.is_some(),
            self.standing.revoked,
            self.standing.blocked,
            self.standing.deactivated,
            self.kind == Kind::Trial,
            self.is_current,
            self.is_indeterminate,
        ] {
            flags = flags << 1 | u64::from(flag);
        }
        flags = flags << 2 | u64::from(self.pepper);
        flags = flags << 6 | u64::from(self.prefix);
        let [a, b, c] = words(&self.digest);
        let [d, e] = match &self.short_owner {
            Some(short) => *short,
            None => Limited::pack(self.limited),
        };
        let times = over << 16 | set & HALF;
        let owner = u64::from(self.epoch) << OWNER_BITS | u64::from(self.owner);
        let rest = owner << 32 | (generation & HALF) << 16 | flags;
        Words {
            near: [a, b, c, d, e, times, rest],
            far: expiry << 16 | set >> 16 << 8 | generation >> 16,
        }
    }

    // `inline(always)`, here and in `judged_at`: otherwise the compiler builds `Entry` in memory,
    // which adds a tenth to the part of a verification beside its hash.
    #[inline(always)]
    pub(super) fn unpack(words: &Words) -> Self {
        let [_, _, _, _, _, times, rest] = words.near;
        let time = |millis: u64| (millis != NEVER).then(|| Timestamp::clamped_millis(millis));
        let bit = |at: u32| rest >> at & 1 == 1;
        let (expiry, over) = (words.far >> 16, times >> 16);
        let ends_at = if over < expiry { over } else { NEVER };
        // Each field below was cut to its own width.
        #[allow(clippy::cast_possible_truncation)]
        Self {
            digest: bytes(&words.near[..3]),
            owner: (rest >> 32) as u32 & MAX_OWNER,
            epoch: (rest >> (32 + OWNER_BITS)) as u8,
            short_owner: bit(SHORT_OWNER_AT).then_some([words.near[3], words.near[4]]),
            limited: if bit(SHORT_OWNER_AT) {
                None
            } else {
                Limited::unpack([words.near[3], words.near[4]])
            },
            set: (times & HALF | (words.far >> 8 & 0xff) << 16) as u32,
            generation: (rest >> 16 & HALF | (words.far & 0xff) << 16) as u32,
            pepper: pepper(rest),
            prefix: prefix(rest),
            kind: if bit(10) { Kind::Trial } else { Kind::Standard },
            is_current: bit(9),
            is_indeterminate: bit(8),
            standing: ValidityInputs {
                suspended: false,
                revoked: bit(13),
                blocked: bit(12),
                deactivated: bit(11),
                expires_at: time(expiry),
                ends_at: time(ends_at),
            },
        }
    }
}

impl Packed<'_> {
    /// The digest's beginning.
    #[inline]
    pub(in crate::store) fn digest_bytes(&self) -> [u8; DIGEST_LEN] {
        bytes(&self.0.near[..3])
    }

    /// The pepper's position among the open ones.
    #[inline]
    pub(in crate::store) fn pepper(&self) -> u8 {
        pepper(self.0.near[6])
    }

    /// The number of the prefix.
    #[inline]
    pub(in crate::store) fn prefix(&self) -> u8 {
        prefix(self.0.near[6])
    }

    /// The number of the key's limit record, if it has one.
    #[inline]
    pub(super) fn record(&self) -> Option<u32> {
        if self.0.near[6] >> SHORT_OWNER_AT & 1 == 1 { None } else { record_of(self.0.near[4]) }
    }

    /// The slot's version. What was read of the entry, and where it led to, counts if the version
    /// is still the same afterwards.
    #[inline]
    pub(in crate::store) fn seen(&self) -> ReadVersion<'_> {
        self.0.seen
    }

    /// Unpacks as much of the entry as a judgement at `now` needs; `None` if the entry was replaced
    /// meanwhile. Of an entry that isn't over, this is all but the expiry: the earlier of expiry
    /// and end stands in its place.
    #[inline(always)]
    pub(in crate::store) fn judged_at(&self, now: Timestamp) -> Option<Entry> {
        let near = self.0.near;
        let [.., times, rest] = near;
        let is_wide = rest >> 15 & 1 == 1;
        let is_over = times >> 16 <= now.as_millis();
        let far = if is_wide || is_over { self.0.far()? } else { NEVER << 16 };
        Some(Entry::unpack(&Words { near, far }))
    }
}

#[inline]
fn pepper(rest: u64) -> u8 {
    (rest >> 6 & 0b11) as u8
}

#[inline]
fn prefix(rest: u64) -> u8 {
    (rest & 0x3f) as u8
}

/// The greatest number of an owner.
pub(super) const MAX_OWNER: u32 = (1 << OWNER_BITS) - 1;

/// The greatest number of a permission set.
pub(super) const MAX_SET: u32 = (1 << SET_BITS) - 1;

const _: () = assert!(SET_BITS == 24 && GENERATION_BITS == 24, "packed in 16 and 8 bits");
const _: () = assert!(crate::id::Generation::MAX.get() == (1 << GENERATION_BITS) - 1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hash_table::slot::{Seen, Unit};
    use super::*;

    proptest! {
        #[test]
        fn packed_and_unpacked(
            digest in any::<[u8; DIGEST_LEN]>(),
            short_owner in any::<Option<ShortOwner>>(),
            not_before in prop::option::of(1..=Timestamp::MAX.as_millis()),
            record in prop::option::of(0..u32::MAX),
            owner in 0..=MAX_OWNER,
            epoch in 0..16_u8,
            set in 0..=MAX_SET,
            generation in 1..1_u32 << 24,
            pepper in 0..4_u8,
            prefix in 0..64_u8,
            flags in any::<[bool; 6]>(),
            times in any::<[Option<u64>; 2]>(),
            narrow in any::<[bool; 2]>(),
            now in 0..=Timestamp::MAX.as_millis(),
        ) {
            let [revoked, blocked, deactivated, trial, is_current, is_indeterminate] = flags;
            let time = |t: Option<u64>| t.map(|t| Timestamp::clamped_millis(t % (Timestamp::MAX.as_millis() + 1)));
            let halves = narrow.map(|narrow| if narrow { 0xffff } else { u32::MAX });
            let not_before = not_before.map(Timestamp::clamped_millis);
            let limited = short_owner.is_none() && (not_before.is_some() || record.is_some());
            let entry = Entry {
                limited: limited.then_some(Limited { not_before, record }),
                digest, owner, epoch, short_owner, pepper, prefix, is_current, is_indeterminate,
                set: set & halves[0],
                generation: generation & halves[1],
                kind: if trial { Kind::Trial } else { Kind::Standard },
                standing: ValidityInputs {
                    suspended: false, revoked, blocked, deactivated,
                    expires_at: time(times[0]), ends_at: time(times[1]),
                },
            };
            let now = Timestamp::clamped_millis(now);
            let unit = Unit::<1>::empty();
            unit.slot(0).fill(5, &entry.pack());
            let Seen::Match(found) = unit.slot(0).read(5) else { panic!("not found") };
            let packed = Packed(found);
            prop_assert_eq!(packed.digest_bytes(), digest);
            prop_assert_eq!(packed.record(), record.filter(|_| limited));
            // An end after the expiry never comes, so it isn't kept.
            let standing = entry.standing;
            let ends_at = standing.ends_at.filter(|end| standing.expires_at.is_none_or(|at| *end < at));
            let expected = Entry { standing: ValidityInputs { ends_at, ..standing }, ..entry };
            prop_assert_eq!(packed.judged_at(Timestamp::MAX).unwrap(), expected);
            // The part that a judgement at `now` needs judges the same.
            let needed = packed.judged_at(now).unwrap();
            prop_assert_eq!(needed.standing.rejected_for(now), standing.rejected_for(now));
            let ends_at = |s: ValidityInputs| s.expires_at.into_iter().chain(s.ends_at).min();
            prop_assert_eq!(ends_at(needed.standing), ends_at(standing));
            prop_assert_eq!(Entry { standing, ..needed }, entry);
        }
    }
}
