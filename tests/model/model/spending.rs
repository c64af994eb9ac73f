//! Consumption of limits: rates in exact fractions, quotas as plain numbers.

use keyhasp::RejectReason;
use std::net::IpAddr;
use std::time::Duration;

use keyhasp::Timestamp;
use keyhasp::id::{KeyId, OwnerId};
use keyhasp::key::{LimitHolder, Quota, RateLimited, RateStatus};
use keyhasp::store::VerifyError;

use super::limits::LimitsFile;
use super::records::{KeyFile, OwnerFile};
use super::state::Model;
use crate::limits::{Gift, Pace, Place, Ration};

/// The holder of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    Key(KeyId),
    Owner(OwnerId),
}

impl Holder {
    fn kind(self) -> LimitHolder {
        match self {
            Self::Key(_) => LimitHolder::Key,
            Self::Owner(_) => LimitHolder::Owner,
        }
    }
}

/// Consumption of a rate by this opening of the store. A use counts as `per_ms` drops, and `count`
/// drops come back in each millisecond, so all numbers are whole.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pace: Pace,
    /// The time, multiplied by `count`, at which the last drop has come back.
    whole_at: i128,
}

/// The rest of a quota, over all openings together.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    ration: Ration,
    /// Less than 0 while more is used than the quota has, since it was lowered.
    left: i128,
    /// The beginning of the period in which the quota was last read.
    period: Option<Timestamp>,
    /// Largest part of the rest that may lie in leases of the process: the rest that was too small
    /// for a greater use, a refund, or a part of a lease, which is a sixteenth at most.
    may_be_leased: i128,
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

    /// After a clock stepped back, more may be consumed than there is; it counts as the whole rate.
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

    /// Changes to another rate, of which as many uses are consumed.
    fn under(&self, pace: Pace, now: Timestamp) -> Self {
        let mut next = Self::new(pace);
        let idle = (self.moment(now) - self.whole_at) / i128::from(self.pace.count);
        if idle > 0 {
            // It was whole for as long before, if the clock steps back.
            next.whole_at = next.moment(now) - idle * i128::from(pace.count);
            return next;
        }
        let used = self.used(now).min(self.whole());
        let used = div_ceil(used * i128::from(pace.per_ms), self.pace.per_ms.into());
        next.whole_at = next.moment(now) + used.min(next.whole());
        next
    }

    /// Returns the time until so many drops have come back.
    fn wait(&self, drops: i128) -> Duration {
        Duration::from_millis(div_ceil(drops, self.pace.count.into()).try_into().unwrap())
    }

    fn status(&self, holder: Holder, now: Timestamp) -> RateStatus {
        let used = self.used(now);
        RateStatus {
            holder: holder.kind(),
            rate: self.pace.rate(),
            remaining: ((self.whole() - used) / self.drops(1)).try_into().unwrap(),
            reset_after: self.wait(used),
        }
    }

    /// Returns the reason why it doesn't allow so many uses at once, if it doesn't.
    fn refusal(&self, holder: Holder, now: Timestamp, uses: u32) -> Option<RateLimited> {
        let missing = self.used(now) + self.drops(uses) - self.whole();
        let status = self.status(holder, now);
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
    fn new(ration: Ration) -> Self {
        let left = ration.uses.into();
        Self { ration, left, period: None, may_be_leased: 0 }
    }

    /// Refills the quota if a period began since it was last read.
    fn look(&mut self, now: Timestamp) {
        let Some((amount, every)) = self.ration.refill else { return };
        let amount = amount.into();
        let period = every.start_of(now);
        if self.period.is_some_and(|before| before < period) {
            self.left = self.left.max(amount);
            // A refill makes up for what lies in leases.
            self.may_be_leased = self.may_be_leased.min(self.left - amount);
        }
        // The period of a clock that was ahead counts only if it is the next one.
        let is_next = self.period.is_some() && self.period == every.start_after(now);
        self.period = self.period.filter(|_| is_next).or(Some(period));
    }

    /// Returns whether reading the quota would refill it, begin its count, or move that into the
    /// running period.
    fn is_due(&self, now: Timestamp) -> bool {
        let mut read = self.clone();
        read.look(now);
        read.period != self.period
    }

    fn refilled_at(&self) -> Option<Timestamp> {
        let (_, every) = self.ration.refill?;
        every.start_after(self.period?)
    }

    /// Returns whether the quota has so many uses. If it hasn't, its rest is leased afterwards.
    fn has(&mut self, now: Timestamp, uses: u32) -> bool {
        self.look(now);
        let has = self.left >= uses.into();
        if !has {
            self.may_be_leased = self.left.max(0);
        }
        has
    }

    fn spend(&mut self, uses: u32) {
        self.left -= i128::from(uses);
        self.may_be_leased = (self.may_be_leased - i128::from(uses)).max(self.left / 16);
    }

    /// Goes on counting under another quota: what was used in the running period stays used.
    fn under(mut self, ration: Ration, gift: Option<Gift>, now: Timestamp) -> Self {
        self.look(now);
        let every = |ration: Ration| ration.refill.map(|(_, every)| every);
        if every(ration) != every(self.ration) {
            self.period = every(ration).map(|every| every.start_of(now));
        }
        self.left += ration.most() - self.ration.most();
        self.ration = ration;
        match gift {
            None => {}
            Some(Gift::All) => (self.left, self.may_be_leased) = (ration.most(), 0),
            Some(Gift::More(uses)) => {
                self.left = (self.left + i128::from(uses)).min(Quota::MAX_USES.into());
            }
        }
        self
    }
}

impl Model {
    /// Returns whether an address lies in the networks of the key and its owner.
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

    /// Consumes the rates and quotas of the key and its owner: all of them or none. Returns the
    /// rest of the rate that has less left, or all reasons for which the use may be rejected.
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
            // A use that costs nothing needs what the next one that costs something needs.
            let Some(refusal) = bucket.refusal(holder, now, uses.max(1)) else { continue };
            // An endless wait is the longest. Of two equal waits, the key's is returned.
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
            let status = bucket.status(holder, now);
            if shown.is_none_or(|shown| status.remaining < shown.remaining) {
                shown = Some(status);
            }
        }
        Ok(shown)
    }

    /// Returns the rest of the rate that has less left, and consumes nothing.
    pub(super) fn rate_left(&self, key: KeyId, owner: OwnerId) -> Option<RateStatus> {
        let mut shown: Option<RateStatus> = None;
        for holder in [Holder::Key(key), Holder::Owner(owner)] {
            let Some(pace) = self.limits_of(holder).rate.as_ref() else { continue };
            let bucket = self.buckets.get(&holder).cloned();
            let mut bucket = bucket.unwrap_or_else(|| Bucket::new(pace.value));
            // A look leaves no trace.
            bucket.settle(self.now);
            let status = bucket.status(holder, self.now);
            if shown.is_none_or(|shown| status.remaining < shown.remaining) {
                shown = Some(status);
            }
        }
        shown
    }

    fn spend_quotas(&mut self, holders: [Holder; 2], uses: u32) -> Result<(), Vec<VerifyError>> {
        let now = self.now;
        if uses == 0 {
            let looked = holders.into_iter().filter_map(|holder| {
                // A look leaves no trace.
                let mut account = self.account(holder)?.clone();
                account.look(now);
                let (holder, refilled_at) = (holder.kind(), account.refilled_at());
                let reason = RejectReason::QuotaExhausted { holder, refilled_at };
                (account.left < 1).then_some(VerifyError::Rejected(reason))
            });
            let refusals: Vec<_> = looked.collect();
            return if refusals.is_empty() { Ok(()) } else { Err(refusals) };
        }
        let (mut refusals, mut passed) = (Vec::new(), Vec::new());
        for holder in holders {
            let Some(account) = self.account(holder) else { continue };
            // If the key's quota rejects, the store doesn't read the owner's. If it knows already
            // that the owner's doesn't suffice, it may return that as well.
            let is_second = !refusals.is_empty();
            if is_second && (account.is_due(now) || account.left >= uses.into()) {
                continue;
            }
            if !is_second && account.has(now, uses) {
                passed.push(holder);
            } else {
                let (holder, refilled_at) = (holder.kind(), account.refilled_at());
                refusals.push(VerifyError::Rejected(RejectReason::QuotaExhausted {
                    holder,
                    refilled_at,
                }));
            }
        }
        for holder in passed {
            let Some(account) = self.account(holder) else { continue };
            if refusals.is_empty() {
                account.spend(uses);
            } else {
                let leased = account.may_be_leased.max(account.left / 16);
                account.may_be_leased = leased.max(uses.into());
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
        let ration = self.limits_of(holder).quota.as_ref()?.value;
        Some(self.accounts.entry(holder).or_insert_with(|| Account::new(ration)))
    }

    /// Counts what was used of both quotas in place of what was reserved.
    pub(crate) fn settle(&mut self, id: KeyId, cost: u32, actual: u32) {
        let now = self.now;
        for holder in [Holder::Key(id), Holder::Owner(self.keys[&id].owner)] {
            let Some(account) = self.account(holder) else { continue };
            let unused = i128::from(cost) - i128::from(actual);
            if unused < 0 {
                account.look(now);
            }
            account.left += unused;
            // The rest of the lease, if there was one.
            account.may_be_leased = (account.may_be_leased + unused).max(account.left / 16).max(0);
        }
    }

    /// Notes that the limits of a key or an owner were replaced, whether any of its tokens could be
    /// used then, and what was given to the quota.
    pub(super) fn relimit(
        &mut self,
        holder: Holder,
        before: &LimitsFile,
        is_in_use: bool,
        gift: Option<Gift>,
    ) {
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
        if let (Some(quota), Some(old)) = (&after.quota, &before.quota) {
            if after.quota_version == before.quota_version {
                self.accounts.extend(account.map(|account| (holder, account)));
                return;
            }
            let account = account.unwrap_or_else(|| Account::new(old.value));
            self.accounts.insert(holder, account.under(quota.value, gift, now));
        }
    }

    /// Forgets the rates, which each opening of the store counts for itself.
    pub(crate) fn forget_rates(&mut self) {
        self.buckets.clear();
    }

    /// Returns the smallest and greatest number of uses that may be left of a key's quota, since
    /// some may lie in a lease.
    pub(super) fn quota_left(&self, id: KeyId) -> Option<(u64, u64)> {
        let quota = self.limits_of(Holder::Key(id)).quota.as_ref()?;
        let account = self.accounts.get(&Holder::Key(id)).cloned();
        let mut account = account.unwrap_or_else(|| Account::new(quota.value));
        account.look(self.now);
        let least = (account.left - account.may_be_leased).max(0);
        Some((least.try_into().ok()?, account.left.max(0).try_into().ok()?))
    }

    /// Returns the quotas of the key and its owner, each with its version, and whether it may have
    /// no use left beside leases.
    pub(crate) fn quotas_beside_leases(&self, id: KeyId) -> Vec<((Holder, u64), bool)> {
        let holders = [Holder::Key(id), Holder::Owner(self.keys[&id].owner)];
        let quota = |holder: Holder| {
            let limits = self.limits_of(holder);
            let ration = limits.quota.as_ref()?.value;
            let account = self.accounts.get(&holder).cloned();
            let mut account = account.unwrap_or_else(|| Account::new(ration));
            account.look(self.now);
            Some(((holder, limits.quota_version), account.left - account.may_be_leased < 1))
        };
        holders.into_iter().filter_map(quota).collect()
    }

    /// Forgets a key or an owner that was deleted.
    pub(super) fn forget(&mut self, holder: Holder) {
        self.buckets.remove(&holder);
        self.accounts.remove(&holder);
        if let Holder::Key(id) = holder {
            self.uses.remove(&id);
            self.told.remove(&id);
        }
    }

    /// Returns whether closing the store now would change the rest of a quota. If the store is
    /// never closed, the uses in a lease are lost. If a period began, giving the lease back refills
    /// the quota, which otherwise happens at the next use.
    pub(crate) fn closing_spends(&self, is_closed: bool) -> bool {
        self.accounts
            .values()
            .any(|account| account.may_be_leased > 0 && (!is_closed || account.is_due(self.now)))
    }
}
