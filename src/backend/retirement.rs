//! The tokens that a change ends by retiring their pepper.

use std::collections::{BTreeMap, BTreeSet};

use super::replaced::Replaced;
use super::{BackendError, Damage, DamagedRecord, PepperUse, Transaction};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{Invalidations, KeyRecord, PepperNumber, StoreMetadata, TokensValidFrom};

/// Counts the live tokens under the peppers that new metadata retires. Looks at all keys: those of
/// the change as it writes them. Returns also the first such pepper; `None` if it retires none.
///
/// Damaged keys are counted, and keep no pepper from being retired by a change that may end tokens:
/// a retired pepper's tokens are dead also when their key's row is put back.
pub(super) fn ended(
    tx: &mut dyn Transaction,
    before: &StoreMetadata,
    new: &StoreMetadata,
    keys: &BTreeMap<KeyId, Replaced<KeyRecord>>,
    at: Timestamp,
) -> Result<Option<(PepperNumber, PepperUse)>, BackendError> {
    let retired: Vec<_> =
        new.retired_peppers().filter(|check| !before.is_retired(check.number)).collect();
    let Some(first) = retired.first().map(|check| check.number) else { return Ok(None) };
    let mut invalidations: BTreeMap<OwnerId, Option<TokensValidFrom>> = BTreeMap::new();
    tx.each_owner(&mut |owner| {
        // Of a damaged owner no invalidation is known: tokens of its keys count as live.
        if let Ok(owner) = owner {
            invalidations.insert(owner.id, owner.tokens_valid_from);
        }
    })?;
    let (mut tokens, mut found) = (0, BTreeSet::new());
    let mut count = 0;
    let mut look = |key: &KeyRecord| {
        if key.revoked.is_some() {
            return;
        }
        let owner = invalidations.get(&key.owner).copied().flatten();
        let (store, peppers) = (before.tokens_valid_from, &before.peppers[..]);
        let ended = key
            .tokens(Invalidations { owner, store, peppers })
            .filter(|(_, end)| end.is_none_or(|end| at < end))
            .filter(|(token, _)| retired.iter().any(|check| check.number == token.digest.pepper))
            .count() as u64;
        if ended > 0 {
            tokens += ended;
            count += 1;
            found.insert(key.id);
            if found.len() > PepperUse::SHOWN {
                found.pop_last();
            }
        }
    };
    let (mut damaged, mut named) = (0, Vec::new());
    tx.each_key(&mut |key| match key {
        Ok(key) if keys.contains_key(&key.id) => {}
        Ok(key) => look(&key),
        Err(Damage { record: DamagedRecord::Key(id), .. }) => named.push(id),
        Err(_) => damaged += 1,
    })?;
    keys.values().filter_map(|key| key.after.as_ref()).for_each(look);
    for id in named {
        let entry = tx.quarantine(id)?;
        damaged += u64::from(entry.is_none_or(|entry| entry.revoked.is_none()));
    }
    let some_keys = found.into_iter().collect();
    Ok(Some((first, PepperUse { tokens, keys: count, some_keys, damaged })))
}
