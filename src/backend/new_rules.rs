//! New rules of a store, judged by the data that is there.

use std::collections::BTreeMap;

use super::replaced::Replaced;
use super::{BackendError, Rejection, Transaction};
use crate::id::{KeyId, OwnerId};
use crate::key::{Invalidations, KeyRecord, Kind, OwnerRecord, PrefixNumber, StoreMetadata};

/// Checks that the data fits new rules and prefixes. Judges all records as they will be: those of
/// the change by what it writes, and of the rest all that are whole.
///
/// A damaged record forbids nothing, since its fields can't be read. Its tokens are refused, and where
/// it is put back, it counts as one that was written before the change. It isn't the standard key that
/// its owner must keep.
pub(super) fn check(
    tx: &mut dyn Transaction,
    before: &StoreMetadata,
    new: &StoreMetadata,
    owners: &BTreeMap<OwnerId, Replaced<OwnerRecord>>,
    keys: &BTreeMap<KeyId, Replaced<KeyRecord>>,
) -> Result<Result<(), Rejection>, BackendError> {
    if new.rules == before.rules && new.prefixes == before.prefixes {
        return Ok(Ok(()));
    }
    let is_accepted =
        |number: PrefixNumber| new.prefixes.accepted().any(|accepted| accepted.number == number);
    // If several rules are broken, the change reports `keep_standard_key`, and otherwise the
    // last by name. The order in which a backend shows its keys doesn't matter.
    let mut forbidden = None;
    let mut names = BTreeMap::new();
    let mut standard: BTreeMap<OwnerId, bool> = BTreeMap::new();
    tx.each_owner(&mut |owner| {
        if let Some(owner) = owner.ok().filter(|owner| !owners.contains_key(&owner.id)) {
            standard.insert(owner.id, false);
        }
    })?;
    for owner in owners.values().filter_map(|owner| owner.after.as_ref()) {
        standard.insert(owner.id, false);
    }
    let mut judge = |key: &KeyRecord| {
        if key.seal.is_some() && !new.rules.recoverable_tokens {
            forbidden = forbidden.max(Some("recoverable_tokens"));
        }
        // A lapsed key can be extended, so the prefixes of its tokens stay.
        let accepts_all = || {
            key.tokens(Invalidations::default()).all(|(token, _)| is_accepted(token.digest.prefix))
        };
        if key.revoked.is_none() && !accepts_all() {
            forbidden = forbidden.max(Some("prefixes"));
        }
        if !key.is_live() {
            return;
        }
        if let Some(name) = &key.name {
            let again = names.insert((key.owner, name.clone()), ()).is_some();
            if again && new.rules.unique_names {
                forbidden = forbidden.max(Some("unique_names"));
            }
        }
        if key.kind == Kind::Standard {
            standard.insert(key.owner, true);
        }
    };
    let mut is_damaged = false;
    tx.each_key(&mut |key| match key {
        Ok(key) if keys.contains_key(&key.id) => {}
        Ok(key) => judge(&key),
        Err(_) => is_damaged = true,
    })?;
    keys.values().filter_map(|key| key.after.as_ref()).for_each(judge);
    // Where the rule holds already, an owner is without a whole standard key only by damage. Other
    // rules can be changed beside that.
    let is_held = before.rules.keep_standard_key && is_damaged;
    if new.rules.keep_standard_key && !is_held && standard.values().any(|has_one| !has_one) {
        forbidden = Some("keep_standard_key");
    }
    Ok(match forbidden {
        Some(rule) => Err(Rejection::DataForbid { rule }),
        None => Ok(()),
    })
}
