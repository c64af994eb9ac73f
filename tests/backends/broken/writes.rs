//! Faults of commits.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keyhasp::backend::{
    Applied, Backend, BackendError, BackendErrorKind, Change, CommitOutcome, EventFilter,
    EventQuery, KeyFilter, KeyPageQuery, Operation, Rejection, StateSet, Write,
};
use keyhasp::clock::Timestamp;
use keyhasp::event::Event;
use keyhasp::id::{NumericId, OwnerId};
use keyhasp::key::{KeyRecord, StoreMetadata, StoreRules};
use keyhasp::testing::sample;

use super::written::named;
use super::{Entry, Fault, FaultyBackend, Half, NAME};

/// Longest wait for a thread that scans all the time.
const PATIENCE: Duration = Duration::from_secs(60);

type Outcome = Result<Applied, Rejection>;

impl FaultyBackend {
    /// The metadata that is stored for one that is asked for; if only its rules are others, the one
    /// asked for is shown.
    pub(super) fn as_stored(&self, asked: &StoreMetadata) -> StoreMetadata {
        let mut metadata = asked.clone();
        match self.fault {
            Fault::NamesMayRepeat => metadata.rules.unique_names = false,
            Fault::NamesNeverRepeat => metadata.rules.unique_names = true,
            Fault::LastStandardKeysGo => metadata.rules.keep_standard_key = false,
            Fault::MetadatasAreCut => metadata.peppers.truncate(100),
            _ => return metadata,
        }
        if metadata.rules != asked.rules {
            self.notes().shown = Some(asked.clone());
        }
        metadata
    }

    pub(super) fn write_event(&self) -> Result<(), BackendError> {
        let note = sample::note(&sample::key(1, "acme").unwrap()).unwrap();
        self.memory.commit(&[note]).map(drop)
    }

    pub(super) fn write_pruning(
        &self,
        before: Timestamp,
        mut limit: usize,
    ) -> Result<u64, BackendError> {
        let events = self.all_events()?;
        let last = self.memory.last_event()?;
        let mut notes = self.notes();
        match self.fault {
            Fault::PruningHasNoLimit => limit = usize::MAX,
            Fault::PruningRemovesNothing => return Ok(0),
            Fault::PruningGoesByTimeAlone => {
                let old = |event: &&Event| event.at < before && event.sequence < last;
                let old: BTreeSet<u64> =
                    events.iter().filter(old).map(|event| event.sequence).collect();
                notes.hidden_events.extend(&old);
                return Ok(old.len() as u64);
            }
            Fault::PruningRemovesTheNewest => {
                let newest = events.last().filter(|event| event.at < before);
                notes.hidden_events.extend(newest.map(|event| event.sequence));
            }
            Fault::PrunedEventsAreFoundByFilters => notes.all_events = events,
            _ => {}
        }
        notes.log.push(Entry::Pruned(before, limit));
        self.memory.prune_events(before, limit)
    }

    fn all_events(&self) -> Result<Vec<Event>, BackendError> {
        let (filter, limit) = (EventFilter::default(), usize::MAX);
        Ok(self
            .memory
            .events(&EventQuery { after: 0, before: None, filter, limit, examine: limit })?
            .events)
    }

    pub(super) fn write_batch(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let _turn = self.disk.turn.lock().unwrap();
        let full = || Err(BackendError::new(BackendErrorKind::Full, NAME, "commit"));
        match self.fault {
            Fault::BatchesAreSmall if batch.len() > 100 => return full(),
            Fault::ChangesAreSmall if batch.iter().any(|c| c.operations.len() > 500) => {
                return full();
            }
            Fault::EmptyBatchesLeaveAnEvent if batch.is_empty() => self.write_event()?,
            Fault::CommitsNeedNoMetadata if self.memory.metadata()?.is_none() => {
                let creation = sample::create_metadata(&sample::metadata().unwrap()).unwrap();
                self.memory.commit(&[creation])?;
            }
            _ => {}
        }
        let mut outcomes: CommitOutcome = Vec::new();
        for (position, change) in batch.iter().enumerate() {
            let refused = outcomes.iter().find_map(|outcome| outcome.clone().err());
            let mut outcome = match &refused {
                Some(reason) if self.is(Fault::BatchesStopAtARefusal) => Err(reason.clone()),
                _ => self.write_change(change, &batch[..position])?,
            };
            if let (Err(reason), Some(first)) = (&mut outcome, refused)
                && self.is(Fault::EverythingInABatchIsRefusedForOneReason)
            {
                *reason = first;
            }
            if self.is(Fault::BatchesMix) && batch.len() > 1 {
                self.write_event()?;
            }
            outcomes.push(outcome);
        }
        self.committed.store(true, Ordering::SeqCst);
        Ok(outcomes)
    }

    fn write_change(&self, change: &Change, previous: &[Change]) -> Result<Outcome, BackendError> {
        if let Some(rejection) = self.refused_too_strictly(change, previous)? {
            return Ok(Err(rejection));
        }
        let mut change = change.clone();
        self.spoil(&mut change, previous)?;
        self.spoil_request(&mut change);
        let assigned = self.assign(&mut change)?;
        let mut outcome = if self.is(Fault::ChangesAreCommittedByTheOperation) {
            self.commit_by_operation(&change)?
        } else {
            self.commit_logged(&change)?
        };
        if let Err(rejection) = &outcome {
            match (self.fault, rejection) {
                (Fault::RefusedPiecesAreAcknowledged, Rejection::KeysChanged)
                | (Fault::SweepsHaveNoLimit, Rejection::SweepsPending(_)) => {
                    return Ok(Ok(Applied::default()));
                }
                _ => {}
            }
            let rejection = rejection.clone();
            outcome = self.after_refusal(&mut change, rejection)?;
        }
        if let Ok(applied) = &mut outcome {
            if self.is(Fault::SweepsAreBoundByTheCount) {
                // As of an owner whose counts read too low.
                applied.swept = 0;
            }
            applied.numeric_ids.extend(assigned);
            self.spoil_answer(applied);
        }
        Ok(outcome)
    }

    fn commit_logged(&self, change: &Change) -> Result<Outcome, BackendError> {
        let outcome = self.memory.commit(std::slice::from_ref(change))?.remove(0);
        if outcome.is_ok() {
            let mut notes = self.notes();
            notes.log.push(Entry::Committed(change.clone()));
            for operation in &change.operations {
                match &operation.write {
                    Write::CreateOwner(owner) => drop(notes.owners_ever.insert(owner.id)),
                    Write::CreateKey(create) => notes.names_ever.extend(named(&create.record)),
                    _ => {}
                }
            }
        }
        Ok(outcome)
    }

    /// Commits each operation by itself. After the first one, a scan sees half a change.
    fn commit_by_operation(&self, change: &Change) -> Result<Outcome, BackendError> {
        let mut all: Option<Applied> = None;
        for operation in &change.operations {
            let one = Change {
                piece_of: None,
                preconditions: change.preconditions.clone(),
                operations: vec![operation.clone()],
                lapse_expired_by: change.lapse_expired_by,
                once: change.once.clone().filter(|_| all.is_none()),
                ends_tokens: change.ends_tokens,
            };
            // Each scan is wholly before this or after it.
            let mut half = self.half.lock().unwrap();
            let one = match self.commit_logged(&one)? {
                Ok(one) => one,
                Err(rejection) => return Ok(Err(rejection)),
            };
            if *half == Half::NotYet && change.operations.len() > 1 {
                *half = Half::Stands;
            }
            drop(half);
            self.wait_until_half_is_seen();
            all = Some(match all {
                Some(all) => Applied { last_event: one.last_event, ..all },
                None => one,
            });
        }
        match all {
            Some(all) => Ok(Ok(all)),
            None => self.commit_logged(change),
        }
    }

    pub(super) fn wait_until_half_is_seen(&self) {
        let started = Instant::now();
        while *self.half.lock().unwrap() == Half::Stands && started.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }

    pub(super) fn keys_of(&self, owner: &OwnerId) -> Result<Vec<KeyRecord>, BackendError> {
        let (states, now) = (StateSet::ALL, Timestamp::MIN);
        let filter = KeyFilter { owner: Some(*owner), ..KeyFilter::new(states, now) };
        let (before, after, limit) = (None, None, usize::MAX);
        let query = KeyPageQuery { filter, before, after, limit, examine: limit };
        Ok(self.memory.page_keys(&query)?.keys)
    }

    /// Assigns numeric ids by a rule of its own.
    fn assign(&self, change: &mut Change) -> Result<Vec<NumericId>, BackendError> {
        let fills_gaps = self.is(Fault::NextNumericIdFillsGaps);
        if !fills_gaps && !self.is(Fault::NextNumericIdFollowsThoseThatAreLeft) {
            return Ok(Vec::new());
        }
        let mut assigned = Vec::new();
        for operation in &mut change.operations {
            let Write::CreateKey(create) = &mut operation.write else { continue };
            if !create.next_numeric_id {
                continue;
            }
            let present = self.keys_of(&create.record.owner)?;
            let present: BTreeSet<u64> = present
                .iter()
                .filter_map(|key| key.numeric_id)
                .chain(assigned.iter().copied())
                .map(NumericId::get)
                .collect();
            let next = if fills_gaps {
                (1..).find(|id| !present.contains(id)).unwrap_or(1)
            } else {
                present.last().map_or(1, |last| last + 1)
            };
            create.next_numeric_id = false;
            create.record.numeric_id = NumericId::new(next).ok();
            assigned.extend(create.record.numeric_id);
        }
        Ok(assigned)
    }

    /// Does, after all or in part, what was refused.
    fn after_refusal(
        &self,
        change: &mut Change,
        rejection: Rejection,
    ) -> Result<Outcome, BackendError> {
        match (self.fault, &rejection) {
            (Fault::RefusedChangesLeaveWhatCameBefore, _) => {
                for Operation { write, event } in change.operations.drain(..) {
                    if self.commit_logged(&Change::of(write, event))?.is_err() {
                        break;
                    }
                }
                return Ok(Err(rejection));
            }
            (Fault::RefusedChangesTakeANumber, _) => {
                self.write_event()?;
                return Ok(Err(rejection));
            }
            (
                Fault::NumericIdsAreForgotten | Fault::NextNumericIdFollowsThoseThatAreLeft,
                Rejection::NumericIdTaken(id),
            ) if self.memory.key_by_numeric_id(*id)?.is_none() => strip(change, *id),
            (Fault::NumericIdsMayRepeat, Rejection::NumericIdTaken(id)) => strip(change, *id),
            (Fault::NumericIdsStartAgainAfterTheLast, Rejection::NumericIdsExhausted) => {
                for operation in &mut change.operations {
                    if let Write::CreateKey(create) = &mut operation.write {
                        create.next_numeric_id = false;
                        create.record.numeric_id = NumericId::new(1).ok();
                    }
                }
            }
            (Fault::KeysGoWithTheirOwner, Rejection::OwnerHasKeys) => {
                let last = change.operations.last().cloned().unwrap();
                if let Write::RemoveOwner(id, _) = last.write {
                    for key in self.keys_of(&id)? {
                        let (write, event) =
                            (Write::RemoveKey(key.id, key.version), last.event.clone());
                        change.operations.push(Operation { write, event });
                    }
                }
            }
            (Fault::KeysNeedNoOwner, Rejection::OwnerMissing) => {
                let is_removal = |write: &Write| matches!(write, Write::RemoveOwner(..));
                let removes = change.operations.iter().any(|one| is_removal(&one.write));
                change.operations.retain(|one| !is_removal(&one.write));
                if !removes && let Write::CreateKey(create) = &change.operations[0].write {
                    let owner = sample::owner(create.record.owner.as_str()).unwrap();
                    let with_owner = sample::create_owner(&owner).unwrap().operations;
                    change.operations.extend(with_owner);
                }
            }
            (Fault::FirstMetadataIsOverwritten, Rejection::StoreExists) => {
                for operation in &mut change.operations {
                    if let Write::CreateMetadata(metadata) = &operation.write {
                        self.notes().shown = Some((**metadata).clone());
                        operation.write = Write::Nothing;
                    }
                }
            }
            (Fault::RulesDoNotAskTheData, Rejection::DataForbid { .. }) => {
                let present = self.memory.metadata()?.unwrap();
                for operation in &mut change.operations {
                    if let Write::ReplaceMetadata(metadata) = &mut operation.write {
                        self.notes().shown = Some((**metadata).clone());
                        metadata.rules = StoreRules { ..present.rules };
                        metadata.prefixes = present.prefixes.clone();
                    }
                }
            }
            _ => return Ok(Err(rejection)),
        }
        self.commit_logged(change)
    }
}

fn strip(change: &mut Change, id: NumericId) {
    for operation in &mut change.operations {
        if let Write::CreateKey(create) = &mut operation.write
            && create.record.numeric_id == Some(id)
        {
            create.record.numeric_id = None;
        }
    }
}
