//! Stores with a defect that only shows in races, so that the checker can be seen to find it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyhasp::authority::Authority;
use keyhasp::permission::Catalogue;
use keyhasp::store::{
    CreatedOwner, Events, FoundToken, Health, Issued, Key, KeyAction, OpenedToken, Owner,
    OwnerAction, Page, RevokedAll, Rules,
};
use keyhasp::{
    ChangeRules, CreateKey, CreateOwner, Error, ExternalId, Grant, KeyId, KeyStore, ListEvents,
    ListKeys, ListOwners, OwnerId, Refusal, Rotate, Timestamp, Token, Version,
};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Of two rotations that expect one version, the slower is made all the same.
    BothRotationsWin,
    /// A call that should read the backend is answered by what was read before.
    ReadsLate,
    /// An expected version is compared before the commit, not in it.
    StaleVersionAccepted,
    /// A verification is answered by what was true at the one before.
    VerifiesLate,
}

impl Defect {
    pub(crate) const ALL: [Self; 4] =
        [Self::BothRotationsWin, Self::ReadsLate, Self::StaleVersionAccepted, Self::VerifiesLate];
}

/// A store with a defect.
#[derive(Debug)]
pub(crate) struct Planted {
    store: Arc<dyn KeyStore>,
    defect: Defect,
    verdicts: Mutex<HashMap<Vec<u8>, Result<Grant, Refusal>>>,
    keys: Mutex<HashMap<KeyId, Key>>,
}

impl Planted {
    pub(crate) fn new(store: Arc<dyn KeyStore>, defect: Defect) -> Self {
        Self { store, defect, verdicts: Mutex::default(), keys: Mutex::default() }
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
}

impl KeyStore for Planted {
    fn verify(&self, token: &[u8]) -> Result<Grant, Refusal> {
        let now = self.store.verify(token);
        if self.defect != Defect::VerifiesLate {
            return now;
        }
        self.verdicts.lock().unwrap().insert(token.to_vec(), now).unwrap_or(now)
    }

    fn catalogue(&self) -> &Catalogue {
        self.store.catalogue()
    }

    fn create_key(
        &self,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Issued, Error> {
        self.store.create_key(by, owner, request)
    }

    fn key(&self, by: &Authority, id: KeyId) -> Result<Key, Error> {
        let now = self.store.key(by, id)?;
        if self.defect != Defect::ReadsLate {
            return Ok(now);
        }
        Ok(self.keys.lock().unwrap().insert(id, now.clone()).unwrap_or(now))
    }

    fn key_by_external_id(&self, by: &Authority, id: ExternalId) -> Result<Key, Error> {
        self.store.key_by_external_id(by, id)
    }

    fn list_keys(&self, by: &Authority, query: &ListKeys) -> Result<Page<Key>, Error> {
        self.store.list_keys(by, query)
    }

    fn count_keys(&self, by: &Authority, query: &ListKeys) -> Result<u64, Error> {
        self.store.count_keys(by, query)
    }

    fn change_key(
        &self,
        by: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<Key, Error> {
        let expected = self.compared(by, id, expected)?;
        self.store.change_key(by, id, action, expected)
    }

    fn rotate_key(
        &self,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issued, Error> {
        let expected = self.compared(by, id, expected)?;
        let told = self.store.rotate_key(by, id, request, expected);
        match told {
            Err(Error::Conflict { .. }) if self.defect == Defect::BothRotationsWin => {
                self.store.rotate_key(by, id, request, None)
            }
            told => told,
        }
    }

    fn purge_key(&self, by: &Authority, id: KeyId, expected: Option<Version>) -> Result<(), Error> {
        self.store.purge_key(by, id, expected)
    }

    fn open_token(&self, by: &Authority, id: KeyId) -> Result<Token, Error> {
        self.store.open_token(by, id)
    }

    fn open_tokens(&self, by: &Authority, query: &ListKeys) -> Result<Page<OpenedToken>, Error> {
        self.store.open_tokens(by, query)
    }

    fn identify(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error> {
        self.store.identify(by, token)
    }

    fn block_leaked(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error> {
        self.store.block_leaked(by, token)
    }

    fn create_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        request: &CreateOwner,
    ) -> Result<CreatedOwner, Error> {
        self.store.create_owner(by, id, request)
    }

    fn owner(&self, by: &Authority, id: &OwnerId) -> Result<Owner, Error> {
        self.store.owner(by, id)
    }

    fn list_owners(&self, by: &Authority, query: &ListOwners) -> Result<Page<Owner>, Error> {
        self.store.list_owners(by, query)
    }

    fn change_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        action: &OwnerAction,
        expected: Option<Version>,
    ) -> Result<Owner, Error> {
        self.store.change_owner(by, id, action, expected)
    }

    fn revoke_all(
        &self,
        by: &Authority,
        owner: &OwnerId,
        replacement: Option<&CreateKey>,
        expected: Option<Version>,
    ) -> Result<RevokedAll, Error> {
        self.store.revoke_all(by, owner, replacement, expected)
    }

    fn purge_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        expected: Option<Version>,
    ) -> Result<(), Error> {
        self.store.purge_owner(by, id, expected)
    }

    fn rules(&self, by: &Authority) -> Result<Rules, Error> {
        self.store.rules(by)
    }

    fn change_rules(
        &self,
        by: &Authority,
        request: &ChangeRules,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        self.store.change_rules(by, request, expected)
    }

    fn move_issue_mark(
        &self,
        by: &Authority,
        to: Timestamp,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        self.store.move_issue_mark(by, to, expected)
    }

    fn events(&self, by: &Authority, query: &ListEvents) -> Result<Events, Error> {
        self.store.events(by, query)
    }

    fn prune_events(&self, by: &Authority, before: Timestamp) -> Result<u64, Error> {
        self.store.prune_events(by, before)
    }

    fn wait_for_event(&self, after: u64, timeout: Duration) -> Result<u64, Error> {
        self.store.wait_for_event(after, timeout)
    }

    fn health(&self) -> Health {
        self.store.health()
    }

    fn recover(&self) -> Result<(), Error> {
        self.store.recover()
    }

    fn close(&self) -> Result<(), Error> {
        self.store.close()
    }
}
