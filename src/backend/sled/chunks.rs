//! Long values in short pieces.
//!
//! sled writes a page whose image is over 128 KiB to a file of its own, which it never syncs. A
//! leaf splits at 17 values and takes in a neighbour of at most 3, so with no value over 4 KiB and
//! no key over 400 bytes a page stays well below that. A value that is longer is cut: it says how
//! many chunks follow, and those lie in [`Tree::Chunks`].

use std::borrow::Cow;

use ::sled::IVec;

use super::fault::Fault;
use super::trees::{self, Tree};

/// The greatest length of a stored value.
pub(super) const MAX_VALUE: usize = 4096;
/// The version of a value's encoding, its first byte.
const FORMAT: u8 = 1;
/// The format, the number of further chunks, and the checksum.
const HEAD_LEN: usize = 7;

/// A place to read values from: the trees as they are, or as they will be after a batch.
pub(super) trait Values {
    /// The value of a key.
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<IVec>, Fault>;
}

/// A record's bytes, put together.
pub(super) fn load(from: &dyn Values, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    match from.value(tree, key)? {
        Some(head) => join(from, tree, key, &head).map(|record| Some(record.into_owned())),
        None => Ok(None),
    }
}

/// The same, where the first value is at hand.
pub(super) fn join<'a>(
    from: &dyn Values,
    tree: Tree,
    key: &[u8],
    head: &'a [u8],
) -> Result<Cow<'a, [u8]>, Fault> {
    let (record, checksum) = unchecked(from, tree, key, head)?;
    if checksum_of(tree, key, &record) == checksum {
        Ok(record)
    } else {
        Err(Fault::damaged("a record is not what its checksum says"))
    }
}

/// Puts a record together, and returns it with the checksum that it should have.
pub(super) fn unchecked<'a>(
    from: &dyn Values,
    tree: Tree,
    key: &[u8],
    head: &'a [u8],
) -> Result<(Cow<'a, [u8]>, u32), Fault> {
    let count = count(head)?;
    let checksum = head[HEAD_LEN - 4..].first_chunk();
    let checksum = checksum.ok_or(Fault::damaged("a record has no head"))?;
    let mut record = Cow::Borrowed(&head[HEAD_LEN..]);
    for number in 1..=count {
        let chunk = from.value(Tree::Chunks, &trees::chunk(tree, key, number))?;
        record
            .to_mut()
            .extend_from_slice(&chunk.ok_or(Fault::damaged("a chunk of a record is missing"))?);
    }
    Ok((record, u32::from_be_bytes(*checksum)))
}

/// Computes the checksum of a record and its place. It shows damage, not deceit.
fn checksum_of(tree: Tree, key: &[u8], record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[tree.tag()]);
    hasher.update(key);
    hasher.update(record);
    hasher.finalize()
}

/// The part of a stored value that says how many chunks follow, and the checksum of all.
pub(super) fn head(value: &[u8]) -> &[u8] {
    value.get(..HEAD_LEN).unwrap_or(value)
}

/// Returns whether a stored value can be what sled has lost a part of: it has chunks elsewhere. One that
/// is whole without them only says so.
pub(super) fn has_chunks(tree: Tree, key: &[u8], value: &[u8]) -> bool {
    let is_whole = || {
        value.get(HEAD_LEN - 4..).and_then(<[u8]>::split_first_chunk).is_some_and(
            |(checksum, record)| checksum_of(tree, key, record).to_be_bytes() == *checksum,
        )
    };
    count(value).is_ok_and(|count| count > 0) && !is_whole()
}

/// Reads how many further chunks a stored value has.
pub(super) fn count(head: &[u8]) -> Result<u16, Fault> {
    match head {
        [FORMAT, high, low, _, _, _, _, ..] => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(Fault::damaged("a record has no head")),
    }
}

/// The value to store, and its further chunks.
pub(super) fn split<'a>(
    tree: Tree,
    key: &[u8],
    record: &'a [u8],
) -> Result<(Vec<u8>, impl Iterator<Item = &'a [u8]> + use<'a>), Fault> {
    let (first, rest) = record.split_at(record.len().min(MAX_VALUE - HEAD_LEN));
    let chunks = rest.chunks(MAX_VALUE);
    // 256 MiB: no record within the limits of its types comes near.
    let count = u16::try_from(chunks.len()).map_err(|_| {
        Fault::new(crate::backend::BackendErrorKind::Full, "a record has more than 65,535 chunks")
    })?;
    let mut head = Vec::with_capacity(HEAD_LEN + first.len());
    head.push(FORMAT);
    head.extend_from_slice(&count.to_be_bytes());
    head.extend_from_slice(&checksum_of(tree, key, record).to_be_bytes());
    head.extend_from_slice(first);
    Ok((head, chunks))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::backend::BackendErrorKind;

    struct Stored(BTreeMap<(Tree, Vec<u8>), Vec<u8>>);

    impl Values for Stored {
        fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<IVec>, Fault> {
            Ok(self.0.get(&(tree, key.to_vec())).map(|value| value.as_slice().into()))
        }
    }

    fn stored(record: &[u8]) -> Stored {
        let (head, chunks) = split(Tree::Keys, b"k", record).unwrap();
        let mut values = BTreeMap::from([((Tree::Keys, b"k".to_vec()), head)]);
        for (number, chunk) in (1..).zip(chunks) {
            values.insert((Tree::Chunks, trees::chunk(Tree::Keys, b"k", number)), chunk.to_vec());
        }
        Stored(values)
    }

    #[test]
    fn no_value_is_too_long_and_all_come_back() {
        let first = MAX_VALUE - HEAD_LEN;
        for (len, values) in [
            (0, 1),
            (first, 1),
            (first + 1, 2),
            (first + MAX_VALUE, 2),
            (first + MAX_VALUE + 1, 3),
            (1_000_000, 245),
        ] {
            let record: Vec<u8> = (0_u8..=250).cycle().take(len).collect();
            let stored = stored(&record);
            assert_eq!(stored.0.len(), values, "{len}");
            assert!(stored.0.values().all(|value| value.len() <= MAX_VALUE));
            assert_eq!(load(&stored, Tree::Keys, b"k").unwrap(), Some(record));
        }
    }

    #[test]
    fn what_is_not_a_record() {
        let kind = |head: &[u8]| join(&stored(&[]), Tree::Keys, b"k", head).unwrap_err().kind();
        let flipped = {
            let mut head = split(Tree::Keys, b"k", b"abc").unwrap().0;
            head[HEAD_LEN] ^= 1;
            head
        };
        let moved = split(Tree::Owners, b"k", b"abc").unwrap().0;
        let chunk_missing = [1, 0, 1, 0, 0, 0, 0, 9];
        for head in [&[][..], &[1], &[1, 0, 0, 0, 0, 0], &[0; 9], &chunk_missing, &flipped, &moved]
        {
            assert_eq!(kind(head), BackendErrorKind::Corrupt, "{head:?}");
        }
        assert!(split(Tree::Keys, b"k", &vec![0; 65_536 * MAX_VALUE]).is_err());
    }
}
