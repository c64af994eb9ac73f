//! Fixtures of the tests of the whole index.

use std::sync::Arc;

use super::super::{Index, Memo};
use crate::backend::{ScannedKey, ScannedOwner};
use crate::clock::{ManualClock, Timestamp};
use crate::id::{Generation, KeyId, OwnerId};
use crate::key::{
    Digest, IssueEpochs, Kind, Limit, Limits, PepperNumber, PrefixNumber, Scheme, SetBy,
    TokenRecord,
};
use crate::permission::{Access, Catalogue};

/// The number of permissions `links:0`, `links:1` and so on.
pub(super) const PERMISSIONS: u32 = 12;

pub(super) fn index() -> Index {
    let mut catalogue = Catalogue::builder().read("links:read");
    for number in 0..PERMISSIONS {
        catalogue = catalogue.write(format!("links:{number}"));
    }
    let catalogue = catalogue.build().unwrap();
    let clock = ManualClock::new(Timestamp::clamped_millis(1_767_225_600_000));
    Index::new(catalogue, vec![PepperNumber::new(1)], Arc::new(clock))
}

pub(super) fn by_admin<T>(value: T) -> Option<Limit<T>> {
    Some(Limit { value, by: SetBy::Administrator })
}

/// Returns the numbers of the keys' records, the owners' records and the lists that are in use;
/// then those of all entries.
pub(super) fn count(index: &Index) -> ([usize; 3], [usize; 3]) {
    index.limits.count(&index.lock().limits)
}

/// Puts an owner, whose keys are put next if they depend on the change.
pub(super) fn put_owner(index: &Index, owner: &ScannedOwner) {
    let _ = index.load(&mut Memo::default()).put_owner(owner).unwrap();
}

/// An id whose hash no other number's id has.
pub(super) fn id(number: u64) -> KeyId {
    KeyId::from_u128(7 << 76 | u128::from(number))
}

/// An owner without limits, whose keys may do everything.
pub(super) fn owner(id: &str) -> ScannedOwner {
    ScannedOwner {
        sweeps: None,
        id: OwnerId::new(id).unwrap(),
        suspended: false,
        max_access: Access::Full,
        limits: Limits::default(),
        tokens_valid_from: None,
    }
}

/// A standard key without limits, which may do everything.
pub(super) fn key(id: KeyId, owner: &str) -> ScannedKey {
    ScannedKey {
        id,
        owner: OwnerId::new(owner).unwrap(),
        kind: Kind::Standard,
        access: Access::Full,
        limits: None,
        expires_at: None,
        deactivated: false,
        blocked: false,
        revoked: false,
        lapsed: false,
        current: token(1, [7; 32]),
        previous: Vec::new(),
    }
}

/// A token of this generation and digest.
pub(super) fn token(generation: u32, digest: [u8; 32]) -> TokenRecord {
    let (pepper, prefix) = (PepperNumber::new(1), PrefixNumber::new(0).unwrap());
    TokenRecord {
        generation: Generation::new(generation).unwrap(),
        digest: Digest::new(digest, Scheme::Blake3Keyed64, pepper, prefix),
        issued_at: Timestamp::MIN,
        epochs: IssueEpochs::default(),
    }
}
