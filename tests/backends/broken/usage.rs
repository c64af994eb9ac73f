//! Faults of usage.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use keyhasp::backend::{Backend, BackendError, UsageChange, UsageOutcome, UsageSubject};
use keyhasp::key::{Lease, LeaseRequest, Usage, Used};

use super::{Fault, FaultyBackend, Half};

impl FaultyBackend {
    pub(super) fn write_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        self.took_usage.store(true, Ordering::SeqCst);
        let mut steps = batch.to_vec();
        match self.fault {
            Fault::UsageWritesAnEvent => self.write_event()?,
            Fault::UsageIsTakenInByTheStep => return self.take_in_by_the_step(batch),
            Fault::UsageIsTakenInBackwards => {
                steps.reverse();
                let mut outcome = self.memory.record_usage(&steps)?;
                outcome.reverse();
                return Ok(outcome);
            }
            Fault::UsageBatchesAreSmall => steps.truncate(1_000),
            Fault::UsageIsOfOneThread => {
                let current = thread::current().id();
                if *self.notes().first_user.get_or_insert(current) != current {
                    return Ok(vec![None; batch.len()]);
                }
            }
            _ => {}
        }
        for step in &mut steps {
            self.spoil_step(step)?;
        }
        let mut outcome = self.memory.record_usage(&steps)?;
        outcome.resize(batch.len(), None);
        for (step, lease) in steps.iter().zip(&mut outcome) {
            self.spoil_lease(step, lease)?;
        }
        Ok(outcome)
    }

    fn spoil_step(&self, step: &mut UsageChange) -> Result<(), BackendError> {
        match step {
            UsageChange::Add(key, used) => {
                let mut notes = self.notes();
                notes.last_used.insert(*key, *used);
                notes.all_used.entry(*key).or_default().add(used);
                if self.is(Fault::UsageLosesRefusals) {
                    used.rejected = Default::default();
                }
            }
            UsageChange::Settle { of, now, .. } => {
                if self.is(Fault::LaterUsageStaysLater) {
                    *now = keyhasp::Timestamp::MAX;
                }
                if self.is(Fault::AddressesAreKept) {
                    *step = UsageChange::Add(*of, Used::default());
                }
            }
            UsageChange::GiveBack { of, lease, at } => {
                if self.is(Fault::LeasesAreNotGivenBack) {
                    lease.units = 0;
                }
                let first = *self.notes().first_lease.get_or_insert(*at);
                let has_day_passed = at.since(first) >= Duration::from_secs(24 * 60 * 60);
                if self.is(Fault::LeasesEndWithTheirPeriod) && has_day_passed {
                    lease.units = 0;
                }
                if self.is(Fault::LeasesOfOldQuotasAreGivenBack) {
                    let request = LeaseRequest::default();
                    let now = UsageChange::Lease { of: *of, request, at: *at };
                    if let [Some(present)] = self.memory.record_usage(&[now])?[..] {
                        let back = UsageChange::GiveBack { of: *of, lease: present, at: *at };
                        self.memory.record_usage(&[back])?;
                        lease.quota_version = present.quota_version;
                        lease.turn = present.turn;
                    }
                }
            }
            UsageChange::Charge { of, uses, .. } => {
                if self.is(Fault::ChargesStopAtTheQuota) {
                    let usage = self.memory.usage(std::slice::from_ref(of))?.pop();
                    let left = usage.and_then(|usage| usage.quota).map_or(0, |quota| quota.left);
                    *uses = (*uses).min(left);
                }
            }
            UsageChange::Lease { at, .. } => {
                let first = *self.notes().first_lease.get_or_insert(*at);
                if self.is(Fault::QuotasAreNeverRefilled) {
                    *at = first;
                }
            }
        }
        Ok(())
    }

    fn spoil_lease(
        &self,
        step: &UsageChange,
        lease: &mut Option<Lease>,
    ) -> Result<(), BackendError> {
        let UsageChange::Lease { of, request, at } = step else { return Ok(()) };
        let (of, needed, at) = (*of, request.needed, *at);
        match (self.fault, &lease) {
            // Read, and written after others have read the same.
            (Fault::LeasesAreNotCounted, Some(lease)) => {
                let back = UsageChange::GiveBack { of, lease: *lease, at };
                self.memory.record_usage(&[back])?;
            }
            (Fault::LeasesTakeWhatNobodyCanSpend, Some(own)) if own.units < needed => {
                let request = LeaseRequest::one(own.left);
                let rest = UsageChange::Lease { of, request, at };
                let rest = self.memory.record_usage(&[rest])?[0];
                *lease = rest.map(|rest| Lease { units: own.units + rest.units, ..rest });
            }
            (Fault::UsageOutlivesItsKey, Some(_)) => {
                let state = self.memory.usage(std::slice::from_ref(&of))?.pop();
                self.notes().last_quota = state.and_then(|usage| usage.quota);
            }
            (Fault::LeasesNeedNoQuota, None) => {
                let since = keyhasp::Version::FIRST;
                *lease = Some(Lease {
                    quota_version: since,
                    turn: 0,
                    units: needed,
                    left: 0,
                    void_from: None,
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes one change at a time. After the first one, a thread that reads sees half a batch.
    fn take_in_by_the_step(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        let mut outcome = Vec::new();
        for step in batch {
            let mut half = self.half.lock().unwrap();
            outcome.extend(self.memory.record_usage(std::slice::from_ref(step))?);
            if *half == Half::NotYet && batch.len() > 1 {
                *half = Half::Stands;
            }
            drop(half);
            self.wait_until_half_is_seen();
        }
        Ok(outcome)
    }

    pub(super) fn read_usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError> {
        let mut half = self.half.lock().unwrap();
        let mut answers = self.memory.usage(of)?;
        if *half == Half::Stands {
            *half = Half::Seen;
        }
        drop(half);
        for (of, usage) in of.iter().zip(&mut answers) {
            self.spoil_usage(of, usage)?;
        }
        if self.is(Fault::UsageIsAnsweredByItsOrder) {
            let mut sorted: Vec<_> =
                of.iter().zip(&answers).map(|(of, usage)| (*of, *usage)).collect();
            sorted.sort_by_key(|(of, _)| *of);
            answers = sorted.into_iter().map(|(_, usage)| usage).collect();
        }
        Ok(answers)
    }

    fn spoil_usage(&self, of: &UsageSubject, usage: &mut Usage) -> Result<(), BackendError> {
        let is_forgotten = match self.fault {
            Fault::UsageIsForgottenAtOpen => !self.took_usage.load(Ordering::SeqCst),
            Fault::QuotasAreForgottenByChanges => {
                usage.quota = usage.quota.filter(|_| !self.was_changed(of));
                false
            }
            Fault::UsageIsForgottenByChanges => self.was_changed(of),
            _ => false,
        };
        if is_forgotten {
            *usage = Usage::default();
        }
        let UsageSubject::Key(key) = of else { return Ok(()) };
        match self.fault {
            Fault::UsageIsTheLast => usage.used = self.noted(|notes| notes.last_used.get(key)),
            Fault::UsageIsKeptOfWhatIsNotThere => {
                usage.used = self.noted(|notes| notes.all_used.get(key));
            }
            Fault::UsageOutlivesItsKey if self.memory.key(*key)?.is_none() => {
                usage.used = self.noted(|notes| notes.all_used.get(key));
                usage.quota = self.notes().last_quota;
                usage.alert_state = self.noted(|notes| notes.alerted.get(key));
            }
            Fault::UsageCountsHave32Bits => usage.used.accepted &= u64::from(u32::MAX),
            _ => {}
        }
        Ok(())
    }

    fn was_changed(&self, of: &UsageSubject) -> bool {
        match of {
            UsageSubject::Key(id) => {
                let key = self.memory.key(*id).unwrap();
                key.is_some_and(|key| key.version != keyhasp::Version::FIRST)
            }
            UsageSubject::Owner(_) => false,
        }
    }

    fn noted<T: Copy + Default>(&self, find: impl Fn(&super::Notes) -> Option<&T>) -> T {
        find(&self.notes()).copied().unwrap_or_default()
    }
}
