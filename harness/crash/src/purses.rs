//! The comparison of quotas and counts with the uses that processes reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyhasp::backend::{Backend, BackendError, UsageSubject};
use keyhasp::key::Limits;
use keyhasp::{Clock, KeyId, KeyStore, SystemClock, VerifyRequest};

use crate::ledger::Ledger;
use crate::limits::{ADDRESS, small_quota};
use crate::line::Line;
use crate::operation::{Deed, Operation, OwnerDeed};
use crate::spending::{MOST, SPENDERS};

/// The uses of each key that are tried in a copy.
const TRIES: usize = 20;

/// The uses of many processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Uses that processes reported as accepted.
    pub uses: u64,
    /// Units of quotas that are gone and were not reported as used.
    pub forfeited: u64,
    /// Flushes of usage that returned.
    pub flushes: u64,
    /// Processes that had closed the store before they were killed.
    pub closed: u64,
}

/// The uses that a process reported, in order.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    steps: Vec<Step>,
    /// Whether it opened the store.
    opened: bool,
    /// Whether it closed the store.
    closed: bool,
}

/// A change of a quota.
#[derive(Clone, Copy, Debug)]
enum Renewal {
    /// The quota that carries this number takes its place; what was used stays used.
    Set(u64),
    /// It begins whole.
    Refill,
}

#[derive(Clone, Debug)]
enum Step {
    /// A change of a quota was called and isn't answered.
    Renewing(String, UsageSubject, Renewal),
    Done(String),
    Used(KeyId, u64),
    Flushing(u64),
    Flushed(u64),
}

/// The units that a quota had left at the last check.
#[derive(Clone, Copy, Debug)]
struct Purse {
    /// The uses of the whole quota.
    whole: u64,
    /// The units left; below 0 if it was lowered under what was used.
    left: i64,
    /// The most units left since; leases may be as large as that allows.
    most: i64,
    /// The units reported as used since.
    used: i64,
}

/// The expected state of quotas and counts.
#[derive(Clone, Debug, Default)]
pub struct Purses {
    purses: BTreeMap<UsageSubject, Purse>,
    /// The counted uses of each key at the last check.
    counted: BTreeMap<KeyId, u64>,
}

/// The uses in a copy that is closed afterwards.
#[derive(Debug)]
pub struct Used {
    before: Purses,
    uses: BTreeMap<KeyId, u64>,
}

impl Uses {
    /// Picks the uses from lines.
    #[must_use]
    pub fn of(lines: &[Line]) -> Self {
        let mut uses = Self::default();
        for line in lines {
            let step = match line {
                Line::Intent(name, Operation::Key(key, deed)) => {
                    let renewal = match deed {
                        Deed::Update(mark) => Renewal::Set(*mark),
                        Deed::Refill => Renewal::Refill,
                        _ => continue,
                    };
                    Step::Renewing(name.clone(), UsageSubject::Key(*key), renewal)
                }
                Line::Intent(name, Operation::Owner(owner, deed)) => {
                    let renewal = match deed {
                        OwnerDeed::Update(mark) => Renewal::Set(*mark),
                        OwnerDeed::Refill => Renewal::Refill,
                        _ => continue,
                    };
                    Step::Renewing(name.clone(), UsageSubject::Owner(*owner), renewal)
                }
                Line::Done(name, _) => Step::Done(name.clone()),
                Line::Used(key, cost) => Step::Used(*key, (*cost).into()),
                Line::Flushing(number) => Step::Flushing(*number),
                Line::Flushed(number) => Step::Flushed(*number),
                Line::Open => {
                    uses.opened = true;
                    continue;
                }
                Line::Closed => {
                    uses.closed = true;
                    continue;
                }
                _ => continue,
            };
            uses.steps.push(step);
        }
        uses
    }
}

impl Purses {
    /// Compares a database with the reported uses, after the ledger has settled the answers;
    /// returns the findings.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn hold(
        &mut self,
        backend: &dyn Backend,
        ledger: &Ledger,
        uses: &Uses,
        spent: &mut Spent,
    ) -> Result<Vec<String>, BackendError> {
        let (said, flushed) = self.take_over(ledger, uses, spent);
        let mut wrong = Vec::new();
        for (of, purse) in &mut self.purses {
            let Some(left) = left(backend, of)? else {
                wrong.push(format!("{of:?} has no quota"));
                continue;
            };
            let Purse { left: before, most, used, .. } = *purse;
            let may_be_gone = match (uses.opened, uses.closed) {
                (true, false) => most_leased(left.max(most)) + SPENDERS * MOST,
                // All leases were given back, except units of uses that the closing cut off.
                (true, true) => SPENDERS * MOST,
                // It took no lease.
                (false, _) => 0,
            };
            let forfeited = before - used - left;
            if forfeited < 0 {
                wrong.push(format!(
                    "{of:?} had {before} uses left, {used} were accepted, and {left} are left"
                ));
            } else if forfeited.unsigned_abs() > may_be_gone {
                wrong.push(format!(
                    "{of:?} had {before} uses left, {used} were accepted, {left} are left: \
                     {forfeited} were forfeited, and at most {may_be_gone} may be"
                ));
            } else {
                spent.forfeited += forfeited.unsigned_abs();
            }
            *purse = Purse { left, most: left, used: 0, ..*purse };
        }
        for key in self.keys() {
            let counted = counted(backend, key)?;
            let before = self.counted.insert(key, counted).unwrap_or_default();
            let of = |uses: &BTreeMap<KeyId, u64>| uses.get(&key).copied().unwrap_or_default();
            let (least, most) = match (uses.opened, uses.closed) {
                (true, false) => (of(&flushed), of(&said) + SPENDERS),
                // All are counted, except uses that were accepted as the store closed.
                (true, true) => (of(&said).saturating_sub(SPENDERS), of(&said)),
                (false, _) => (0, 0),
            };
            if !(before + least..=before + most).contains(&counted) {
                wrong.push(format!(
                    "key {key}: {counted} uses are counted, after {before} and {} more that were \
                     said, {} of them before a flush",
                    of(&said),
                    of(&flushed)
                ));
            }
        }
        Ok(wrong)
    }

    /// Applies the reported uses; returns those of each key in all, and before the last flush.
    fn take_over(
        &mut self,
        ledger: &Ledger,
        uses: &Uses,
        spent: &mut Spent,
    ) -> (BTreeMap<KeyId, u64>, BTreeMap<KeyId, u64>) {
        let mut renewing = BTreeMap::new();
        let mut flushing = BTreeMap::new();
        let (mut said, mut flushed) = (BTreeMap::new(), BTreeMap::new());
        for step in &uses.steps {
            match step {
                Step::Renewing(name, of, how) => drop(renewing.insert(name, (*of, *how))),
                Step::Done(name) => {
                    if let Some((of, how)) = renewing.remove(name) {
                        self.renew(of, how);
                    }
                }
                Step::Used(key, cost) => {
                    spent.uses += 1;
                    *said.entry(*key).or_insert(0) += 1;
                    let owner = ledger.keys.get(key).map(|key| UsageSubject::Owner(key.owner));
                    for of in [Some(UsageSubject::Key(*key)), owner].into_iter().flatten() {
                        if let Some(purse) = self.purses.get_mut(&of) {
                            purse.used += signed(*cost);
                        }
                    }
                }
                Step::Flushing(number) => drop(flushing.insert(number, said.clone())),
                Step::Flushed(number) => {
                    spent.flushes += 1;
                    for (key, uses) in flushing.remove(number).unwrap_or_default() {
                        let most = flushed.entry(key).or_insert(0);
                        *most = uses.max(*most);
                    }
                }
            }
        }
        // The ledger has settled which changes without an answer took effect.
        for (name, (of, how)) in renewing {
            if ledger.operations.get(name).is_some_and(|events| !events.is_empty()) {
                self.renew(of, how);
            }
        }
        spent.closed += u64::from(uses.closed);
        (said, flushed)
    }

    /// Starts a quota, sets another one in its place, or refills it.
    fn renew(&mut self, of: UsageSubject, how: Renewal) {
        let whole = match how {
            Renewal::Set(mark) => small_quota(mark),
            Renewal::Refill => self.purses.get(&of).map(|purse| purse.whole),
        };
        let Some(whole) = whole else { return };
        let begun = Purse { whole, left: signed(whole), most: signed(whole), used: 0 };
        match (how, self.purses.get_mut(&of)) {
            (Renewal::Set(_), Some(purse)) => {
                purse.left += signed(whole) - signed(purse.whole);
                purse.most = purse.most.max(purse.left - purse.used);
                purse.whole = whole;
            }
            _ => drop(self.purses.insert(of, begun)),
        }
    }

    fn keys(&self) -> Vec<KeyId> {
        let key = |of: &UsageSubject| match of {
            UsageSubject::Key(key) => Some(*key),
            UsageSubject::Owner(_) => None,
        };
        self.purses.keys().filter_map(key).collect()
    }

    /// Uses the keys in a store, until a number of tries or the quota's end.
    #[must_use]
    pub fn spend(self, store: &Arc<dyn KeyStore>, ledger: &Ledger) -> Used {
        let mut uses = BTreeMap::new();
        for key in self.keys() {
            let generation = ledger.keys.get(&key).map(|key| key.generation);
            let mut tokens = ledger.tokens.iter().rev();
            let is_its = |generation_of| Some(generation_of) == generation;
            let token = tokens.find(|token| token.key == key && is_its(token.generation));
            let Some(token) = token else { continue };
            let request = VerifyRequest::new(token.text.as_bytes()).address(ADDRESS);
            let accepted = (0..TRIES).filter(|_| store.verify_request(&request).is_ok()).count();
            uses.insert(key, accepted as u64);
        }
        Used { before: self, uses }
    }
}

impl Used {
    /// Compares a closed database with the uses: no unit is forfeited, every use is counted.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn hold_closed(
        self,
        backend: &dyn Backend,
        ledger: &Ledger,
    ) -> Result<Vec<String>, BackendError> {
        let used = |of: &UsageSubject| match of {
            UsageSubject::Key(key) => self.uses.get(key).copied().unwrap_or_default(),
            UsageSubject::Owner(owner) => {
                let is_its = |key| ledger.keys.get(key).is_some_and(|key| key.owner == *owner);
                self.uses.iter().filter(|(key, _)| is_its(key)).map(|(_, uses)| uses).sum()
            }
        };
        let mut wrong = Vec::new();
        for (of, Purse { left: before, .. }) in &self.before.purses {
            let (left, used) = (left(backend, of)?, signed(used(of)));
            if left.map(|left| left + used) != Some(*before) {
                wrong.push(format!(
                    "{of:?} had {before} uses left, {used} were accepted in a copy that was closed, \
                     and {left:?} are left"
                ));
            }
        }
        for (key, before) in &self.before.counted {
            // The two checks of all tokens, before the pieces and after them, each made one more, of
            // cost 0, if anything was left.
            let is_left =
                |of: &UsageSubject| self.before.purses.get(of).is_none_or(|purse| purse.left > 0);
            let owner = ledger.keys.get(key).map(|key| UsageSubject::Owner(key.owner));
            let looked = is_left(&UsageSubject::Key(*key)) && owner.as_ref().is_none_or(is_left);
            let used = self.uses.get(key).map_or(0, |used| used + 2 * u64::from(looked));
            let counted = counted(backend, *key)?;
            if counted != before + used {
                wrong.push(format!(
                    "key {key}: {counted} uses are counted in a copy that was closed, after \
                     {before} and {used} more"
                ));
            }
        }
        Ok(wrong)
    }
}

fn signed(uses: u64) -> i64 {
    i64::try_from(uses).unwrap_or(i64::MAX)
}

/// Reads the units that a quota has left, less its debt; `None` without a quota.
fn left(backend: &dyn Backend, of: &UsageSubject) -> Result<Option<i64>, BackendError> {
    let limits: Option<Limits> = match of {
        UsageSubject::Key(key) => backend.key(*key)?.map(|key| key.limits),
        UsageSubject::Owner(owner) => backend.owner(owner)?.map(|owner| owner.limits),
    };
    let Some(quota) = limits.and_then(|limits| limits.quota) else { return Ok(None) };
    let usage = backend.usage(&[*of])?.pop().unwrap_or_default();
    let state = quota.value.state_at(usage.quota, SystemClock::new().now());
    Ok(Some(signed(state.left) - signed(state.debt)))
}

/// Reads the counted uses of a key.
fn counted(backend: &dyn Backend, key: KeyId) -> Result<u64, BackendError> {
    let usage = backend.usage(&[UsageSubject::Key(key)])?.pop().unwrap_or_default();
    Ok(usage.used.accepted)
}

/// Returns the most units in leases when `left` units are beside them: a sixteenth of all, or what
/// one use needs.
fn most_leased(left: i64) -> u64 {
    // A sixteenth of all is a fifteenth of what is beside it.
    (left.max(0).unsigned_abs() / 15).max(MOST)
}
