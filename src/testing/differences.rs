//! Records compared field by field.
//!
//! Digests are never compared or printed by accident, so records have no equality of their own.
//! These functions name the fields that differ, and show no value. They follow from the declaration
//! of each record, so no field can be forgotten.

use crate::backend::{ScannedKey, ScannedOwner};
use crate::key::{Field, KeyRecord, OwnerRecord, PlainBytes, Sink};

/// The error of a sink that takes everything.
type Never = std::convert::Infallible;

/// The fields of a record, each with its name and its plain bytes.
#[derive(Default)]
struct Named(Vec<(&'static str, PlainBytes)>);

impl Named {
    fn of<T: Field>(id: &T, put: impl FnOnce(&mut Self) -> Result<(), Never>) -> Self {
        let mut named = Self::default();
        let Ok(()) = named.field("id", id).and_then(|()| put(&mut named));
        named
    }

    fn differing(&self, other: &Self) -> Vec<&'static str> {
        let pairs = self.0.iter().zip(&other.0);
        pairs
            .filter(|((_, a), (_, b))| a.as_slice() != b.as_slice())
            .map(|((name, _), _)| *name)
            .collect()
    }

    fn last(&mut self) -> &mut PlainBytes {
        if self.0.is_empty() {
            self.0.push(("", PlainBytes::default()));
        }
        let last = self.0.len() - 1;
        &mut self.0[last].1
    }
}

impl Sink for Named {
    type Error = Never;

    const HAS_PLACES: bool = false;

    fn field<T: Field>(&mut self, name: &'static str, value: &T) -> Result<(), Never> {
        self.0.push((name, PlainBytes::default()));
        value.put(self)
    }

    fn number(&mut self, number: u64) -> Result<(), Never> {
        self.last().number(number)
    }

    fn word(&mut self, number: u8, word: &'static str) -> Result<(), Never> {
        self.last().word(number, word)
    }

    fn text(&mut self, text: &str) -> Result<(), Never> {
        self.last().text(text)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Never> {
        self.last().bytes(bytes)
    }

    fn option<T: Field>(&mut self, value: Option<&T>) -> Result<(), Never> {
        self.last().option(value)
    }

    fn list<T: Field>(&mut self, items: &[T]) -> Result<(), Never> {
        self.last().list(items)
    }
}

/// Names the fields in which two keys differ.
#[must_use]
pub fn of_keys(a: &KeyRecord, b: &KeyRecord) -> Vec<&'static str> {
    let named = |key: &KeyRecord| Named::of(&key.id, |sink| key.put_fields(sink));
    named(a).differing(&named(b))
}

/// Names the fields in which two owners differ.
#[must_use]
pub fn of_owners(a: &OwnerRecord, b: &OwnerRecord) -> Vec<&'static str> {
    let named = |owner: &OwnerRecord| Named::of(&owner.id, |sink| owner.put_fields(sink));
    named(a).differing(&named(b))
}

/// Names the fields in which two scanned keys differ.
#[must_use]
pub fn of_scanned_keys(a: &ScannedKey, b: &ScannedKey) -> Vec<&'static str> {
    let named = |key: &ScannedKey| Named::of(&key.id, |sink| key.put_fields(sink));
    named(a).differing(&named(b))
}

/// Names the fields in which two scanned owners differ.
#[must_use]
pub fn of_scanned_owners(a: &ScannedOwner, b: &ScannedOwner) -> Vec<&'static str> {
    let named = |owner: &ScannedOwner| Named::of(&owner.id, |sink| owner.put_fields(sink));
    named(a).differing(&named(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn a_record_does_not_differ_from_itself() {
        let key = sample::largest_key(1, "acme").unwrap();
        assert!(of_keys(&key, &key.clone()).is_empty());
        let owner = sample::largest_owner("acme").unwrap();
        assert!(of_owners(&owner, &owner.clone()).is_empty());
        let scanned = ScannedKey::from(&key);
        assert!(of_scanned_keys(&scanned, &scanned.clone()).is_empty());
        let scanned = ScannedOwner::from(&owner);
        assert!(of_scanned_owners(&scanned, &scanned.clone()).is_empty());
    }

    /// The sweeps of an owner aren't a caller's to write.
    #[test]
    fn small_and_largest_differ_in_all_but_id_owner_version_kind_and_sweeps() {
        let (small, large) = (sample::key(1, "acme"), sample::largest_key(1, "acme"));
        let (small, large) = (small.unwrap(), large.unwrap());
        let alike = |named: Named, differing: Vec<&str>| -> Vec<&str> {
            let names = named.0.iter().map(|(name, _)| *name);
            names.filter(|name| !differing.contains(name)).collect()
        };
        let named = Named::of(&small.id, |sink| small.put_fields(sink));
        assert_eq!(alike(named, of_keys(&small, &large)), ["id", "owner", "kind", "version"]);
        let (small, large) = (ScannedKey::from(&small), ScannedKey::from(&large));
        let named = Named::of(&small.id, |sink| small.put_fields(sink));
        assert_eq!(alike(named, of_scanned_keys(&small, &large)), ["id", "owner", "kind"]);
        let (small, large) = (sample::owner("acme"), sample::largest_owner("acme"));
        let (small, large) = (small.unwrap(), large.unwrap());
        let named = Named::of(&small.id, |sink| small.put_fields(sink));
        assert_eq!(alike(named, of_owners(&small, &large)), ["id", "sweeps", "version"]);
        let (small, large) = (ScannedOwner::from(&small), ScannedOwner::from(&large));
        let named = Named::of(&small.id, |sink| small.put_fields(sink));
        assert_eq!(alike(named, of_scanned_owners(&small, &large)), ["id", "sweeps"]);
    }

    #[test]
    fn parts_that_have_no_equality_are_looked_into() {
        let key = sample::largest_key(1, "acme").unwrap();
        let differs = |edit: fn(&mut KeyRecord)| {
            let mut other = key.clone();
            edit(&mut other);
            of_keys(&key, &other)
        };
        assert_eq!(differs(|k| k.current.digest = sample::digest(1, 1).unwrap()), ["current"]);
        assert_eq!(differs(|k| k.current.issued_at = sample::at(1)), ["current"]);
        assert_eq!(differs(|k| k.previous.swap(0, 1)), ["previous"]);
        assert_eq!(differs(|k| k.previous.truncate(4)), ["previous"]);
        assert_eq!(differs(|k| k.previous[4].ends_at = sample::at(1)), ["previous"]);
        assert_eq!(differs(|k| k.seal = None), ["seal"]);
        assert_eq!(differs(|k| k.seal.as_mut().unwrap().ciphertext[118] ^= 1), ["seal"]);
    }
}
