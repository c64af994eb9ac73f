//! Stores with an injected bug each, which the driver must find.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use keyhasp::authority::{Authority, Role, Viewer};
use keyhasp::id::{KeyId, OwnerId, Version};
use keyhasp::key::{LastAddress, RejectReason};
use keyhasp::store::{
    ChangedKey, Events, ForbiddenReason, FoundToken, Health, Issued, IssuedOnce, Key, KeyAction,
    KeyUsage, LeaseWait, Owner, OwnerAction, Page, RevokedAll, RevokedTree, Rules, StoreLayer,
};
use keyhasp::{
    Clock, CreateKey, Error, EventKind, IdempotencyKey, KeyStore, ListEvents, ListKeys,
    ManualClock, Rotate, State, Timestamp, Token, VerifiedKey, VerifyError, VerifyRequest,
};

use crate::defects::Defect;
use crate::driver::Asked;

/// A store that is right except for one bug.
#[derive(Debug)]
pub(crate) struct Planted {
    store: Arc<dyn Asked>,
    defect: Defect,
    clock: Arc<ManualClock>,
    /// The first verified key of each token.
    granted: Mutex<HashMap<Vec<u8>, VerifiedKey>>,
    /// What wall time and the other clock showed at the opening.
    opened: (Timestamp, Duration),
    /// When tokens were issued, by text.
    issued: Mutex<HashMap<Vec<u8>, Timestamp>>,
    /// The ends of graces as they were reckoned ahead, by key and generation.
    graces: Mutex<HashMap<(KeyId, u32), Timestamp>>,
    usage: Mutex<HashMap<KeyId, Noted>>,
}

/// Notes of a bug about a key's usage.
#[derive(Debug, Default)]
struct Noted {
    /// The usage as it was first shown since it was last written.
    shown: Option<KeyUsage>,
    last_address: Option<LastAddress>,
    latest: Option<Timestamp>,
    /// The time of the last use, if there was a use at a later time before.
    stepped_back_to: Option<Timestamp>,
    waiting: u64,
    written: u64,
}

impl Planted {
    pub(crate) fn new(store: Arc<dyn Asked>, defect: Defect, clock: Arc<ManualClock>) -> Self {
        let opened = (clock.now(), clock.monotonic());
        Self {
            store,
            defect,
            clock,
            granted: Mutex::default(),
            opened,
            issued: Mutex::default(),
            graces: Mutex::default(),
            usage: Mutex::default(),
        }
    }

    fn is_ahead(&self) -> bool {
        let (wall, monotonic) = self.opened;
        let passed = self.clock.monotonic().saturating_sub(monotonic);
        self.clock.now().since(wall.saturating_add(passed)) > Duration::from_secs(60)
    }

    fn note_issued(&self, issued: &Issued) {
        let token = issued.token.expose().as_bytes().to_vec();
        self.issued.lock().unwrap().insert(token, issued.key.token_issued_at);
        for previous in issued.key.previous_tokens.iter().filter(|_| self.is_ahead()) {
            let place = (issued.key.id, previous.generation.get());
            self.graces.lock().unwrap().entry(place).or_insert(previous.ends_at);
        }
    }

    /// Whether a superseded token would be accepted if the clock's steps had done lasting harm.
    fn was_harmed(&self, token: &[u8], verified: &VerifiedKey) -> bool {
        let now = self.clock.now();
        let place = (verified.key_id(), verified.generation().get());
        match self.defect {
            Defect::GraceAheadStays => {
                self.graces.lock().unwrap().get(&place).is_some_and(|end| now < *end)
            }
            Defect::InvalidationMissesTokensAhead => {
                self.issued.lock().unwrap().get(token).is_some_and(|at| *at > now)
            }
            _ => false,
        }
    }

    /// Returns a key's answer, with its usage changed by the bug.
    fn used(&self, mut key: Key) -> Key {
        if self.has(Defect::LapseNotShown) {
            key.lapsed_at = None;
        }
        let Some(usage) = &mut key.usage else { return key };
        let mut noted = self.usage.lock().unwrap();
        let noted = noted.entry(key.id).or_default();
        match self.defect {
            Defect::AddressOutlivesItsTime => {
                noted.last_address = usage.last_address.or(noted.last_address);
                usage.last_address = noted.last_address;
            }
            Defect::CountDoubledByWriting => {
                usage.accepted = usage.accepted.map(|count| count + noted.written);
            }
            Defect::LastUseStepsBack => {
                usage.last_used_at = noted.stepped_back_to.or(usage.last_used_at);
            }
            Defect::UsageShownLate => *usage = *noted.shown.get_or_insert(*usage),
            _ => {}
        }
        key
    }

    fn note_use(&self, key: KeyId) {
        let mut noted = self.usage.lock().unwrap();
        let noted = noted.entry(key).or_default();
        let now = self.clock.now();
        noted.stepped_back_to = noted.latest.is_some_and(|latest| now < latest).then_some(now);
        noted.latest = noted.latest.max(Some(now));
        noted.waiting += 1;
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn expected(&self, expected: Option<Version>) -> Option<Version> {
        expected.filter(|_| !self.has(Defect::WrongVersionAccepted))
    }

    /// Repeats a call with more authority, if it was refused for lack of it and the bug is such.
    fn again<T>(
        &self,
        by: &Authority,
        first: Result<T, Error>,
        again: impl FnOnce(&Authority) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(owner) = by.role.owner().copied() else { return first };
        let role = match &first {
            Err(Error::NotFound(_)) if self.has(Defect::AnotherOwnersKeyFound) => {
                Role::Administrator
            }
            Err(Error::Forbidden(ForbiddenReason::BeyondActingKey))
                if self.has(Defect::DelegateGoesBeyond) =>
            {
                Role::Owner { owner }
            }
            Err(Error::Forbidden(ForbiddenReason::OutlastsActingKey))
                if self.has(Defect::DelegateOutlasts) =>
            {
                Role::Owner { owner }
            }
            Err(Error::Forbidden(ForbiddenReason::OtherPrefix))
                if self.has(Defect::DelegateCrossesPrefixes) =>
            {
                Role::Owner { owner }
            }
            Err(Error::Forbidden(ForbiddenReason::ActingKeyRejected(_)))
                if self.has(Defect::OutlivesItsKey)
                    && matches!(by.role, Role::OwnerByKey { .. }) =>
            {
                Role::Owner { owner }
            }
            Err(Error::Forbidden(ForbiddenReason::PreviousToken))
                if self.has(Defect::PreviousTokenActs) =>
            {
                Role::Owner { owner }
            }
            Err(Error::Forbidden(ForbiddenReason::TrialKey))
                if self.has(Defect::TrialDelegates) =>
            {
                Role::Owner { owner }
            }
            Err(Error::Forbidden(ForbiddenReason::ProtectedSetting))
                if self.has(Defect::ProtectedSettingChanged) =>
            {
                Role::Administrator
            }
            Err(Error::Forbidden(ForbiddenReason::BeyondLifetime { .. }))
                if self.has(Defect::LifetimeExceeded) =>
            {
                Role::Administrator
            }
            Err(Error::Forbidden(ForbiddenReason::SetByAdministrator { field: "expiry" }))
                if self.has(Defect::OwnerProlongs) =>
            {
                Role::Administrator
            }
            Err(Error::Forbidden(ForbiddenReason::SetByAdministrator {
                field: "access" | "expiry",
            })) => {
                return first;
            }
            Err(Error::Forbidden(ForbiddenReason::SetByAdministrator { .. }))
                if self.has(Defect::OwnerLoosens) =>
            {
                Role::Administrator
            }
            _ => return first,
        };
        again(&Authority { role, ..by.clone() })
    }
}

impl Planted {
    /// Answers a verification, in place of the store's answer.
    fn answer(
        &self,
        request: &VerifyRequest<'_>,
        answer: Result<VerifiedKey, VerifyError>,
    ) -> Result<VerifiedKey, VerifyError> {
        let token = request.token();
        let mut first_verified = self.granted.lock().unwrap();
        let before = first_verified.get(token).copied();
        let is_superseded = matches!(answer, Err(VerifyError::Rejected(RejectReason::Superseded)));
        if let Some(verified) =
            before.filter(|first| is_superseded && self.was_harmed(token, first))
        {
            return Ok(verified);
        }
        let outlives = match (&answer, self.defect) {
            (Ok(_), Defect::MaxAccessNotInForce)
            | (
                Err(
                    VerifyError::Rejected(RejectReason::AddressMissing)
                    | VerifyError::Rejected(RejectReason::AddressRejected),
                ),
                Defect::NetworksNotInForce,
            )
            | (Err(VerifyError::Rejected(RejectReason::NotYet(_))), Defect::NotBeforeIgnored)
            | (Err(VerifyError::Rejected(RejectReason::RateLimited(_))), Defect::RateNeverUsedUp)
            | (
                Err(VerifyError::Rejected(RejectReason::QuotaExhausted { .. })),
                Defect::QuotaOverspends,
            ) => true,
            (
                Err(VerifyError::Rejected(RejectReason::QuotaExhausted { .. })),
                Defect::LookPasses,
            ) => format!("{request:?}").contains("cost: 0,"),
            (Err(VerifyError::Rejected(reason)), defect) => matches!(
                (reason, defect),
                (RejectReason::Blocked, Defect::BlockNotInForce)
                    | (RejectReason::Expired, Defect::ExpiryNotInForce)
                    | (RejectReason::Revoked, Defect::RevocationNotInForce)
                    | (RejectReason::Superseded, Defect::SupersededStillGood)
                    | (RejectReason::Suspended, Defect::SuspensionNotInForce)
            ),
            _ => false,
        };
        if let Ok(verified) = &answer {
            self.note_use(verified.key_id());
            first_verified.entry(token.to_vec()).or_insert(*verified);
        }
        match before {
            Some(before) if outlives => Ok(before),
            _ => answer,
        }
    }
}

impl Asked for Planted {
    fn flush_usage(&self) -> Result<(), Error> {
        for noted in self.usage.lock().unwrap().values_mut() {
            noted.shown = None;
            noted.written += std::mem::take(&mut noted.waiting);
        }
        self.store.flush_usage()
    }

    fn run_alerts(&self) -> Result<usize, Error> {
        if self.has(Defect::LooksAway) { Ok(0) } else { self.store.run_alerts() }
    }

    fn work_sweeps(&self, pieces: usize) -> Result<u64, Error> {
        self.store.work_sweeps(pieces)
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
        self.store.poll_verify(request, wait, context).map(|answer| self.answer(request, answer))
    }

    fn recheck_from(
        &self,
        verified: &VerifiedKey,
        address: Option<IpAddr>,
    ) -> Result<VerifiedKey, VerifyError> {
        match (self.store.recheck_from(verified, address), self.defect) {
            (Err(VerifyError::Rejected(_)), Defect::RecheckRemembers) => Ok(*verified),
            (
                Err(VerifyError::Rejected(RejectReason::AddressMissing)),
                Defect::RecheckFromAnywhere,
            ) => Ok(*verified),
            (answer, _) => answer,
        }
    }

    fn create_key(
        &self,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Issued, Error> {
        let first = self.store.create_key(by, owner, request);
        self.again(by, first, |by| self.store.create_key(by, owner, request))
            .inspect(|issued| self.note_issued(issued))
    }

    fn create_key_once(
        &self,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
        key: &IdempotencyKey,
    ) -> Result<IssuedOnce, Error> {
        if self.has(Defect::RepeatTakesEffect) {
            return self.store.create_key(by, owner, request).map(IssuedOnce::from);
        }
        self.store.create_key_once(by, owner, request, key)
    }

    fn key(&self, by: &Authority, id: KeyId) -> Result<Key, Error> {
        if self.has(Defect::AdministratorShown) && by.role.owner().is_some() {
            let _ = self.store.key(by, id)?;
            let by = Authority { role: Role::Administrator, ..by.clone() };
            return self.store.key(&by, id);
        }
        self.again(by, self.store.key(by, id), |by| self.store.key(by, id))
            .map(|key| self.used(key))
    }

    fn list_keys(&self, by: &Authority, query: &ListKeys) -> Result<Page<Key>, Error> {
        let mut page = self.store.list_keys(by, query)?;
        page.items = page.items.into_iter().map(|key| self.used(key)).collect();
        if self.has(Defect::CreatorNotTold) {
            page.items.iter_mut().for_each(|key| key.created_by_key = None);
        }
        if self.has(Defect::ListHidesTags) {
            page.items.iter_mut().for_each(|key| key.tags = keyhasp::key::Tags::default());
        }
        if self.has(Defect::ListDropsKey) && page.items.len() > 2 {
            page.items.pop();
        }
        // The text of a query shows whether it has a cursor.
        if self.has(Defect::ListEndsEarly) && !format!("{query:?}").contains("cursor: None") {
            page.next = None;
        }
        Ok(page)
    }

    fn count_keys(&self, by: &Authority, query: &ListKeys) -> Result<u64, Error> {
        let count = self.store.count_keys(by, query)?;
        Ok(if self.has(Defect::CountFallsShort) && count > 3 { count - 1 } else { count })
    }

    fn change_key(
        &self,
        by: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<ChangedKey, Error> {
        let expected = self.expected(expected);
        let before = self.has(Defect::PinningForgotten).then(|| self.store.key(by, id).ok());
        let action = match action {
            KeyAction::AddToQuota(2..=1_000) if self.has(Defect::QuotaGetsOne) => {
                &KeyAction::AddToQuota(1)
            }
            action => action,
        };
        let first = self.store.change_key(by, id, action, expected);
        let changed =
            self.again(by, first, |by| self.store.change_key(by, id, action, expected))?;
        let mut key = changed.whole().unwrap();
        if let Some(before) = before.flatten().filter(|before| before.access == key.access) {
            key.access_by = before.access_by;
        }
        let lifts = matches!(action, KeyAction::Activate) && key.state == State::Blocked;
        if lifts && self.has(Defect::ActivateLiftsBlock) {
            let by = Authority { role: Role::Administrator, ..by.clone() };
            return self.store.change_key(&by, id, &KeyAction::Unblock, None);
        }
        Ok(ChangedKey::Whole(Box::new(key)))
    }

    fn rotate_key(
        &self,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issued, Error> {
        let mut request = *request;
        let is_forced = format!("{request:?}").contains("grace: None, unblock: false");
        if is_forced && self.has(Defect::ForcedRotationKeepsPrevious) {
            request = Rotate::new();
        }
        let expected = self.expected(expected);
        let first = self.store.rotate_key(by, id, &request, expected);
        let again = |by: &Authority| self.store.rotate_key(by, id, &request, expected);
        let mut issued = self.again(by, first, again)?;
        self.note_issued(&issued);
        if self.has(Defect::DroppedNotTold) {
            issued.dropped = None;
        }
        Ok(issued)
    }

    fn purge_key(&self, by: &Authority, id: KeyId, expected: Option<Version>) -> Result<(), Error> {
        if self.has(Defect::PurgeDoesNothing) && by.role == Role::Administrator {
            return self.store.key(by, id).map(|_| ());
        }
        self.store.purge_key(by, id, self.expected(expected))
    }

    fn reveal_token(&self, by: &Authority, id: KeyId) -> Result<Token, Error> {
        self.again(by, self.store.reveal_token(by, id), |by| self.store.reveal_token(by, id))
    }

    fn identify(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error> {
        let found = self.store.identify(by, token)?;
        Ok(found.filter(|found| found.is_accepted || !self.has(Defect::DeadTokenNotTold)))
    }

    fn block_leaked(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error> {
        if self.has(Defect::LeakNotStopped) {
            return self.store.identify(by, token);
        }
        self.store.block_leaked(by, token)
    }

    fn change_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        action: &OwnerAction,
        expected: Option<Version>,
    ) -> Result<Owner, Error> {
        self.store.change_owner(by, id, action, self.expected(expected))
    }

    fn revoke_all(
        &self,
        by: &Authority,
        owner: &OwnerId,
        replacement: Option<&CreateKey>,
        expected: Option<Version>,
    ) -> Result<RevokedAll, Error> {
        if self.has(Defect::RevokeAllOneByOne) && replacement.is_none() {
            let keys = self.store.list_keys(by, &ListKeys::new().owner(*owner))?.items;
            for key in &keys {
                self.store.change_key(by, key.id, &KeyAction::Revoke, None)?;
            }
        }
        self.store.revoke_all(by, owner, replacement, self.expected(expected))
    }

    fn revoke_with_descendants(
        &self,
        by: &Authority,
        id: KeyId,
        expected: Option<Version>,
    ) -> Result<RevokedTree, Error> {
        if self.has(Defect::TreeRevokedOneByOne) {
            self.store.change_key(by, id, &KeyAction::Revoke, expected)?;
        }
        self.store.revoke_with_descendants(by, id, self.expected(expected))
    }

    fn events(&self, by: &Authority, query: &ListEvents) -> Result<Events, Error> {
        let mut events = self.store.events(by, query)?;
        if let Some(owner) = by.role.owner().filter(|_| self.has(Defect::EventsOfAnotherTime)) {
            let by = Authority { role: Role::Administrator, ..by.clone() };
            events = self.store.events(&by, &query.clone().owner(*owner))?;
            let shown = events.items.into_iter().map(|event| event.shown_to(Viewer::Owner));
            events.items = shown.collect();
        }
        if self.has(Defect::EventMissing) {
            events.items.retain(|event| event.kind != EventKind::TrialConverted);
        }
        if self.has(Defect::EventsNeverNewestFirst) {
            events.items.sort_by_key(|event| event.sequence);
        }
        let is_pair = events.items.len() == 2 && events.items[0].at == events.items[1].at;
        if self.has(Defect::EventsSwapped) && is_pair {
            events.items.swap(0, 1);
        }
        Ok(events)
    }

    fn invalidate_tokens_issued_before(
        &self,
        by: &Authority,
        to: Timestamp,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        let (rules, now) = (self.store.rules(by)?, self.clock.now());
        let is_hidden = rules.tokens_valid_from.is_some_and(|from| from > now) && to <= now;
        let may = by.role == Role::Administrator && expected.is_none();
        if self.has(Defect::InvalidationAheadHidesLater) && is_hidden && may {
            return Ok(rules);
        }
        self.store.invalidate_tokens_issued_before(by, to, self.expected(expected))
    }

    fn health(&self) -> Health {
        let mut health = self.store.health();
        if self.has(Defect::ClockAheadNotTold) {
            health.clock_ahead = None;
        }
        if self.has(Defect::ClockBehindLogNotTold) {
            health.clock_behind_log = None;
        }
        health
    }

    fn prune_events(&self, by: &Authority, before: Timestamp) -> Result<u64, Error> {
        let too_far = Duration::from_secs(60 * 60);
        let further = self.has(Defect::PruneGoesTooFar);
        let before = if further { before.saturating_add(too_far) } else { before };
        self.store.prune_events(by, before)
    }
}
