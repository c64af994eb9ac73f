//! The count of a quota: its state in the database, and the leases that processes take out of it.

use super::quota::counted;
use super::{Quota, Refill, VersionedQuota};
use crate::clock::Timestamp;
use crate::id::Version;
use crate::invalid::Invalid;
use crate::key::{Field, Sink, Source};

/// The uses of a quota that are left beside its leases. The backend keeps it.
///
/// Each quota has one from the commit on that sets it: a quota without its state is damaged, and never
/// begins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaState {
    /// The version of the quota that is counted.
    pub quota_version: Version,
    /// The version at which the count began: leases from before are void.
    pub begun: Version,
    /// The number of uses that are neither spent nor leased.
    pub left: u64,
    /// The number of uses that were counted beyond the quota. While there are such, none are left.
    pub debt: u64,
    /// When the period began; for a quota that isn't refilled, [`Timestamp::MIN`]. Before the first
    /// use, [`Timestamp::MAX`].
    pub period: Timestamp,
    /// The number of refills so far that raised what was left.
    pub turn: u64,
    /// The number of uses by which the last of those refills raised it. Leases of the turn before
    /// lose as many.
    pub raised: u64,
    /// The number of uses by which all refills before the last raised it. Leases of earlier turns
    /// lose as many, and then of `raised`.
    pub raised_before: u64,
}

/// Uses taken out of a quota by one process, to be spent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The version of the quota they were taken out of.
    pub quota_version: Version,
    /// The [`QuotaState::turn`] in which they were leased.
    pub turn: u64,
    /// The number of uses; 0 when less is left than the smallest need.
    pub units: u64,
    /// The number of uses left beside them. It means nothing in a lease that is given back.
    pub left: u64,
    /// The moment from which a process doesn't spend them, but gives them back: the next period
    /// begins; `None` for never.
    pub void_from: Option<Timestamp>,
}

/// A process's request for a lease of a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The number of uses that the process still holds of its last lease.
    pub held: u64,
    /// The number of uses beside these that one verification waits for: the one that costs most. 0
    /// if none waits, and the lease is fetched ahead.
    pub needed: u64,
    /// The number that the one needs which costs least. With fewer, none of them is served.
    pub least: u64,
}

impl LeaseRequest {
    /// A request by a process that holds nothing, for one verification that needs so many uses.
    #[must_use]
    pub fn one(needed: u64) -> Self {
        Self { held: 0, needed, least: needed }
    }
}

/// Uses that a caller gives to a quota beside its refills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The count begins whole again.
    Refill,
    /// So many uses more, as far as the greatest number of uses that a quota can have.
    Add(u64),
}

impl Grant {
    /// So many uses more (1 to 2^40 - 1).
    ///
    /// # Errors
    /// [`Invalid`] outside these limits.
    pub fn add(uses: u64) -> Result<Self, Invalid> {
        Ok(Self::Add(counted("quota.add", uses, 1)?))
    }
}

impl Lease {
    /// The number of uses that must be left of a quota for the next lease to be fetched ahead.
    pub const AHEAD_FROM: u64 = 32;
    /// The greatest number of uses that a process holds ahead of what it needs.
    pub const MAX_UNITS: u64 = u32::MAX as u64;

    /// Whether the next lease should be fetched, when a process holds so many uses and so many are
    /// left beside them: it holds no more than half of what a lease may be. So of a quota that is
    /// used at a moderate pace, each use finds one.
    #[inline]
    pub(crate) fn is_low(held: u64, left: u64) -> bool {
        let all = held.saturating_add(left);
        all >= Self::AHEAD_FROM && held <= all / 32
    }

    /// The uses beyond a sixteenth of what is left, when a process holds so many and so many are left
    /// beside them.
    pub(crate) fn surplus(held: u64, left: u64) -> u64 {
        held.saturating_sub(held.saturating_add(left) / 16)
    }
}

impl QuotaState {
    /// Returns whether a use was counted, or uses were given.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.period != Timestamp::MAX
    }

    /// The uses that are left, less those counted beyond the quota.
    fn balance(&self) -> i64 {
        whole(self.left) - whole(self.debt)
    }

    fn with_balance(self, balance: i64) -> Self {
        let most = whole(Quota::MAX_USES);
        let size = balance.clamp(-most, most).unsigned_abs();
        let (left, debt) = if balance < 0 { (0, size) } else { (size, 0) };
        Self { left, debt, ..self }
    }
}

/// Takes from the units of a lease what refills have made up for.
fn lose(units: &mut u64, raised: &mut u64) {
    let lost = (*units).min(*raised);
    *units -= lost;
    *raised -= lost;
}

/// A number of uses as a signed one. Counts are far below the limit.
fn whole(uses: u64) -> i64 {
    i64::try_from(uses).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

impl VersionedQuota {
    /// Returns a state in which nothing is left until the next refill: of a quota whose state is lost,
    /// so that nothing is used twice. A backend's repair stores it.
    #[must_use]
    pub fn used_up(self, now: Timestamp) -> QuotaState {
        QuotaState { left: 0, ..self.state_at(None, now) }
    }

    /// Returns the state of a quota that was just set. Its count begins with the first use.
    #[must_use]
    pub fn unbegun(self) -> QuotaState {
        QuotaState { period: Timestamp::MAX, ..self.state_at(None, Timestamp::MIN) }
    }

    /// Finds the state that is counted; `None` if it is lost.
    #[must_use]
    pub fn own_state(self, stored: Option<QuotaState>) -> Option<QuotaState> {
        stored.filter(|state| state.quota_version == self.quota_version)
    }

    /// Returns whether what was read after the quota shows that its state is lost. A later state is that
    /// of another quota, which has taken its place meanwhile.
    pub(crate) fn has_lost(self, stored: Option<QuotaState>) -> bool {
        stored.is_none_or(|state| state.quota_version < self.quota_version)
    }

    /// Computes its state at `now` from the last one. A clock that steps back refills nothing.
    #[must_use]
    pub fn state_at(self, before: Option<QuotaState>, now: Timestamp) -> QuotaState {
        let Self { quota, quota_version } = self;
        let period = self.period_of(now);
        let Some(before) = self.own_state(before).filter(QuotaState::has_begun) else {
            return QuotaState {
                quota_version,
                begun: quota_version,
                left: quota.uses(),
                debt: 0,
                period,
                turn: 0,
                raised: 0,
                raised_before: 0,
            };
        };
        let goes_on = |refill: Refill| refill.period().counted_at(before.period, now);
        let state = QuotaState { period: quota.refill().map_or(period, goes_on), ..before };
        let amount = quota.refill().filter(|_| period > before.period).map(Refill::amount);
        let missing = whole(amount.unwrap_or(0)) - before.balance();
        if amount.is_none() || missing <= 0 {
            return state;
        }
        let earlier = before.raised_before.saturating_add(before.raised);
        QuotaState {
            turn: before.turn + 1,
            raised: missing.unsigned_abs(),
            raised_before: earlier.min(Quota::MAX_USES),
            ..state
        }
        .with_balance(before.balance() + missing)
    }

    fn period_of(self, at: Timestamp) -> Timestamp {
        self.quota.refill().map_or(Timestamp::MIN, |refill| refill.period().start_of(at))
    }

    /// Computes the state after this quota took the place of `old` at `at`.
    ///
    /// What is used in the running period stays used: what is left moves by as much as the greatest
    /// number of uses that can be left. If the period is another one, the count goes on in the
    /// period of the new kind that runs at `at`. Only a grant gives uses.
    #[must_use]
    pub fn replacing(
        self,
        old: Self,
        before: Option<QuotaState>,
        grant: Option<Grant>,
        at: Timestamp,
    ) -> QuotaState {
        let state = old.state_at(before, at);
        let (most, old_most) = (whole(self.quota.most()), whole(old.quota.most()));
        let kind = |run: Self| run.quota.refill().map(Refill::period);
        let period = if kind(self) == kind(old) { state.period } else { self.period_of(at) };
        let state = QuotaState { quota_version: self.quota_version, period, ..state }
            .with_balance(state.balance() + most - old_most);
        match grant {
            None => state,
            Some(Grant::Refill) => {
                let begun = self.quota_version;
                QuotaState { begun, turn: 0, raised: 0, raised_before: 0, ..state }
                    .with_balance(most)
            }
            Some(Grant::Add(uses)) => state.with_balance(state.balance() + whole(uses)),
        }
    }

    /// Takes a lease with which the process holds a sixteenth of what is left, its own rest
    /// included, or what one verification needs (`needed`), if that is more. If less than `needed` is
    /// left, `least` counts in its place. If even that isn't left, the lease is empty: units that no
    /// caller can spend stay where all callers find them. Nothing is fetched ahead of fewer than 32.
    #[must_use]
    pub fn lease(
        self,
        before: Option<QuotaState>,
        now: Timestamp,
        request: LeaseRequest,
    ) -> (QuotaState, Lease) {
        let state = self.state_at(before, now);
        let LeaseRequest { held, needed, least } = request;
        let all = state.left.saturating_add(held);
        let share = (all / 16).min(Lease::MAX_UNITS).saturating_sub(held);
        let units = if least > state.left || needed == 0 && all < Lease::AHEAD_FROM {
            0
        } else {
            share.max(if needed <= state.left { needed } else { least })
        };
        let left = state.left - units;
        let lease = Lease {
            quota_version: state.quota_version,
            turn: state.turn,
            units,
            left,
            void_from: self.void_from(&state),
        };
        (QuotaState { left, ..state }, lease)
    }

    /// Returns when the next period begins.
    #[must_use]
    pub fn void_from(self, state: &QuotaState) -> Option<Timestamp> {
        self.quota.refill().and_then(|refill| refill.period().start_after(state.period))
    }

    /// Gives back what is left of a lease, also after the period's end. A refill that came since
    /// has raised what was left as if the lease were spent; so much of it is gone. All of it is gone
    /// if the count began later. A lease of the last turn loses nothing for refills from before it.
    #[must_use]
    pub fn refund(self, before: Option<QuotaState>, now: Timestamp, lease: Lease) -> QuotaState {
        let mut state = self.state_at(before, now);
        let is_void = lease.quota_version < state.begun
            || lease.quota_version > state.quota_version
            || lease.turn > state.turn;
        let mut units = if is_void { 0 } else { lease.units };
        if lease.turn + 1 < state.turn {
            lose(&mut units, &mut state.raised_before);
        }
        if lease.turn < state.turn {
            lose(&mut units, &mut state.raised);
        }
        state.with_balance(state.balance() + whole(units))
    }

    /// Counts uses after the work, also beyond what is left. The debt is paid by what is given back,
    /// added or refilled later; a refill by period leaves none.
    #[must_use]
    pub fn charge(self, before: Option<QuotaState>, now: Timestamp, uses: u64) -> QuotaState {
        let state = self.state_at(before, now);
        state.with_balance(state.balance() - whole(uses))
    }
}

impl Field for QuotaState {
    const WIDTH: usize = 8;

    fn columns(_: &str, columns: &mut Vec<String>) {
        let names =
            ["version", "begun", "left", "debt", "period", "turn", "raised", "raised_before"];
        columns.extend(names.map(|name| format!("quota_{name}")));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { quota_version, begun, left, debt, period, turn, raised, raised_before } = self;
        quota_version.put(sink)?;
        begun.put(sink)?;
        left.put(sink)?;
        debt.put(sink)?;
        period.put(sink)?;
        turn.put(sink)?;
        raised.put(sink)?;
        raised_before.put(sink)
    }

    fn get<S: Source>(_: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            quota_version: Field::get("quota_version", source)?,
            begun: Field::get("quota_begun", source)?,
            left: Field::get("quota_left", source)?,
            debt: Field::get("quota_debt", source)?,
            period: Field::get("quota_period", source)?,
            turn: Field::get("quota_turn", source)?,
            raised: Field::get("quota_raised", source)?,
            raised_before: Field::get("quota_raised_before", source)?,
        })
    }
}

#[cfg(test)]
mod tests;
