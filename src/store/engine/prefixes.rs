//! The accepted prefixes. `verify` reads them without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::{Prefix, PrefixNumber, PrefixTable};

/// Every prefix that the store ever had, by its number, and a bit for each that is accepted now.
#[derive(Debug)]
pub(in crate::store) struct AcceptedPrefixes {
    by_number: [OnceLock<Prefix>; PrefixNumber::LIMIT as usize],
    /// Stored with Release after the prefixes, and loaded with Acquire before them. Otherwise
    /// `find` could see a bit without its prefix, and an accepted token would be unrecognized. One
    /// word, so that `find` never mixes two tables.
    accepted: AtomicU64,
}

impl AcceptedPrefixes {
    pub(in crate::store) fn new(table: &PrefixTable) -> Self {
        let prefixes = Self {
            by_number: std::array::from_fn(|_| OnceLock::new()),
            accepted: AtomicU64::new(0),
        };
        prefixes.put(table);
        prefixes
    }

    /// Replaces the accepted prefixes. A number keeps its prefix for ever.
    pub(in crate::store) fn put(&self, table: &PrefixTable) {
        let mut accepted = 0;
        for entry in table.entries() {
            let number = entry.number.get();
            self.by_number[usize::from(number)].get_or_init(|| entry.prefix);
            accepted |= u64::from(entry.accepted) << number;
        }
        self.accepted.store(accepted, Ordering::Release);
    }

    /// Finds an accepted prefix and its number.
    #[inline]
    pub(in crate::store) fn find(&self, prefix: &[u8]) -> Option<(u8, &Prefix)> {
        let mut remaining = self.accepted.load(Ordering::Acquire);
        while remaining != 0 {
            // At most 63.
            #[allow(clippy::cast_possible_truncation)]
            let number = remaining.trailing_zeros() as u8;
            let accepted = self.by_number[usize::from(number)].get()?;
            if accepted.as_bytes() == prefix {
                return Some((number, accepted));
            }
            remaining &= remaining - 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_accepted_prefixes_are_found() {
        let prefix = |text| Prefix::new(text).unwrap();
        let table = PrefixTable::default().accepting(&[prefix("a"), prefix("ab")]).unwrap();
        let prefixes = AcceptedPrefixes::new(&table);
        assert_eq!(prefixes.find(b"ab"), Some((1, &prefix("ab"))));
        assert_eq!(prefixes.find(b""), None);
        prefixes.put(&table.accepting(&[prefix("ab"), prefix("c")]).unwrap());
        assert_eq!(prefixes.find(b"a"), None);
        assert_eq!(prefixes.find(b"c"), Some((2, &prefix("c"))));
    }
}
