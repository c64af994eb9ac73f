//! The comparison of a store with its ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyhasp::{
    AdminKeys, Error, Event, EventKind, KeyId, KeyStore, ListEvents, ListKeys, NumericId, OwnerId,
    RejectReason, State, Verifier, VerifyError, VerifyRequest,
};

use crate::found::{Found, events};
use crate::ledger::{Happened, Ledger, TokenState};
use crate::limits::ADDRESS;
use crate::line::Line;
use crate::operation::{Made, Operation};
use crate::random::Random;

/// The number of keys whose events are listed by key.
const SAMPLE: usize = 20;

/// The answers that a process reported, in order.
#[derive(Debug, Default)]
pub struct Said {
    /// Changes that were acknowledged.
    pub done: Vec<(String, Operation, Made)>,
    /// Changes whose error says that nothing happened.
    pub refused: Vec<(String, String)>,
    /// Changes without an answer, or of unknown outcome.
    pub open: Vec<(String, Operation)>,
    /// Trouble that the process reported.
    pub trouble: Vec<String>,
}

impl Said {
    /// Sorts lines.
    ///
    /// # Errors
    /// A line answers a call that wasn't made.
    pub fn of(lines: impl IntoIterator<Item = Line>) -> Result<Self, String> {
        let mut said = Self::default();
        let mut begun: BTreeMap<String, Operation> = BTreeMap::new();
        for line in lines {
            let mut take =
                |name: &str| begun.remove(name).ok_or_else(|| format!("{name} was not begun"));
            match line {
                Line::Intent(name, operation) => drop(begun.insert(name, operation)),
                Line::Done(name, made) => {
                    let operation = take(&name)?;
                    said.done.push((name, operation, made));
                }
                Line::Refused(name, why) => {
                    take(&name)?;
                    said.refused.push((name, why));
                }
                Line::Trouble(what) => said.trouble.push(what),
                // `purses` compares uses.
                Line::Used(..) | Line::Flushing(_) | Line::Flushed(_) => {}
                Line::Unknown(_) | Line::Open | Line::Closing | Line::Closed => {}
            }
        }
        said.open = begun.into_iter().collect();
        Ok(said)
    }
}

/// Violations that the check found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Acknowledged changes that are gone.
    pub lost: Vec<String>,
    /// Changes that are there in part.
    pub halves: Vec<String>,
    /// Quotas and counts that are wrong.
    pub misused: Vec<String>,
    /// Sweeps that pieces have yet to write. They are none of the violations.
    pub pending: Vec<String>,
}

impl Findings {
    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.halves.is_empty() && self.misused.is_empty()
    }

    /// Puts all findings into words.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let lost = self.lost.iter().map(|what| format!("lost: {what}"));
        let halves = self.halves.iter().map(|what| format!("half applied: {what}"));
        lost.chain(halves).chain(self.misused.iter().map(|what| format!("misused: {what}")))
    }
}

/// Applies the answers to the ledger, settles by the store's events which changes without an answer
/// took effect, and compares the store with the ledger.
///
/// # Errors
/// The store can't be read.
pub fn hold(
    store: &Arc<dyn KeyStore>,
    ledger: &mut Ledger,
    said: &Said,
    random: &mut Random,
) -> Result<Findings, Error> {
    let admin = AdminKeys::new(Arc::clone(store), "checker")?;
    let found = Found::read(&admin)?;
    let mut check = Check {
        by_operation: BTreeMap::new(),
        ended: BTreeSet::new(),
        tainted: BTreeSet::new(),
        findings: Findings::default(),
    };
    check.log(&found);
    check.take_over(&found, ledger, said);
    check.operations(ledger);
    check.records(&found, ledger);
    check.tokens(store, ledger);
    check.indexes(&admin, &found, ledger, random)?;
    Ok(check.findings)
}

struct Check {
    by_operation: BTreeMap<String, Vec<Event>>,
    /// The sweeps that have ended, by the numbers of the events that bound them.
    ended: BTreeSet<u64>,
    /// Owners of lost changes; further differences there follow from the loss.
    tainted: BTreeSet<OwnerId>,
    findings: Findings,
}

impl Check {
    fn lost(&mut self, what: String) {
        self.findings.lost.push(what);
    }

    fn half(&mut self, what: String) {
        self.findings.halves.push(what);
    }

    /// Checks that the log has no gap and that each event belongs to an operation.
    fn log(&mut self, found: &Found) {
        if found.pruned_through != 0 {
            self.half(format!("the log was pruned through {}", found.pruned_through));
        }
        for (expected, event) in (1..).zip(&found.events) {
            if event.sequence != expected {
                let sequence = event.sequence;
                self.half(format!("event {sequence} stands where {expected} should"));
                break;
            }
        }
        for event in &found.events {
            if let (EventKind::OwnerSweepEnded, Some(binding)) = (event.kind, event.binding) {
                if !self.ended.insert(binding) {
                    self.half(format!("the sweep of event {binding} has ended twice"));
                }
                continue;
            }
            match &event.authority.correlation_id {
                Some(name) => {
                    self.by_operation.entry(name.to_string()).or_default().push(event.clone());
                }
                None if event.sequence == 1 && event.kind == EventKind::StoreCreated => {}
                None => self.half(format!("event {} belongs to no operation", event.sequence)),
            }
        }
    }

    /// Applies to the ledger the acknowledged changes, and those without an answer that left
    /// events.
    fn take_over(&mut self, found: &Found, ledger: &mut Ledger, said: &Said) {
        for (name, operation, made) in &said.done {
            let owner = owner_of(operation, ledger);
            if !self.by_operation.contains_key(name) {
                self.lost(format!("{name} ({operation}) was acknowledged and left no event"));
                self.tainted.extend(owner);
            }
            if let Err(why) = ledger.apply(name, operation, made)
                && owner.is_none_or(|owner| !self.tainted.contains(&owner))
            {
                self.half(format!("{name} ({operation}) was acknowledged, but: {why}"));
            }
        }
        for (name, _) in &said.refused {
            ledger.did_not_happen(name);
        }
        for (name, operation) in &said.open {
            match self.by_operation.get(name) {
                None => ledger.did_not_happen(name),
                Some(events) => {
                    let created = events.iter().find(|event| event.kind == EventKind::KeyCreated);
                    let key = created.and_then(|event| event.key);
                    let numeric_id = key.and_then(|key| found.keys.get(&key)?.numeric_id);
                    let made = Made { key, numeric_id, token: None };
                    if let Err(why) = ledger.apply(name, operation, &made) {
                        let of = events.len();
                        self.half(format!("{name} ({operation}) left {of} events, but: {why}"));
                    }
                }
            }
        }
    }

    /// Checks that each operation left exactly its events, one after the other; those of a sweep's
    /// keys each once, and all of them once the sweep has ended.
    fn operations(&mut self, ledger: &Ledger) {
        let found = std::mem::take(&mut self.by_operation);
        for (name, expected) in &ledger.operations {
            let events = found.get(name).map(Vec::as_slice).unwrap_or_default();
            if events.is_empty() && !expected.is_empty() {
                // Already reported if the change was acknowledged since the last check.
                let owner = expected[0].owner;
                if self.tainted.insert(owner) {
                    self.lost(format!("{name} was there, and its events are gone"));
                }
                continue;
            }
            let mut expected = expected.clone();
            let mut happened: Vec<Happened> = events.iter().filter_map(happened).collect();
            expected.sort_unstable();
            happened.sort_unstable();
            let binds = |event: &&Event| {
                matches!(event.kind, EventKind::OwnerKeysRevoked | EventKind::OwnerPurged)
            };
            let (own, swept): (Vec<&Event>, Vec<&Event>) =
                events.iter().partition(|event| event.binding.is_none());
            let binding = own.iter().copied().find(binds).map(|event| event.sequence);
            if let Some(binding) = binding.filter(|binding| !self.ended.contains(binding)) {
                let is_left =
                    |happening: &Happened| happening.is_of_sweep() && !happened.contains(happening);
                let left = expected.iter().filter(|happening| is_left(happening)).count();
                if left > 0 {
                    self.findings.pending.push(format!("event {binding}: {left} keys are left"));
                }
                expected.retain(|happening| !is_left(happening));
            }
            if swept.iter().any(|event| event.binding != binding) {
                self.half(format!("events of {name} name another one than {binding:?}"));
            }
            if happened != expected {
                let (few, many) = (happened.len(), expected.len());
                self.half(format!(
                    "{name} left {few} of {many} events: {happened:?} where {expected:?} belongs"
                ));
            }
            if own.windows(2).any(|pair| pair[1].sequence != pair[0].sequence + 1) {
                self.half(format!("the events of {name} don't follow each other"));
            }
        }
        for name in found.keys().filter(|name| !ledger.operations.contains_key(*name)) {
            self.half(format!("{name} left events and was never begun"));
        }
    }

    /// Checks that the records are those of the ledger.
    fn records(&mut self, found: &Found, ledger: &Ledger) {
        found.torn.iter().for_each(|torn| self.half(torn.clone()));
        let owners: BTreeSet<_> = found.owners.keys().chain(ledger.owners.keys()).collect();
        for owner in owners {
            let (is, should) = (found.owners.get(owner), ledger.owners.get(owner));
            if is != should && !self.tainted.contains(owner) {
                self.half(format!("owner {owner} is {is:?} and should be {should:?}"));
            }
        }
        let keys: BTreeSet<_> = found.keys.keys().chain(ledger.keys.keys()).collect();
        for key in keys {
            let (is, should) = (found.keys.get(key), ledger.keys.get(key));
            let owner = is.or(should).map(|key| key.owner);
            if is != should && owner.is_some_and(|owner| !self.tainted.contains(&owner)) {
                self.half(format!("key {key} is {is:?} and should be {should:?}"));
            }
        }
    }

    /// Checks the answer to every token of the ledger.
    fn tokens(&mut self, store: &Arc<dyn KeyStore>, ledger: &Ledger) {
        let verifier = Verifier::new(Arc::clone(store));
        for token in &ledger.tokens {
            if self.tainted.contains(&token.owner) {
                continue;
            }
            let should = answer(ledger, token);
            let is = ask(&verifier, token);
            // A look is refused too when nothing is left; the purses say how much that is.
            let is_exhausted =
                matches!(is, Err(VerifyError::Rejected(RejectReason::QuotaExhausted { .. })));
            if is != should && !(is_exhausted && should.is_ok()) {
                let (key, generation) = (token.key, token.generation);
                self.lost(format!(
                    "token {generation} of key {key} is answered {is:?} and should be {should:?}"
                ));
            }
        }
    }

    /// Checks that numeric ids, counts and events by key lead to the same records as ids do.
    fn indexes(
        &mut self,
        admin: &AdminKeys,
        found: &Found,
        ledger: &Ledger,
        random: &mut Random,
    ) -> Result<(), Error> {
        let is_right = |key: &KeyId, check: &Self| {
            found.keys.get(key) == ledger.keys.get(key)
                && !check.tainted.contains(&ledger.keys[key].owner)
        };
        for (id, key) in &ledger.keys {
            let Some(number) = key.numeric_id.filter(|_| is_right(id, self)) else { continue };
            let by_number = admin.find(NumericId::new(number)?).map(|key| key.id);
            if !matches!(by_number, Ok(found) if found == *id) {
                self.half(format!("numeric id {number} leads to {by_number:?}, not to {id}"));
            }
        }
        for owner in ledger.owners.keys().filter(|owner| found.owners.contains_key(owner)) {
            let all = ListKeys::new().owner(*owner).states(State::ALL.iter().copied());
            let of_owner = found.keys.values().filter(|key| key.owner == *owner).count() as u64;
            let counted = admin.count(&all)?;
            if counted != of_owner {
                self.half(format!("{owner} has {of_owner} keys and {counted} are counted"));
            }
        }
        let keys: Vec<KeyId> = found.events.iter().filter_map(|event| event.key).collect();
        for _ in 0..SAMPLE.min(keys.len()) {
            let Some(key) = random.pick(&keys) else { break };
            let of_key: Vec<_> =
                found.events.iter().filter(|event| event.key == Some(*key)).collect();
            let (listed, _) = events(admin, &ListEvents::new().key(*key))?;
            if !listed.iter().eq(of_key) {
                self.half(format!("the events of key {key} are not those of the log"));
            }
        }
        Ok(())
    }
}

/// Makes a change, applies it to the ledger, and checks that numeric ids and event numbers go on.
///
/// # Errors
/// The store can't be written.
pub fn go_on(store: &Arc<dyn KeyStore>, ledger: &mut Ledger) -> Result<Vec<String>, Error> {
    let admin = AdminKeys::new(Arc::clone(store), "checker")?;
    let greatest = ledger.keys.values().filter_map(|key| key.numeric_id).max();
    let (found, _) = events(&admin, &ListEvents::new())?;
    let last = found.last().map_or(0, |event| event.sequence);
    let name = format!("checker-{last}");
    let operation = Operation::CreateOwner(OwnerId::new(&name)?);
    let made = operation.perform(&admin.with_correlation_id(name.as_str())?)?;
    let mut wrong = Vec::new();
    if made.numeric_id <= greatest {
        wrong.push(format!("numeric id {:?} is given after {greatest:?}", made.numeric_id));
    }
    wrong.extend(ledger.apply(&name, &operation, &made).err());
    let (after, _) = events(&admin, &ListEvents::new().after(last))?;
    let numbers: Vec<u64> = after.iter().map(|event| event.sequence).collect();
    if numbers != [last + 1, last + 2] {
        wrong.push(format!("after event {last} come {numbers:?}"));
    }
    Ok(wrong)
}

/// The answer to a token: key, owner, generation and whether the token is current.
pub type Answer = Result<(KeyId, OwnerId, u32, bool), VerifyError>;

/// Verifies a token.
pub fn ask(verifier: &Verifier, token: &TokenState) -> Answer {
    // At a cost of 0 no quota is leased, which would be a write that the ledger doesn't know.
    let request = VerifyRequest::new(token.text.as_bytes()).address(ADDRESS).cost(0);
    let verified = verifier.verify_request(&request)?;
    Ok((
        verified.key_id(),
        *verified.owner_id(),
        verified.generation().get(),
        verified.is_current(),
    ))
}

/// Returns the answer that the ledger expects.
pub fn answer(ledger: &Ledger, token: &TokenState) -> Answer {
    let key = ledger.keys.get(&token.key).ok_or(VerifyError::Unrecognized)?;
    let is_current = key.generation == token.generation;
    if !is_current && !key.previous.contains(&token.generation) {
        return Err(VerifyError::Unrecognized);
    }
    let suspended = ledger.owners.get(&key.owner).is_some_and(|owner| owner.suspended);
    let rejected_for = [
        (suspended, RejectReason::Suspended),
        (key.revoked, RejectReason::Revoked),
        (key.blocked, RejectReason::Blocked),
        (key.deactivated, RejectReason::Deactivated),
    ];
    match rejected_for.into_iter().find(|(holds, _)| *holds) {
        Some((_, rejected_for)) => Err(VerifyError::Rejected(rejected_for)),
        None => Ok((token.key, key.owner, token.generation, is_current)),
    }
}

fn owner_of(operation: &Operation, ledger: &Ledger) -> Option<OwnerId> {
    match operation {
        Operation::CreateOwner(owner)
        | Operation::CreateKey(owner)
        | Operation::Owner(owner, _) => Some(*owner),
        Operation::Key(key, _) => ledger.keys.get(key).map(|key| key.owner),
    }
}

fn happened(event: &Event) -> Option<Happened> {
    Some(Happened {
        kind: event.kind,
        owner: event.owner?,
        key: event.key,
        version: event.version.get(),
        generation: event.generation.map(|generation| generation.get()),
    })
}
