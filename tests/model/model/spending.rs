//! What is used of limits: rates in exact fractions, quotas as plain numbers.

use keyhasp::RejectReason;
use std::net::IpAddr;
use std::time::Duration;

use keyhasp::Timestamp;
use keyhasp::id::{KeyId, OwnerId};
use keyhasp::key::{RateLimited, RateStatus};
use keyhasp::store::VerifyError;

use super::limits::LimitsFile;
use super::records::{KeyFile, OwnerFile};
use super::state::Model;
use crate::limits::{Pace, Place, Ration};

/// Whose limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    Key(KeyId),
    Owner(OwnerId),
}

/// What is used of a rate by this opening of the store. So that all numbers are whole, a use is
/// counted as `per_ms` drops, of which `count` come back in each millisecond.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pace: Pace,
    /// The moment, times `count`, at which the last drop will have come back.
    whole_at: i128,
}

/// What is left of a quota, in all openings together.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    ration: Ration,
    since: u64,
    left: u64,
    /// When the period began in which it was last looked at.
    period: Option<Timestamp>,
    /// At most so much of what is left may lie in the process's lease: what a greater use was
    /// refused, or what was given back.
    may_be_leased: u64,
}

impl Bucket {
    fn new(pace: Pace) -> Self {
        Self { pace, whole_at: 0 }
    }

    fn moment(&self, now: Timestamp) -> i128 {
        i128::from(now.as_millis()) * i128::from(self.pace.count)
    }

    fn drops(&self, uses: u32) -> i128 {
        i128::from(uses) * i128::from(self.pace.per_ms)
    }

    fn used(&self, now: Timestamp) -> i128 {
        (self.whole_at - self.moment(now)).max(0)
    }

    fn whole(&self) -> i128 {
        self.drops(self.pace.burst)
    }

    /// After a clock stepped back, more may be used than there is: all of it, then.
    fn settle(&mut self, now: Timestamp) {
        if self.used(now) > self.whole() {
            self.whole_at = self.moment(now) + self.whole();
        }
    }

    fn take(&mut self, now: Timestamp, uses: u32) {
        if uses > 0 {
            self.whole_at = self.moment(now) + self.used(now) + self.drops(uses);
        }
    }

    /// Another rate, of which as many uses are used up.
    fn under(&self, pace: Pace, now: Timestamp) -> Self {
        let mut next = Self::new(pace);
        let used = self.used(now).min(self.whole());
        let used = div_ceil(used * i128::from(pace.per_ms), self.pace.per_ms.into());
        next.whole_at = next.moment(now) + used.min(next.whole());
        next
    }

    /// How long until so many drops have come back.
    fn wait(&self, drops: i128) -> Duration {
        Duration::from_millis(div_ceil(drops, self.pace.count.into()).try_into().unwrap())
    }

    fn status(&self, now: Timestamp) -> RateStatus {
        let used = self.used(now);
        RateStatus {
            rate: self.pace.rate(),
            remaining: ((self.whole() - used) / self.drops(1)).try_into().unwrap(),
            reset_after: self.wait(used),
        }
    }

    /// Why it doesn't allow so many uses at once, if it doesn't.
    fn refusal(&self, now: Timestamp, uses: u32) -> Option<RateLimited> {
        let missing = self.used(now) + self.drops(uses) - self.whole();
        let status = self.status(now);
        if uses > self.pace.burst {
            return Some(RateLimited { status, retry_after: None });
        }
        let retry_after = Some(self.wait(missing.max(0)));
        (missing > 0).then_some(RateLimited { status, retry_after })
    }
}

fn div_ceil(a: i128, b: i128) -> i128 {
    (a + b - 1) / b
}

impl Account {
    fn new(ration: Ration, since: u64) -> Self {
        Self { ration, since, left: ration.uses, period: None, may_be_leased: 0 }
    }

    /// Refills it, if a period began since it was last looked at.
    fn look(&mut self, now: Timestamp) {
        let Some((amount, every)) = self.ration.refill else { return };
        let period = every.start_of(now);
        if self.period.is_some_and(|before| before < period) {
            self.left = self.left.max(amount);
            self.may_be_leased = 0;
        }
        self.period = self.period.max(Some(period));
    }

    /// Whether looking at it would refill it, or begin its count.
    fn is_due(&self, now: Timestamp) -> bool {
        let period = self.ration.refill.map(|(_, every)| every.start_of(now));
        self.period < period
    }

    fn refilled_at(&self) -> Option<Timestamp> {
        let (_, every) = self.ration.refill?;
        every.start_after(self.period?)
    }

    /// Whether it has as much; what there is is at hand then for a smaller use.
    fn has(&mut self, now: Timestamp, uses: u32) -> bool {
        self.look(now);
        let has = self.left >= uses.into();
        if !has {
            self.may_be_leased = self.left;
        }
        has
    }

    fn spend(&mut self, uses: u32) {
        self.left -= u64::from(uses);
        self.may_be_leased = self.may_be_leased.saturating_sub(uses.into());
    }
}

impl Model {
    /// Whether an address lies where the key and its owner are accepted from.
    pub(super) fn wrong_place(
        key: &KeyFile,
        owner: &OwnerFile,
        address: Option<IpAddr>,
    ) -> Option<VerifyError> {
        let lists = [&key.limits.networks, &owner.limits.networks];
        let mut lists = lists.into_iter().flatten();
        let Some(address) = address else {
            return lists.next().map(|_| VerifyError::Rejected(RejectReason::AddressMissing));
        };
        let place = Place::of(address);
        let is_in_all = lists.all(|list| list.value.iter().any(|net| net.contains(place)));
        (!is_in_all).then_some(VerifyError::Rejected(RejectReason::AddressRejected))
    }

    /// Uses rates and quotas, the key's and its owner's: all of them or none. What remains of the
    /// rate of which less remains, or all that may be told against it.
    pub(super) fn spend(
        &mut self,
        key: KeyId,
        owner: OwnerId,
        uses: u32,
    ) -> Result<Option<RateStatus>, Vec<VerifyError>> {
        let now = self.now;
        let holders = [Holder::Key(key), Holder::Owner(owner)];
        let mut slowest: Option<RateLimited> = None;
        for holder in holders {
            let Some(bucket) = self.bucket(holder) else { continue };
            bucket.settle(now);
            let Some(refusal) = bucket.refusal(now, uses) else { continue };
            // Never is longest; of two that are as long, the key's is told.
            let wait = |limited: &RateLimited| limited.retry_after.unwrap_or(Duration::MAX);
            if slowest.as_ref().is_none_or(|before| wait(before) < wait(&refusal)) {
                slowest = Some(refusal);
            }
        }
        if let Some(slowest) = slowest {
            return Err(vec![VerifyError::Rejected(RejectReason::RateLimited(slowest))]);
        }
        self.spend_quotas(holders, uses)?;
        let mut shown: Option<RateStatus> = None;
        for holder in holders {
            let Some(bucket) = self.bucket(holder) else { continue };
            bucket.take(now, uses);
            let status = bucket.status(now);
            if shown.is_none_or(|shown| status.remaining < shown.remaining) {
                shown = Some(status);
            }
        }
        Ok(shown)
    }

    fn spend_quotas(&mut self, holders: [Holder; 2], uses: u32) -> Result<(), Vec<VerifyError>> {
        if uses == 0 {
            return Ok(());
        }
        let now = self.now;
        let (mut refusals, mut passed) = (Vec::new(), Vec::new());
        for holder in holders {
            let Some(account) = self.account(holder) else { continue };
            // After the key's, the owner's isn't looked at; but where it is known not to suffice,
            // that may be told as well.
            let is_second = !refusals.is_empty();
            if is_second && (account.is_due(now) || account.left >= uses.into()) {
                continue;
            }
            if !is_second && account.has(now, uses) {
                passed.push(holder);
            } else {
                let refilled_at = account.refilled_at();
                refusals.push(VerifyError::Rejected(RejectReason::QuotaExhausted { refilled_at }));
            }
        }
        for holder in passed {
            let Some(account) = self.account(holder) else { continue };
            if refusals.is_empty() {
                account.spend(uses);
            } else {
                account.may_be_leased = account.may_be_leased.max(uses.into());
            }
        }
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
    }

    fn limits_of(&self, holder: Holder) -> &LimitsFile {
        match holder {
            Holder::Key(id) => &self.keys[&id].limits,
            Holder::Owner(id) => &self.owners[&id].limits,
        }
    }

    fn bucket(&mut self, holder: Holder) -> Option<&mut Bucket> {
        let pace = self.limits_of(holder).rate.as_ref()?.value;
        Some(self.buckets.entry(holder).or_insert_with(|| Bucket::new(pace)))
    }

    fn account(&mut self, holder: Holder) -> Option<&mut Account> {
        let limits = self.limits_of(holder);
        let (ration, since) = (limits.quota.as_ref()?.value, limits.quota_version);
        Some(self.accounts.entry(holder).or_insert_with(|| Account::new(ration, since)))
    }

    /// The limits of a key or an owner were replaced, when some of its tokens could be used or
    /// none.
    pub(super) fn relimit(&mut self, holder: Holder, before: &LimitsFile, is_in_use: bool) {
        let (now, after) = (self.now, self.limits_of(holder).clone());
        let bucket = self.buckets.remove(&holder);
        if let (Some(pace), Some(old)) = (&after.rate, &before.rate)
            && is_in_use
        {
            let bucket = bucket.unwrap_or_else(|| Bucket::new(old.value));
            let is_same = pace.value == old.value;
            let bucket = if is_same { bucket } else { bucket.under(pace.value, now) };
            self.buckets.insert(holder, bucket);
        }
        let account = self.accounts.remove(&holder);
        if let Some(quota) = &after.quota
            && let Some(account) = account.filter(|account| account.since == after.quota_version)
        {
            let left = account.left.min(quota.value.most());
            self.accounts.insert(holder, Account { ration: quota.value, left, ..account });
        }
    }

    /// Rates are counted by each opening of the store for itself.
    pub(crate) fn forget_rates(&mut self) {
        self.buckets.clear();
    }

    /// How many uses of a key's quota are left at least and at most: some may lie in a lease.
    pub(super) fn quota_left(&self, id: KeyId) -> Option<(u64, u64)> {
        let limits = self.limits_of(Holder::Key(id));
        let new = || Some(Account::new(limits.quota.as_ref()?.value, limits.quota_version));
        limits.quota.as_ref()?;
        let mut account = self.accounts.get(&Holder::Key(id)).cloned().or_else(new)?;
        account.look(self.now);
        Some((account.left.saturating_sub(account.may_be_leased), account.left))
    }

    /// A key or an owner is gone.
    pub(super) fn forget(&mut self, holder: Holder) {
        self.buckets.remove(&holder);
        self.accounts.remove(&holder);
        if let Holder::Key(id) = holder {
            self.uses.remove(&id);
            self.told.remove(&id);
        }
    }

    /// Whether some of what is left of a key's quota may lie in a lease. What a tightened quota makes
    /// of that is the lease's own matter.
    pub(crate) fn may_be_leased(&self, id: KeyId) -> bool {
        self.accounts.get(&Holder::Key(id)).is_some_and(|account| account.may_be_leased > 0)
    }

    /// Whether closing the store here and now would change what is left of a quota: where it is
    /// never closed, what lies in a lease is lost; where a period began, putting that back refills
    /// the quota, which else happens when it is next used.
    pub(crate) fn closing_spends(&self, is_closed: bool) -> bool {
        self.accounts
            .values()
            .any(|account| account.may_be_leased > 0 && (!is_closed || account.is_due(self.now)))
    }
}
