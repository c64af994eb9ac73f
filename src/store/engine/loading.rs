//! Records on their way from a scan into the index.

use std::collections::BTreeSet;

use crate::backend::{Damage, DamagedRecord, DamagedRow, Scanned, ScannedKey, ScannedOwner};
use crate::id::OwnerId;
use crate::permission::Pattern;
use crate::store::index::{Index, IndexError, Memo};

/// Distance, in records, at which the memory of a key's slot is prefetched before the key is put.
const PREFETCH_DISTANCE: usize = 8;

/// Records on their way into the index.
#[derive(Debug, Default)]
pub(super) struct Loading {
    /// The index has room for all expected keys.
    pub(super) has_room: bool,
    memo: Memo,
    failed: Option<IndexError>,
    /// Owners whose flags are cleared once their keys have been put.
    pub(super) unblocked: Vec<ScannedOwner>,
    /// Owners that the backend hasn't shown, of keys that it has; and damaged owners.
    pub(super) orphans: BTreeSet<OwnerId>,
    /// Keys whose tokens were issued in an epoch that their owners, as shown, haven't had.
    pub(super) outdated: Vec<ScannedKey>,
    damaged: Vec<DamagedRow>,
}

impl Loading {
    pub(super) fn put(&mut self, index: &Index, records: Vec<Scanned>) {
        let mut load = index.load(&mut self.memo);
        let ahead = records.iter().skip(PREFETCH_DISTANCE).map(Some).chain(std::iter::repeat(None));
        let (unblocked, orphans) = (&mut self.unblocked, &mut self.orphans);
        let (damaged, outdated) = (&mut self.damaged, &mut self.outdated);
        for (record, ahead) in records.iter().zip(ahead) {
            if let Some(Scanned::Key(key)) = ahead {
                load.prepare(key.id);
            }
            let put = match record {
                Scanned::Owner(owner) => load.put_owner(owner).map(|unblocks| {
                    if unblocks {
                        unblocked.push(owner.clone());
                    }
                }),
                Scanned::Damaged(row) => {
                    if let DamagedRecord::Owner(owner) = row.damage.record {
                        orphans.insert(owner);
                    }
                    damaged.push(row.clone());
                    Ok(())
                }
                Scanned::Key(key) => match load.put_key(key) {
                    Err(error @ (IndexError::OwnerMissing | IndexError::OwnerOutdated)) => {
                        orphans.insert(key.owner);
                        outdated.extend((error == IndexError::OwnerOutdated).then(|| key.clone()));
                        Ok(())
                    }
                    put => put,
                },
            };
            if let Err(error) = put {
                self.failed.get_or_insert(error);
            }
        }
    }

    /// Returns the patterns that match no permission, of the keys that were put.
    pub(super) fn take_unmatched(&mut self) -> BTreeSet<Pattern> {
        self.memo.take_unmatched()
    }

    /// Ends the loading, and returns the damaged rows.
    pub(super) fn finish(self, index: &Index) -> Result<Vec<DamagedRow>, IndexError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.unblocked.iter().for_each(|owner| index.clear_owner_flags(owner));
        Ok(self.damaged)
    }
}

/// Makes a damaged row of a key whose token was issued in an epoch that its owner hasn't had: the owner's
/// record, or the key's, is an older one that was put back.
pub(super) fn damaged_epoch(key: &ScannedKey) -> DamagedRow {
    key.damaged(Damage::new("keys", "owner_epoch", DamagedRecord::Key(key.id)))
}

/// Makes damaged rows of the keys of an owner whose record is damaged or lost.
pub(super) fn orphan(records: &mut Vec<Scanned>, owner: &OwnerId) {
    let found = records.iter().find_map(|record| match record {
        Scanned::Damaged(row) if row.damage.record == DamagedRecord::Owner(*owner) => {
            Some(row.damage.clone())
        }
        _ => None,
    });
    let damage = match found {
        Some(damage) => damage,
        None => {
            let lost = Damage::new("owners", "id", DamagedRecord::Owner(*owner));
            records.push(Scanned::Damaged(DamagedRow::new(lost.clone())));
            lost
        }
    };
    for record in records {
        if let Scanned::Key(key) = record {
            let damage = Damage { record: DamagedRecord::Key(key.id), ..damage.clone() };
            *record = Scanned::Damaged(key.damaged(damage));
        }
    }
}
