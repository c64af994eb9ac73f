//! Stores with a defect that only shows in races, so that the checker can be seen to find it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use keyhasp::authority::Authority;
use keyhasp::backend::{Backend, BackendError, BackendLayer, Change, CommitOutcome, Memory};
use keyhasp::store::{ChangedKey, Issued, Key, KeyAction, LeaseWait, RevokedAll, StoreLayer};
use keyhasp::{
    CreateKey, Error, KeyId, KeyStore, OwnerId, RejectReason, Rotate, Timestamp, VerifiedKey,
    VerifyError, VerifyRequest, Version,
};

/// An injected bug of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Of two rotations that expect one version, the slower is made all the same.
    BothRotationsWin,
    /// Each use that is accepted counts twice. Histories of limited keys show it.
    CountsTwice,
    /// After each use that is accepted, one more is than a limit allows. Histories of limited keys
    /// show it.
    Overspends,
    /// The first verification after all keys of an owner were revoked doesn't see it.
    MissesRevokeAll,
    /// A call that should read the backend is answered by what was read before.
    ReadsLate,
    /// An expected version is compared before the commit, not in it.
    StaleVersionAccepted,
    /// A verification is answered by what was true at the one before.
    VerifiesLate,
}

impl Defect {
    pub(crate) const ALL: [Self; 5] = [
        Self::BothRotationsWin,
        Self::MissesRevokeAll,
        Self::ReadsLate,
        Self::StaleVersionAccepted,
        Self::VerifiesLate,
    ];
}

/// A backend that lets keys lapse that expired by another time than the store says.
#[derive(Debug)]
pub(crate) struct LapsingBackend {
    pub(crate) inner: Memory,
    pub(crate) by: fn(Timestamp) -> Option<Timestamp>,
}

impl BackendLayer for LapsingBackend {
    fn inner(&self) -> &dyn Backend {
        &self.inner
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let altered =
            |change: &Change| change.clone().lapsing(change.lapse_expired_by.and_then(self.by));
        self.inner.commit(&batch.iter().map(altered).collect::<Vec<_>>())
    }
}

/// A store with a defect.
#[derive(Debug)]
pub(crate) struct Planted {
    store: Arc<dyn KeyStore>,
    defect: Defect,
    verdicts: Mutex<HashMap<Vec<u8>, Result<VerifiedKey, VerifyError>>>,
    keys: Mutex<HashMap<KeyId, Key>>,
    verified: Mutex<Option<VerifiedKey>>,
    /// Owners all of whose keys were revoked.
    swept: Mutex<HashSet<OwnerId>>,
}

impl Planted {
    pub(crate) fn new(store: Arc<dyn KeyStore>, defect: Defect) -> Self {
        let (verdicts, keys) = (Mutex::default(), Mutex::default());
        let (verified, swept) = (Mutex::default(), Mutex::default());
        Self { store, defect, verdicts, keys, verified, swept }
    }

    /// Compares the version now, and lets the change expect none.
    fn compared(
        &self,
        by: &Authority,
        id: KeyId,
        expected: Option<Version>,
    ) -> Result<Option<Version>, Error> {
        let Some(expected) = expected.filter(|_| self.defect == Defect::StaleVersionAccepted)
        else {
            return Ok(expected);
        };
        let found = self.store.key(by, id)?.version;
        std::thread::yield_now();
        if found == expected { Ok(None) } else { Err(Error::Conflict { expected, found }) }
    }

    /// Answers a verification, in place of the store's answer.
    fn answer(
        &self,
        request: &VerifyRequest<'_>,
        now: Result<VerifiedKey, VerifyError>,
    ) -> Result<VerifiedKey, VerifyError> {
        if self.defect == Defect::Overspends {
            let mut verified = self.verified.lock().unwrap();
            return match now {
                Err(
                    VerifyError::Rejected(RejectReason::RateLimited(_))
                    | VerifyError::Rejected(RejectReason::QuotaExhausted { .. }),
                ) => verified.take().ok_or(now.err().unwrap_or(VerifyError::Unrecognized)),
                now => {
                    *verified = now.ok().or(*verified);
                    now
                }
            };
        }
        if self.defect == Defect::CountsTwice && now.is_ok() {
            let _ = self.store.verify_request(&request.cost(0));
        }
        if self.defect == Defect::MissesRevokeAll {
            let (mut verdicts, token) = (self.verdicts.lock().unwrap(), request.token());
            if !matches!(now, Err(VerifyError::Rejected(RejectReason::Revoked))) {
                verdicts.insert(token.to_vec(), now);
                return now;
            }
            let is_missed = |key: &VerifiedKey| self.swept.lock().unwrap().contains(key.owner_id());
            return verdicts
                .remove(token)
                .filter(|old| old.as_ref().is_ok_and(is_missed))
                .unwrap_or(now);
        }
        if self.defect != Defect::VerifiesLate {
            return now;
        }
        self.verdicts.lock().unwrap().insert(request.token().to_vec(), now).unwrap_or(now)
    }
}

impl StoreLayer for Planted {
    fn inner(&self) -> &dyn KeyStore {
        &*self.store
    }

    fn poll_verify(
        &self,
        request: &VerifyRequest<'_>,
        wait: &mut Option<LeaseWait>,
        context: &mut Context<'_>,
    ) -> Poll<Result<VerifiedKey, VerifyError>> {
        self.store.poll_verify(request, wait, context).map(|now| self.answer(request, now))
    }

    fn key(&self, by: &Authority, id: KeyId) -> Result<Key, Error> {
        let now = self.store.key(by, id)?;
        if self.defect != Defect::ReadsLate {
            return Ok(now);
        }
        Ok(self.keys.lock().unwrap().insert(id, now.clone()).unwrap_or(now))
    }

    fn change_key(
        &self,
        by: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<ChangedKey, Error> {
        let expected = self.compared(by, id, expected)?;
        self.store.change_key(by, id, action, expected)
    }

    fn revoke_all(
        &self,
        by: &Authority,
        owner: &OwnerId,
        replacement: Option<&CreateKey>,
        expected: Option<Version>,
    ) -> Result<RevokedAll, Error> {
        let revoked = self.store.revoke_all(by, owner, replacement, expected)?;
        self.swept.lock().unwrap().insert(*owner);
        Ok(revoked)
    }

    fn rotate_key(
        &self,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issued, Error> {
        let expected = self.compared(by, id, expected)?;
        match self.store.rotate_key(by, id, request, expected) {
            Err(Error::Conflict { .. }) if self.defect == Defect::BothRotationsWin => {
                self.store.rotate_key(by, id, request, None)
            }
            answer => answer,
        }
    }
}
