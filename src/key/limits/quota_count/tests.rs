//! The laws of counts and leases.

use proptest::prelude::*;

use super::super::Period;
use super::*;

const DAY: u64 = 24 * 60 * 60 * 1_000;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn run(quota: Quota) -> VersionedQuota {
    VersionedQuota { quota, quota_version: Version::FIRST }
}

fn next(run: VersionedQuota, quota: Quota) -> VersionedQuota {
    VersionedQuota { quota, quota_version: run.quota_version.next() }
}

fn topped_up(uses: u64, amount: u64) -> Quota {
    Quota::one_time(uses).unwrap().with_refill(Refill::new(amount, Period::Day).unwrap())
}

#[test]
fn a_refill_brings_up_and_never_down() {
    let quota = run(topped_up(25, 10));
    let (state, lease) = quota.lease(None, at("2024-01-01T12:00:00Z"), LeaseRequest::one(20));
    assert_eq!((state.left, lease.units), (5, 20));
    assert_eq!(lease.void_from, Some(at("2024-01-02T00:00:00Z")));
    let next = quota.state_at(Some(state), at("2024-01-02T00:00:00Z"));
    assert_eq!(next.left, 10);
    // Back before midnight: nothing is refilled again when it comes a second time.
    let (spent, lease) = quota.lease(Some(next), at("2024-01-01T23:00:00Z"), LeaseRequest::one(10));
    assert_eq!((spent.left, lease.void_from), (0, Some(at("2024-01-03T00:00:00Z"))));
    assert_eq!(quota.state_at(Some(spent), at("2024-01-02T01:00:00Z")).left, 0);
    let rich = QuotaState { left: 25, ..state };
    assert_eq!(quota.state_at(Some(rich), at("2024-01-02T00:00:00Z")).left, 25);
}

#[test]
fn a_period_far_ahead_counts_as_the_current_one() {
    let quota = run(Quota::each(10, Period::Day).unwrap());
    let (state, _) = quota.lease(None, at("2024-01-01T12:00:00Z"), LeaseRequest::one(4));
    // The clock is a year ahead for one call, and right again.
    let (ahead, _) = quota.lease(Some(state), at("2025-01-01T12:00:00Z"), LeaseRequest::one(10));
    let right = quota.state_at(Some(ahead), at("2024-01-01T12:00:00Z"));
    assert_eq!((right.left, right.period), (0, at("2024-01-01T00:00:00Z")));
    let next = quota.state_at(Some(right), at("2024-01-02T00:00:00Z"));
    assert_eq!((next.left, next.period), (10, at("2024-01-02T00:00:00Z")));
}

#[test]
fn what_a_refill_has_made_up_for_is_not_given_back() {
    let quota = run(Quota::each(16, Period::Day).unwrap());
    let (state, lease) = quota.lease(None, at("2024-01-01T12:00:00Z"), LeaseRequest::one(8));
    let same_day = quota.refund(Some(state), at("2024-01-01T13:00:00Z"), lease);
    assert_eq!((state.left, same_day.left), (8, 16));
    let next_day = quota.refund(Some(state), at("2024-01-02T13:00:00Z"), lease);
    assert_eq!(next_day.left, 16);
    let (spent, _) = quota.lease(
        Some(quota.state_at(Some(state), at("2024-01-02T13:00:00Z"))),
        at("2024-01-02T13:00:00Z"),
        LeaseRequest::one(13),
    );
    assert_eq!(quota.refund(Some(spent), at("2024-01-02T13:00:00Z"), lease).left, 3);
}

/// A hundred thousand uses, topped up to ten a day: thirty days of one use cost thirty uses.
#[test]
fn credits_that_are_carried_over_outlast_their_leases() {
    let quota = run(topped_up(100_000, 10));
    let (mut state, mut lease): (_, Option<Lease>) = (None, None);
    for day in 0..30 {
        let now = Timestamp::from_millis(20_000 * DAY + day * DAY).unwrap();
        if let Some(lease) = lease {
            state = Some(quota.refund(state, now, lease));
        }
        let (after, taken) = quota.lease(state, now, LeaseRequest::one(1));
        state = Some(after);
        lease = Some(Lease { units: taken.units - 1, ..taken });
    }
    let now = Timestamp::from_millis(20_030 * DAY).unwrap();
    assert_eq!(quota.refund(state, now, lease.unwrap()).left, 99_970);
}

/// The examples of the rule: 100 a month, 90 used.
#[test]
fn a_quota_that_is_set_again_keeps_its_count() {
    let each = |uses| Quota::each(uses, Period::Month).unwrap();
    let first = run(each(100));
    let now = at("2024-01-20T12:00:00Z");
    let (used, _) = first.lease(None, now, LeaseRequest::one(90));
    let set = |quota, state| {
        let run = next(first, quota);
        (run, run.replacing(first, state, None, now))
    };
    for (quota, left) in [
        (each(50), 0),
        (each(90), 0),
        (each(91), 1),
        (each(100), 10),
        (each(200), 110),
        (Quota::one_time(100).unwrap(), 10),
        (Quota::each(100, Period::Day).unwrap(), 10),
    ] {
        let (run, state) = set(quota, Some(used));
        assert_eq!(run.state_at(Some(state), now).left, left, "{quota:?}");
        // Raised again, it has what it had.
        let back = VersionedQuota { quota: each(100), quota_version: run.quota_version.next() };
        let state = back.replacing(run, Some(state), None, now);
        assert_eq!(back.state_at(Some(state), now).left, 10, "{quota:?}");
        // Nothing was used before.
        assert_eq!(set(quota, None).1.left, quota.most(), "{quota:?}");
    }
    // The next period begins whole, also after more was used than there is.
    let (run, state) = set(each(50), Some(used));
    assert_eq!(run.state_at(Some(state), at("2024-02-01T00:00:00Z")).left, 50);
    // A period of another kind: the count goes on until the next of that kind.
    let (run, state) = set(Quota::each(100, Period::Day).unwrap(), Some(used));
    assert_eq!(run.state_at(Some(state), at("2024-01-20T23:59:59Z")).left, 10);
    assert_eq!(run.state_at(Some(state), at("2024-01-21T00:00:00Z")).left, 100);
}

/// From 32 on, what is fetched ahead makes a sixteenth of all that is left.
#[test]
fn nothing_is_fetched_ahead_of_few() {
    for (uses, held) in (0..100).flat_map(|uses| (0..=uses).map(move |held| (uses, held))) {
        let run = run(Quota::one_time(uses).unwrap());
        let state = run.charge(None, Timestamp::MIN, held);
        let request = LeaseRequest { held, needed: 0, least: 0 };
        let (_, lease) = run.lease(Some(state), Timestamp::MIN, request);
        let share = if uses < 32 { 0 } else { (uses / 16).saturating_sub(held) };
        assert_eq!(lease.units, share, "{held} of {uses}");
    }
}

#[test]
fn grants_give_uses() {
    let first = run(Quota::one_time(100).unwrap());
    let now = at("2024-01-20T12:00:00Z");
    let (state, lease) = first.lease(None, now, LeaseRequest::one(90));
    let second = next(first, first.quota);
    let given = |state, grant| second.replacing(first, state, Some(grant), now);
    assert_eq!(given(Some(state), Grant::Add(20)).left, 30);
    assert_eq!(given(None, Grant::Add(20)).left, 120);
    assert_eq!(given(Some(state), Grant::Add(Quota::MAX_USES)).left, Quota::MAX_USES);
    let whole = given(Some(state), Grant::Refill);
    assert_eq!(whole.left, 100);
    // A lease outlives an addition, and ends with a refill.
    assert_eq!(second.refund(Some(whole), now, lease).left, 100);
    assert_eq!(second.refund(Some(given(Some(state), Grant::Add(20))), now, lease).left, 120);
    let debt = first.charge(Some(state), now, 25);
    assert_eq!((debt.left, debt.debt), (0, 15));
    assert_eq!(given(Some(debt), Grant::Add(20)).left, 5);
    assert_eq!(given(Some(debt), Grant::Refill).left, 100);
    assert_eq!(Grant::add(0).unwrap_err().field(), "quota.add");
    assert!(Grant::add(Quota::MAX_USES + 1).is_err() && Grant::add(Quota::MAX_USES).is_ok());
}

/// A process, and the lease that it has.
#[derive(Clone, Copy, Default)]
struct Process(Option<Lease>);

/// A quota, its state, the processes that lease it, and what is truly left: neither spent nor
/// forfeited.
struct World {
    run: VersionedQuota,
    state: Option<QuotaState>,
    processes: [Process; 3],
    now: Timestamp,
    left: i64,
}

impl World {
    fn new(quota: Quota) -> Self {
        let now = Timestamp::from_millis(20_000 * DAY).unwrap();
        let left = quota.uses().try_into().unwrap();
        let run = run(quota);
        // The count has begun: until then no period ends.
        let state = Some(run.state_at(None, now));
        Self { run, state, processes: Default::default(), now, left }
    }

    fn advance(&mut self, quarters: u64) {
        for _ in 0..quarters {
            let before = self.now;
            self.now = Timestamp::clamped_millis(self.now.as_millis() + DAY / 4);
            if let Some(refill) = self.run.quota.refill()
                && refill.period().start_of(self.now) > before
            {
                self.left = self.left.max(refill.amount().try_into().unwrap());
            }
        }
    }

    fn give_back(&mut self, process: usize) {
        if let Some(lease) = self.processes[process].0.take() {
            // As `apply_usage`: without a state of this quota nothing is given back.
            self.state = self.state.map(|state| self.run.refund(Some(state), self.now, lease));
        }
    }

    /// A use by a process, as the store makes it.
    fn spend(&mut self, process: usize, uses: u64) -> bool {
        self.give_back_void(process);
        let held = self.processes[process].0.map_or(0, |lease| lease.units);
        if held < uses {
            self.fetch(process, uses - held);
        }
        let Some(lease) = self.processes[process].0.as_mut() else { return false };
        let is_served = lease.units >= uses;
        if is_served {
            lease.units -= uses;
            self.left -= i64::try_from(uses).unwrap();
        }
        is_served
    }

    fn give_back_void(&mut self, process: usize) {
        let now = self.now;
        let is_void = |lease: &Lease| {
            lease.void_from.is_some_and(|at| at <= now)
                || lease.quota_version != self.run.quota_version
        };
        if self.processes[process].0.as_ref().is_some_and(is_void) {
            self.give_back(process);
        }
    }

    /// Adds a lease to what the process holds: for a use that needs so many more, or ahead.
    fn fetch(&mut self, process: usize, needed: u64) {
        self.give_back_void(process);
        let mine = self.processes[process].0;
        let held = mine.map_or(0, |lease| lease.units);
        let request = LeaseRequest { held, ..LeaseRequest::one(needed) };
        let (state, lease) = self.run.lease(self.state, self.now, request);
        self.state = Some(state);
        let is_same = mine.is_some_and(|mine| mine.turn == lease.turn);
        if mine.is_some() && !is_same {
            self.give_back(process);
        }
        let held = if is_same { held } else { 0 };
        self.processes[process].0 = Some(Lease { units: held + lease.units, ..lease });
    }

    /// Sets another quota, or grants uses.
    fn replace(&mut self, quota: Quota, grant: Option<Grant>) {
        let (before, run) = (self.run, next(self.run, quota));
        let most = |run: VersionedQuota| i64::try_from(run.quota.most()).unwrap();
        self.state = Some(run.replacing(before, self.state, grant, self.now));
        self.left = match grant {
            Some(Grant::Refill) => most(run),
            Some(Grant::Add(uses)) => self.left + i64::try_from(uses).unwrap(),
            None => self.left + most(run) - most(before),
        };
        self.run = run;
    }

    /// Returns the uses that are left if every process gives back its lease now.
    fn left_after_all(&self) -> i64 {
        let mut state = self.run.state_at(self.state, self.now);
        for lease in self.processes.iter().filter_map(|process| process.0) {
            state = self.run.refund(Some(state), self.now, lease);
        }
        state.balance()
    }
}

fn quotas() -> impl Strategy<Value = Quota> {
    (0..200_u64, prop::option::of(1..120_u64)).prop_map(|(uses, refill)| match refill {
        Some(amount) => topped_up(uses, amount),
        None => Quota::one_time(uses).unwrap(),
    })
}

proptest! {
    /// However the clock steps, a step back refills nothing, and the count never stands in a
    /// period further ahead than the next: so the one after that is refilled.
    #[test]
    fn a_step_back_neither_refills_nor_makes_the_count_wait(
        period in prop::sample::select(vec![Period::Day, Period::Week, Period::Month]),
        steps in prop::collection::vec((0..1_500_u64, 0..20_u64), 1..40),
    ) {
        let quota = run(Quota::each(20, period).unwrap());
        let (mut state, mut before) = (None, Timestamp::MIN);
        for (days, uses) in steps {
            let now = Timestamp::clamped_millis(days * DAY + 5);
            let (current, next) = (period.start_of(now), period.start_after(now).unwrap());
            let last: Option<QuotaState> = state;
            let found = quota.state_at(last, now);
            prop_assert!(found.period == current || found.period == next);
            if let Some(last) = last {
                prop_assert!(now > before || found.left == last.left);
                prop_assert!(found.left == 20 || found.left == last.left);
            }
            let after_next = quota.state_at(state, period.start_after(next).unwrap());
            prop_assert_eq!(quota.state_at(Some(found), after_next.period).left, 20);
            state = Some(quota.lease(state, now, LeaseRequest::one(uses.min(found.left))).0);
            before = now;
        }
    }

    /// Over any sequence of days, uses and processes: what is left is exactly what was neither
    /// spent nor lost at a period's end.
    #[test]
    fn nothing_is_lost_and_nothing_spent_twice(
        quota in quotas(),
        steps in prop::collection::vec((0..6_u64, 0..3_usize, 0..30_u64, 0..8_u8), 1..80),
    ) {
        let mut world = World::new(quota);
        for (quarters, process, uses, action) in steps {
            world.advance(quarters);
            match action {
                0 => world.give_back(process),
                1 => world.fetch(process, 0),
                _ => _ = world.spend(process, uses),
            }
            prop_assert!(world.left >= 0, "overspent");
            prop_assert_eq!(world.left_after_all(), world.left);
        }
    }

    /// A process whose lease comes back before each addition and each other quota loses nothing.
    #[test]
    fn uses_that_are_added_are_not_lost(
        first in quotas(),
        steps in prop::collection::vec((0..6_u64, 0..30_u64, 0..6_u8, quotas()), 1..80),
    ) {
        let mut world = World::new(first);
        for (quarters, uses, action, quota) in steps {
            world.advance(quarters);
            if action < 3 {
                world.give_back(0);
            }
            match action {
                0 => {}
                1 => world.replace(world.run.quota, Some(Grant::Add(uses))),
                2 => world.replace(quota, None),
                _ => _ = world.spend(0, uses),
            }
            prop_assert_eq!(world.left_after_all(), world.left);
        }
    }

    /// Crashes, charges, grants and other quotas in between: never is more left than there is, and
    /// a caller that needs no more than the count has left is served. A charge also counts beyond
    /// what is left, and leases that are out at that moment can still be spent: so the uses beyond
    /// the quota are at most those that were charged.
    #[test]
    fn never_overspent(
        first in quotas(),
        steps in prop::collection::vec(
            (0..6_u64, 0..3_usize, 0..30_u64, 0..13_u8, quotas()), 1..80,
        ),
    ) {
        let mut world = World::new(first);
        let mut charged = 0;
        for (quarters, process, uses, action, quota) in steps {
            world.advance(quarters);
            let signed = i64::try_from(uses).unwrap();
            let before = world.run;
            match action {
                0 => world.give_back(process),
                // A crash forfeits the lease; by how much less there is then is not followed.
                1 => {
                    let had = world.left_after_all();
                    world.processes[process].0 = None;
                    world.left -= had - world.left_after_all();
                }
                2 => world.replace(quota, None),
                3 => world.replace(before.quota, Some(Grant::Add(uses))),
                4 => {
                    world.replace(before.quota, Some(Grant::Refill));
                    charged = 0;
                }
                5 => world.fetch(process, 0),
                6 => {
                    charged += signed;
                    world.state = Some(world.run.charge(world.state, world.now, uses));
                    world.left -= signed;
                }
                _ => {
                    let uses = uses.max(1);
                    let needed = world.run.state_at(world.state, world.now).left >= uses;
                    let served = world.spend(process, uses);
                    prop_assert!(served || !needed);
                    prop_assert!(!served || world.left >= -charged, "overspent");
                }
            }
            prop_assert!(world.left_after_all() <= world.left);
        }
    }

    /// A process holds no more than a sixteenth, or what one caller needs. The caller that needs the
    /// least is served if any can be, and nothing is fetched ahead of fewer than 32.
    #[test]
    fn leases_are_small(
        quota in quotas(), used in 0..200_u64, held in 0..20_u64,
        needs in prop::collection::vec(1..30_u64, 0..4),
    ) {
        let (run, now) = (run(quota), Timestamp::MIN);
        let state = run.charge(None, now, used);
        let needed = needs.iter().copied().max().unwrap_or(0);
        let least = needs.iter().copied().min().unwrap_or(0);
        let (after, lease) = run.lease(Some(state), now, LeaseRequest { held, needed, least });
        let (left, all) = (state.left, state.left + held);
        if least > left || needed == 0 && all < 32 {
            prop_assert_eq!(lease.units, 0);
        } else {
            prop_assert!(lease.units >= least && lease.units <= left);
            prop_assert!(needed > left || lease.units >= needed);
            let wanted = if needed <= left { needed } else { least };
            prop_assert!(lease.units <= (left / 16).max(wanted), "no larger than without a rest");
            prop_assert!(lease.units + held <= (all / 16).max(held + wanted));
        }
        prop_assert_eq!((after.left, after.left + lease.units), (lease.left, left));
    }

    /// One use after the other, with a lease fetched ahead after each: while 32 or more are left, no
    /// use but the first of a period waits, and a crash forfeits a sixteenth at most.
    #[test]
    fn paced_uses_never_wait(uses in 1..3_000_u64, refill in any::<bool>()) {
        let quota = Quota::one_time(uses).unwrap();
        let daily = Quota::each(uses, Period::Day).unwrap();
        let mut world = World::new(if refill { daily } else { quota });
        for day in 0..2 {
            let mut is_first = day == 0 || refill;
            while world.left > 0 {
                let waits = world.processes[0].0.is_none_or(|lease| lease.units == 0);
                prop_assert!(!waits || is_first || world.left < 32, "{} left", world.left);
                is_first = false;
                prop_assert!(world.spend(0, 1));
                let lease = world.processes[0].0.unwrap();
                if Lease::is_low(lease.units, lease.left) {
                    world.fetch(0, 0);
                }
                let held = world.processes[0].0.unwrap().units;
                prop_assert!(held <= u64::try_from(world.left + 1).unwrap() / 16, "{held}");
            }
            world.advance(4);
        }
    }
}
