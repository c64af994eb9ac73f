//! The sums of the trees, by which entries that sled has lost are noticed.
//!
//! sled recovers its log up to damage in it, goes on behind that, and says nothing: what it lost is
//! as it was before, so that a revoked key lives. So each batch also writes a number, and the sum of
//! the hashes of each tree's entries. A lost end of the log shows as a number less than the one in
//! `DIR.lock`; a lost part of the log as a sum that is another.

use std::ops::Bound;

use super::chunks::{self, Values};
use super::engine::Engine;
use super::fault::Fault;
use super::trees::{self, Tree};

/// Each sum has 8 bytes.
const WIDTH: usize = 8;

/// The trees on whose entries verification rests, and the reach of a revocation. An opening checks
/// these; a check of the database all.
const OF_VERIFICATION: &[Tree] = &[
    Tree::StoreMetadata,
    Tree::Owners,
    Tree::Keys,
    Tree::Quarantine,
    Tree::OwnerKeys,
    Tree::CreatedKeys,
    Tree::Usage,
];

/// For each tree the sum of the hashes of its entries, by the tree's tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sums(Vec<u64>);

impl Sums {
    /// Reads the sums as the last batch left them; before the first all are 0.
    pub(super) fn load(from: &dyn Values) -> Result<Self, Fault> {
        let count = Tree::ALL.len();
        let Some(stored) = from.value(Tree::StoreMetadata, trees::SUMS)? else {
            return Ok(Self(vec![0; count]));
        };
        match stored.as_chunks::<WIDTH>() {
            (sums, []) if sums.len() == count => {
                Ok(Self(sums.iter().map(|sum| u64::from_be_bytes(*sum)).collect()))
            }
            _ => Err(Fault::damaged("the sums of the trees can't be right")),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|sum| sum.to_be_bytes()).collect()
    }

    /// Takes in that an entry has another value.
    pub(super) fn replace(
        &mut self,
        tree: Tree,
        key: &[u8],
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) {
        let sum = &mut self.0[place(tree)];
        *sum = sum.wrapping_sub(old.map_or(0, |old| of_entry(tree, key, old)));
        *sum = sum.wrapping_add(new.map_or(0, |new| of_entry(tree, key, new)));
    }

    /// Sums up a tree as it is.
    pub(super) fn sum_up(&mut self, engine: &Engine, tree: Tree) -> Result<(), Fault> {
        let mut sum = 0_u64;
        for entry in engine.range(tree, Bound::Unbounded, Bound::Unbounded) {
            let (key, value) = entry?;
            sum = sum.wrapping_add(of_entry(tree, &key, &value));
        }
        self.0[place(tree)] = sum;
        Ok(())
    }

    /// Checks that a tree has the entries that were written.
    ///
    /// A record that is damaged by itself, with sled's own checksums right, may be the reason of
    /// another sum: then the tree passes, and the record is out alone. sled never makes such a
    /// record of what it loses, except of one in chunks, which therefore explains nothing.
    pub(super) fn check(&self, engine: &Engine, tree: Tree) -> Result<(), Fault> {
        let (mut sum, mut is_explained) = (0_u64, false);
        for entry in engine.range(tree, Bound::Unbounded, Bound::Unbounded) {
            let (key, value) = entry?;
            sum = sum.wrapping_add(of_entry(tree, &key, &value));
            if is_record(tree, &key) && !chunks::has_chunks(tree, &key, &value) {
                is_explained |= chunks::join(engine, tree, &key, &value).is_err();
            }
        }
        if sum == self.0[place(tree)] || is_explained { Ok(()) } else { Err(Fault::lost(tree)) }
    }
}

/// Checks that no batch and no part of one is lost: that there are as many as are known to be
/// durable, and that the entries on which verification rests are those that were written.
pub(super) fn check_writes(engine: &Engine, durable: Option<u64>) -> Result<(), Fault> {
    let number = engine.number(trees::WRITES)?;
    if let Some(durable) = durable.filter(|durable| number < *durable) {
        return Err(Fault::earlier(number, durable));
    }
    let sums = Sums::load(engine)?;
    OF_VERIFICATION.iter().try_for_each(|tree| sums.check(engine, *tree))
}

fn place(tree: Tree) -> usize {
    usize::from(tree.tag() - 1)
}

fn is_record(tree: Tree, key: &[u8]) -> bool {
    match tree {
        Tree::StoreMetadata => key == trees::STORE,
        Tree::Owners
        | Tree::Keys
        | Tree::Events
        | Tree::Usage
        | Tree::Requests
        | Tree::Quarantine => true,
        _ => false,
    }
}

/// The hash of an entry; of a record that of its checksum, since that is of all of it. What a batch
/// says of itself has none, nor what is only a hint.
fn of_entry(tree: Tree, key: &[u8], value: &[u8]) -> u64 {
    let uncounted = [trees::FORMAT, trees::KEYS, trees::SUMS, trees::WRITES];
    if tree == Tree::StoreMetadata && uncounted.contains(&key) {
        return 0;
    }
    let value = if is_record(tree, key) { chunks::head(value) } else { value };
    let mut hasher = blake3::Hasher::new();
    hasher.update(key).update(&[0]).update(value);
    let mut hash = [0; WIDTH];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..WIDTH]);
    u64::from_be_bytes(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_take_in_what_is_written_in_any_order() {
        let entries: [(&[u8], &[u8]); 3] = [(b"a", b""), (b"b", b"1"), (b"", b"b1")];
        let mut forward = Sums(vec![0; Tree::ALL.len()]);
        let mut backward = forward.clone();
        let empty = forward.clone();
        for (key, value) in entries {
            forward.replace(Tree::OwnerKeys, key, None, Some(value));
        }
        for (key, value) in entries.iter().rev() {
            backward.replace(Tree::OwnerKeys, key, None, Some(b"before"));
            backward.replace(Tree::OwnerKeys, key, Some(b"before"), Some(value));
        }
        assert_eq!(forward, backward);
        assert_eq!(forward.encode().len(), WIDTH * Tree::ALL.len());
        backward.replace(Tree::OwnerKeys, b"a", Some(b""), None);
        assert_ne!(forward, backward);
        for (key, value) in entries {
            forward.replace(Tree::OwnerKeys, key, Some(value), None);
        }
        assert_eq!(forward, empty);
    }

    #[test]
    fn a_records_checksum_stands_for_it() {
        let (head, _) = chunks::split(Tree::Keys, b"k", b"abc").unwrap();
        let (other, _) = chunks::split(Tree::Keys, b"k", b"abd").unwrap();
        let of = |value: &[u8]| of_entry(Tree::Keys, b"k", value);
        assert_ne!(of(&head), of(&other));
        let mut damaged = head.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(of(&head), of(&damaged));
        assert_eq!(of_entry(Tree::StoreMetadata, trees::SUMS, b"1"), 0);
        assert_ne!(of_entry(Tree::StoreMetadata, trees::LAST_EVENT, b"1"), 0);
    }
}
