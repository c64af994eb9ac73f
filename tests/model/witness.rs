//! A second store on a shared database, which only learns from the event log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::key::StoreRules;
use keyhasp::store::{PepperProblem, Store, Unavailable};
use keyhasp::{
    Clock, Error, KeyStore, Prefix, RejectReason, Timestamp, VerifyError, VerifyRequest,
};

use crate::compare;
use crate::driver::{Checked, Sequence};
use crate::generate::presented;
use crate::model::{Holder, Model};
use crate::opening;

/// A store on the same database, and the rules as they were when it was opened.
#[derive(Debug)]
pub(crate) struct Witness {
    store: Store,
    rules: (StoreRules, Vec<(Prefix, bool)>),
    /// Whether the rules have changed since. The store may notice that by itself at any time.
    were_others: bool,
    /// The time that its clock showed when it was opened, less the time that had passed until then.
    origin: Timestamp,
    /// The quotas, by version, that it found exhausted, and when that was.
    exhausted: BTreeMap<(Holder, u64), Timestamp>,
    /// The number of the last event that it has read, and the time of the newest that a right clock
    /// dated.
    last_event: u64,
    newest_event: Timestamp,
}

/// A process remembers for less than this that a quota of a shared database is exhausted.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Times within this are the same to it.
const TICK: u64 = 250;

impl Witness {
    /// Notes the events since the last time, as a poll does. Of a log that was pruned past its place,
    /// it reads the last event alone.
    fn read_events(&mut self, model: &Model) {
        let is_whole =
            model.events.first().is_none_or(|first| first.sequence <= self.last_event + 1);
        let from = if is_whole { self.last_event } else { model.last_event - 1 };
        let new = model.events.iter().filter(|event| event.sequence > from);
        let newest = new.filter_map(|event| model.right_time_of(event)).max();
        self.newest_event = self.newest_event.max(newest.unwrap_or(Timestamp::MIN));
        self.last_event = model.last_event;
    }

    /// Returns whether it may find a quota exhausted, and notes that.
    fn may_refuse(&mut self, quotas: Vec<((Holder, u64), bool)>, now: Timestamp) -> bool {
        let mut may_refuse = false;
        for (quota, is_exhausted) in quotas {
            if is_exhausted {
                self.exhausted.insert(quota, now);
            }
            let is_remembered = self.exhausted.get(&quota).is_some_and(|at| {
                let is_before = at.as_millis() / TICK <= now.as_millis() / TICK;
                is_before && now.since(*at) < REMEMBERED
            });
            may_refuse |= is_remembered;
        }
        may_refuse
    }
}

impl Sequence<'_> {
    /// Compares the verdicts on all tokens of a store that has only polled the event log.
    pub(crate) fn ask_witness(&mut self) -> Checked {
        let rules = (self.model.rules, self.model.prefixes.clone());
        if let Some(witness) = &mut self.witness {
            witness.were_others |= witness.rules != rules;
        }
        if !self.place.is_shared() || self.chance.percent(50) {
            return Ok(());
        }
        // The model knows one opening alone, and by how much the clock is ahead since then.
        let passed = self.clock.monotonic();
        let origin = self.model.expected.saturating_sub(passed);
        self.witness = self.witness.take().filter(|witness| witness.origin == origin);
        if let Some(witness) = &mut self.witness {
            match witness.store.refresh() {
                Ok(()) if witness.rules == rules => witness.read_events(&self.model),
                Err(Error::Unavailable(Unavailable::RulesChanged)) if witness.were_others => {
                    self.witness = None;
                }
                heard => return Err(format!("the witness polls: {heard:?} heard")),
            }
        }
        if self.witness.is_none() && self.model.now != self.model.expected {
            return Ok(());
        }
        if self.witness.is_none() {
            let builder = opening::builder(&self.model.opening, self.model.rules)
                .clock(Arc::clone(&self.clock) as _);
            let open = &self.model.opening.peppers;
            let lacks_one = self.model.needed_peppers().iter().any(|number| !open.contains(number));
            match self.place.open(builder) {
                Ok(store) if !lacks_one => {
                    let mut witness = Witness {
                        store,
                        rules,
                        were_others: false,
                        origin,
                        exhausted: BTreeMap::new(),
                        last_event: self.model.last_event,
                        newest_event: self.model.time_of_last_event(),
                    };
                    self.model.mend_graces_elsewhere();
                    witness.read_events(&self.model);
                    self.witness = Some(witness);
                    // As a poll in the background does.
                    self.store.refresh().unwrap();
                    // It has heard of the mended graces before the next call asks what is new.
                    let last = self.model.last_event;
                    let heard = self.store.wait_for_event(last - 1, Duration::from_secs(60));
                    if heard.as_ref().ok() != Some(&last) {
                        return Err(format!("event {last}: {heard:?} heard"));
                    }
                }
                // The clock has stepped back since the store was opened without it.
                Err(Error::Pepper { problem: PepperProblem::Missing, .. }) if lacks_one => {}
                heard => return Err(format!("the witness opens: {heard:?} heard")),
            }
        }
        let Some(witness) = &mut self.witness else { return Ok(()) };
        for issue in &self.issued {
            // A cost of 0, since this store doesn't know what the other one has consumed.
            let (address, _) = presented(&mut self.chance);
            let expected = self.model.judge_from(issue.key, issue.generation, address);
            let request = VerifyRequest::new(issue.text.as_bytes()).cost(0);
            let request = address.map_or(request, |address| request.address(address));
            let heard = witness.store.verify_request(&request);
            // It sees nothing of what the other one has leased.
            let is_exhausted =
                matches!(heard, Err(VerifyError::Rejected(RejectReason::QuotaExhausted { .. })));
            if is_exhausted
                && witness.may_refuse(self.model.quotas_beside_leases(issue.key), self.model.now)
            {
                continue;
            }
            if let Some(difference) = compare::verdicts(&expected, &heard, &witness.store) {
                let (key, generation) = (issue.key, issue.generation);
                return Err(format!("token {generation} of {key} at the witness: {difference}"));
            }
        }
        let Some(witness) = &self.witness else { return Ok(()) };
        self.check_health_of(&witness.store, witness.newest_event)
            .map_err(|what| format!("at the witness: {what}"))
    }
}
