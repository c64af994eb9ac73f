//! What a slot says of a token.

use std::fmt;

use super::slot::Words;
use crate::clock::Timestamp;
use crate::key::{Kind, Standing};

/// Bits of each packed field.
const TIME_BITS: u32 = 48;
const SET_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;

/// What no time is: later than every [`Timestamp`], so never reached.
const NEVER: u64 = (1 << TIME_BITS) - 1;

/// How long an owner's id may be to lie in the slot, beside its number.
pub(in crate::store) const SHORT_OWNER: usize = 16;

/// What the index says of one token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    /// The digest, as four words in the byte order of this machine.
    pub(in crate::store) digest: [u64; 4],
    /// The number of the owner.
    pub(in crate::store) owner: u32,
    /// The owner's id, if it is short enough to lie in the slot.
    pub(in crate::store) short_owner: Option<[u8; SHORT_OWNER]>,
    /// The number of the permission set, already cut by the owner's ceiling.
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
    pub(in crate::store) is_uncertain: bool,
    /// Switches and times; the owner's switch lies with the owner.
    pub(in crate::store) standing: Standing,
}

/// An entry as it lies in a slot, of which first the digest is needed, and mostly nothing else.
pub(in crate::store) struct Packed<'a>(pub(super) &'a Words);

impl fmt::Debug for Entry {
    /// Everything that decides, but not the digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("owner", &self.owner)
            .field("kind", &self.kind)
            .field("generation", &self.generation)
            .field("is_current", &self.is_current)
            .field("is_uncertain", &self.is_uncertain)
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// The digest's bytes as the words that a slot holds.
    pub(in crate::store) fn digest_words(bytes: &[u8; 32]) -> [u64; 4] {
        let (words, _) = bytes.as_chunks::<8>();
        std::array::from_fn(|i| u64::from_ne_bytes(words[i]))
    }

    /// Packs it: four words of digest; expiry and part of the set; end and generation's low part;
    /// owner and flags; a short owner id apart.
    pub(super) fn pack(&self) -> Words {
        let [a, b, c, d] = self.digest;
        let time = |at: Option<Timestamp>| at.map_or(NEVER, Timestamp::as_millis);
        let set = u64::from(self.set);
        let generation = u64::from(self.generation);
        let mut flags = 0;
        for flag in [
            self.short_owner.is_some(),
            self.standing.revoked,
            self.standing.blocked,
            self.standing.deactivated,
            self.kind == Kind::Trial,
            self.is_current,
            self.is_uncertain,
        ] {
            flags = flags << 1 | u64::from(flag);
        }
        flags = flags << 2 | u64::from(self.pepper);
        flags = flags << 6 | u64::from(self.prefix);
        let expiry = time(self.standing.expires_at) << 16 | set & 0xffff;
        let end = time(self.standing.ends_at) << 16 | generation & 0xffff;
        let rest = u64::from(self.owner) << 32 | flags << 16 | set >> 16 << 8 | generation >> 16;
        let (far, _) =
            self.short_owner.as_ref().map_or(([].as_slice(), &[][..]), |id| id.as_chunks::<8>());
        Words {
            near: [a, b, c, d, expiry, end, rest],
            far: std::array::from_fn(|i| far.get(i).map_or(0, |bytes| u64::from_ne_bytes(*bytes))),
        }
    }

    #[inline]
    pub(super) fn unpack(words: &Words) -> Self {
        let [a, b, c, d, expiry, end, rest] = words.near;
        let time = |millis: u64| {
            if millis == NEVER { None } else { Some(Timestamp::clamped_millis(millis)) }
        };
        let bit = |at: u32| rest >> (16 + at) & 1 == 1;
        let mut short_owner = [0; SHORT_OWNER];
        for (chunk, word) in short_owner.as_chunks_mut::<8>().0.iter_mut().zip(words.far) {
            *chunk = word.to_ne_bytes();
        }
        // Every field below was cut to its own width.
        #[allow(clippy::cast_possible_truncation)]
        Self {
            digest: [a, b, c, d],
            owner: (rest >> 32) as u32,
            short_owner: bit(14).then_some(short_owner),
            set: (expiry & 0xffff | (rest >> 8 & 0xff) << 16) as u32,
            generation: (end & 0xffff | (rest & 0xff) << 16) as u32,
            pepper: Packed(words).pepper(),
            prefix: Packed(words).prefix(),
            kind: if bit(10) { Kind::Trial } else { Kind::Standard },
            is_current: bit(9),
            is_uncertain: bit(8),
            standing: Standing {
                suspended: false,
                revoked: bit(13),
                blocked: bit(12),
                deactivated: bit(11),
                expires_at: time(expiry >> 16),
                ends_at: time(end >> 16),
            },
        }
    }
}

impl Packed<'_> {
    /// The digest's bytes.
    #[inline]
    pub(in crate::store) fn digest_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0.near) {
            *chunk = word.to_ne_bytes();
        }
        bytes
    }

    /// Where the pepper lies among the open ones.
    #[inline]
    pub(in crate::store) fn pepper(&self) -> u8 {
        (self.0.near[6] >> 22 & 0b11) as u8
    }

    /// The number of the prefix.
    #[inline]
    pub(in crate::store) fn prefix(&self) -> u8 {
        (self.0.near[6] >> 16 & 0x3f) as u8
    }

    #[inline]
    pub(in crate::store) fn unpack(&self) -> Entry {
        Entry::unpack(self.0)
    }
}

/// The greatest number of a permission set.
pub(super) const MAX_SET: u32 = (1 << SET_BITS) - 1;

const _: () = assert!(SET_BITS == 24 && GENERATION_BITS == 24, "packed in 16 and 8 bits");
const _: () = assert!(crate::id::Generation::MAX.get() == (1 << GENERATION_BITS) - 1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packed_and_unpacked(
            digest in any::<[u64; 4]>(),
            short_owner in any::<Option<[u8; SHORT_OWNER]>>(),
            owner in any::<u32>(),
            set in 0..=MAX_SET,
            generation in 1..1_u32 << 24,
            pepper in 0..4_u8,
            prefix in 0..64_u8,
            flags in any::<[bool; 6]>(),
            times in any::<[Option<u64>; 2]>(),
        ) {
            let [revoked, blocked, deactivated, trial, is_current, is_uncertain] = flags;
            let time = |t: Option<u64>| t.map(|t| Timestamp::from_millis(t % (Timestamp::MAX.as_millis() + 1)).unwrap());
            let entry = Entry {
                digest, owner, short_owner, set, generation, pepper, prefix, is_current, is_uncertain,
                kind: if trial { Kind::Trial } else { Kind::Standard },
                standing: Standing {
                    suspended: false, revoked, blocked, deactivated,
                    expires_at: time(times[0]), ends_at: time(times[1]),
                },
            };
            prop_assert_eq!(Entry::unpack(&entry.pack()), entry);
            prop_assert_eq!(Entry::digest_words(&Packed(&entry.pack()).digest_bytes()), digest);
        }
    }
}
