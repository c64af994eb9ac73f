//! The law: an owner never loosens what an administrator has set. A plain reference decides what
//! each of a random sequence of requests does.

use std::time::Duration;

use keyhasp::key::{Limits, SetBy};
use keyhasp::{
    Access, CreateKey, Error, ForbiddenReason, Key, Network, Period, Quota, Rate, SetLimits,
    Timestamp,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::common::{World, owner};
use crate::limits::{events, fields, update};

/// A limit as plain numbers, of which fewer are tighter.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plain {
    /// How many milliseconds after 1970.
    NotBefore(u64),
    /// Which of eight networks, one bit for each.
    Networks(u8),
    /// Count, milliseconds, burst.
    Rate(u32, u64, u32),
    /// Uses, and the refill with its period.
    Quota(u64, Option<(u64, Period)>),
}

const NAMES: [&str; 4] = ["not_before", "networks", "rate", "quota"];

impl Plain {
    /// Whether it allows nothing that the other forbids.
    fn is_tighter(self, other: Self) -> bool {
        match (self, other) {
            (Self::NotBefore(own), Self::NotBefore(other)) => own >= other,
            (Self::Networks(own), Self::Networks(other)) => own & !other == 0,
            (Self::Rate(n, per, burst), Self::Rate(m, other_per, other_burst)) => {
                let speed = |n: u32, per: u64| f64::from(n) / per as f64;
                speed(n, per) <= speed(m, other_per) && burst <= other_burst
            }
            (Self::Quota(own, refill), Self::Quota(other, other_refill)) => {
                own <= other
                    && refill.is_none_or(|(amount, every)| {
                        other_refill
                            .is_some_and(|(most, as_often)| every == as_often && amount <= most)
                    })
            }
            _ => unreachable!("limits of different sorts"),
        }
    }
}

/// What one request says of each limit: nothing, to lift it, or to set it.
type Request = [Option<Option<Plain>>; 4];

/// What is there: the limit, who set it, and for a quota the version at which it was last set.
type Found = [Option<(Plain, SetBy, u64)>; 4];

fn plain(sort: usize) -> BoxedStrategy<Plain> {
    // Few of each, so that the same come again.
    match sort {
        0 => (1..4_u64).prop_map(Plain::NotBefore).boxed(),
        1 => (1..=u8::MAX).prop_map(Plain::Networks).boxed(),
        2 => (1..4_u32, select(&[1_000, 2_000][..]), 1..3_u32)
            .prop_map(|(count, per, burst)| Plain::Rate(count, per, burst))
            .boxed(),
        _ => {
            let every = select(&[Period::Day, Period::Week][..]);
            (0..3_u64, proptest::option::of((1..3_u64, every)))
                .prop_map(|(uses, refill)| Plain::Quota(uses, refill))
                .boxed()
        }
    }
}

fn request() -> impl Strategy<Value = Request> {
    let said = |sort| {
        prop_oneof![
            3 => Just(None),
            1 => Just(Some(None)),
            3 => plain(sort).prop_map(|plain| Some(Some(plain))),
        ]
    };
    (said(0), said(1), said(2), said(3)).prop_map(|(a, b, c, d)| [a, b, c, d])
}

fn asked(request: &Request) -> SetLimits {
    let mut limits = SetLimits::new();
    for (said, sort) in request.iter().zip(0..) {
        limits = match (sort, *said) {
            (_, None) => limits,
            (0, Some(None)) => limits.clear_not_before(),
            (1, Some(None)) => limits.clear_networks(),
            (2, Some(None)) => limits.clear_rate(),
            (_, Some(None)) => limits.clear_quota(),
            (_, Some(Some(Plain::NotBefore(millis)))) => {
                limits.not_before(Timestamp::from_millis(millis).unwrap())
            }
            (_, Some(Some(Plain::Networks(bits)))) => limits.networks(
                (0..8)
                    .filter(|bit| bits >> bit & 1 == 1)
                    .map(|bit| Network::new([10, 0, 0, bit * 32].into(), 27).unwrap()),
            ),
            (_, Some(Some(Plain::Rate(count, per, burst)))) => {
                let rate = Rate::new(count, Duration::from_millis(per)).unwrap();
                limits.rate(rate.with_burst(burst).unwrap())
            }
            (_, Some(Some(Plain::Quota(uses, refill)))) => {
                let quota = Quota::one_time(uses).unwrap();
                limits.quota(match refill {
                    Some((amount, every)) => {
                        quota.with_refill(keyhasp::Refill::new(amount, every).unwrap())
                    }
                    None => quota,
                })
            }
        };
    }
    limits
}

fn found(limits: &Limits) -> Found {
    let Limits { not_before, networks, rate, quota } = limits;
    let bits = |networks: &keyhasp::key::Networks| {
        let bit = |network: &Network| match network.address() {
            std::net::IpAddr::V4(address) => 1_u8 << (address.octets()[3] / 32),
            std::net::IpAddr::V6(address) => panic!("{address}"),
        };
        networks.as_slice().iter().map(bit).sum()
    };
    [
        not_before.map(|limit| (Plain::NotBefore(limit.value.as_millis()), limit.by, 0)),
        networks.as_ref().map(|limit| (Plain::Networks(bits(&limit.value)), limit.by, 0)),
        rate.map(|limit| {
            let (rate, per) = (limit.value, limit.value.per().as_millis() as u64);
            (Plain::Rate(rate.count(), per, rate.burst()), limit.by, 0)
        }),
        quota.map(|limit| {
            let quota = limit.value.quota;
            let refill = quota.refill().map(|refill| (refill.amount(), refill.period()));
            (Plain::Quota(quota.uses(), refill), limit.by, limit.value.quota_version.get())
        }),
    ]
}

/// What is there afterwards, or the names of what may not be done.
fn decide(
    before: Found,
    request: &Request,
    by: SetBy,
    next_version: u64,
) -> Result<Found, Vec<&'static str>> {
    let (mut after, mut forbidden) = (before, Vec::new());
    for sort in 0..4 {
        let Some(said) = request[sort] else { continue };
        let is_fixed = by == SetBy::Owner
            && before[sort].is_some_and(|(_, set_by, _)| set_by == SetBy::Administrator);
        let since = if sort == 3 { next_version } else { 0 };
        after[sort] = match (before[sort], said) {
            (Some((old, _, _)), None) if is_fixed => {
                forbidden.push(NAMES[sort]);
                Some((old, by, 0))
            }
            (_, None) => None,
            (None, Some(new)) => Some((new, by, since)),
            (Some(same), Some(new)) if same.0 == new && by == SetBy::Owner => Some(same),
            (Some((old, _, version)), Some(new)) if old == new => Some((new, by, version)),
            (Some((old, set_by, _)), Some(new)) if is_fixed => {
                if !new.is_tighter(old) {
                    forbidden.push(NAMES[sort]);
                }
                Some((new, set_by, since))
            }
            (Some(_), Some(new)) => Some((new, by, since)),
        };
    }
    if forbidden.is_empty() { Ok(after) } else { Err(forbidden) }
}

fn check(world: &World, first: &Request, steps: &[(SetBy, Request)]) -> Result<Key, TestCaseError> {
    let (keys, _) = world.owner("org");
    let created = CreateKey::new(Access::Full).limits(asked(first));
    let mut key = world.admin.create(&owner("org"), created).unwrap().key;
    let nothing: Found = [None; 4];
    let expected = decide(nothing, first, SetBy::Administrator, 1).unwrap();
    prop_assert_eq!(found(&key.limits), expected);
    for (by, request) in steps {
        let before = found(&key.limits);
        let expected = decide(before, request, *by, key.version.get() + 1);
        let told = events(&world.admin);
        let limits = update(asked(request));
        let heard = match by {
            SetBy::Administrator => world.admin.update(key.id, limits),
            SetBy::Owner => keys.update(key.id, limits),
        };
        // As an administrator sees it: an owner is shown no administrator's name.
        let now = world.admin.get(key.id).unwrap();
        let events = events(&world.admin);
        let after = found(&now.limits);
        match (&heard, expected) {
            (Ok(heard), Ok(expected)) => {
                prop_assert_eq!(after, expected);
                prop_assert_eq!((&heard.limits, heard.version), (&now.limits, now.version));
                let changed: Vec<&str> = (0..4)
                    .filter(|sort| before[*sort] != after[*sort])
                    .map(|sort| NAMES[sort])
                    .collect();
                let steps = u64::from(!changed.is_empty());
                prop_assert_eq!(now.version.get(), key.version.get() + steps);
                prop_assert_eq!(events.len(), told.len() + steps as usize);
                if steps == 1 {
                    prop_assert_eq!(fields(events.last().unwrap()), changed);
                }
            }
            (
                Err(Error::Forbidden(ForbiddenReason::SetByAdministrator { field })),
                Err(forbidden),
            ) => {
                prop_assert!(forbidden.contains(field), "{field} {forbidden:?}");
                prop_assert_eq!(&now, &key);
                prop_assert_eq!(events.len(), told.len());
            }
            (heard, expected) => prop_assert!(false, "{heard:?}, expected {expected:?}"),
        }
        // The law itself, whatever the reference says.
        for (before, after) in before.into_iter().zip(after) {
            if let Some((old, SetBy::Administrator, _)) = before
                && *by == SetBy::Owner
            {
                let kept = after.is_some_and(|(new, set_by, _)| {
                    new.is_tighter(old) && set_by == SetBy::Administrator
                });
                prop_assert!(kept, "{:?} became {:?}", before, after);
            }
        }
        key = now;
    }
    Ok(key)
}

fn set_by() -> impl Strategy<Value = SetBy> {
    select(&[SetBy::Administrator, SetBy::Owner][..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn in_memory(first in request(), steps in vec((set_by(), request()), 1..20)) {
        check(&World::new(), &first, &steps)?;
    }
}

#[cfg(feature = "sqlite")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn on_sqlite(first in request(), steps in vec((set_by(), request()), 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let world = World::with(|builder| builder, crate::limits::sqlite(&dir));
        let last = check(&world, &first, &steps)?;
        world.store.close().unwrap();
        // A store that opens the file again finds what was decided.
        let store = crate::common::builder(&world.clock, 2).open(crate::limits::sqlite(&dir)).unwrap();
        let again = World::of(std::sync::Arc::new(store), world.clock.clone());
        prop_assert_eq!(again.admin.get(last.id).unwrap(), last);
    }
}
