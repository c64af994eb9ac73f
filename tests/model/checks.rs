//! The comparisons after each call.

use std::sync::Arc;

use keyhasp::key::{KeyName, RejectKind};
use keyhasp::permission::PermissionSet;
use keyhasp::store::{Explanation, ObstacleKind, Unavailable};
use keyhasp::{
    AdminKeys, Catalogue, Error, KeyStore, RejectReason, Timestamp, VerifiedKey, Verifier,
    VerifyError, VerifyRequest,
};

use crate::calls::{Call, EventQuery, KeyQuery, OwnerQuery, Side, Who};
use crate::compare;
use crate::driver::{Checked, Sequence};
use crate::generate::{prefixes, presented};
use crate::model::{Reason, Verdict};
use crate::opening;
use crate::perform::Desk;
use crate::walk::Walk;

impl Sequence<'_> {
    /// The events since the last time.
    pub(crate) fn check_events(&mut self) -> Checked {
        let query = EventQuery { after: self.seen_events, ..EventQuery::default() };
        self.seen_events = self.model.last_event;
        self.compare_quietly(Call::Events { query })
    }

    /// Makes an administrator's call that changes nothing.
    pub(crate) fn compare_quietly(&mut self, call: Call) -> Checked {
        let who = Who {
            side: Side::Admin,
            actor: "checks".into(),
            reason: None,
            for_owner: false,
            correlation: None,
        };
        let desk = Desk::new(&self.asked, &who);
        let heard = desk.perform(&*self.asked, &call);
        let (heard, fresh) = heard.map_err(|error| format!("{call:?}: {error:?} heard"))?;
        let expected = self.model.call(desk.authority(), &call, &fresh);
        let expected = expected.map_err(|reasons| format!("{call:?}: {reasons:?} expected"))?;
        let differences = compare::answers(&expected, &heard);
        if differences.is_empty() {
            return Ok(());
        }
        Err(format!("afterwards, {call:?}:\n{}", differences.join("\n")))
    }

    /// Verifies every token that was ever issued, and some that never were.
    pub(crate) fn check_tokens(&mut self) -> Checked {
        let asked: Arc<dyn KeyStore> = Arc::clone(&self.asked) as _;
        let admin = AdminKeys::new(Arc::clone(&asked), "checks").unwrap();
        let verifier = Verifier::new(asked);
        for issue in &self.issued {
            if !self.chance.percent(self.mood.verified) {
                continue;
            }
            let (address, cost) = presented(&mut self.chance);
            let mut settled = None;
            let expected = self.model.verify(issue.key, issue.generation, address, cost);
            let request = VerifyRequest::new(issue.text.as_bytes()).cost(cost);
            let request = address.map_or(request, |address| request.address(address));
            let actual = self.chance.percent(15).then(|| {
                let most = self.chance.pick(&[0, 1, 2, 5, 30]);
                if self.chance.percent(30) { cost } else { most }
            });
            let heard = match actual {
                None => verifier.verify_request(&request),
                Some(actual) => {
                    verifier.verify_reserving(&request).map(|(verified, reservation)| {
                        settled = Some(reservation.settle(actual));
                        verified
                    })
                }
            };
            if let Some(settled) = settled {
                settled.map_err(|error| format!("settling: {error:?} heard"))?;
            }
            if let (Some(actual), Verdict::Granted(_)) = (actual, &expected) {
                self.model.settle(issue.key, cost, actual);
            }
            let difference = compare::verdicts(&expected, &heard, &*self.asked);
            let difference = difference.or_else(|| compare::rates(&expected, &heard));
            if let Some(difference) = difference {
                let (key, generation) = (issue.key, issue.generation);
                let how = format!("from {address:?} for {cost}");
                return Err(format!("token {generation} of {key} {how}: {difference}"));
            }
            if let Some(difference) = explained(&admin, &issue.text, &heard, self.asked.catalogue())
            {
                let (key, generation) = (issue.key, issue.generation);
                return Err(format!("token {generation} of {key} explained: {difference}"));
            }
            self.model.note_use(issue.key, issue.generation, address, &expected);
            self.coverage.note_verdict(&expected);
            if let Ok(verified) = heard {
                let is_known = |known: &VerifiedKey| {
                    known.key_id() == verified.key_id()
                        && known.generation() == verified.generation()
                };
                if !self.grants.iter().any(is_known) {
                    self.grants.push(verified);
                }
            }
        }
        self.check_verified()?;
        for _ in 0..3 {
            let garbage = self.garbage();
            if self.issued.iter().any(|issue| issue.text.as_bytes() == garbage) {
                continue;
            }
            let heard = self.asked.verify(&garbage);
            if heard != Err(VerifyError::Unrecognized) {
                let shown = String::from_utf8_lossy(&garbage).into_owned();
                return Err(format!("the made-up token {shown}: {heard:?} heard"));
            }
        }
        Ok(())
    }

    /// Checks again the keys that were verified at any time before, and compares each with what its
    /// token would get now.
    fn check_verified(&mut self) -> Checked {
        let asked: Arc<dyn KeyStore> = Arc::clone(&self.asked) as _;
        let admin = AdminKeys::new(asked, "checks").unwrap();
        for verified in &self.grants {
            if !self.chance.percent(self.mood.verified) {
                continue;
            }
            let (address, _) = presented(&mut self.chance);
            let (key, generation) = (verified.key_id(), verified.generation().get());
            let expected = self.model.recheck(key, generation, address);
            let heard = self.asked.recheck_from(verified, address);
            let difference = compare::verdicts(&expected, &heard, &*self.asked);
            let difference = difference.or_else(|| compare::rates(&expected, &heard));
            if let Some(difference) = difference {
                let what = format!("token {generation} of {key} again from {address:?}");
                return Err(format!("{what}: {difference}"));
            }
            if self.chance.percent(20)
                && let Some(difference) = detailed(&admin, verified, &heard, &*self.asked)
            {
                return Err(format!("details of {key}: {difference}"));
            }
        }
        Ok(())
    }

    /// Makes a token that no store has issued, mostly one that differs little from an issued one.
    pub(crate) fn garbage(&mut self) -> Vec<u8> {
        let Some(at) = self.issued.len().checked_sub(1) else { return b"acme_".to_vec() };
        let text = self.issued[self.chance.below(at + 1)].text.clone();
        let mut bytes = text.clone().into_bytes();
        let place = self.chance.below(bytes.len());
        match self.chance.below(8) {
            0 => bytes[place] = 0xff,
            1 => bytes.truncate(place),
            2 => bytes.push(b'0'),
            3 => bytes.make_ascii_uppercase(),
            4 => {
                // The same token under another prefix.
                let prefix = self.chance.pick(&prefixes());
                bytes = [prefix.as_bytes(), &bytes[bytes.len() - 71..]].concat();
            }
            5 => {
                // The secret of one key with the id of another.
                let other = &self.issued[self.chance.below(at + 1)].text;
                let tail = &other.as_bytes()[other.len() - 48..];
                let end = bytes.len() - 48;
                bytes.truncate(end);
                bytes.extend_from_slice(tail);
            }
            _ => bytes[place] = self.chance.pick(b"0Az_"),
        }
        bytes
    }

    pub(crate) fn check_health(&mut self) -> Checked {
        self.check_health_of(&*self.asked, self.model.newest_event)?;
        if self.model.behind_log(self.model.newest_event).is_some() {
            self.coverage.note_behind_log();
        }
        Ok(())
    }

    /// Compares the health of a store, given the newest event that it knows of.
    pub(crate) fn check_health_of(&self, store: &dyn KeyStore, newest: Timestamp) -> Checked {
        let health = store.health();
        let tokens = self.model.readable_tokens();
        let behind_log = self.model.behind_log(newest).map(|newest| (self.model.now, newest));
        let is_told = health.clock_ahead.map(|told| told.by) == self.model.ahead()
            && health.clock_behind_log.map(|told| (told.now, told.newest_event)) == behind_log;
        if health.unavailable.is_none() && health.tokens == tokens && is_told {
            return Ok(());
        }
        Err(format!("{tokens} tokens, {behind_log:?} and good health expected, {health:?} heard"))
    }

    /// All keys, owners and rules, in pages of any size.
    pub(crate) fn look_at_everything(&mut self) -> Checked {
        let limit = Some(1 + self.chance.below(30));
        let states = Some(keyhasp::State::ALL.to_vec());
        let query = KeyQuery { states, limit, ..KeyQuery::default() };
        self.compare_quietly(Call::List { query })?;
        self.compare_quietly(Call::ListOwners {
            query: OwnerQuery { limit, ..OwnerQuery::default() },
        })?;
        self.compare_quietly(Call::Rules)?;
        if let Some(id) =
            self.chance.pick_late(&self.model.keys.keys().copied().collect::<Vec<_>>())
        {
            self.compare_quietly(Call::Get { id })?;
        }
        Ok(())
    }

    /// Scans for alerts, without noting the call.
    pub(crate) fn call_out(&mut self) -> Checked {
        self.compare_quietly(Call::LookOut)
    }

    /// Reads one more page of a list, with other calls between its pages.
    pub(crate) fn walk(&mut self) -> Checked {
        match self.walk.take() {
            Some(walk) => self.walk = walk.on(&*self.asked, &self.model)?,
            None if self.chance.percent(10) => {
                self.walk = Some(Walk::new(&self.model, 1 + self.chance.below(3)));
            }
            None => {}
        }
        Ok(())
    }

    pub(crate) fn check_closed(&self) -> Checked {
        self.asked.close().map_err(|error| format!("closing: {error:?} heard"))?;
        self.asked.close().map_err(|error| format!("closing again: {error:?} heard"))?;
        let closed = Err(VerifyError::Unavailable(Unavailable::Closed));
        for issue in &self.issued {
            let heard = self.asked.verify(issue.text.as_bytes());
            if heard != closed {
                return Err(format!("a closed store verifies: {heard:?}"));
            }
        }
        for verified in &self.grants {
            let heard = self.asked.recheck_from(verified, None);
            if heard != closed {
                return Err(format!("a closed store checks again: {heard:?}"));
            }
        }
        let who = Who {
            side: Side::Admin,
            actor: "checks".into(),
            reason: None,
            for_owner: false,
            correlation: None,
        };
        let heard = Desk::new(&self.asked, &who).perform(&*self.asked, &Call::Rules);
        match heard.err().as_ref().map(Reason::of) {
            Some(Reason::Unavailable(Unavailable::Closed)) => Ok(()),
            other => Err(format!("a closed store answers: {other:?}")),
        }
    }
}

/// Compares what stands against a token with the answer that it has just got.
fn explained(
    admin: &AdminKeys,
    token: &str,
    heard: &Result<VerifiedKey, VerifyError>,
    catalogue: &Catalogue,
) -> Option<String> {
    let explained = admin.explain(token);
    let is_right = match (&explained, heard) {
        (Ok(Explanation::Known(known)), Ok(verified)) => {
            let permissions = known.key.effective_permissions(catalogue);
            let access = known.access.as_ref().map(|access| access.compile(catalogue));
            known.obstacles.is_empty()
                && permissions == *verified.permissions()
                && access.unwrap_or(PermissionSet::EMPTY) == permissions
                && (known.generation, known.is_current)
                    == (verified.generation(), verified.is_current())
        }
        (Ok(Explanation::Known(known)), Err(VerifyError::Rejected(reason))) => {
            let until = known.obstacles.iter().filter_map(|obstacle| obstacle.until).max();
            match (reason, known.obstacles.first().map(|obstacle| obstacle.kind)) {
                (RejectReason::NotYet(from), Some(kind)) => {
                    matches!(kind, ObstacleKind::KeyNotYet | ObstacleKind::OwnerNotYet)
                        && until == Some(*from)
                }
                (reason, Some(kind)) => kind_of(kind) == Some(reason.kind()),
                (reason, None) => matches!(
                    reason.kind(),
                    RejectKind::AddressMissing
                        | RejectKind::AddressRejected
                        | RejectKind::RateLimited
                        | RejectKind::QuotaExhausted
                ),
            }
        }
        (Ok(Explanation::Known(known)), Err(VerifyError::Unrecognized)) => {
            known.obstacles.first().is_some_and(|it| it.kind == ObstacleKind::PrefixNotAccepted)
        }
        (Ok(Explanation::Unknown { is_mistyped: false, .. }), Err(VerifyError::Unrecognized))
        | (Err(Error::Pepper { .. }), Err(VerifyError::Unrecognized)) => true,
        _ => false,
    };
    (!is_right).then(|| format!("{explained:?} where {heard:?} was heard"))
}

fn kind_of(obstacle: ObstacleKind) -> Option<RejectKind> {
    Some(match obstacle {
        ObstacleKind::OwnerSuspended => RejectKind::Suspended,
        ObstacleKind::Revoked => RejectKind::Revoked,
        ObstacleKind::Blocked => RejectKind::Blocked,
        ObstacleKind::Deactivated => RejectKind::Deactivated,
        ObstacleKind::Expired => RejectKind::Expired,
        ObstacleKind::GraceOver
        | ObstacleKind::InvalidatedForOwner
        | ObstacleKind::InvalidatedForStore
        | ObstacleKind::PepperRetired => RejectKind::Superseded,
        _ => return None,
    })
}

/// Compares the details of a key with its record. A key that isn't accepted may have none.
fn detailed(
    admin: &AdminKeys,
    verified: &VerifiedKey,
    heard: &Result<VerifiedKey, VerifyError>,
    store: &dyn KeyStore,
) -> Option<String> {
    let details = store.details(verified);
    let key = admin.get(verified.key_id());
    let is_right = match (&details, &key) {
        (Some(details), Ok(key)) => {
            let settings = key.settings.iter().map(|(name, value)| (name.as_str(), value));
            details.name() == key.name.as_ref().map(KeyName::as_str)
                && details.numeric_id() == key.numeric_id
                && details.tags() == &key.tags
                && details
                    .settings()
                    .eq(settings.filter(|(name, _)| opening::DETAILS.contains(name)))
        }
        (None, Err(Error::NotFound(_))) => true,
        (None, Ok(_)) => heard.is_err(),
        _ => false,
    };
    (!is_right).then(|| format!("{details:?} kept of {key:?}"))
}
