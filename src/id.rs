//! The ids of keys and owners, generations and versions.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::invalid::{Invalid, Problem};
use crate::serial::{as_number, as_text};
use crate::text;

/// The public id of a key: 128 bits in the layout of a UUID version 7 (RFC 9562, section 5.7).
///
/// Its text is that of the UUID: 36 characters, lower-case hexadecimal with four hyphens. The ids
/// that one process makes grow strictly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u128);

impl KeyId {
    /// Creates the id with this value. Every value is allowed; a lookup of one that no key has is
    /// `NotFound`.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// Returns the id as a number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// Creates the id from the 16 bytes of a UUID column, most significant byte first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Returns the 16 bytes for a UUID column, most significant byte first.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        f.pad(&format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            v >> 96,
            (v >> 80) & 0xffff,
            (v >> 64) & 0xffff,
            (v >> 48) & 0xffff,
            v & 0xffff_ffff_ffff
        ))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = Invalid;

    /// Parses a UUID of 36 characters: 32 hexadecimal digits of either case, with hyphens after
    /// digits 8, 12, 16 and 20.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let malformed =
            || Invalid::new("key id", Problem::Malformed { expected: "a hyphenated UUID" });
        let bytes = text.as_bytes();
        if bytes.len() != 36 {
            return Err(malformed());
        }
        let mut value = 0_u128;
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return Err(malformed());
                }
                continue;
            }
            let digit = char::from(*byte).to_digit(16).ok_or_else(malformed)?;
            value = value << 4 | u128::from(digit);
        }
        Ok(Self(value))
    }
}

/// A source of key ids that grow strictly, even when the clock stands still or steps back (RFC
/// 9562, section 6.2, method 1: the 12 bits after the milliseconds count within one millisecond).
#[derive(Debug, Default)]
pub(crate) struct KeyIdSource {
    /// The milliseconds and the counter of the last id: 60 bits.
    last: u64,
}

impl KeyIdSource {
    pub(crate) fn next(&mut self, now: Timestamp, random: [u8; 10]) -> KeyId {
        let [a, b, rest @ ..] = random;
        // The counter starts in its lower half. So a millisecond has room for at least 2,048 ids
        // before ids run ahead of the clock.
        let start = u64::from(u16::from_be_bytes([a, b]) & 0x7ff);
        self.last = (now.as_millis() << 12 | start).max(self.last + 1);
        let (millis, counter) = (self.last >> 12, self.last & 0xfff);
        let high = millis << 16 | 0x7 << 12 | counter;
        let low = u64::from_be_bytes(rest) >> 2 | 0b10 << 62;
        KeyId(u128::from(high) << 64 | u128::from(low))
    }
}

/// The service's own id of an owner: 1 to 64 bytes of UTF-8 without control, separator, bidi and
/// invisible characters. White space belongs to it: nothing is cut. It is `Copy` and of fixed size, so
/// that a verified key can contain it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnerId {
    /// The text, padded with zeros. No text contains a zero byte, so comparing the bytes compares
    /// the texts.
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl OwnerId {
    /// The greatest length, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Checks and takes an id of 1 to 64 bytes without control, separator, bidi and invisible characters.
    ///
    /// # Errors
    /// [`Invalid`] when it is empty, too long, or holds such a character.
    pub fn new(id: impl AsRef<str>) -> Result<Self, Invalid> {
        let id = id.as_ref();
        text::check("owner id", id, Self::MAX_LEN)?;
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..id.len()].copy_from_slice(id.as_bytes());
        // At most 64, as checked.
        #[allow(clippy::cast_possible_truncation)]
        Ok(Self { bytes, len: id.len() as u8 })
    }

    /// Returns the first [`words`](Self::words) of an id of at most 16 bytes, or `None` if it is longer.
    pub(crate) fn padded(&self) -> Option<[u64; 2]> {
        let [low, high, ..] = self.words();
        (self.len <= 16).then_some([low, high])
    }

    /// Restores the id from the words that [`padded`](Self::padded) returned.
    #[inline]
    pub(crate) fn from_padded([low, high]: [u64; 2]) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        let padded = u128::from(high) << 64 | u128::from(low);
        bytes[..16].copy_from_slice(&padded.to_le_bytes());
        // Zeros stand only after the text. At most 16.
        #[allow(clippy::cast_possible_truncation)]
        let len = 16 - (padded.leading_zeros() / 8) as u8;
        Self { bytes, len }
    }

    /// Packs the id into words, the last of which are 0 if it is shorter.
    pub(crate) fn words(&self) -> [u64; Self::MAX_LEN / 8] {
        let (chunks, _) = self.bytes.as_chunks();
        std::array::from_fn(|at| u64::from_le_bytes(chunks[at]))
    }

    /// Restores the id from its [`words`](Self::words); `None` from none. Those of two ids make a wrong id.
    #[inline]
    pub(crate) fn from_words(words: [u64; Self::MAX_LEN / 8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        for (chunk, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *chunk = word.to_le_bytes();
        }
        // Zeros stand only after the text.
        let last = words.iter().rposition(|word| *word != 0)?;
        // At most 64.
        #[allow(clippy::cast_possible_truncation)]
        let len = (8 * (last + 1)) as u8 - (words[last].leading_zeros() / 8) as u8;
        Some(Self { bytes, len })
    }

    /// Returns the id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The bytes were copied from a whole `str`, so they are valid UTF-8.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl Hash for OwnerId {
    /// Hashes the text alone, without its padding.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes[..usize::from(self.len)].hash(state);
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnerId({:?})", self.as_str())
    }
}

impl text::StoredText for OwnerId {
    #[inline]
    fn stored_text(&self) -> &str {
        self.as_str()
    }

    #[inline]
    fn from_stored_text(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }
}

impl FromStr for OwnerId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::new(text)
    }
}

as_text!(KeyId, OwnerId);

/// The number of a token among the tokens of its key: 1 at creation, and one more with each
/// rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Generation(u32);

impl Generation {
    /// The first generation, 1.
    pub const FIRST: Self = Self(1);
    /// The last generation, 16,777,215. A key that has reached it can't be rotated.
    pub const MAX: Self = Self((1 << 24) - 1);

    /// Creates the generation of this number.
    ///
    /// # Errors
    /// [`Invalid`] outside 1 to 16,777,215.
    #[inline]
    pub fn new(number: u32) -> Result<Self, Invalid> {
        if (Self::FIRST.0..=Self::MAX.0).contains(&number) {
            return Ok(Self(number));
        }
        Err(Invalid::new(
            "generation",
            Problem::OutOfRange { given: number.into(), min: 1, max: Self::MAX.0.into(), unit: "" },
        ))
    }

    /// Returns its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the next generation, or `None` after [`MAX`](Self::MAX).
    #[must_use]
    pub fn next(self) -> Option<Self> {
        (self < Self::MAX).then_some(Self(self.0 + 1))
    }
}

as_number!(Generation, u32, "generation", Generation::new);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The incarnation of an owner, drawn at random when it is created. It tells an owner from another
/// one that took the same id after a purge: events carry it, and no lease of one serves the other.
///
/// Its number is 1 to 2^52, which JSON's numbers can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The first number, 1.
    pub const FIRST: Self = Self(1);
    /// The greatest number, 2^52.
    pub const MAX: Self = Self(1 << 52);

    /// Checks and takes a number of 1 to 2^52.
    ///
    /// # Errors
    /// [`Invalid`] when it is outside.
    pub fn new(number: u64) -> Result<Self, Invalid> {
        let (min, max) = (Self::FIRST.0, Self::MAX.0);
        if (min..=max).contains(&number) {
            return Ok(Self(number));
        }
        let problem = Problem::OutOfRange { given: number, min, max, unit: "" };
        Err(Invalid::new("incarnation", problem))
    }

    /// Makes an incarnation of random bytes.
    pub(crate) fn drawn(bytes: [u8; 8]) -> Self {
        Self((u64::from_be_bytes(bytes) >> 12) + 1)
    }

    /// Returns its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the number under which a quota is counted that the owner got at a version. It starts
    /// from the incarnation, so that a quota of another incarnation has another number, and a lease
    /// of that quota is void.
    #[must_use]
    pub const fn quota_version(self, version: Version) -> Version {
        // Wraps at what JSON's numbers can hold.
        Version(self.0.wrapping_add(version.0) & ((1 << 53) - 1))
    }
}

as_number!(Incarnation, u64, "incarnation", Incarnation::new);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The version of a record: 1 at creation, and one more with each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Version(u64);

impl Version {
    /// The version of a new record, 1.
    pub const FIRST: Self = Self(1);

    /// Creates the version of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the version that a replacement of this version replaces.
    pub(crate) const fn replaced(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Returns the version after one more change.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

as_number!(Version, u64, "version", |number| Ok::<_, Invalid>(Version(number)));

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The service's own number for a key: 1 to 2^63-1. A number that was used once is never accepted
/// again in the same store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NumericId(NonZeroU64);

impl NumericId {
    /// The greatest number, 2^63-1.
    pub const MAX: u64 = i64::MAX as u64;

    /// Creates the numeric id of this number.
    ///
    /// # Errors
    /// [`Invalid`] outside 1 to 2^63-1.
    pub fn new(number: u64) -> Result<Self, Invalid> {
        match NonZeroU64::new(number) {
            Some(number) if number.get() <= Self::MAX => Ok(Self(number)),
            _ => Err(Invalid::new(
                "numeric id",
                Problem::OutOfRange { given: number, min: 1, max: Self::MAX, unit: "" },
            )),
        }
    }

    /// Returns its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

as_number!(NumericId, u64, "numeric id", NumericId::new);

impl fmt::Display for NumericId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_id_has_the_layout_of_a_uuid_7() {
        let mut source = KeyIdSource::default();
        let now = Timestamp::from_millis(0x0123_4567_89ab).unwrap();
        let id = source.next(now, [0xff; 10]);
        assert_eq!(id.to_string(), "01234567-89ab-77ff-bfff-ffffffffffff");
        let id = source.next(now, [0; 10]);
        assert_eq!(id.to_string(), "01234567-89ab-7800-8000-000000000000");
    }

    #[test]
    fn key_id_texts_that_are_refused() {
        for text in [
            "",
            "0123456789ab77ffbfffffffffffffff0000",
            "01234567-89ab-77ff-bfff-fffffffffff",
            "01234567-89ab-77ff-bfff-fffffffffffg",
            "01234567-89ab-77ff-bfff-ffffffffffé",
            "+1234567-89ab-77ff-bfff-ffffffffffff",
        ] {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
    }

    #[test]
    fn owner_id_corners() {
        assert!(OwnerId::new("").is_err());
        assert!(OwnerId::new("a\nb").is_err());
        assert!(OwnerId::new("x".repeat(65)).is_err());
        let longest = "x".repeat(64);
        assert_eq!(OwnerId::new(&longest).unwrap().as_str(), longest);
    }

    #[test]
    fn the_ends_of_numbers() {
        assert!(NumericId::new(0).is_err());
        assert!(NumericId::new(NumericId::MAX).is_ok());
        assert!(NumericId::new(NumericId::MAX + 1).is_err());
        assert_eq!(Generation::MAX.next(), None);
        assert!(Generation::new(0).is_err());
        assert!(Generation::new(Generation::MAX.get() + 1).is_err());
    }

    proptest! {
        #[test]
        fn ids_grow_strictly_whatever_the_clock_does(
            readings in prop::collection::vec((0..=Timestamp::MAX.as_millis() / 2, any::<[u8; 10]>()), 2..50)
        ) {
            let mut source = KeyIdSource::default();
            let ids: Vec<KeyId> = readings
                .into_iter()
                .map(|(millis, random)| source.next(Timestamp::from_millis(millis).unwrap(), random))
                .collect();
            for id in &ids {
                prop_assert_eq!(id.as_u128() >> 76 & 0xf, 7);
                prop_assert_eq!(id.as_u128() >> 62 & 0b11, 0b10);
            }
            prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        }

        #[test]
        fn key_id_text_and_bytes_and_back(value in any::<u128>()) {
            let id = KeyId::from_u128(value);
            prop_assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
            prop_assert_eq!(KeyId::from_bytes(id.to_bytes()), id);
        }

        #[test]
        fn owner_ids_sort_as_their_texts(a in "[ -~é]{1,32}", b in "[ -~é]{1,32}") {
            let (x, y) = (OwnerId::new(&a).unwrap(), OwnerId::new(&b).unwrap());
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x == y, a == b);
            match x.padded() {
                Some(padded) => prop_assert_eq!(OwnerId::from_padded(padded), x),
                None => prop_assert!(a.len() > 16),
            }
        }
    }
}
