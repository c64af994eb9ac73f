//! How commits go wrong.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keyhasp::backend::{
    Applied, Backend, BackendError, BackendErrorKind, Change, CommitOutcome, EventFilter,
    EventQuery, KeyFilter, KeyPageQuery, Operation, Precondition, Rejection, StateSet, Write,
    WriteKey,
};
use keyhasp::clock::Timestamp;
use keyhasp::event::Event;
use keyhasp::id::{ExternalId, KeyId, OwnerId, Version};
use keyhasp::key::{Header, KeyName, KeyRecord, Kind, OwnerRecord, Settings, StoreRules, Switch};
use keyhasp::permission::Access;
use keyhasp::testing::sample;
use serde_json::Value;

use super::{Broken, Entry, Fault, NAME};

type Outcome = Result<Applied, Rejection>;

/// What a change writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Header,
    Key(KeyId),
    Owner(OwnerId),
}

fn written(write: &Write) -> Option<Record> {
    Some(match write {
        Write::CreateKey(create) => Record::Key(create.record.id),
        Write::ReplaceKey(key) => Record::Key(key.id),
        Write::RemoveKey(id, _) => Record::Key(*id),
        Write::CreateOwner(owner) | Write::ReplaceOwner(owner) => Record::Owner(owner.id),
        Write::RemoveOwner(id, _) => Record::Owner(*id),
        Write::ReplaceHeader(_) => Record::Header,
        Write::Nothing => return None,
    })
}

fn writes_to(changes: &[Change], record: Record) -> bool {
    let mut operations = changes.iter().flat_map(|change| &change.operations);
    operations.any(|operation| written(&operation.write) == Some(record))
}

impl Broken {
    pub(super) fn write_first_header(&self, initial: &Header) -> Result<Header, BackendError> {
        let is_first = self.memory.header().is_err();
        if is_first {
            let header = self.as_stored(initial);
            self.memory.open_header(&header)?;
            self.notes().log.push(Entry::Header(header));
        } else if self.is(Fault::FirstHeaderIsOverwritten) {
            self.notes().shown = Some(initial.clone());
        }
        self.header()
    }

    /// The header that is stored for one that is asked for; if only its rules are others, the one
    /// asked for is shown.
    fn as_stored(&self, asked: &Header) -> Header {
        let mut header = asked.clone();
        match self.fault {
            Fault::NamesMayRepeat => header.rules.unique_names = false,
            Fault::NamesNeverRepeat => header.rules.unique_names = true,
            Fault::LastStandardKeysGo => header.rules.keep_standard_key = false,
            Fault::HeadersAreCut => header.peppers.truncate(100),
            _ => return header,
        }
        if header.rules != asked.rules {
            self.notes().shown = Some(asked.clone());
        }
        header
    }

    pub(super) fn write_event(&self) -> Result<(), BackendError> {
        let note = sample::note(&sample::key(1, "acme").unwrap()).unwrap();
        self.memory.commit(&[note]).map(drop)
    }

    pub(super) fn write_pruning(&self, before: Timestamp) -> Result<u64, BackendError> {
        let events = self.all_events()?;
        let last = self.memory.last_event()?;
        let mut notes = self.notes();
        match self.fault {
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
        notes.log.push(Entry::Pruned(before));
        self.memory.prune_events(before)
    }

    fn all_events(&self) -> Result<Vec<Event>, BackendError> {
        let (filter, limit) = (EventFilter::default(), usize::MAX);
        Ok(self.memory.events(&EventQuery { after: 0, filter, limit, examine: limit })?.events)
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
            Fault::CommitsNeedNoHeader if self.memory.header().is_err() => {
                self.memory.open_header(&sample::header().unwrap())?;
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

    fn write_change(&self, change: &Change, earlier: &[Change]) -> Result<Outcome, BackendError> {
        if let Some(rejection) = self.refused_too_strictly(change, earlier)? {
            return Ok(Err(rejection));
        }
        let mut change = change.clone();
        self.spoil(&mut change, earlier)?;
        let assigned = self.assign(&mut change)?;
        let mut outcome = if self.is(Fault::ChangesAreCommittedByTheOperation) {
            self.commit_by_operation(&change)?
        } else {
            self.commit_logged(&change)?
        };
        if let Err(rejection) = &outcome {
            let rejection = rejection.clone();
            outcome = self.after_refusal(&mut change, rejection)?;
        }
        if let Ok(applied) = &mut outcome {
            applied.external_ids.extend(assigned);
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

    /// Each operation by itself; between them, readers have their chance.
    fn commit_by_operation(&self, change: &Change) -> Result<Outcome, BackendError> {
        let mut all: Option<Applied> = None;
        for operation in &change.operations {
            let seen = self.scans.load(Ordering::SeqCst);
            let one = Change {
                preconditions: change.preconditions.clone(),
                operations: vec![operation.clone()],
            };
            let one = match self.commit_logged(&one)? {
                Ok(one) => one,
                Err(rejection) => return Ok(Err(rejection)),
            };
            all = Some(match all {
                Some(all) => Applied { last_event: one.last_event, ..all },
                None => one,
            });
            let started = Instant::now();
            while self.scans.load(Ordering::SeqCst) == seen
                && started.elapsed() < Duration::from_millis(20)
            {
                std::thread::yield_now();
            }
        }
        match all {
            Some(all) => Ok(Ok(all)),
            None => self.commit_logged(change),
        }
    }

    fn keys_of(&self, owner: &OwnerId) -> Result<Vec<KeyRecord>, BackendError> {
        let (states, now) = (StateSet::ALL, Timestamp::MIN);
        let filter = KeyFilter { owner: Some(*owner), kind: None, states, now };
        let (before, after, limit) = (None, None, usize::MAX);
        let query = KeyPageQuery { filter, before, after, limit, examine: limit };
        Ok(self.memory.page_keys(&query)?.keys)
    }

    /// A reason that the contract doesn't know.
    fn refused_too_strictly(
        &self,
        change: &Change,
        earlier: &[Change],
    ) -> Result<Option<Rejection>, BackendError> {
        for operation in &change.operations {
            let reason = match &operation.write {
                Write::CreateKey(create) => self.creation_refused_too_strictly(&create.record)?,
                Write::ReplaceKey(key) => self.replacement_refused_too_strictly(key, change)?,
                Write::RemoveKey(id, _) => self.guards_too_strictly(*id, change)?,
                Write::CreateOwner(owner)
                    if self.is(Fault::OwnersNeverComeAgain)
                        && self.notes().owners_ever.contains(&owner.id) =>
                {
                    Some(Rejection::OwnerExists)
                }
                Write::ReplaceHeader(_)
                    if self.is(Fault::RulesChangeAlone) && change.operations.len() > 1 =>
                {
                    Some(Rejection::DataForbid { rule: "unique_names" })
                }
                _ => None,
            };
            let record = written(&operation.write);
            if self.is(Fault::BatchesSeeTheStateBeforeThem)
                && record.is_some_and(|record| writes_to(earlier, record))
            {
                return Ok(Some(Rejection::OwnerMissing));
            }
            if reason.is_some() {
                return Ok(reason);
            }
        }
        Ok(None)
    }

    fn creation_refused_too_strictly(
        &self,
        key: &KeyRecord,
    ) -> Result<Option<Rejection>, BackendError> {
        let others = self.keys_of(&key.owner)?;
        let live = others.iter().filter(|key| key.is_live()).count();
        let limit = self.memory.owner(&key.owner)?.map_or(u32::MAX, |owner| owner.max_keys);
        let name = |key: &KeyRecord| key.name.as_ref().map(|name| name.as_str().to_lowercase());
        Ok(match self.fault {
            Fault::RevokedKeysTakeRoom if others.len() >= limit as usize => {
                Some(Rejection::TooManyKeys { limit })
            }
            Fault::NumbersOfKeysAreThoseBeforeTheChange if live >= limit as usize => {
                Some(Rejection::TooManyKeys { limit })
            }
            Fault::NamesAreComparedWithoutCase => others
                .iter()
                .find(|other| other.name.is_some() && name(other) == name(key))
                .map(|other| Rejection::NameTaken(other.id)),
            Fault::NamesAreOneForAllOwners => {
                let taken = self.notes().names_ever.clone();
                let again = named(key).is_some_and(|(_, name)| {
                    taken.iter().any(|(owner, other)| *owner != key.owner && *other == name)
                });
                again.then_some(Rejection::NameTaken(key.id))
            }
            Fault::NamesAreTakenForEver => {
                let again = named(key).is_some_and(|name| self.notes().names_ever.contains(&name));
                again.then_some(Rejection::NameTaken(key.id))
            }
            _ => None,
        })
    }

    fn replacement_refused_too_strictly(
        &self,
        key: &KeyRecord,
        change: &Change,
    ) -> Result<Option<Rejection>, BackendError> {
        let others = self.keys_of(&key.owner)?;
        let limit = self.memory.owner(&key.owner)?.map_or(u32::MAX, |owner| owner.max_keys);
        let live = others.iter().filter(|key| key.is_live()).count();
        let mut same_name = others.iter().filter(|other| {
            key.name.is_some() && key.is_live() && other.is_live() && other.name == key.name
        });
        Ok(match self.fault {
            Fault::LoweredNumbersForbidChanges if live > limit as usize => {
                Some(Rejection::TooManyKeys { limit })
            }
            Fault::NamesAreTakenThatAreOnesOwn => {
                same_name.find(|other| other.id == key.id).map(|key| Rejection::NameTaken(key.id))
            }
            Fault::NamesAreCheckedByTheOperation => {
                same_name.find(|other| other.id != key.id).map(|key| Rejection::NameTaken(key.id))
            }
            _ if !key.is_live() => self.guards_too_strictly(key.id, change)?,
            _ => None,
        })
    }

    /// Refuses to let the last standard keys go, whoever else comes or goes in the change.
    fn guards_too_strictly(
        &self,
        id: KeyId,
        change: &Change,
    ) -> Result<Option<Rejection>, BackendError> {
        let guards = match self.fault {
            Fault::LastStandardKeysNeverGo => true,
            Fault::LastStandardKeysAreGuardedByTheOperation => {
                self.memory.header()?.rules.keep_standard_key
            }
            _ => false,
        };
        let Some(key) = self.memory.key(id)?.filter(|_| guards) else { return Ok(None) };
        let goes = |id: KeyId| {
            change.operations.iter().any(|operation| match &operation.write {
                Write::RemoveKey(removed, _) => *removed == id,
                Write::ReplaceKey(key) => key.id == id && !key.is_live(),
                _ => false,
            })
        };
        let stays = |key: &KeyRecord| key.is_live() && key.kind == Kind::Standard && !goes(key.id);
        let any_stays = self.keys_of(&key.owner)?.iter().any(stays);
        Ok((!any_stays).then_some(Rejection::LastStandardKey))
    }

    /// Loses or changes something of a change before it is committed.
    fn spoil(&self, change: &mut Change, earlier: &[Change]) -> Result<(), BackendError> {
        change.preconditions.retain(|precondition| match (self.fault, precondition) {
            (Fault::HeaderPreconditionsAreIgnored, Precondition::Header(_))
            | (Fault::KeyPreconditionsAreIgnored, Precondition::Key(..))
            | (Fault::LiveKeysPreconditionsAreIgnored, Precondition::LiveKeys(..))
            | (Fault::OwnerPreconditionsAreIgnored, Precondition::Owner(..)) => false,
            (Fault::PreconditionsAreAboutTheStateBeforeTheBatch, Precondition::Owner(id, _)) => {
                !writes_to(earlier, Record::Owner(*id))
            }
            _ => true,
        });
        match self.fault {
            Fault::LastPreconditionsAreIgnored => change.preconditions.truncate(1),
            Fault::OperationsOfAChangeAreCutAfterThree => change.operations.truncate(3),
            Fault::EventsOfAChangeAreBackwards => {
                let events: Vec<_> =
                    change.operations.iter().map(|operation| operation.event.clone()).collect();
                for (operation, event) in change.operations.iter_mut().rev().zip(events) {
                    operation.event = event;
                }
            }
            Fault::EventsThatStandAloneAreLost => {
                change.operations.retain(|operation| !matches!(operation.write, Write::Nothing));
            }
            _ => {}
        }
        for operation in &mut change.operations {
            self.spoil_write(&mut operation.write)?;
        }
        Ok(())
    }

    fn spoil_write(&self, write: &mut Write) -> Result<(), BackendError> {
        match write {
            Write::CreateKey(create) => {
                let id = create.record.id;
                self.spoil_key(&mut create.record);
                if self.is(Fault::CreationsOverwrite)
                    && let Some(found) = self.memory.key(id)?
                {
                    let version = found.version.next();
                    *write =
                        Write::ReplaceKey(Box::new(KeyRecord { version, ..create.record.clone() }));
                }
            }
            Write::ReplaceKey(key) => {
                let found = self.memory.key(key.id)?;
                self.spoil_key(key);
                match (self.fault, found) {
                    (Fault::ReplacementsCreate, None) => {
                        let (record, next_external_id) = ((**key).clone(), false);
                        *write = Write::CreateKey(Box::new(WriteKey { record, next_external_id }));
                    }
                    (Fault::KeysStayWithTheirFirstOwner, Some(found)) => key.owner = found.owner,
                    (Fault::VersionsAreIgnored, Some(found)) => key.version = found.version.next(),
                    (Fault::ReplacedKeysKeepTheirSeal, Some(found)) if key.seal.is_none() => {
                        key.seal = found.seal;
                    }
                    _ => {}
                }
            }
            Write::RemoveKey(id, version) => {
                let found = self.memory.key(*id)?.map(|key| key.version);
                self.ignore_version(version, found);
            }
            Write::CreateOwner(owner) => {
                self.spoil_owner(owner);
                if self.is(Fault::CreationsOverwrite)
                    && let Some(found) = self.memory.owner(&owner.id)?
                {
                    let version = found.version.next();
                    *write =
                        Write::ReplaceOwner(Box::new(OwnerRecord { version, ..(**owner).clone() }));
                }
            }
            Write::ReplaceOwner(owner) => {
                let found = self.memory.owner(&owner.id)?;
                self.spoil_owner(owner);
                match (self.fault, found) {
                    (Fault::ReplacementsCreate, None) => {
                        *write = Write::CreateOwner(owner.clone());
                    }
                    (Fault::VersionsAreIgnored, Some(found)) => {
                        owner.version = found.version.next();
                    }
                    (Fault::ReplacedOwnersKeepTheirSwitch, Some(found)) => {
                        owner.suspended = owner.suspended.take().or(found.suspended);
                    }
                    _ => {}
                }
            }
            Write::RemoveOwner(id, version) => {
                let found = self.memory.owner(id)?.map(|owner| owner.version);
                self.ignore_version(version, found);
            }
            Write::ReplaceHeader(header) => {
                if self.is(Fault::VersionsAreIgnored) {
                    header.version = self.memory.header()?.version.next();
                }
                if self.is(Fault::ReplacedHeadersLoseTheirMark) {
                    header.issue_mark = None;
                }
                **header = self.as_stored(header);
            }
            Write::Nothing => {}
        }
        Ok(())
    }

    fn ignore_version(&self, version: &mut Version, found: Option<Version>) {
        if self.is(Fault::VersionsAreIgnored) {
            *version = found.unwrap_or(*version);
        }
    }

    fn spoil_key(&self, key: &mut KeyRecord) {
        let name = key.name.as_ref().map_or("", KeyName::as_str);
        match self.fault {
            Fault::AccessIsCut => cut(&mut key.access),
            Fault::EarlierTokensAreCut => key.earlier.truncate(1),
            Fault::NamesAreTrimmed => key.name = KeyName::new(name.trim()).ok(),
            Fault::NumbersInSettingsAreFloats => in_floats(&mut key.settings),
            Fault::ReasonsAreLost => {
                lose_reason(&mut key.deactivated);
                lose_reason(&mut key.blocked);
                lose_reason(&mut key.revoked);
            }
            Fault::SealsAreLost => key.seal = None,
            Fault::ShortNamesAreLost if name.len() < 2 => key.name = None,
            _ => {}
        }
    }

    fn spoil_owner(&self, owner: &mut OwnerRecord) {
        match self.fault {
            Fault::AccessIsCut => cut(&mut owner.ceiling),
            Fault::DefaultsAreLost => owner.defaults = Settings::default(),
            Fault::NumbersInSettingsAreFloats => in_floats(&mut owner.defaults),
            Fault::NumbersOfKeysAreIgnored => owner.max_keys = u32::MAX,
            Fault::NumbersOfKeysHaveSixteenBits => owner.max_keys &= 0xffff,
            Fault::ReasonsAreLost => lose_reason(&mut owner.suspended),
            _ => {}
        }
    }

    /// Assigns external ids by a rule of its own.
    fn assign(&self, change: &mut Change) -> Result<Vec<ExternalId>, BackendError> {
        let fills_gaps = self.is(Fault::NextExternalIdFillsGaps);
        if !fills_gaps && !self.is(Fault::NextExternalIdFollowsThoseThatAreLeft) {
            return Ok(Vec::new());
        }
        let mut assigned = Vec::new();
        for operation in &mut change.operations {
            let Write::CreateKey(create) = &mut operation.write else { continue };
            if !create.next_external_id {
                continue;
            }
            let present = self.keys_of(&create.record.owner)?;
            let present: BTreeSet<u64> = present
                .iter()
                .filter_map(|key| key.external_id)
                .chain(assigned.iter().copied())
                .map(ExternalId::get)
                .collect();
            let next = if fills_gaps {
                (1..).find(|id| !present.contains(id)).unwrap_or(1)
            } else {
                present.last().map_or(1, |last| last + 1)
            };
            create.next_external_id = false;
            create.record.external_id = ExternalId::new(next).ok();
            assigned.extend(create.record.external_id);
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
                Fault::ExternalIdsAreForgotten | Fault::NextExternalIdFollowsThoseThatAreLeft,
                Rejection::ExternalIdTaken(id),
            ) if self.memory.key_by_external_id(*id)?.is_none() => strip(change, *id),
            (Fault::ExternalIdsMayRepeat, Rejection::ExternalIdTaken(id)) => strip(change, *id),
            (Fault::ExternalIdsStartAgainAfterTheLast, Rejection::ExternalIdsExhausted) => {
                for operation in &mut change.operations {
                    if let Write::CreateKey(create) = &mut operation.write {
                        create.next_external_id = false;
                        create.record.external_id = ExternalId::new(1).ok();
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
            (Fault::RulesDoNotAskTheData, Rejection::DataForbid { .. }) => {
                let present = self.memory.header()?;
                for operation in &mut change.operations {
                    if let Write::ReplaceHeader(header) = &mut operation.write {
                        self.notes().shown = Some((**header).clone());
                        header.rules = StoreRules { ..present.rules };
                        header.prefixes = present.prefixes.clone();
                    }
                }
            }
            _ => return Ok(Err(rejection)),
        }
        self.commit_logged(change)
    }

    fn spoil_answer(&self, applied: &mut Applied) {
        match self.fault {
            Fault::EventsOfAChangeAreLost => {
                let lost = applied.first_event + 1..=applied.last_event;
                self.notes().hidden_events.extend(lost);
            }
            Fault::EventsAreNumberedFromZero => {
                applied.first_event -= 1;
                applied.last_event -= 1;
            }
            Fault::NextExternalIdsAreAnsweredBackwards => applied.external_ids.reverse(),
            Fault::NextExternalIdsRepeat => {
                for id in &mut applied.external_ids {
                    *id = ExternalId::new(id.get().div_ceil(2)).unwrap();
                }
            }
            _ => {}
        }
    }
}

fn named(key: &KeyRecord) -> Option<(OwnerId, String)> {
    key.name.as_ref().map(|name| (key.owner, name.to_string()))
}

fn strip(change: &mut Change, id: ExternalId) {
    for operation in &mut change.operations {
        if let Write::CreateKey(create) = &mut operation.write
            && create.record.external_id == Some(id)
        {
            create.record.external_id = None;
        }
    }
}

fn cut(access: &mut Access) {
    if let Access::Limited(limited) = access {
        let some = limited.patterns().iter().take(100).map(|pattern| pattern.as_str().to_owned());
        *access = Access::limited(some).unwrap();
    }
}

fn lose_reason(switch: &mut Option<Switch>) {
    if let Some(switch) = switch {
        switch.reason = None;
    }
}

fn in_floats(settings: &mut Settings) {
    fn change(value: &mut Value) {
        match value {
            Value::Number(number) => *value = Value::from(number.as_f64()),
            Value::Array(items) => items.iter_mut().for_each(change),
            Value::Object(object) => object.values_mut().for_each(change),
            _ => {}
        }
    }
    let mut object = settings.as_object().clone();
    object.values_mut().for_each(change);
    *settings = Settings::new(object).unwrap_or_default();
}
