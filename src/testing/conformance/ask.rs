//! Questions that cases often ask of a backend.

use std::fmt::Display;

use super::failure::{Failure, Tested, ensure, ensure_eq};
use super::{walk, wording};
use crate::backend::{
    Applied, Backend, Change, CommitOutcome, EventFilter, KeyFilter, Rejection, Scanned,
    ScannedKey, ScannedOwner, StateSet, UsageChange, UsageOutcome, UsageSubject,
};
use crate::event::Event;
use crate::id::{KeyId, OwnerId};
use crate::key::{KeyRecord, OwnerRecord, StoreMetadata, Usage, Used};
use crate::testing::{differences, sample};

/// Questions to a backend; what isn't as expected fails the case.
pub(super) trait Ask: Backend {
    /// Commits one change, which must take effect.
    #[track_caller]
    fn apply(&self, change: Change) -> Result<Applied, Failure> {
        let named = wording::of_change(&change);
        match self.commit_one(change)? {
            Ok(applied) => Ok(applied),
            Err(rejection) => Err(refused(&named, &rejection)),
        }
    }

    /// Commits changes as one batch, all of which must take effect.
    #[track_caller]
    fn apply_all(&self, batch: &[Change]) -> Result<Vec<Applied>, Failure> {
        let mut applied = Vec::with_capacity(batch.len());
        for (change, outcome) in batch.iter().zip(self.batch(batch)?) {
            match outcome {
                Ok(outcome) => applied.push(outcome),
                Err(rejection) => return Err(refused(&wording::of_change(change), &rejection)),
            }
        }
        Ok(applied)
    }

    /// Commits one change, which must be refused.
    #[track_caller]
    fn refuse(&self, change: Change) -> Result<Rejection, Failure> {
        let named = wording::of_change(&change);
        match self.commit_one(change)? {
            Ok(_) => {
                Err(Failure::new(format!("{named}: the change took effect, but must be refused")))
            }
            Err(rejection) => Ok(rejection),
        }
    }

    /// Commits one change, which must be refused for just this reason.
    #[track_caller]
    fn expect_refusal(&self, change: Change, expected: &Rejection, what: impl Display) -> Tested {
        let (named, must) = (wording::of_change(&change), wording::of_rejection(expected));
        match self.commit_one(change)? {
            Ok(_) => Err(Failure::new(format!(
                "{what} ({named}): the change took effect, but must be refused: {must}"
            ))),
            Err(found) if found != *expected => Err(Failure::new(format!(
                "{what} ({named}): refused for another reason, {}; must be: {must}",
                wording::of_rejection(&found)
            ))),
            Err(_) => Ok(()),
        }
    }

    /// Commits changes as one batch; each has an outcome.
    #[track_caller]
    fn batch(&self, batch: &[Change]) -> Result<CommitOutcome, Failure> {
        let outcome = self.commit(batch)?;
        ensure_eq!(outcome.len(), batch.len(), "outcomes of a batch");
        Ok(outcome)
    }

    #[track_caller]
    fn commit_one(&self, change: Change) -> Result<Result<Applied, Rejection>, Failure> {
        match self.batch(&[change])?.pop() {
            Some(outcome) => Ok(outcome),
            None => Err(Failure::new("a change without an outcome")),
        }
    }

    /// Takes in usage as one batch; each step has an outcome.
    #[track_caller]
    fn take_in(&self, batch: &[UsageChange]) -> Result<UsageOutcome, Failure> {
        let outcome = self.record_usage(batch)?;
        ensure_eq!(outcome.len(), batch.len(), "outcomes of a batch of usage");
        Ok(outcome)
    }

    /// Reads the usage of one key or owner.
    #[track_caller]
    fn usage_of(&self, of: UsageSubject) -> Result<Usage, Failure> {
        match self.usage(&[of])?[..] {
            [usage] => Ok(usage),
            ref other => Err(Failure::new(format!("{} answers to one question", other.len()))),
        }
    }

    /// Reads the uses of one key.
    #[track_caller]
    fn used(&self, key: KeyId) -> Result<Used, Failure> {
        Ok(self.usage_of(UsageSubject::Key(key))?.used)
    }

    /// Finds this key by its id, the same in every field.
    #[track_caller]
    fn expect_key(&self, expected: &KeyRecord) -> Tested {
        same_key(self.key(expected.id)?, expected)
    }

    /// Finds this key by its numeric id, the same in every field.
    #[track_caller]
    fn expect_by_numeric_id(&self, expected: &KeyRecord) -> Tested {
        let Some(id) = expected.numeric_id else {
            return Err(Failure::new("the expected key has no numeric id"));
        };
        same_key(self.key_by_numeric_id(id)?, expected)
    }

    /// Finds this owner, the same in every field.
    #[track_caller]
    fn expect_owner(&self, expected: &OwnerRecord) -> Tested {
        let id = expected.id;
        let Some(found) = self.owner(&id)? else {
            return Err(Failure::new(format!("owner {id} isn't found")));
        };
        let differing = differences::of_owners(&found, expected);
        ensure!(differing.is_empty(), "owner {id} differs in {differing:?}");
        Ok(())
    }

    #[track_caller]
    fn expect_no_key(&self, id: KeyId) -> Tested {
        ensure!(self.key(id)?.is_none(), "key {id} is there");
        Ok(())
    }

    #[track_caller]
    fn expect_no_owner(&self, id: &OwnerId) -> Tested {
        ensure!(self.owner(id)?.is_none(), "owner {id} is there");
        Ok(())
    }

    /// The store's own record, which must be there.
    #[track_caller]
    fn stored_metadata(&self) -> Result<StoreMetadata, Failure> {
        self.metadata()?.ok_or_else(|| Failure::new("there is no metadata"))
    }

    /// Nothing was ever committed to it.
    #[track_caller]
    fn expect_blank(&self) -> Tested {
        ensure!(self.metadata()?.is_none(), "there is a metadata");
        self.expect_last_and_no_records(0)
    }

    /// There are no records but the store's own, and only the event of its creation.
    #[track_caller]
    fn expect_empty(&self) -> Tested {
        self.expect_last_and_no_records(1)
    }

    #[track_caller]
    fn expect_last_and_no_records(&self, last_event: u64) -> Tested {
        ensure_eq!(self.last_event()?, last_event, "last event of an empty store");
        let (owners, keys, last) = self.scanned()?;
        let expected = (0, 0, last_event);
        ensure_eq!((owners.len(), keys.len(), last), expected, "a scan of an empty store");
        Ok(())
    }

    /// All events from the first.
    fn all_events(&self) -> Result<Vec<Event>, Failure> {
        walk::events(self, 0, &EventFilter::default(), walk::WIDE)
    }

    /// The ids of all keys, newest first.
    fn all_keys(&self) -> Result<Vec<KeyId>, Failure> {
        let filter = KeyFilter::new(StateSet::ALL, sample::at(0));
        walk::keys(self, &filter, walk::WIDE)
    }

    /// Scans, and returns owners and keys apart, and the scan's number.
    fn scanned(&self) -> Result<(Vec<ScannedOwner>, Vec<ScannedKey>, u64), Failure> {
        let (mut owners, mut keys, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
        let last = self.scan(&mut |scanned| match scanned {
            Scanned::Key(key) => keys.push(key),
            Scanned::Owner(owner) => owners.push(owner),
            Scanned::Damaged(row) => damaged.push(row.damage),
        })?;
        if let Some(damage) = damaged.first() {
            return Err(Failure::new(format!("a whole record is shown as damaged: {damage}")));
        }
        Ok((owners, keys, last))
    }
}

impl<B: Backend + ?Sized> Ask for B {}

#[track_caller]
fn refused(change: &str, rejection: &Rejection) -> Failure {
    let why = wording::of_rejection(rejection);
    Failure::new(format!("{change}: the change was refused, but must take effect: {why}"))
}

#[track_caller]
fn same_key(found: Option<KeyRecord>, expected: &KeyRecord) -> Tested {
    let id = expected.id;
    let Some(found) = found else {
        return Err(Failure::new(format!("key {id} isn't found")));
    };
    let differing = differences::of_keys(&found, expected);
    ensure!(differing.is_empty(), "key {id} differs in {differing:?}");
    Ok(())
}
