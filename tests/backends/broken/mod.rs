//! A faulty backend: memory, with one injected fault of many.
//!
//! Without a fault it conforms: it keeps its records while its [`Disk`] lives, and only one
//! instance has a disk open. Each fault breaks one promise, in a way in which a real backend could.

#![allow(clippy::unwrap_used)] // It is part of a test.

mod expected;
mod fault;
mod reads;
mod spoil;
mod strict;
mod usage;
mod writes;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::ThreadId;
use std::time::Duration;

use keyhasp::backend::{
    Backend, BackendCall, BackendCallKind, BackendError, BackendErrorKind, BackendLayer, Change,
    CommitOutcome, EventPage, EventQuery, Finding, KeyFilter, KeyPage, KeyPageQuery, Memory,
    OwnerPage, OwnerPageQuery, Repaired, Scanned, UsageChange, UsageOutcome, UsageSubject, Write,
};
use keyhasp::clock::Timestamp;
use keyhasp::event::Event;
use keyhasp::id::{KeyId, NumericId, OwnerId};
use keyhasp::key::{AlertState, KeyRecord, OwnerRecord, QuotaState, StoreMetadata, Usage, Used};
use keyhasp::testing::conformance::{Failure, Subject};

pub(crate) use expected::EXPECTED;
pub(crate) use fault::Fault;

/// A subject of the suite: memory with this fault.
pub(crate) struct BrokenBy(pub(crate) Fault);

/// Memory that outlives an instance.
#[derive(Debug)]
pub(crate) struct Disk {
    memory: Mutex<Arc<Memory>>,
    is_open: AtomicBool,
    /// Held through a commit, so that one runs at a time, unless the fault is to omit this.
    turn: Mutex<()>,
    notes: Mutex<Notes>,
}

/// Notes that the faults need.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Every write since the disk was made, to be replayed wrongly.
    log: Vec<Entry>,
    /// Metadata that is shown instead of the stored one.
    shown: Option<StoreMetadata>,
    first_reads: BTreeMap<KeyId, KeyRecord>,
    hidden_events: BTreeSet<u64>,
    all_events: Vec<Event>,
    names_ever: BTreeSet<(OwnerId, String)>,
    owners_ever: BTreeSet<OwnerId>,
    closed_once: bool,
    last_used: BTreeMap<KeyId, Used>,
    all_used: BTreeMap<KeyId, Used>,
    first_user: Option<ThreadId>,
    last_quota: Option<QuotaState>,
    /// The alert state of each key.
    alerted: BTreeMap<KeyId, AlertState>,
    first_lease: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum Entry {
    Committed(Change),
    Pruned(Timestamp, usize),
}

#[derive(Debug)]
pub(crate) struct FaultyBackend {
    fault: Fault,
    disk: Arc<Disk>,
    memory: Arc<Memory>,
    closed: AtomicBool,
    /// Set once this instance has committed a batch.
    committed: AtomicBool,
    /// Set once this instance has recorded usage.
    took_usage: AtomicBool,
    half: Mutex<Half>,
}

/// Progress of a change that is committed by halves. A test that sees one half is enough.
#[derive(Debug, Default, PartialEq, Eq)]
enum Half {
    #[default]
    NotYet,
    Stands,
    Seen,
}

const NAME: &str = "broken";

impl Subject for BrokenBy {
    type Place = Arc<Disk>;

    fn place(&self) -> Result<Arc<Disk>, Failure> {
        Ok(Arc::new(Disk {
            memory: Mutex::new(Arc::new(Memory::new())),
            is_open: AtomicBool::new(false),
            turn: Mutex::default(),
            notes: Mutex::default(),
        }))
    }

    fn open(&self, disk: &Arc<Disk>) -> Result<Box<dyn Backend>, BackendError> {
        let lets_everyone_in = self.0 == Fault::SecondOpenerIsLetIn;
        if disk.is_open.swap(true, Ordering::SeqCst) && !lets_everyone_in {
            return Err(BackendError::new(BackendErrorKind::AlreadyOpen, NAME, "open"));
        }
        let memory = self.memory_at_open(disk);
        *disk.memory.lock().unwrap() = Arc::clone(&memory);
        Ok(Box::new(FaultyBackend {
            fault: self.0,
            disk: Arc::clone(disk),
            memory,
            closed: AtomicBool::new(false),
            committed: AtomicBool::new(false),
            took_usage: AtomicBool::new(false),
            half: Mutex::default(),
        }))
    }

    fn is_durable(&self) -> bool {
        self.0 != Fault::KeepsThoughItSaysNot
    }
}

impl BrokenBy {
    fn memory_at_open(&self, disk: &Disk) -> Arc<Memory> {
        let mut notes = disk.notes.lock().unwrap();
        match self.0 {
            Fault::KeepsNothing => Arc::new(Memory::new()),
            Fault::LosesTheLastChangeAtOpen => {
                let last = notes.log.iter().rposition(|entry| matches!(entry, Entry::Committed(_)));
                last.map(|last| notes.log.remove(last));
                Arc::new(replay(&notes.log))
            }
            Fault::ForgetsPruningAtOpen => {
                notes.log.retain(|entry| !matches!(entry, Entry::Pruned(..)));
                Arc::new(replay(&notes.log))
            }
            Fault::ForgetsRemovedKeysAtOpen => {
                forget_removed(&mut notes.log);
                Arc::new(replay(&notes.log))
            }
            _ => Arc::clone(&disk.memory.lock().unwrap()),
        }
    }
}

fn replay(log: &[Entry]) -> Memory {
    let memory = Memory::new();
    for entry in log {
        match entry {
            Entry::Committed(change) => drop(memory.commit(std::slice::from_ref(change)).unwrap()),
            Entry::Pruned(before, limit) => {
                memory.prune_events(*before, *limit).map(drop).unwrap();
            }
        }
    }
    memory
}

/// Forgets the numeric ids that removed keys leave behind, as a careless compaction would.
fn forget_removed(log: &mut [Entry]) {
    let changes = || {
        log.iter().filter_map(|entry| match entry {
            Entry::Committed(change) => Some(change),
            _ => None,
        })
    };
    let removed: BTreeSet<KeyId> = changes()
        .flat_map(|change| &change.operations)
        .filter_map(|operation| match operation.write {
            Write::RemoveKey(id, _) => Some(id),
            _ => None,
        })
        .collect();
    for entry in log {
        let Entry::Committed(change) = entry else { continue };
        for operation in &mut change.operations {
            let key = match &operation.write {
                Write::CreateKey(create) => create.record.id,
                Write::ReplaceKey(key) => key.id,
                Write::RemoveKey(id, _) => *id,
                _ => continue,
            };
            if removed.contains(&key) {
                operation.write = Write::Nothing;
            }
        }
    }
}

impl FaultyBackend {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.disk.notes.lock().unwrap()
    }

    fn check_open(&self, operation: &'static str) -> Result<(), BackendError> {
        if !self.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let name = if self.is(Fault::ErrorsNameAnother) { "other" } else { NAME };
        Err(BackendError::new(BackendErrorKind::Closed, name, operation))
    }

    fn let_go(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) && !self.is(Fault::ClosingKeepsThePlace) {
            self.disk.is_open.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for FaultyBackend {
    fn drop(&mut self) {
        if self.is(Fault::ClosingKeepsThePlace) {
            self.disk.is_open.store(false, Ordering::SeqCst);
        }
        self.let_go();
    }
}

impl BackendLayer for FaultyBackend {
    fn inner(&self) -> &dyn Backend {
        &*self.memory
    }

    fn around<T>(
        &self,
        call: BackendCall,
        run: impl FnOnce() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        if call.kind != BackendCallKind::Close {
            self.check_open(call.operation)?;
        }
        run()
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn metadata(&self) -> Result<Option<StoreMetadata>, BackendError> {
        let metadata = self.memory.metadata()?;
        Ok(self.notes().shown.clone().or(metadata))
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        self.read_scan(visit)
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        self.read_scan_of(owner, visit)
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        self.read_owner(id)
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.read_key(id)
    }

    fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, BackendError> {
        self.read_by_numeric_id(id)
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        self.write_batch(batch)
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        self.read_keys(query)
    }

    fn count_keys(&self, filter: &KeyFilter) -> Result<u64, BackendError> {
        self.read_count(filter)
    }

    fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        self.read_owners(query)
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, BackendError> {
        self.read_events(query)
    }

    fn last_event(&self) -> Result<u64, BackendError> {
        let last = self.memory.last_event()?;
        Ok(last - u64::from(last > 0 && self.is(Fault::EventsAreNumberedFromZero)))
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        self.write_pruning(before, limit)
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, BackendError> {
        self.read_wait(after, timeout)
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        self.write_usage(batch)
    }

    fn usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError> {
        self.read_usage(of)
    }

    fn check(&self) -> Result<Vec<Finding>, BackendError> {
        let mut found = self.memory.check()?;
        if self.is(Fault::WholeRecordsAreFaulty) {
            found.push(Finding::Derived("all of it".into()));
        }
        Ok(found)
    }

    fn repair(&self, now: Timestamp) -> Result<Repaired, BackendError> {
        if self.is(Fault::RepairsWriteAnEvent) {
            self.write_event()?;
        }
        let mut repaired = self.memory.repair(now)?;
        repaired.left = BackendLayer::check(self)?;
        Ok(repaired)
    }

    fn recover(&self) -> Result<(), BackendError> {
        if self.is(Fault::RecoveringWritesAnEvent) {
            self.write_event()?;
        }
        Ok(())
    }

    fn close(&self) -> Result<(), BackendError> {
        if self.is(Fault::ClosingDoesNothing) {
            return Ok(());
        }
        if std::mem::replace(&mut self.notes().closed_once, true)
            && self.is(Fault::ClosingAgainFails)
        {
            return Err(BackendError::new(BackendErrorKind::Closed, NAME, "close"));
        }
        self.let_go();
        Ok(())
    }
}
