//! The format of a token, and its recognition in text.

use std::ops::Range;

use crate::id::KeyId;
use crate::key::Prefix;

/// The separator between prefix and id.
const SEPARATOR: u8 = b'_';
const ID_LEN: usize = 22;
pub(super) const SECRET_LEN: usize = 42;
const CHECKSUM_LEN: usize = 6;
/// The length of secret and checksum together. The digest covers their characters, undecoded.
pub(super) const TAIL_LEN: usize = SECRET_LEN + CHECKSUM_LEN;
const BODY_LEN: usize = ID_LEN + TAIL_LEN;

/// The greatest length of a token, in bytes.
pub const MAX_TOKEN_LEN: usize = Prefix::MAX_LEN + 1 + BODY_LEN;

/// The digits of base62, in ascending order.
pub(super) const ALPHABET: &[u8; 62] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The value of a byte that is no digit of base62.
const NO_DIGIT: u8 = 0xff;

/// The value of each byte as a digit of base62.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        // Below 62.
        #[allow(clippy::cast_possible_truncation)]
        {
            values[ALPHABET[value] as usize] = value as u8;
        }
        value += 1;
    }
    values
};

/// A token, split into its parts. Only its shape and its id were checked.
pub(super) struct Parts<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) id: KeyId,
    pub(super) tail: &'a [u8; TAIL_LEN],
}

/// Splits a token by its length. Returns `None` for a wrong length, separator or id.
// `inline(always)`: otherwise the compiler returns the parts through memory.
#[inline(always)]
pub(super) fn parse(token: &[u8]) -> Option<Parts<'_>> {
    if token.len() > MAX_TOKEN_LEN {
        return None;
    }
    let (rest, tail) = token.split_last_chunk::<TAIL_LEN>()?;
    let (rest, id) = rest.split_last_chunk::<ID_LEN>()?;
    let (separator, prefix) = rest.split_last()?;
    if *separator != SEPARATOR || prefix.is_empty() {
        return None;
    }
    Some(Parts { prefix, id: decode_id(id)?, tail })
}

/// Writes prefix, separator, id and secret, then the CRC-32 of them as checksum.
pub(super) fn write(prefix: &Prefix, id: KeyId, secret: &[u8; SECRET_LEN], out: &mut String) {
    write_public(prefix, id, out);
    out.extend(secret.iter().copied().map(char::from));
    let checksum = crc32fast::hash(out.as_bytes());
    push_digits::<CHECKSUM_LEN>(checksum.into(), out);
}

/// Writes what is public of a token: prefix, separator and id.
fn write_public(prefix: &Prefix, id: KeyId, out: &mut String) {
    out.push_str(prefix.as_str());
    out.push(char::from(SEPARATOR));
    push_digits::<ID_LEN>(id.as_u128(), out);
}

/// The number of characters that a hint shows of the beginning and of the end of an id. An id begins
/// with its time, so the last are the ones that differ.
const SHOWN_OF_ID: (usize, usize) = (4, 6);

/// Returns a hint at a key's token, by which people tell it from others: the token's beginning up to
/// the end of the id, shortened in the middle, such as `acme_live_0355…Kf93Qa`. It holds nothing of
/// the secret, and has at most 44 characters.
///
/// ```
/// # use keyhasp::{KeyId, Prefix};
/// let id: KeyId = "018f3c2e-7a01-7000-8000-00000000002a".parse()?;
/// assert_eq!(keyhasp::token::hint(&Prefix::new("acme_live")?, id), "acme_live_02wR…oFofD0");
/// # Ok::<(), keyhasp::Invalid>(())
/// ```
#[must_use]
pub fn hint(prefix: &Prefix, id: KeyId) -> String {
    let mut text = String::new();
    write_public(prefix, id, &mut text);
    let (first, last) = SHOWN_OF_ID;
    text.replace_range(text.len() - ID_LEN + first..text.len() - last, "…");
    text
}

fn push_digits<const N: usize>(mut value: u128, out: &mut String) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        // Below 62.
        #[allow(clippy::cast_possible_truncation)]
        let at = (value % 62) as usize;
        *digit = ALPHABET[at];
        value /= 62;
    }
    out.extend(digits.map(char::from));
}

/// Decodes an id: ten digits fit in 64 bits, so it is two such parts with two digits before them.
#[inline]
fn decode_id(digits: &[u8; ID_LEN]) -> Option<KeyId> {
    const TEN: u128 = 62_u128.pow(10);
    let (high, rest) = digits.split_first_chunk::<2>()?;
    let (middle, low) = rest.split_first_chunk::<10>()?;
    let (high, middle, low) = (decode(high)?, decode(middle)?, decode(low.first_chunk::<10>()?)?);
    let below = u128::from(middle) * TEN + u128::from(low);
    let value = u128::from(high).checked_mul(TEN * TEN)?.checked_add(below)?;
    Some(KeyId::from_u128(value))
}

/// Decodes an even number of digits, at most ten. Returns `None` if a byte is no digit.
#[inline]
fn decode<const N: usize>(digits: &[u8; N]) -> Option<u64> {
    let mut wrong = 0;
    let mut value = 0_u64;
    // Two digits a step halve the chain of dependent multiplications.
    for [one, other] in digits.as_chunks::<2>().0 {
        let (one, other) = (VALUES[usize::from(*one)], VALUES[usize::from(*other)]);
        // Values of digits are below 64, so the two top bits mark a byte that is no digit.
        wrong |= one | other;
        let pair = u64::from(one & 0x3f) * 62 + u64::from(other & 0x3f);
        value = value * (62 * 62) + pair;
    }
    (wrong & 0xc0 == 0).then_some(value)
}

/// The finding of [`inspect`], made from a text without any secret: whether a user mistyped a
/// token, or the text never was one. It serves messages to people and support tools. `verify` does
/// not use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inspection {
    /// The text has the shape of a token, but its checksum is wrong: it was mistyped or cut.
    Mistyped,
    /// The text doesn't have the shape of a token.
    NotAToken,
    /// Shape and checksum are right. Only `verify` knows whether the token was ever issued.
    WellFormed {
        /// The prefix.
        prefix: Prefix,
        /// The id of the key that the token names.
        id: KeyId,
    },
}

/// Inspects the shape and the checksum of a text. Its running time depends on the text, so keep it
/// off the request path.
#[must_use]
pub fn inspect(token: &[u8]) -> Inspection {
    let Some(parts) = parse(token) else { return Inspection::NotAToken };
    let Some(prefix) = std::str::from_utf8(parts.prefix).ok().and_then(|p| Prefix::new(p).ok())
    else {
        return Inspection::NotAToken;
    };
    if !parts.tail.iter().all(u8::is_ascii_alphanumeric) {
        return Inspection::NotAToken;
    }
    let Some((covered, checksum)) = token.split_last_chunk::<CHECKSUM_LEN>() else {
        return Inspection::NotAToken;
    };
    if decode(checksum) == Some(crc32fast::hash(covered).into()) {
        Inspection::WellFormed { prefix, id: parts.id }
    } else {
        Inspection::Mistyped
    }
}

/// Returns a regular expression that matches the tokens of a prefix, for secret scanners.
#[must_use]
pub fn pattern(prefix: &Prefix) -> String {
    format!("{prefix}_[0-9A-Za-z]{{{BODY_LEN}}}")
}

/// A token found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The position of the token in the text, in bytes.
    pub range: Range<usize>,
    /// The prefix of the token.
    pub prefix: Prefix,
    /// The id of the key that the token names.
    pub id: KeyId,
}

/// Finds the tokens of these prefixes in any text, by shape and checksum.
#[must_use]
pub fn scan(text: &[u8], prefixes: &[Prefix]) -> Vec<Found> {
    let separators = text.iter().enumerate().filter(|(_, byte)| **byte == SEPARATOR);
    separators
        .flat_map(|(at, _)| prefixes.iter().map(move |prefix| (at, prefix)))
        .filter_map(|(at, prefix)| {
            let start = at.checked_sub(prefix.as_bytes().len())?;
            let range = start..at + 1 + BODY_LEN;
            let token = text.get(range.clone())?;
            match inspect(token) {
                Inspection::WellFormed { prefix: found, id } if found == *prefix => {
                    Some(Found { range, prefix: found, id })
                }
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::new(text).unwrap()
    }

    fn token(prefix_text: &str, id: u128) -> String {
        let mut text = String::new();
        write(&prefix(prefix_text), KeyId::from_u128(id), &[b'a'; SECRET_LEN], &mut text);
        text
    }

    /// Frozen: computed apart from this code, with Python's `zlib.crc32` and integers.
    #[test]
    fn vectors() {
        let secret: [u8; SECRET_LEN] = *b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
        let vectors = include!("vectors.in");
        for (prefix_text, id, expected) in vectors {
            let mut text = String::new();
            write(&prefix(prefix_text), KeyId::from_u128(id), &secret, &mut text);
            assert_eq!(text, expected);
        }
    }

    proptest! {
        /// It shows what is public, whatever the secret is, and less than the whole id.
        #[test]
        fn a_hint_is_the_public_beginning_without_its_middle(
            prefix_text in "[a-z0-9_]{1,32}",
            id: u128,
        ) {
            let token = token(&prefix_text, id);
            let hint = hint(&prefix(&prefix_text), KeyId::from_u128(id));
            let public = &token[..token.len() - TAIL_LEN];
            let (first, last) = hint.split_once('…').unwrap();
            prop_assert!(public.starts_with(first) && public.ends_with(last));
            prop_assert_eq!((first.len(), last.len()), (prefix_text.len() + 5, 6));
            prop_assert!(hint.chars().count() <= 44);
        }
    }

    #[test]
    fn an_id_beyond_128_bits_is_malformed() {
        let mut text = token("a", u128::MAX);
        assert!(parse(text.as_bytes()).is_some());
        let last = text[2..24].to_owned();
        assert_eq!(last, "7n42DGM5Tflk9n8mt7Fhc7");
        text.replace_range(2..24, "7n42DGM5Tflk9n8mt7Fhc8");
        assert!(parse(text.as_bytes()).is_none());
        text.replace_range(2..24, &"z".repeat(22));
        assert!(parse(text.as_bytes()).is_none());
    }

    /// Also where two wrong ones stand side by side, as in a letter of more than one byte.
    #[test]
    fn an_id_has_digits_only() {
        let good = token("a", u128::MAX / 3).into_bytes();
        for at in 2..2 + ID_LEN {
            for len in 1..=(2 + ID_LEN - at).min(2) {
                for wrong in [b'_', b'-', b' ', 0, 0x7f, 0x80, 0xc3, 0xff] {
                    let mut bytes = good.clone();
                    bytes[at..at + len].fill(wrong);
                    assert!(parse(&bytes).is_none(), "{len} times {wrong:#x} at {at}");
                }
            }
        }
    }

    /// The pattern for secret scanners has the characters and the length of a token.
    #[test]
    fn the_pattern_is_that_of_a_token() {
        let pattern = pattern(&prefix("acme_live"));
        assert_eq!(pattern, "acme_live_[0-9A-Za-z]{70}");
        let text = token("acme_live", 5);
        let body = text.strip_prefix("acme_live_").unwrap();
        assert!(body.len() == 70 && body.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    #[test]
    fn shapes_that_are_refused() {
        let good = token("ab", 1);
        assert!(parse(good.as_bytes()).is_some());
        for bad in ["", "_", &good[1..], &good[3..], &good[..good.len() - 1], &format!("{good}0")] {
            let wrong = parse(bad.as_bytes()).is_none_or(|parts| parts.prefix != b"ab");
            assert!(wrong, "{bad}");
        }
        assert!(parse(&vec![b'a'; 10 << 20]).is_none());
        assert!(parse(good.replace('_', "-").as_bytes()).is_none());
        assert!(parse(&good.as_bytes()[2..]).is_none());
    }

    #[test]
    fn a_slip_is_told_from_a_stranger() {
        let good = token("acme_live", 77);
        let id = KeyId::from_u128(77);
        let prefix = prefix("acme_live");
        assert_eq!(inspect(good.as_bytes()), Inspection::WellFormed { prefix, id });
        assert_eq!(inspect(good.replace('a', "b").as_bytes()), Inspection::Mistyped);
        assert_eq!(inspect(b"hello"), Inspection::NotAToken);
        assert_eq!(inspect(good.replace("acme", "ACME").as_bytes()), Inspection::NotAToken);
    }

    proptest! {
        #[test]
        fn written_and_parsed(p in "[a-z0-9_]{1,32}", id in any::<u128>(), secret in "[0-9A-Za-z]{42}") {
            let mut text = String::new();
            let secret: [u8; SECRET_LEN] = secret.into_bytes().try_into().unwrap();
            write(&prefix(&p), KeyId::from_u128(id), &secret, &mut text);
            let parts = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(parts.prefix, p.as_bytes());
            prop_assert_eq!(parts.id.as_u128(), id);
            prop_assert_eq!(&parts.tail[..SECRET_LEN], &secret[..]);
            prop_assert_eq!(inspect(text.as_bytes()), Inspection::WellFormed { prefix: prefix(&p), id: KeyId::from_u128(id) });
            prop_assert!(text.len() <= MAX_TOKEN_LEN);
        }

        #[test]
        fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = inspect(&bytes);
            let _ = scan(&bytes, &[prefix("a")]);
        }

        #[test]
        fn one_wrong_character_is_a_slip(at in 0..70_usize, to in prop::sample::select(&ALPHABET[..])) {
            let good = token("acme", 12_345);
            let mut bytes = good.clone().into_bytes();
            bytes[5 + at] = to;
            let expected = bytes == good.as_bytes();
            prop_assert_eq!(matches!(inspect(&bytes), Inspection::WellFormed { .. }), expected);
        }

        #[test]
        fn scanned_out_of_any_text(before in "[ -~]{0,40}", after in "[ -~]{0,40}", id in any::<u128>()) {
            let text = format!("{before}{}{after}", token("acme", id));
            let found = scan(text.as_bytes(), &[prefix("other"), prefix("acme")]);
            let expected = Found { range: before.len()..before.len() + 75, prefix: prefix("acme"), id: KeyId::from_u128(id) };
            prop_assert!(found.contains(&expected));
        }
    }
}
