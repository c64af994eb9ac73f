//! What a slot says of a token.

use std::fmt;

use crate::clock::Timestamp;
use crate::key::{Kind, ValidityInputs};
use crate::store::index::hash_table::slot::{Found, ReadVersion, Words};

/// Bits of each packed field.
const TIME_BITS: u32 = 48;
const SET_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;

/// What lies near of a set's and a generation's number.
const HALF: u64 = 0xffff;

/// What no time is: later than every [`Timestamp`], so never reached.
const NEVER: u64 = (1 << TIME_BITS) - 1;

/// How long an owner's id may be to lie in the slot, beside its number.
pub(in crate::store) const SHORT_OWNER: usize = 16;

/// Such an id, padded.
pub(in crate::store) type ShortOwner = [u8; SHORT_OWNER];

/// How much of a digest is compared: 192 bits, which nobody guesses, so that whose token it is and
/// until when fits into the same cache line.
pub(in crate::store) const DIGEST_LEN: usize = 24;

/// What the index says of one token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    /// The digest's beginning.
    pub(in crate::store) digest: [u8; DIGEST_LEN],
    /// The number of the owner.
    pub(in crate::store) owner: u32,
    /// The owner's id, if it is short enough to lie in the slot, and no limit takes its place.
    pub(in crate::store) short_owner: Option<[u8; SHORT_OWNER]>,
    /// What limits the key, if anything does.
    pub(in crate::store) limited: Option<Limited>,
    /// The number of the permission set, already cut by the owner's maximum access.
    pub(in crate::store) set: u32,
    /// The number of the token.
    pub(in crate::store) generation: u32,
    /// Where the pepper lies among the open ones.
    pub(in crate::store) pepper: u8,
    /// The number of the prefix.
    pub(in crate::store) prefix: u8,
    /// The key's kind.
    pub(in crate::store) kind: Kind,
    /// Whether the token is the current one.
    pub(in crate::store) is_current: bool,
    /// Whether the last change of the key has an unknown outcome.
    pub(in crate::store) is_indeterminate: bool,
    /// Switches and times; the owner's switch lies with the owner.
    pub(in crate::store) standing: ValidityInputs,
}

/// What limits a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Limited {
    /// No token is accepted before this.
    pub(in crate::store) not_before: Option<Timestamp>,
    /// The line with all else.
    pub(in crate::store) limiter: Option<u32>,
}

impl Limited {
    /// Two words, both 0 where nothing limits.
    fn pack(limited: Option<Self>) -> [u64; 2] {
        let Some(Self { not_before, limiter }) = limited else { return [0; 2] };
        [
            not_before.map_or(0, Timestamp::as_millis),
            limiter.map_or(0, |limiter| u64::from(limiter) + 1),
        ]
    }

    #[inline]
    fn unpack([not_before, limiter]: [u64; 2]) -> Option<Self> {
        if not_before | limiter == 0 {
            return None;
        }
        Some(Self {
            not_before: (not_before != 0).then(|| Timestamp::clamped_millis(not_before)),
            limiter: limiter_of(limiter),
        })
    }
}

#[inline]
fn limiter_of(word: u64) -> Option<u32> {
    u32::try_from(word).ok()?.checked_sub(1)
}

/// Where the flag lies that says that a short owner's id lies in the slot.
const SHORT_OWNER_AT: u32 = 14;

impl fmt::Debug for Entry {
    /// Everything that decides, but not the digest.
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

/// An entry as it lies in a slot, of which first the digest is needed, and mostly nothing else.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Packed<'a>(pub(super) Found<'a>);

impl Entry {
    /// What is kept of a digest.
    #[inline]
    pub(in crate::store) fn cut(digest: &[u8; 32]) -> [u8; DIGEST_LEN] {
        std::array::from_fn(|at| digest[at])
    }

    /// Packs it. Near: three words of digest; two of a short owner id, or of limits; the earlier of
    /// expiry and end, and half of the set; owner, half of the generation, and flags. Apart, as it
    /// is seldom needed: the expiry, and the other parts of set and generation.
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
            Some(short) => words(short),
            None => Limited::pack(self.limited),
        };
        let times = over << 16 | set & HALF;
        let rest = u64::from(self.owner) << 32 | (generation & HALF) << 16 | flags;
        Words {
            near: [a, b, c, d, e, times, rest],
            far: expiry << 16 | set >> 16 << 8 | generation >> 16,
        }
    }

    // By force, here and in `judged_at`: an entry that isn't built in memory first is a tenth of
    // what a verification takes beside its hash.
    #[inline(always)]
    pub(super) fn unpack(words: &Words) -> Self {
        let [_, _, _, _, _, times, rest] = words.near;
        let time = |millis: u64| (millis != NEVER).then(|| Timestamp::clamped_millis(millis));
        let bit = |at: u32| rest >> at & 1 == 1;
        let (expiry, over) = (words.far >> 16, times >> 16);
        let ends_at = if over < expiry { over } else { NEVER };
        // Every field below was cut to its own width.
        #[allow(clippy::cast_possible_truncation)]
        Self {
            digest: bytes(&words.near[..3]),
            owner: (rest >> 32) as u32,
            short_owner: bit(SHORT_OWNER_AT).then(|| bytes(&words.near[3..5])),
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

    /// Where the pepper lies among the open ones.
    #[inline]
    pub(in crate::store) fn pepper(&self) -> u8 {
        pepper(self.0.near[6])
    }

    /// The number of the prefix.
    #[inline]
    pub(in crate::store) fn prefix(&self) -> u8 {
        prefix(self.0.near[6])
    }

    /// Where the key's limits lie, if it has any.
    #[inline]
    pub(super) fn limiter(&self) -> Option<u32> {
        if self.0.near[6] >> SHORT_OWNER_AT & 1 == 1 { None } else { limiter_of(self.0.near[4]) }
    }

    /// Where it was seen: what was read of it, and of what it leads to, counts if it is still there.
    #[inline]
    pub(in crate::store) fn seen(&self) -> ReadVersion<'_> {
        self.0.seen
    }

    /// As much of the entry as it takes to judge it at `now`; `None` if it was replaced meanwhile.
    /// Unless it is over, that is everything but its expiry, whose place the earlier of expiry and
    /// end takes.
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

/// Bytes as words in the byte order of this machine.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let (chunks, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_ne_bytes(chunks[at]))
}

#[inline]
pub(super) fn bytes<const N: usize>(words: &[u64]) -> [u8; N] {
    let mut bytes = [0; N];
    for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *chunk = word.to_ne_bytes();
    }
    bytes
}

/// The greatest number of a permission set.
pub(super) const MAX_SET: u32 = (1 << SET_BITS) - 1;

const _: () = assert!(SET_BITS == 24 && GENERATION_BITS == 24, "packed in 16 and 8 bits");
const _: () = assert!(crate::id::Generation::MAX.get() == (1 << GENERATION_BITS) - 1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::index::hash_table::slot::{Seen, Unit};

    proptest! {
        #[test]
        fn packed_and_unpacked(
            digest in any::<[u8; DIGEST_LEN]>(),
            short_owner in any::<Option<[u8; SHORT_OWNER]>>(),
            not_before in prop::option::of(1..=Timestamp::MAX.as_millis()),
            limiter in prop::option::of(0..u32::MAX),
            owner in any::<u32>(),
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
            let limited = short_owner.is_none() && (not_before.is_some() || limiter.is_some());
            let entry = Entry {
                limited: limited.then_some(Limited { not_before, limiter }),
                digest, owner, short_owner, pepper, prefix, is_current, is_indeterminate,
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
            prop_assert_eq!(packed.limiter(), limiter.filter(|_| limited));
            // An end after the expiry never comes, and isn't kept.
            let standing = entry.standing;
            let ends_at = standing.ends_at.filter(|end| standing.expires_at.is_none_or(|at| *end < at));
            let expected = Entry { standing: ValidityInputs { ends_at, ..standing }, ..entry };
            prop_assert_eq!(packed.judged_at(Timestamp::MAX).unwrap(), expected);
            // What is needed at some time is as good.
            let needed = packed.judged_at(now).unwrap();
            prop_assert_eq!(needed.standing.rejected_for(now), standing.rejected_for(now));
            let ends_at = |s: ValidityInputs| s.expires_at.into_iter().chain(s.ends_at).min();
            prop_assert_eq!(ends_at(needed.standing), ends_at(standing));
            prop_assert_eq!(Entry { standing, ..needed }, entry);
        }
    }
}
