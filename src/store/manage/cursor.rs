//! The cursor of a list: the place at which its next page begins.

use std::collections::BTreeSet;

use crate::id::{KeyId, OwnerId};
use crate::invalid::{Invalid, Problem};
use crate::key::Prefix;
use crate::store::types::request::ListKeys;

/// The owners whose keys a list shows.
#[derive(Debug)]
pub(in crate::store::manage) enum Scope {
    All,
    Owners(Vec<OwnerId>),
}

/// A place in a list: the key that was examined last, and the number of keys on a page.
///
/// Its text is position, limit, and a hash of these with the query and its scope, in hexadecimal. A
/// cursor that was changed anywhere is invalid. It isn't a secret and allows nothing: the scope
/// comes from the caller's handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::manage) struct Cursor {
    pub(in crate::store::manage) position: KeyId,
    pub(in crate::store::manage) limit: usize,
}

const LEN: usize = 16 + 2 + HASH_LEN;
const HASH_LEN: usize = 16;

/// A hash of everything in which two queries may differ, to which position and limit of a cursor
/// are still to be added.
#[derive(Debug)]
pub(in crate::store::manage) struct QueryHash(blake3::Hasher);

/// Hashes a query, apart from the place in the list.
pub(in crate::store::manage) fn query_hash(scope: &Scope, query: &ListKeys) -> QueryHash {
    let mut hasher = blake3::Hasher::new_derive_key("keyhasp list cursor v3");
    match scope {
        Scope::All => _ = hasher.update(b"all"),
        Scope::Owners(owners) => {
            for owner in owners {
                hasher.update(owner.as_str().as_bytes()).update(b"\0");
            }
        }
    }
    let ListKeys {
        // In the scope.
        owners: _,
        kind,
        created_by_key,
        states,
        name_start,
        prefixes,
        permission,
        expires_before,
        unused_since,
        tags,
        // The place in the list.
        after: _,
        until,
        limit: _,
        cursor: _,
    } = query;
    let kind = kind.map_or(0, |kind| 1 + kind as u8);
    hasher.update(&[0, kind, states.bits()]);
    for key in [until, created_by_key] {
        add(&mut hasher, key.map(KeyId::to_bytes).as_ref());
    }
    add(&mut hasher, name_start.as_ref());
    add(&mut hasher, permission.as_ref());
    for moment in [expires_before, unused_since] {
        add(&mut hasher, moment.map(|at| at.as_millis().to_be_bytes()).as_ref());
    }
    add_set(&mut hasher, prefixes.iter().map(Prefix::as_str));
    add_set(&mut hasher, tags.iter().map(String::as_str));
    QueryHash(hasher)
}

/// Adds some texts, in whatever order and however often they come.
fn add_set<'a>(hasher: &mut blake3::Hasher, texts: impl Iterator<Item = &'a str>) {
    let texts: BTreeSet<&str> = texts.collect();
    hasher.update(&(texts.len() as u64).to_be_bytes());
    texts.into_iter().for_each(|text| add(hasher, Some(text)));
}

/// Adds whether there is a value, and the value with its length. So no two lists of values run
/// together.
fn add(hasher: &mut blake3::Hasher, value: Option<impl AsRef<[u8]>>) {
    let bytes = value.as_ref().map_or(&[] as &[u8], AsRef::as_ref);
    hasher.update(&[u8::from(value.is_some())]).update(&(bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

impl Cursor {
    pub(in crate::store::manage) fn write(self, query: &QueryHash) -> String {
        let (position, limit) = self.to_bytes();
        let bytes = position.into_iter().chain(limit).chain(self.hash(query));
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    fn to_bytes(self) -> ([u8; 16], [u8; 2]) {
        let limit = u16::try_from(self.limit).unwrap_or(u16::MAX);
        (self.position.to_bytes(), limit.to_be_bytes())
    }

    fn hash(self, query: &QueryHash) -> [u8; HASH_LEN] {
        let (position, limit) = self.to_bytes();
        let mut hash = [0; HASH_LEN];
        query.0.clone().update(&position).update(&limit).finalize_xof().fill(&mut hash);
        hash
    }

    pub(in crate::store::manage) fn read(text: &str, query: &QueryHash) -> Result<Self, Invalid> {
        let malformed = || {
            Invalid::new(
                "cursor",
                Problem::Malformed { expected: "a cursor from a page of this query" },
            )
        };
        let bytes = decode(text).ok_or_else(malformed)?;
        let (position, rest) = bytes.split_first_chunk::<16>().ok_or_else(malformed)?;
        let (limit, stored_hash) = rest.split_first_chunk::<2>().ok_or_else(malformed)?;
        let limit = usize::from(u16::from_be_bytes(*limit));
        let cursor = Self { position: KeyId::from_bytes(*position), limit };
        if stored_hash != cursor.hash(query) || !(1..=ListKeys::MAX_LIMIT).contains(&limit) {
            return Err(malformed());
        }
        Ok(cursor)
    }
}

fn decode(text: &str) -> Option<[u8; LEN]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * LEN {
        return None;
    }
    let mut bytes = [0; LEN];
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::id::OwnerId;
    use crate::key::{Kind, State};

    #[test]
    fn a_cursor_of_another_query_is_invalid() {
        let owners =
            |ids: &[&str]| Scope::Owners(ids.iter().map(|id| OwnerId::new(id).unwrap()).collect());
        let prefix = |text: &str| Prefix::new(text).unwrap();
        let plain = ListKeys::new;
        let queries = [
            (Scope::All, plain()),
            (owners(&["a"]), plain()),
            (owners(&["b"]), plain()),
            (owners(&["a", "b"]), plain()),
            (Scope::All, plain().kind(Kind::Trial)),
            (Scope::All, plain().kind(Kind::Standard)),
            (Scope::All, plain().states([State::Active])),
            (Scope::All, plain().ending_before(KeyId::from_u128(0))),
            (Scope::All, plain().created_by_key(KeyId::from_u128(0))),
            (Scope::All, plain().name_starts_with("")),
            (Scope::All, plain().name_starts_with("a")),
            (Scope::All, plain().permission("a")),
            (Scope::All, plain().name_starts_with("a").permission("b")),
            (Scope::All, plain().name_starts_with("ab")),
            (Scope::All, plain().expires_before(Timestamp::MIN)),
            (Scope::All, plain().unused_since(Timestamp::MIN)),
            (Scope::All, plain().prefix(prefix("a"))),
            (Scope::All, plain().prefix(prefix("b")).prefix(prefix("a"))),
            (Scope::All, plain().prefix(prefix("ab"))),
            (Scope::All, plain().tag("a")),
            (Scope::All, plain().tag("b").tag("a")),
        ];
        let cursor = Cursor { position: KeyId::from_u128(5), limit: 7 };
        for (i, (scope, query)) in queries.iter().enumerate() {
            let text = cursor.write(&query_hash(scope, query));
            for (j, (scope, query)) in queries.iter().enumerate() {
                assert_eq!(Cursor::read(&text, &query_hash(scope, query)).is_ok(), i == j);
            }
        }
    }

    fn a_query() -> QueryHash {
        query_hash(&Scope::All, &ListKeys::new())
    }

    proptest! {
        #[test]
        fn written_and_read(position in any::<u128>(), limit in 1..=1_000_usize) {
            let cursor = Cursor { position: KeyId::from_u128(position), limit };
            prop_assert_eq!(Cursor::read(&cursor.write(&a_query()), &a_query()).unwrap(), cursor);
        }

        /// Position and limit are bound as the query is: 10 a page doesn't become 1,000.
        #[test]
        fn a_changed_cursor_is_invalid(
            position in any::<u128>(),
            limit in 1..=1_000_usize,
            at in 0..2 * LEN,
            digit in prop::sample::select(b"0123456789abcdef".as_slice()),
        ) {
            let text = Cursor { position: KeyId::from_u128(position), limit }.write(&a_query());
            let mut changed = text.clone().into_bytes();
            changed[at] = digit;
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(Cursor::read(&changed, &a_query()).is_ok(), changed == text);
        }

        #[test]
        fn a_made_up_cursor_is_invalid(text in "\\PC{0,80}") {
            prop_assert!(Cursor::read(&text, &a_query()).is_err());
        }
    }
}
