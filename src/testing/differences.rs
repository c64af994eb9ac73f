//! Records compared field by field.
//!
//! Digests are never compared or printed by accident, so records have no equality of their own.
//! These functions name the fields that differ, and show no value. Each takes its records apart
//! completely: a field that is added and not compared doesn't compile.

use crate::backend::{ScannedKey, ScannedOwner};
use crate::key::{Digest, KeyRecord, OwnerRecord, PreviousToken, Seal, TokenRecord};

/// Names the fields in which `$a` and `$b` differ; `with` gives those that lack equality a way.
macro_rules! differing {
    ($type:ident, $a:expr, $b:expr, [$($plain:ident),*], [$($field:ident by $same:ident),*]) => {{
        let $type { $($plain: _,)* $($field: _,)* } = $a;
        let mut names = Vec::new();
        $(if $a.$plain != $b.$plain {
            names.push(stringify!($plain));
        })*
        $(if !$same(&$a.$field, &$b.$field) {
            names.push(stringify!($field));
        })*
        names
    }};
}

/// The names of the fields in which two keys differ.
#[must_use]
pub fn of_keys(a: &KeyRecord, b: &KeyRecord) -> Vec<&'static str> {
    differing!(
        KeyRecord,
        a,
        b,
        [
            id,
            owner,
            version,
            numeric_id,
            kind,
            name,
            access,
            access_by,
            expires_at,
            expiry_by,
            settings,
            limits,
            created_at,
            created_by,
            updated_at,
            deactivated,
            blocked,
            revoked
        ],
        [current by same_token, previous by same_previous, seal by same_seal]
    )
}

/// The names of the fields in which two owners differ.
#[must_use]
pub fn of_owners(a: &OwnerRecord, b: &OwnerRecord) -> Vec<&'static str> {
    differing!(
        OwnerRecord,
        a,
        b,
        [
            id,
            version,
            defaults,
            suspended,
            max_access,
            limits,
            max_keys,
            tokens_valid_from,
            created_at,
            created_by,
            updated_at
        ],
        []
    )
}

/// The names of the fields in which two scanned keys differ.
#[must_use]
pub fn of_scanned_keys(a: &ScannedKey, b: &ScannedKey) -> Vec<&'static str> {
    differing!(
        ScannedKey,
        a,
        b,
        [id, owner, kind, access, limits, expires_at, deactivated, blocked, revoked],
        [current by same_token, previous by same_previous]
    )
}

/// The names of the fields in which two scanned owners differ.
#[must_use]
pub fn of_scanned_owners(a: &ScannedOwner, b: &ScannedOwner) -> Vec<&'static str> {
    differing!(ScannedOwner, a, b, [id, suspended, max_access, limits, tokens_valid_from], [])
}

fn same_digest(a: &Digest, b: &Digest) -> bool {
    (a.scheme, a.pepper, a.prefix, a.expose()) == (b.scheme, b.pepper, b.prefix, b.expose())
}

fn same_token(a: &TokenRecord, b: &TokenRecord) -> bool {
    let TokenRecord { generation, digest, issued_at } = a;
    (generation, issued_at) == (&b.generation, &b.issued_at) && same_digest(digest, &b.digest)
}

// Named in `differing!` for a field of this very type.
#[allow(clippy::ptr_arg)]
fn same_previous(a: &Vec<PreviousToken>, b: &Vec<PreviousToken>) -> bool {
    let same = |(a, b): (&PreviousToken, &PreviousToken)| {
        let PreviousToken { token, ends_at } = a;
        *ends_at == b.ends_at && same_token(token, &b.token)
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

fn same_seal(a: &Option<Seal>, b: &Option<Seal>) -> bool {
    let parts = |seal: &Seal| {
        let Seal { key_number, nonce, ciphertext } = seal.clone();
        (key_number, nonce, ciphertext)
    };
    a.as_ref().map(parts) == b.as_ref().map(parts)
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

    #[test]
    fn small_and_largest_differ_in_all_but_id_owner_version_and_kind() {
        let (small, large) = (sample::key(1, "acme"), sample::largest_key(1, "acme"));
        let (small, large) = (small.unwrap(), large.unwrap());
        assert_eq!(of_keys(&small, &large).len(), 21 - 4);
        assert_eq!(of_scanned_keys(&(&small).into(), &(&large).into()).len(), 11 - 3);
        let (small, large) = (sample::owner("acme"), sample::largest_owner("acme"));
        let (small, large) = (small.unwrap(), large.unwrap());
        assert_eq!(of_owners(&small, &large).len(), 11 - 2);
        assert_eq!(of_scanned_owners(&(&small).into(), &(&large).into()).len(), 5 - 1);
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
