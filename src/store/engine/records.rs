//! The records: the backend that holds them, and the index that shows them to `verify`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use super::availability::Availability;
use super::clock_watch::ClockWatch;
use super::damages::Damages;
use super::details::DetailsMemory;
use super::graces::GraceWatch;
use super::noting::{NotedWrites, NotingBackend};
use super::prefixes::AcceptedPrefixes;
use super::shown::ShownBackend;
use super::worker::Signal;
use crate::backend::{
    Backend, BackendError, BackendErrorKind, Damage, Rejection, ScannedKey, Sharing, UsageSubject,
};
use crate::clock::{Clock, Timestamp};
use crate::event::EventKind;
use crate::id::{KeyId, OwnerId, Version};
use crate::key::{KeyRecord, OwnerRecord, Prefix, StoreMetadata, TokensValidFrom, Usage};
use crate::permission::{Catalogue, Pattern};
use crate::store::index::Index;
use crate::store::types::error::Error;
use crate::store::types::health::LastEvent;
use crate::store::types::verify_error::Unavailable;
use crate::token::Peppers;

/// Observer of each key that the engine loads or publishes. The engine calls it while it holds its
/// locks, so an observer must not call the engine.
pub(in crate::store) trait KeyObserver: std::fmt::Debug + Send + Sync {
    /// Notes a key, new or changed.
    fn note_key(&self, key: &ScannedKey);

    /// Notes that a key is gone.
    fn forget_key(&self, key: KeyId);

    /// Notes that all keys are gone that aren't among these.
    fn retain_keys(&self, keys: &BTreeSet<KeyId>);
}

/// The backend, the index, and what a token is judged by besides.
#[derive(Debug)]
pub(in crate::store) struct Records {
    /// Shows records as the pending sweeps say that they are.
    pub(in crate::store) backend: Arc<dyn Backend>,
    /// Shows them as they are stored.
    pub(in crate::store) stored: Arc<dyn Backend>,
    pub(in crate::store) clock: Arc<dyn Clock>,
    pub(in crate::store) clock_watch: ClockWatch,
    pub(in crate::store) graces: GraceWatch,
    pub(in crate::store) index: Index,
    pub(in crate::store) damages: Damages,
    pub(in crate::store) availability: Availability,
    pub(in crate::store) peppers: Peppers,
    pub(in crate::store) prefixes: AcceptedPrefixes,
    pub(super) observer: Arc<dyn KeyObserver>,
    /// Patterns in the access of keys that matched no permission when the records were loaded, ascending;
    /// some of them, if they are many.
    pub(in crate::store) unmatched: Vec<Pattern>,
    /// The details of keys, if the service wants them in memory.
    pub(super) details: Option<DetailsMemory>,
    /// The error that said that the database isn't as this process left it.
    pub(super) foreign_writer: OnceLock<BackendError>,
    /// Locked, since calls read it while another thread replaces it. Without the lock a call could
    /// pair the version of one metadata record with the prefixes of another.
    pub(super) metadata: RwLock<MetadataState>,
    /// Held while a thread reads records from the backend and puts them into the index. Without it
    /// a thread with an older reading could overwrite a newer one.
    applied_log: Mutex<AppliedLog>,
    /// The newest event that the index reflects, apart from `applied_log`, which a thread holds
    /// during a commit or a poll: who asks for the health doesn't wait. Locked, so that no reader
    /// sees the number of one event with the time of another.
    last_event: Mutex<Option<LastEvent>>,
    pub(super) writes: NotedWrites,
    /// Wakes the thread that fills slots again after changes of large owners.
    pub(super) refills: Arc<Signal>,
    /// Wakes the thread that works the pieces of sweeps.
    pub(in crate::store) sweep_signal: Arc<Signal>,
}

/// The parts that the records are made of.
#[derive(Debug)]
pub(in crate::store) struct RecordsParts {
    pub(in crate::store) backend: Arc<dyn Backend>,
    pub(in crate::store) clock: Arc<dyn Clock>,
    pub(in crate::store) catalogue: Catalogue,
    pub(in crate::store) peppers: Peppers,
    pub(in crate::store) observer: Arc<dyn KeyObserver>,
    /// The names of the settings that the details of keys have; `None` to keep no details.
    pub(in crate::store) details: Option<Vec<String>>,
    pub(in crate::store) metadata: MetadataState,
}

/// The store's metadata, and its accepted prefixes in the order in which the service names them.
#[derive(Clone, Debug)]
pub(in crate::store) struct MetadataState {
    pub(in crate::store) metadata: StoreMetadata,
    pub(in crate::store) prefixes: Vec<Prefix>,
}

/// What the index reflects of the event log.
#[derive(Debug, Default)]
pub(in crate::store) struct AppliedLog {
    /// The number of the last event that it reflects.
    pub(in crate::store) applied_seq: u64,
    /// Owners that another process has resumed. They stay suspended until the index reflects each event
    /// that came before: otherwise a key that was revoked first would be good meanwhile.
    pub(super) resumed: BTreeMap<OwnerId, Resumed>,
}

/// An owner that another process has resumed.
#[derive(Debug)]
pub(super) struct Resumed {
    /// The owner as it was read last.
    pub(super) record: OwnerRecord,
    /// The number of the last event once it was known to be resumed; `None` before that is read.
    pub(super) after: Option<u64>,
}

impl Records {
    /// Makes records whose index is empty. The caller has checked the backend's metadata.
    pub(in crate::store) fn new(parts: RecordsParts) -> Self {
        let max_staleness = match parts.backend.sharing() {
            Sharing::Exclusive => None,
            Sharing::Shared { max_staleness } => Some(max_staleness),
        };
        let (stored, writes) = NotingBackend::new(parts.backend, Arc::clone(&parts.clock));
        let stored: Arc<dyn Backend> = Arc::new(stored);
        let sweep_signal = Arc::<Signal>::default();
        let shown = ShownBackend::new(Arc::clone(&stored), Arc::clone(&sweep_signal));
        let backend = Arc::new(shown);
        let open_peppers = parts.peppers.iter().map(|(number, _)| number).collect();
        let records = Self {
            index: Index::new(parts.catalogue, open_peppers, Arc::clone(&parts.clock)),
            availability: Availability::new(max_staleness),
            damages: Damages::default(),
            peppers: parts.peppers,
            prefixes: AcceptedPrefixes::new(&parts.metadata.metadata.prefixes),
            observer: parts.observer,
            unmatched: Vec::new(),
            details: parts.details.map(DetailsMemory::new),
            foreign_writer: OnceLock::new(),
            metadata: RwLock::new(parts.metadata),
            applied_log: Mutex::default(),
            graces: GraceWatch::new(),
            clock_watch: ClockWatch::new(Arc::clone(&parts.clock)),
            clock: parts.clock,
            backend,
            stored,
            last_event: Mutex::new(None),
            writes,
            refills: Arc::default(),
            sweep_signal,
        };
        records.index.set_invalidations(&records.metadata().metadata);
        records
    }

    pub(in crate::store) fn stored_metadata(&self) -> Result<StoreMetadata, Error> {
        stored_metadata(&*self.backend)
    }

    pub(in crate::store) fn catalogue(&self) -> &Catalogue {
        self.index.catalogue()
    }

    pub(in crate::store) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(in crate::store) fn metadata(&self) -> MetadataState {
        self.metadata.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the order in which the service names the accepted prefixes, if the metadata still has
    /// this version.
    pub(in crate::store) fn set_prefix_order(&self, version: Version, prefixes: Vec<Prefix>) {
        let mut state = self.metadata.write().unwrap_or_else(PoisonError::into_inner);
        if state.metadata.version == version {
            state.prefixes = prefixes;
        }
    }

    /// Notes an event that the index reflects from now on.
    pub(super) fn note_event(&self, number: u64, at: Timestamp) {
        self.clock_watch.note_event(at);
        self.note_last_event(number, at);
    }

    pub(super) fn note_last_event(&self, number: u64, at: Timestamp) {
        let mut last = self.last_event.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.number < number) {
            *last = Some(LastEvent { number, at });
        }
    }

    pub(super) fn last_event(&self) -> Option<LastEvent> {
        *self.last_event.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads usage. That of one damaged row keeps none from the others; health names the row.
    pub(in crate::store) fn usages(
        &self,
        of: &[UsageSubject],
    ) -> Result<Vec<Result<Usage, Damage>>, BackendError> {
        match self.backend.usage(of) {
            Ok(usages) => return Ok(usages.into_iter().map(Ok).collect()),
            Err(error) if error.damage().is_none() => return Err(error),
            Err(_) => {}
        }
        of.iter().map(|of| self.usage(of)).collect()
    }

    fn usage(&self, of: &UsageSubject) -> Result<Result<Usage, Damage>, BackendError> {
        match self.backend.usage(std::slice::from_ref(of)) {
            Ok(mut usages) => Ok(Ok(usages.pop().unwrap_or_default())),
            Err(error) => self.noted_damage(error).map(Err),
        }
    }

    /// Notes the damage that an error is about, so that health names it.
    pub(in crate::store) fn noted_damage(
        &self,
        error: BackendError,
    ) -> Result<Damage, BackendError> {
        let Some(damage) = error.damage() else { return Err(error) };
        self.damages.note(damage);
        Ok(damage.clone())
    }

    /// Reads a key; `None` also of one whose record is damaged.
    pub(in crate::store) fn whole_key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        match self.backend.key(id) {
            Err(error) => self.noted_damage(error).map(|_| None),
            key => key,
        }
    }

    /// Returns the epochs with which another owner of this id goes on, if an earlier one was purged
    /// and its keys aren't gone yet.
    pub(in crate::store) fn epochs_of_purged(
        &self,
        id: &OwnerId,
    ) -> Result<Option<TokensValidFrom>, BackendError> {
        Ok(self.tombstone(id)?.and_then(|owner| owner.tokens_valid_from))
    }

    /// Returns whether an owner was purged, and its keys aren't gone yet.
    pub(super) fn is_purged(&self, id: &OwnerId) -> Result<bool, BackendError> {
        Ok(self.tombstone(id)?.is_some())
    }

    /// Returns what is left of a purged owner; `None` also where a record is damaged.
    fn tombstone(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        match self.stored.owner(id) {
            Err(error) if error.damage().is_some() => Ok(None),
            owner => Ok(owner?.filter(OwnerRecord::is_purged)),
        }
    }

    /// Forgets what a piece of a sweep ended: all that is noted of a purged key, and the deadlines of a
    /// revoked one, whose details stay.
    pub(super) fn forget_swept(&self, id: KeyId, kind: EventKind) {
        match kind {
            EventKind::KeyPurged => self.forget_key(id),
            _ => {
                self.observer.forget_key(id);
                self.graces.forget(id);
            }
        }
    }

    /// Forgets what is noted of a key that is gone.
    pub(super) fn forget_key(&self, id: KeyId) {
        self.observer.forget_key(id);
        self.graces.forget(id);
        if let Some(details) = &self.details {
            details.forget_key(id);
        }
    }

    /// Returns an error if the store must be opened again before it may change anything.
    pub(in crate::store) fn check_open(&self) -> Result<(), Error> {
        match self.availability.unavailable() {
            None | Some(Unavailable::Recovering) => Ok(()),
            Some(Unavailable::ForeignWriter) if let Some(error) = self.foreign_writer.get() => {
                Err(error.clone().into())
            }
            Some(closed) => Err(closed.into()),
        }
    }

    pub(in crate::store) fn lock_applied_log(&self) -> MutexGuard<'_, AppliedLog> {
        self.applied_log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the metadata of a store that was created. A backend that has none now has lost it.
pub(in crate::store) fn stored_metadata(backend: &dyn Backend) -> Result<StoreMetadata, Error> {
    let lost = || {
        let error = BackendError::new(BackendErrorKind::Corrupt, backend.name(), "read metadata");
        error.with_source(Rejection::StoreMissing)
    };
    Ok(backend.metadata()?.ok_or_else(lost)?)
}
