//! The beginning and the end of a sweep in an owner's record.

use super::swept::{Swept, unless_damaged};
use super::{AllWritten, BackendError, KeyCounts, PieceOf, Transaction};
use crate::id::{KeyId, OwnerId};
use crate::key::{Sweep, SweepKind, TokensValidFrom};

impl Swept<'_> {
    /// Binds a sweep of all keys that the owner has now.
    pub(super) fn bind(&mut self, owner: &OwnerId, sweep: Sweep) -> Result<u64, BackendError> {
        // The record as it is: the one that replaces it has the same epochs. What is bound doesn't
        // rest on counts, which may be damaged: they answer how many keys there were, and `left`.
        let counts = unless_damaged(self.key_counts(owner))?.unwrap_or_default();
        let (swept, left) = match sweep.kind {
            SweepKind::Purge => (counts.all, counts),
            SweepKind::Revoke => (counts.unrevoked, KeyCounts { all: 0, ..counts }),
        };
        let last_key = match unless_damaged(self.inner.last_key(owner))? {
            Some(last) => last.unwrap_or(KeyId::from_u128(0)),
            // Not known, so each damaged key is covered.
            None => KeyId::from_u128(u128::MAX),
        };
        let stored = self.stored(owner)?;
        if let Some(record) = &mut stored.record {
            let sweeps = record.sweeps.get_or_insert_default();
            let from = TokensValidFrom::after_sweep(record.tokens_valid_from);
            sweeps.left = sweeps.left.plus(left);
            sweeps.pending.push(Sweep { epoch: from.epoch, last_key, ..sweep });
            record.tokens_valid_from = Some(from);
            stored.is_changed = true;
        }
        Ok(swept)
    }

    /// Returns whether what is stored agrees with the end of a sweep. By the list of an owner's keys
    /// some may have been overlooked; then the counts have them. While another sweep covers these
    /// too, that one's end asks.
    pub(super) fn may_end(&mut self, piece: PieceOf, by: AllWritten) -> Result<bool, BackendError> {
        let AllWritten::Listed { damaged } = by else { return Ok(true) };
        let Some(sweeps) = self.sweeps(&piece.owner)? else { return Ok(true) };
        let mut others = sweeps.pending.iter().filter(|sweep| sweep.binding != piece.binding);
        let is_last = others.clone().next().is_none();
        let is_last_purge = !others.any(|sweep| sweep.kind == SweepKind::Purge);
        let left = sweeps.left;
        Ok((!is_last_purge || left.all == 0) && (!is_last || left.unrevoked <= damaged))
    }

    /// Ends a sweep whose keys are all written, and with the last one the record of an owner that
    /// was purged.
    pub(super) fn end_sweep(&mut self, piece: PieceOf) -> Result<(), BackendError> {
        let stored = self.stored(&piece.owner)?;
        let Some(record) = &mut stored.record else { return Ok(()) };
        let Some(sweeps) = &mut record.sweeps else { return Ok(()) };
        sweeps.pending.retain(|sweep| sweep.binding != piece.binding);
        stored.is_changed = true;
        if sweeps.pending.is_empty() {
            let is_purged = sweeps.purged;
            record.sweeps = None;
            if is_purged {
                stored.record = None;
            }
        }
        Ok(())
    }
}
