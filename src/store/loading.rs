//! From the backend into the index.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use super::core::Core;
use super::error::{Error, PepperProblem, Unavailable};
use super::index::IndexError;
use super::touched::Touched;
use crate::backend::{BackendError, BackendErrorKind, Scanned, ScannedKey, ScannedOwner};
use crate::id::{KeyId, OwnerId};
use crate::key::Header;

impl Core {
    /// Loads everything into an empty index; returns the number of the last event that is surely
    /// reflected.
    pub(super) fn load(&self) -> Result<u64, Error> {
        self.scan(|_| {})
    }

    /// Loads everything anew, and forgets what is no more.
    pub(super) fn load_anew(&self) -> Result<u64, Error> {
        let (mut keys, mut owners) = (BTreeSet::new(), BTreeSet::new());
        let through = self.scan(|scanned| match scanned {
            Scanned::Owner(owner) => _ = owners.insert(owner.id),
            Scanned::Key(key) => _ = keys.insert(key.id),
        })?;
        self.index.retain(&keys, &owners);
        Ok(through)
    }

    fn scan(&self, mut seen: impl FnMut(&Scanned)) -> Result<u64, Error> {
        let mut put = Ok(());
        let through = self.backend.scan(&mut |scanned| {
            seen(&scanned);
            if put.is_ok() {
                put = self.put_scanned(&scanned);
            }
        })?;
        put.map_err(|error| self.index_error(error))?;
        Ok(through)
    }

    fn put_scanned(&self, scanned: &Scanned) -> Result<(), IndexError> {
        match scanned {
            Scanned::Owner(owner) => self.index.put_owner(owner).map(|_cuts| ()),
            Scanned::Key(key) => self.index.put_key(key),
        }
    }

    /// Loads some records afresh, and puts what is there now into the index.
    pub(super) fn reload(&self, touched: &Touched) -> Result<(), Error> {
        if touched.header {
            self.put_header(&self.backend.header()?)?;
        }
        let mut gone = Vec::new();
        for owner in &touched.owners {
            if !self.reload_owner(owner)? {
                gone.push(owner);
            }
        }
        for (id, owner) in &touched.keys {
            match self.backend.key(*id)? {
                Some(key) => self.put_key(&(&key).into())?,
                None => self.remove_key(*id, owner)?,
            }
        }
        // After their keys, which are found by their owner's number.
        gone.into_iter().for_each(|owner| self.index.remove_owner(owner));
        Ok(())
    }

    /// Puts an owner, and, where that cuts its keys anew, its keys.
    pub(super) fn put_owner(&self, owner: &ScannedOwner) -> Result<(), Error> {
        let cuts = self.index.put_owner(owner).map_err(|error| self.index_error(error))?;
        if cuts { self.reload_owner(&owner.id).map(|_is_there| ()) } else { Ok(()) }
    }

    /// Puts an owner and its keys as they are now; whether it is there.
    fn reload_owner(&self, owner: &OwnerId) -> Result<bool, Error> {
        let mut put = Ok(());
        let mut is_there = false;
        self.backend.scan_owner(owner, &mut |scanned| {
            is_there = true;
            if put.is_ok() {
                put = self.put_scanned(&scanned);
            }
        })?;
        put.map_err(|error| self.index_error(error))?;
        Ok(is_there)
    }

    pub(super) fn put_key(&self, key: &ScannedKey) -> Result<(), Error> {
        match self.index.put_key(key) {
            // Created elsewhere a moment ago, its owner too.
            Err(IndexError::OwnerMissing) => self.reload_owner(&key.owner).map(|_is_there| ()),
            put => put.map_err(|error| self.index_error(error)),
        }
    }

    pub(super) fn remove_key(&self, id: KeyId, owner: &OwnerId) -> Result<(), Error> {
        self.index.remove_key(id, owner).map_err(|error| self.index_error(error))
    }

    /// Takes over the store's own record. A moved issue mark cuts every key anew.
    pub(super) fn put_header(&self, header: &Header) -> Result<(), Error> {
        let before = {
            let mut state = self.header.write().unwrap_or_else(PoisonError::into_inner);
            let accepted: Vec<_> = header.prefixes.accepted().map(|entry| entry.prefix).collect();
            state.prefixes.retain(|prefix| accepted.contains(prefix));
            for prefix in accepted {
                if !state.prefixes.contains(&prefix) {
                    state.prefixes.push(prefix);
                }
            }
            std::mem::replace(&mut state.header, header.clone())
        };
        self.prefixes.put(&header.prefixes);
        if before.issue_mark != header.issue_mark {
            self.index.set_issue_mark(header.issue_mark);
            self.load_anew()?;
        }
        Ok(())
    }

    /// What a token that can't be indexed means.
    fn index_error(&self, error: IndexError) -> Error {
        match error {
            IndexError::PepperMissing(number) => {
                Error::Pepper { number, problem: PepperProblem::Missing }
            }
            IndexError::Full | IndexError::OwnerMissing => {
                let kind = match error {
                    IndexError::Full => BackendErrorKind::Full,
                    _ => BackendErrorKind::Corrupt,
                };
                let operation = "load the index";
                BackendError::new(kind, self.backend.name(), operation).with_source(error).into()
            }
        }
    }

    /// Whether another process has changed what this one was opened with.
    pub(super) fn check_header(self: &Arc<Self>, stored: &Header) -> Result<(), Error> {
        let known = self.header().header;
        let peppers_known = stored.peppers.iter().all(|check| {
            known.peppers.contains(check) || self.peppers.position(check.number).is_some()
        });
        if known.rules == stored.rules && known.prefixes == stored.prefixes && peppers_known {
            return Ok(());
        }
        self.gate.set_rules_changed();
        Err(Unavailable::RulesChanged.into())
    }
}
