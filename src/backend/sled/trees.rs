//! The trees, and the keys in them.
//!
//! Numbers are big-endian, so that they sort. An owner's id is followed by a zero byte, which never
//! occurs in one. A key's id is stored as its complement: newest first is then forward, and sled's
//! backward iteration, which gives up on keys with runs of 0xff, is never used.

use crate::backend::UsageSubject;
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{KeyName, RequestId};

/// Declares the trees with their names (stored); a tree's number is its place in the list.
macro_rules! trees {
    ($($(#[$doc:meta])* $tree:ident = $name:literal,)*) => {
        /// A tree.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Tree { $($(#[$doc])* $tree,)* }

        impl Tree {
            pub(super) const ALL: &'static [Self] = &[$(Self::$tree),*];

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$tree => $name),* }
            }
        }
    };
}

trees! {
    /// The store's own record, the format, and three counters.
    StoreMetadata = "metadata",
    /// Owner to its record.
    Owners = "owners",
    /// Key to its record.
    Keys = "keys",
    /// Owner and key; no value.
    OwnerKeys = "owner_keys",
    /// Creating key and created key; no value.
    CreatedKeys = "created_keys",
    /// Owner to how many keys it has.
    KeyCounts = "key_counts",
    /// Owner, name and live key; no value.
    LiveNames = "live_names",
    /// Numeric id to the key that got it, for ever.
    NumericIds = "numeric_ids",
    /// Number to event.
    Events = "events",
    /// Key and event number; no value.
    KeyEvents = "key_events",
    /// Owner and event number; no value.
    OwnerEvents = "owner_events",
    /// Chunks of values that are too long for one.
    Chunks = "chunks",
    /// Key or owner to what was used of it.
    Usage = "usage",
    /// Owner, expiry and live key; no value.
    LiveExpiries = "live_expiries",
    /// Request to its record.
    Requests = "requests",
    /// Moment and request; no value.
    RequestTimes = "request_times",
    /// Damaged key to the entry that lies over it.
    Quarantine = "quarantine",
    /// Owner with sweeps that pieces have yet to write; no value.
    SweptOwners = "swept_owners",
}

impl Tree {
    /// The place among all trees.
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// The byte that stands for it in keys of [`Tree::Chunks`]: stored, for ever the same.
    pub(super) fn tag(self) -> u8 {
        match self {
            Self::StoreMetadata => 1,
            Self::Owners => 2,
            Self::Keys => 3,
            Self::OwnerKeys => 4,
            Self::KeyCounts => 5,
            Self::LiveNames => 6,
            Self::NumericIds => 7,
            Self::Events => 8,
            Self::KeyEvents => 9,
            Self::OwnerEvents => 10,
            Self::Chunks => 11,
            Self::Usage => 12,
            Self::CreatedKeys => 13,
            Self::LiveExpiries => 14,
            Self::Requests => 15,
            Self::RequestTimes => 16,
            Self::Quarantine => 17,
            Self::SweptOwners => 18,
        }
    }
}

/// In [`Tree::StoreMetadata`]: the format's number, 4 bytes.
pub(super) const FORMAT: &[u8] = b"format";
/// In [`Tree::StoreMetadata`]: the store's own record.
pub(super) const STORE: &[u8] = b"store";
/// In [`Tree::StoreMetadata`]: the number of the last event, 8 bytes.
pub(super) const LAST_EVENT: &[u8] = b"last_event";
/// In [`Tree::StoreMetadata`]: the greatest numeric id ever used, 8 bytes.
pub(super) const GREATEST_NUMERIC_ID: &[u8] = b"greatest_numeric_id";

/// In [`Tree::StoreMetadata`]: how many keys there are, 8 bytes. The trees are right where it
/// isn't.
pub(super) const KEYS: &[u8] = b"keys";

/// In [`Tree::StoreMetadata`]: the number of batches that were written, 8 bytes.
pub(super) const WRITES: &[u8] = b"writes";
/// In [`Tree::StoreMetadata`]: for each tree, by its tag, the sum of its entries, 8 bytes.
pub(super) const SUMS: &[u8] = b"sums";

/// Fewer bytes than a key takes, whatever it is like.
pub(super) const LEAST_OF_KEY: u64 = 64;

const KEY_LEN: usize = 16;
const NUMBER_LEN: usize = 8;

pub(super) fn key(id: KeyId) -> [u8; KEY_LEN] {
    (!id.as_u128()).to_be_bytes()
}

/// The key id at the end of a tree's key.
pub(super) fn key_in(bytes: &[u8]) -> Option<KeyId> {
    let id = bytes.last_chunk::<KEY_LEN>()?;
    Some(KeyId::from_u128(!u128::from_be_bytes(*id)))
}

pub(super) fn owner(id: &OwnerId) -> &[u8] {
    id.as_str().as_bytes()
}

/// The owner that is the whole of a tree's key.
pub(super) fn owner_in(bytes: &[u8]) -> Option<OwnerId> {
    OwnerId::new(std::str::from_utf8(bytes).ok()?).ok()
}

/// With what all keys of an owner begin, in trees by owner.
pub(super) fn of_owner(id: &OwnerId) -> Vec<u8> {
    joined(&[owner(id), &[0]])
}

pub(super) fn owner_key(owner: &OwnerId, id: KeyId) -> Vec<u8> {
    joined(&[&of_owner(owner), &key(id)])
}

/// The owner in a key of [`Tree::OwnerKeys`].
pub(super) fn owner_of_key(bytes: &[u8]) -> Option<OwnerId> {
    owner_in(bytes.get(..bytes.len().checked_sub(KEY_LEN + 1)?)?)
}

/// In [`Tree::CreatedKeys`]: the creator and the key.
pub(super) fn created_key(creator: KeyId, id: KeyId) -> Vec<u8> {
    joined(&[&key(creator), &key(id)])
}

/// With what all keys of this name of an owner begin, in [`Tree::LiveNames`].
pub(super) fn of_name(owner: &OwnerId, name: &KeyName) -> Vec<u8> {
    joined(&[&of_owner(owner), name.as_str().as_bytes(), &[0]])
}

pub(super) fn live_name(owner: &OwnerId, name: &KeyName, id: KeyId) -> Vec<u8> {
    joined(&[&of_name(owner, name), &key(id)])
}

/// Sorts by expiry, and of one moment by id: the id isn't a complement here.
pub(super) fn live_expiry(owner: &OwnerId, at: Timestamp, id: KeyId) -> Vec<u8> {
    joined(&[&of_owner(owner), &at.as_millis().to_be_bytes(), &id.to_bytes()])
}

/// The key id at the end of a key of [`Tree::LiveExpiries`].
pub(super) fn expiring_key_in(bytes: &[u8]) -> Option<KeyId> {
    bytes.last_chunk::<KEY_LEN>().map(|id| KeyId::from_u128(u128::from_be_bytes(*id)))
}

/// The least key of an owner in [`Tree::LiveExpiries`] that expires after a moment.
pub(super) fn expiring_after(owner: &OwnerId, at: Timestamp) -> Vec<u8> {
    joined(&[&of_owner(owner), &(at.as_millis() + 1).to_be_bytes()])
}

pub(super) fn numeric_id(id: NumericId) -> [u8; NUMBER_LEN] {
    id.get().to_be_bytes()
}

pub(super) fn event(sequence: u64) -> [u8; NUMBER_LEN] {
    sequence.to_be_bytes()
}

/// The event number at the end of a tree's key.
pub(super) fn event_in(bytes: &[u8]) -> Option<u64> {
    bytes.last_chunk::<NUMBER_LEN>().map(|number| u64::from_be_bytes(*number))
}

pub(super) fn key_event(id: KeyId, sequence: u64) -> Vec<u8> {
    joined(&[&key(id), &event(sequence)])
}

pub(super) fn owner_event(id: &OwnerId, sequence: u64) -> Vec<u8> {
    joined(&[&of_owner(id), &event(sequence)])
}

/// A byte that says of what, and its id.
pub(super) fn usage(of: &UsageSubject) -> Vec<u8> {
    match of {
        UsageSubject::Key(id) => joined(&[b"k", &key(*id)]),
        UsageSubject::Owner(id) => joined(&[b"o", owner(id)]),
    }
}

/// The key or owner in a key of [`Tree::Usage`].
pub(super) fn usage_in(bytes: &[u8]) -> Option<UsageSubject> {
    match bytes.split_first()? {
        (b'k', id) if id.len() == KEY_LEN => key_in(id).map(UsageSubject::Key),
        (b'o', id) => owner_in(id).map(UsageSubject::Owner),
        _ => None,
    }
}

/// The moment at which a request was noted, and the request's name.
pub(super) fn request_time(at: Timestamp, id: &RequestId) -> Vec<u8> {
    joined(&[&at.as_millis().to_be_bytes(), &id.to_bytes()])
}

/// Before all requests that were noted at a moment or later.
pub(super) fn requests_from(at: Timestamp) -> [u8; NUMBER_LEN] {
    at.as_millis().to_be_bytes()
}

/// The request in a key of [`Tree::RequestTimes`].
pub(super) fn request_in(bytes: &[u8]) -> Option<RequestId> {
    RequestId::from_bytes(bytes.get(NUMBER_LEN..)?)
}

/// Makes the key of a further chunk of a value, counted from 1.
pub(super) fn chunk(tree: Tree, key: &[u8], number: u16) -> Vec<u8> {
    joined(&[&[tree.tag()], key, &number.to_be_bytes()])
}

/// The least key that is greater than all that begin with `prefix`. Empty if there is none: if the
/// prefix is empty or all its bytes are 0xff.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while end.last() == Some(&u8::MAX) {
        end.pop();
    }
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_and_names_are_single() {
        for (index, tree) in Tree::ALL.iter().enumerate() {
            assert_eq!(tree.index(), index);
            let same = |other: &&Tree| other.tag() == tree.tag() || other.name() == tree.name();
            assert_eq!(Tree::ALL.iter().filter(same).count(), 1, "{tree:?}");
        }
    }

    proptest! {
        #[test]
        fn newest_first_is_forward_and_owners_lie_apart(
            a in "[ -~é]{1,4}", b in "[ -~é]{1,4}", x in any::<u128>(), y in any::<u128>(),
        ) {
            let (a, b) = (OwnerId::new(a).unwrap(), OwnerId::new(b).unwrap());
            let (x, y) = (KeyId::from_u128(x), KeyId::from_u128(y));
            prop_assert_eq!(owner_key(&a, x).cmp(&owner_key(&b, y)), a.cmp(&b).then(y.cmp(&x)));
            prop_assert_eq!(key_in(&owner_key(&a, x)), Some(x));
            prop_assert_eq!(owner_in(owner(&a)), Some(a));
            let range = of_owner(&a)..after_prefix(&of_owner(&a));
            prop_assert_eq!(range.contains(&owner_key(&b, y)), a == b);
        }

        #[test]
        fn created_keys_lie_by_creator_newest_first(
            a in any::<u128>(), b in any::<u128>(), x in any::<u128>(), y in any::<u128>(),
        ) {
            let [a, b, x, y] = [a, b, x, y].map(KeyId::from_u128);
            prop_assert_eq!(created_key(a, x).cmp(&created_key(b, y)), b.cmp(&a).then(y.cmp(&x)));
            prop_assert_eq!(key_in(&created_key(a, x)), Some(x));
        }

        #[test]
        fn a_prefix_ends_after_all_that_begin_with_it(
            prefix in prop::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 0..4),
            other in prop::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 0..6),
        ) {
            let end = after_prefix(&prefix);
            let is_before_end = end.is_empty() || other < end;
            prop_assert_eq!(other >= prefix && is_before_end, other.starts_with(&prefix));
        }

        #[test]
        fn events_sort_by_number(a in any::<u64>(), b in any::<u64>(), id in any::<u128>()) {
            let id = KeyId::from_u128(id);
            prop_assert_eq!(key_event(id, a).cmp(&key_event(id, b)), a.cmp(&b));
            prop_assert_eq!(event_in(&key_event(id, a)), Some(a));
        }
    }
}
