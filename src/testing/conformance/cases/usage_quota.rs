//! Quotas are leased: never more than there is, and only as they stand in their records.

use crate::backend::{UsageChange, UsageSubject};
use crate::clock::Timestamp;
use crate::key::{
    Grant, KeyRecord, Lease, LeaseRequest, Limit, Limits, OwnerRecord, Period, Quota, QuotaState,
    Refill, SetBy, Usage, Used, VersionedQuota,
};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Instance;
use crate::testing::conformance::instance::Lab;
use crate::testing::conformance::together::together;
use crate::testing::sample;

list![
    usage_leases_are_taken_from_the_quota,
    usage_leases_of_which_nobody_is_served_are_none,
    usage_leases_are_given_back,
    usage_nothing_is_leased_without_a_quota,
    usage_a_quota_that_is_set_again_keeps_its_count,
    usage_a_grant_gives_uses,
    usage_another_quota_begins_a_count,
    usage_charges_may_exceed_the_quota,
    usage_leases_outlast_a_refill_as_far_as_it_left_room,
    usage_a_quota_goes_with_its_key_or_owner,
    usage_steps_of_a_batch_see_earlier_ones,
    usage_quotas_are_refilled,
    usage_of_racing_leases_none_exceeds_the_quota,
    usage_quotas_are_found_again,
];

fn limits(run: VersionedQuota) -> Limits {
    Limits { quota: Some(Limit { value: run, by: SetBy::Administrator }), ..Limits::default() }
}

fn key_with(uses: u64) -> Result<(KeyRecord, VersionedQuota), Failure> {
    let key = sample::key(1, "acme")?;
    let run = VersionedQuota { quota: Quota::one_time(uses)?, quota_version: key.version };
    Ok((KeyRecord { limits: limits(run), ..key }, run))
}

/// Owner `beta` with a quota, and key 1 of `acme` with another.
fn with_quotas<'a>(lab: &Lab<'a>, uses: u64) -> Result<(Instance<'a>, VersionedQuota), Failure> {
    let backend = lab.with_owners(&["acme"])?;
    let (key, run) = key_with(uses)?;
    backend.apply(sample::create_key(&key)?)?;
    let owner = sample::owner("beta")?;
    let run_of_owner = VersionedQuota { quota: run.quota, quota_version: owner.version };
    backend.apply(sample::create_owner(&OwnerRecord { limits: limits(run_of_owner), ..owner })?)?;
    Ok((backend, run))
}

fn both() -> Result<[UsageSubject; 2], Failure> {
    Ok([UsageSubject::Key(sample::key_id(1)), UsageSubject::Owner(sample::owner_id("beta")?)])
}

/// A lease for a caller that needs so many units.
fn lease(of: UsageSubject, needed: u64, at: Timestamp) -> UsageChange {
    UsageChange::Lease { of, request: LeaseRequest::one(needed), at }
}

fn refund(of: UsageSubject, lease: Lease, at: Timestamp) -> UsageChange {
    UsageChange::GiveBack { of, lease, at }
}

/// The lease that one step leads to.
fn leased(backend: &Instance<'_>, of: UsageSubject, needed: u64) -> Result<Lease, Failure> {
    let outcome = backend.take_in(&[lease(of, needed, sample::at(1))])?;
    outcome[0].ok_or_else(|| Failure::new("nothing is leased of a quota that is there"))
}

fn left(backend: &Instance<'_>, of: UsageSubject) -> Result<Option<u64>, Failure> {
    Ok(backend.usage_of(of)?.quota.map(|quota| quota.left))
}

fn usage_leases_are_taken_from_the_quota(lab: &Lab<'_>) -> Tested {
    let (backend, run) = with_quotas(lab, 160)?;
    for of in both()? {
        ensure_eq!(backend.usage_of(of)?.quota, Some(run.unbegun()), "before the first lease");
        let (mut state, mut expected);
        let mut before: Option<QuotaState> = None;
        for needed in [1, 50, 0, 40, 54, 1, 0] {
            (state, expected) = run.lease(before, sample::at(1), LeaseRequest::one(needed));
            ensure_eq!(leased(&backend, of, needed)?, expected, "a lease for {needed}");
            ensure_eq!(backend.usage_of(of)?.quota, Some(state), "what is left after it");
            before = Some(state);
        }
        ensure_eq!(left(&backend, of)?, Some(0), "what is left in the end");
    }
    Ok(())
}

fn usage_leases_of_which_nobody_is_served_are_none(lab: &Lab<'_>) -> Tested {
    let (backend, run) = with_quotas(lab, 160)?;
    for of in both()? {
        let mut before: Option<QuotaState> = None;
        // The units that the process holds, the most and the fewest that one caller needs beside
        // them, and the leased units.
        for (held, needed, least, units) in [
            (0, 161, 161, 0),
            (0, 60, 20, 60),
            (0, 101, 101, 0),
            (0, 1_000, 1, 6),
            (2, 0, 0, 4),
            (4, 1, 1, 1),
            (0, 89, 35, 89),
            (21, 0, 0, 0),
            (0, 1, 1, 0),
        ] {
            let at = sample::at(1);
            let request = LeaseRequest { held, needed, least };
            let outcome = backend.take_in(&[UsageChange::Lease { of, request, at }])?;
            let (state, expected) = run.lease(before, at, request);
            ensure_eq!(outcome, [Some(expected)], "a lease for {needed}, {least} of them for one");
            ensure_eq!(expected.units, units, "units for {needed}, {least} of them for one");
            ensure_eq!(backend.usage_of(of)?.quota, Some(state), "what is left after it");
            before = Some(state);
        }
    }
    Ok(())
}

fn usage_leases_are_given_back(lab: &Lab<'_>) -> Tested {
    let (backend, _) = with_quotas(lab, 160)?;
    for of in both()? {
        let whole = leased(&backend, of, 60)?;
        ensure_eq!(left(&backend, of)?, Some(100), "after a lease of 60");
        let rest = Lease { units: 20, ..whole };
        backend.take_in(&[refund(of, rest, sample::at(2))])?;
        ensure_eq!(left(&backend, of)?, Some(120), "after 20 of them were given back");
        let void = Lease { turn: whole.turn + 1, ..whole };
        leased(&backend, of, 10)?;
        backend.take_in(&[refund(of, void, sample::at(2))])?;
        ensure_eq!(left(&backend, of)?, Some(110), "after a lease of a refill that didn't come");
    }
    Ok(())
}

fn usage_nothing_is_leased_without_a_quota(lab: &Lab<'_>) -> Tested {
    let (backend, run) = with_quotas(lab, 160)?;
    backend.apply(sample::create_key(&sample::key(2, "beta")?)?)?;
    let none = [
        // Neither a key of an owner with a quota nor an owner of a key with one.
        UsageSubject::Key(sample::key_id(2)),
        UsageSubject::Owner(sample::owner_id("acme")?),
        UsageSubject::Key(sample::key_id(9)),
        UsageSubject::Owner(sample::owner_id("gamma")?),
    ];
    for of in none {
        let (_, lent) = run.lease(None, sample::at(1), LeaseRequest::one(1));
        let steps = [lease(of, 1, sample::at(1)), refund(of, lent, sample::at(1))];
        ensure_eq!(backend.take_in(&steps)?, [None, None], "what is leased");
        ensure_eq!(backend.usage_of(of)?, Usage::default(), "what is kept");
    }
    // Before the first lease there is nothing to give back to.
    let [of, _] = both()?;
    let (_, lent) = run.lease(None, sample::at(1), LeaseRequest::one(1));
    ensure_eq!(backend.take_in(&[refund(of, lent, sample::at(1))])?, [None], "giving back");
    ensure_eq!(leased(&backend, of, 160)?.units, 160, "what can be leased then");
    Ok(())
}

/// Replaces the quota of the key or owner, with or without a grant.
fn set(
    backend: &Instance<'_>,
    of: UsageSubject,
    quota: Option<Quota>,
    grant: Option<Grant>,
) -> Tested {
    let limits_at = |version| {
        let run = quota.map(|quota| VersionedQuota { quota, quota_version: version });
        run.map(limits).unwrap_or_default()
    };
    let change = match of {
        UsageSubject::Key(id) => {
            let Some(key) = backend.key(id)? else { return Err(Failure::new("no such key")) };
            let key = sample::changed_key(&key);
            let key = KeyRecord { limits: limits_at(key.version), ..key };
            match grant {
                Some(grant) => sample::grant_key(&key, grant)?,
                None => sample::replace_key(&key)?,
            }
        }
        UsageSubject::Owner(id) => {
            let Some(owner) = backend.owner(&id)? else { return Err(Failure::new("no owner")) };
            let owner = sample::changed_owner(&owner);
            let owner = OwnerRecord { limits: limits_at(owner.version), ..owner };
            match grant {
                Some(grant) => sample::grant_owner(&owner, grant)?,
                None => sample::replace_owner(&owner)?,
            }
        }
    };
    backend.apply(change)?;
    Ok(())
}

fn usage_a_quota_that_is_set_again_keeps_its_count(lab: &Lab<'_>) -> Tested {
    let (backend, run) = with_quotas(lab, 160)?;
    for of in both()? {
        let old = leased(&backend, of, 60)?;
        // A change that leaves the quota alone.
        if let UsageSubject::Key(id) = of {
            let Some(key) = backend.key(id)? else { return Err(Failure::new("no such key")) };
            let changed = KeyRecord { limits: limits(run), ..sample::changed_key(&key) };
            backend.apply(sample::replace_key(&changed)?)?;
            ensure_eq!(left(&backend, of)?, Some(100), "after another change of the key");
        }
        set(&backend, of, Some(Quota::one_time(80)?), None)?;
        let lent = leased(&backend, of, 5)?;
        ensure_eq!((lent.units, lent.left), (5, 15), "of 80, of which 60 are leased");
        backend.take_in(&[refund(of, old, sample::at(2))])?;
        ensure_eq!(left(&backend, of)?, Some(75), "after a lease of before was given back");
        set(&backend, of, Some(Quota::one_time(0)?), None)?;
        ensure_eq!(leased(&backend, of, 1)?.units, 0, "of 0, of which 5 are leased");
        set(&backend, of, Some(Quota::one_time(200)?), None)?;
        ensure_eq!(leased(&backend, of, 195)?.units, 195, "of 200, of which 5 are leased");
    }
    Ok(())
}

fn usage_a_grant_gives_uses(lab: &Lab<'_>) -> Tested {
    let (backend, run) = with_quotas(lab, 160)?;
    for of in both()? {
        let old = leased(&backend, of, 60)?;
        set(&backend, of, Some(run.quota), Some(Grant::Add(7)))?;
        ensure_eq!(left(&backend, of)?, Some(107), "after 7 were added");
        set(&backend, of, Some(run.quota), Some(Grant::Refill))?;
        ensure_eq!(left(&backend, of)?, Some(160), "after a refill");
        backend.take_in(&[refund(of, old, sample::at(2))])?;
        ensure_eq!(left(&backend, of)?, Some(160), "after a lease of before was given back");
        set(&backend, of, None, None)?;
        set(&backend, of, Some(run.quota), Some(Grant::Add(7)))?;
        ensure_eq!(leased(&backend, of, 160)?.units, 160, "of a quota where there was none");
    }
    Ok(())
}

fn usage_another_quota_begins_a_count(lab: &Lab<'_>) -> Tested {
    let (backend, run) = with_quotas(lab, 160)?;
    for of in both()? {
        let old = leased(&backend, of, 60)?;
        set(&backend, of, None, None)?;
        ensure_eq!(
            backend.take_in(&[lease(of, 1, sample::at(1))])?,
            [None],
            "a lease when there is no quota"
        );
        set(&backend, of, Some(run.quota), None)?;
        ensure_eq!(leased(&backend, of, 1)?.units, 10, "a sixteenth of the whole");
        backend.take_in(&[refund(of, old, sample::at(1))])?;
        ensure_eq!(left(&backend, of)?, Some(150), "after a lease of before was given back");
    }
    Ok(())
}

fn usage_charges_may_exceed_the_quota(lab: &Lab<'_>) -> Tested {
    let (backend, run) = with_quotas(lab, 160)?;
    let charge = |of, uses| UsageChange::Charge { of, uses, at: sample::at(1) };
    for of in both()? {
        let lent = leased(&backend, of, 60)?;
        ensure_eq!(backend.take_in(&[charge(of, 30)])?, [None], "a charge");
        ensure_eq!(left(&backend, of)?, Some(70), "after a charge");
        let steps = [charge(of, 80), refund(of, lent, sample::at(1))];
        backend.take_in(&steps)?;
        ensure_eq!(left(&backend, of)?, Some(50), "what is given back pays the debt");
        backend.take_in(&[charge(of, 55)])?;
        ensure_eq!(leased(&backend, of, 1)?.units, 0, "while there is a debt");
        set(&backend, of, Some(run.quota), Some(Grant::Add(15)))?;
        ensure_eq!(left(&backend, of)?, Some(10), "what is added pays the debt");
    }
    let none = UsageSubject::Key(sample::key_id(9));
    ensure_eq!(backend.take_in(&[charge(none, 1)])?, [None], "a charge without a quota");
    ensure_eq!(backend.usage_of(none)?, Usage::default(), "what is kept");
    Ok(())
}

fn usage_leases_outlast_a_refill_as_far_as_it_left_room(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    let refill = Refill::new(10, Period::Day)?;
    let quota = Quota::one_time(100)?.with_refill(refill);
    let run = VersionedQuota { quota, quota_version: key.version };
    backend.apply(sample::create_key(&KeyRecord { limits: limits(run), ..key })?)?;
    let [of, _] = both()?;
    let day = 24 * 60 * 60;
    let first = leased(&backend, of, 20)?;
    backend.take_in(&[refund(of, first, sample::at(1 + day))])?;
    ensure_eq!(left(&backend, of)?, Some(100), "nothing was refilled between");
    let lent = backend.take_in(&[lease(of, 95, sample::at(2 + day))])?;
    let Some(Some(lent)) = lent.first().copied() else { return Err(Failure::new("no lease")) };
    // A refill raises what is left from 5 to 10. So 5 of the 95 are gone.
    backend.take_in(&[refund(of, Lease { units: 40, ..lent }, sample::at(1 + 2 * day))])?;
    ensure_eq!(left(&backend, of)?, Some(45), "after a first part was given back");
    backend.take_in(&[refund(of, Lease { units: 55, ..lent }, sample::at(1 + 2 * day))])?;
    ensure_eq!(left(&backend, of)?, Some(100), "after all was given back");
    Ok(())
}

fn usage_a_quota_goes_with_its_key_or_owner(lab: &Lab<'_>) -> Tested {
    let (backend, _) = with_quotas(lab, 160)?;
    let [of_key, of_owner] = both()?;
    let (key, _) = key_with(160)?;
    let Some(owner) = backend.owner(&sample::owner_id("beta")?)? else {
        return Err(Failure::new("an owner isn't found"));
    };
    for of in [of_key, of_owner] {
        leased(&backend, of, 100)?;
    }
    backend.apply(sample::remove_key(&key)?)?;
    backend.apply(sample::remove_owner(&owner)?)?;
    for of in [of_key, of_owner] {
        ensure_eq!(backend.usage_of(of)?, Usage::default(), "what is kept");
    }
    backend.apply(sample::create_key(&key)?)?;
    backend.apply(sample::create_owner(&owner)?)?;
    for of in [of_key, of_owner] {
        ensure_eq!(leased(&backend, of, 1)?.units, 10, "a lease of what came again");
    }
    Ok(())
}

fn usage_steps_of_a_batch_see_earlier_ones(lab: &Lab<'_>) -> Tested {
    let (backend, run) = with_quotas(lab, 160)?;
    let [of, _] = both()?;
    let at = sample::at(1);
    let (_, first) = run.lease(None, at, LeaseRequest::one(150));
    let used = Used { accepted: 1, ..Used::default() };
    let outcome = backend.take_in(&[
        lease(of, 150, at),
        lease(of, 150, at),
        lease(of, 10, at),
        UsageChange::Add(sample::key_id(1), used),
        refund(of, first, at),
        lease(of, 100, at),
        UsageChange::Add(sample::key_id(1), used),
    ])?;
    let units: Vec<_> = outcome.iter().map(|lease| lease.map(|lease| lease.units)).collect();
    let expected = [Some(150), Some(0), Some(10), None, None, Some(100), None];
    ensure_eq!(units, expected, "units leased");
    ensure_eq!(left(&backend, of)?, Some(50), "what is left");
    ensure_eq!(backend.usage_of(of)?.used.accepted, 2, "uses beside it");
    Ok(())
}

fn usage_quotas_are_refilled(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    let run = VersionedQuota { quota: Quota::each(160, Period::Day)?, quota_version: key.version };
    backend.apply(sample::create_key(&KeyRecord { limits: limits(run), ..key })?)?;
    let [of, _] = both()?;
    let day = 24 * 60 * 60;
    let mut before = None;
    for (days, needed) in [(0, 100), (0, 50), (1, 160), (1, 1), (0, 1), (3, 100)] {
        let at = sample::at(days * day);
        let (state, expected) = run.lease(before, at, LeaseRequest::one(needed));
        let outcome = backend.take_in(&[lease(of, needed, at)])?;
        ensure_eq!(outcome, [Some(expected)], "{needed} on day {days}");
        before = Some(state);
    }
    Ok(())
}

fn usage_of_racing_leases_none_exceeds_the_quota(lab: &Lab<'_>) -> Tested {
    const USES: u64 = 100;
    let (instance, _) = with_quotas(lab, USES)?;
    let backend = &*instance;
    for of in both()? {
        let spent = together(4, |thread| {
            let (mut spent, at) = (0, sample::at(1));
            for step in 0..100 {
                let outcome = backend.take_in(&[lease(of, 2, at)])?;
                let Some(lent) = outcome[0] else {
                    return Err(Failure::new("nothing is leased of a quota that is there"));
                };
                if lent.units == 0 {
                    break;
                }
                // Some of it is given back, now and then.
                let rest = if step % 3 == 0 && thread % 2 == 0 { lent.units / 2 } else { 0 };
                backend.take_in(&[refund(of, Lease { units: rest, ..lent }, at)])?;
                spent += lent.units - rest;
            }
            Ok(spent)
        })?;
        let spent: u64 = spent.into_iter().sum();
        ensure!(spent <= USES, "{spent} uses were leased of {USES}");
        let left = backend.usage_of(of)?.quota.map_or(0, |quota| quota.left);
        ensure_eq!(spent + left, USES, "what is spent, and what is left");
    }
    Ok(())
}

fn usage_quotas_are_found_again(lab: &Lab<'_>) -> Tested {
    let (backend, _) = with_quotas(lab, 160)?;
    for of in both()? {
        leased(&backend, of, 100)?;
    }
    let backend = backend.reopened()?;
    let expected = backend.keeps().then_some(60);
    for of in both()? {
        ensure_eq!(left(&backend, of)?, expected, "what is left after opening again");
    }
    Ok(())
}
