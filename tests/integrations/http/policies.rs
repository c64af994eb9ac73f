//! The headers name each limit: whose it is, and whether it is a rate or a quota.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use http::header::RETRY_AFTER;
use keyhasp::integrations::http::RateHeaders;
use keyhasp::key::{LimitHolder, QuotaStatus, RateStatus};
use keyhasp::{
    Access, CreateKey, CreateOwner, KeyLayer, ManualClock, Period, Quota, Rate, SetLimits,
    VerifiedKey,
};
use proptest::prelude::*;

use crate::common::{HOUR, World};
use crate::http::site::{Answer, fetch, routes, with_token};
use crate::http::structured::{Item, list};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// So many uses an hour, and as many at once.
fn hourly(uses: u32) -> SetLimits {
    SetLimits::new().rate(Rate::new(uses, HOUR).unwrap())
}

fn daily(uses: u64) -> Quota {
    Quota::each(uses, Period::Day).unwrap()
}

fn once(uses: u64) -> Quota {
    Quota::one_time(uses).unwrap()
}

fn quota(quota: Quota) -> SetLimits {
    SetLimits::new().quota(quota)
}

/// A key and its owner, both limited.
fn token(world: &World, own: SetLimits, all: SetLimits) -> String {
    let key = CreateOwner::with_key(CreateKey::new(Access::Full).limits(own)).limits(all);
    world.owner_with("org", key).1.token.expose().to_owned()
}

/// Behind a layer whose clock is the world's.
fn site(world: &World, change: impl FnOnce(KeyLayer) -> KeyLayer) -> Router {
    let layer = KeyLayer::new(world.verifier.clone());
    routes(world).layer(change(layer.clock(Arc::<ManualClock>::clone(&world.clock))))
}

fn told<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut values = answer.headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str().unwrap());
    assert_eq!(values.next(), None, "{name} stands there twice");
    value
}

fn both(answer: &Answer) -> [Option<&str>; 2] {
    ["ratelimit-policy", "ratelimit"].map(|name| told(answer, name))
}

/// After one use, three hours after midnight.
#[test]
fn an_accepted_request_is_told_of_a_rate_and_a_quota() {
    let none = SetLimits::new;
    let key = (Some("\"key\";q=4;w=3600"), "\"key\";r=3;t=900");
    let owner = (Some("\"owner\";q=4;w=3600"), "\"owner\";r=3;t=900");
    let and = |rate: (Option<&'static str>, &str), quota: &str| {
        (rate.0, Some(format!("{}, {quota}", rate.1)))
    };
    let alone = |(policy, left): (Option<&'static str>, &str)| (policy, Some(left.to_owned()));
    let with = |rate: SetLimits, quota| rate.quota(quota);
    let own_quota = "\"key-quota\";r=5";
    let all_quota = "\"owner-quota\";r=5;t=75600";
    for (own, all, expected) in [
        (hourly(4), none(), alone(key)),
        (none(), hourly(4), alone(owner)),
        (hourly(4), hourly(9), alone(key)),
        (hourly(9), hourly(4), alone(owner)),
        (hourly(4), hourly(4), alone(key)),
        (quota(once(6)), none(), alone((None, own_quota))),
        (none(), quota(daily(6)), alone((None, all_quota))),
        (quota(once(6)), quota(daily(7)), alone((None, own_quota))),
        (quota(once(7)), quota(daily(6)), alone((None, all_quota))),
        (quota(once(6)), quota(daily(6)), alone((None, own_quota))),
        (with(hourly(4), once(6)), none(), and(key, own_quota)),
        (hourly(4), quota(daily(6)), and(key, all_quota)),
        (quota(once(6)), hourly(4), and(owner, own_quota)),
        (with(hourly(9), once(7)), with(hourly(4), daily(6)), and(owner, all_quota)),
        (quota(daily(1)), none(), alone((None, "\"key-quota\";r=0;t=75600"))),
        // More than a process can know to be left.
        (quota(once(1 << 36)), none(), (None, None)),
        (with(hourly(4), once(1 << 36)), none(), alone(key)),
        // Of two quotas the one that is known.
        (quota(once(1 << 36)), quota(daily(6)), alone((None, all_quota))),
        (none(), none(), (None, None)),
    ] {
        let world = World::new();
        let token = token(&world, own.clone(), all.clone());
        world.clock.advance(3 * HOUR);
        let answer = with_token(&site(&world, |layer| layer), "/", &token);
        assert_eq!(answer.status, 200, "{own:?} {all:?}");
        let (policy, left) = &expected;
        assert_eq!(both(&answer), [*policy, left.as_deref()], "{own:?} {all:?}");
    }
}

/// Of all limits a rejected request is told of the one that rejected it.
#[test]
fn a_rejected_request_is_told_of_the_limit_that_rejected_it() {
    let key = "\"key\";q=1;w=3600";
    let owner = "\"owner\";q=1;w=3600";
    for (own, all, expected, wait) in [
        (
            hourly(1),
            hourly(9).quota(daily(9)),
            [Some(key), Some("\"key\";r=0;t=3600")],
            Some("3600"),
        ),
        (
            hourly(9).quota(daily(9)),
            hourly(1),
            [Some(owner), Some("\"owner\";r=0;t=3600")],
            Some("3600"),
        ),
        (
            hourly(9).quota(daily(1)),
            hourly(9),
            [None, Some("\"key-quota\";r=0;t=75600")],
            Some("75600"),
        ),
        (
            hourly(9),
            hourly(9).quota(daily(1)),
            [None, Some("\"owner-quota\";r=0;t=75600")],
            Some("75600"),
        ),
        (quota(once(1)), quota(daily(9)), [None, Some("\"key-quota\";r=0")], None),
        (quota(daily(9)), quota(once(1)), [None, Some("\"owner-quota\";r=0")], None),
    ] {
        let world = World::new();
        let token = token(&world, own, all);
        world.clock.advance(3 * HOUR);
        let site = site(&world, |layer| layer);
        assert_eq!(with_token(&site, "/", &token).status, 200);
        let refused = with_token(&site, "/", &token);
        assert_eq!(refused.status, 429);
        assert_eq!(both(&refused), expected);
        assert_eq!(told(&refused, RETRY_AFTER.as_str()), wait);
    }
}

/// Headers of an API's own show a rate, and no quota; and none may be asked for.
#[test]
fn other_headers_know_no_quota() {
    let names = ["x-limit", "x-left", "x-reset"];
    let own = RateHeaders::named(names[0], names[1], names[2]).unwrap();
    let world = World::new();
    let limited = token(&world, hourly(2), quota(daily(9)));
    let named = site(&world, |layer| layer.rate_headers(own.clone()));
    let off = site(&world, |layer| layer.rate_headers(RateHeaders::off()));
    for (site, expected) in [
        (&named, ["2", "1", "1800"].map(Some)),
        (&off, [None; 3]),
        (&named, [Some("2"), Some("0"), Some("1800")]),
    ] {
        let answer = with_token(site, "/", &limited);
        assert_eq!(names.map(|name| told(&answer, name)), expected);
        assert_eq!(both(&answer), [None, None]);
    }
    let world = World::new();
    let limited = token(&world, quota(once(1)), SetLimits::new());
    let named = site(&world, |layer| layer.rate_headers(own));
    for status in [200, 429] {
        let answer = with_token(&named, "/", &limited);
        assert_eq!(answer.status, status);
        assert_eq!(names.map(|name| told(&answer, name)), [None; 3]);
        assert_eq!(both(&answer), [None, None]);
    }
}

/// A limited key or owner, by a simple reckoning: no time passes within a day.
#[derive(Clone, Debug)]
struct Side {
    holder: LimitHolder,
    /// The burst of an hourly rate, and the uses that are taken from it.
    rate: Option<(u32, u32)>,
    quota: Option<Left>,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    uses: u64,
    is_daily: bool,
    left: u64,
    /// A use was charged in this period, so the store knows the rest.
    is_charged: bool,
}

impl Side {
    fn limits(&self) -> SetLimits {
        let limits = self.rate.map_or_else(SetLimits::new, |(burst, _)| hourly(burst));
        match self.quota {
            Some(Left { uses, is_daily: true, .. }) => limits.quota(daily(uses)),
            Some(Left { uses, .. }) => limits.quota(once(uses)),
            None => limits,
        }
    }

    fn pass_a_day(&mut self) {
        self.rate = self.rate.map(|(burst, _)| (burst, 0));
        if let Some(quota) = self.quota.as_mut().filter(|quota| quota.is_daily) {
            (quota.left, quota.is_charged) = (quota.uses, false);
        }
    }

    fn rate_name(&self) -> &'static str {
        match self.holder {
            LimitHolder::Key => "key",
            LimitHolder::Owner => "owner",
        }
    }

    fn quota_name(&self) -> &'static str {
        match self.holder {
            LimitHolder::Key => "key-quota",
            LimitHolder::Owner => "owner-quota",
        }
    }

    /// The items for its rate, with the seconds in which so many uses come back.
    fn shown_rate(&self, back: u32) -> Option<[Item; 2]> {
        let (burst, used) = self.rate?;
        let millis = (3_600_000 * u64::from(back)).div_ceil(burst.into());
        let left = [("r", Some((burst - used).into())), ("t", Some(millis.div_ceil(1_000)))];
        let policy = [("q", Some(burst.into())), ("w", Some(3_600))];
        Some([Item::new(self.rate_name(), policy), Item::new(self.rate_name(), left)])
    }

    fn shown_quota(&self, left: u64, midnight: u64) -> Option<Item> {
        let time = self.quota?.is_daily.then_some(midnight);
        Some(Item::new(self.quota_name(), [("r", Some(left)), ("t", time)]))
    }
}

fn sides() -> impl Strategy<Value = [Side; 2]> {
    let rate = || prop::option::of((1..8_u32).prop_map(|burst| (burst, 0)));
    // Leases of fewer than 32 uses aren't fetched ahead: the rest is known to the use.
    let quota = || {
        prop::option::of((1..20_u64, any::<bool>()).prop_map(|(uses, is_daily)| Left {
            uses,
            is_daily,
            left: uses,
            is_charged: false,
        }))
    };
    ((rate(), quota()), (rate(), quota())).prop_map(|(own, all)| {
        [(LimitHolder::Key, own), (LimitHolder::Owner, all)].map(|(holder, (rate, quota))| Side {
            holder,
            rate,
            quota,
        })
    })
}

/// The rate that rejects: the one with the longer wait, the key's of two that are as long.
fn rejecting(sides: &[Side; 2], cost: u32) -> Option<([Item; 2], bool)> {
    let mut longest: Option<(u64, &Side, u32)> = None;
    for side in sides {
        let Some((burst, used)) = side.rate else { continue };
        let missing = (used + cost.max(1)).saturating_sub(burst);
        let is_never = cost.max(1) > burst;
        let wait =
            if is_never { u64::MAX } else { u64::from(missing) * 1_000_000 / u64::from(burst) };
        if missing > 0 && longest.is_none_or(|(before, ..)| wait > before) {
            longest = Some((wait, side, if is_never { used } else { missing }));
        }
    }
    longest.map(|(wait, side, back)| (side.shown_rate(back).unwrap(), wait == u64::MAX))
}

fn items(answer: &Answer, name: &str) -> Vec<Item> {
    told(answer, name).map_or_else(Vec::new, |text| list(text).unwrap())
}

/// The items that the verified key's own answers make.
fn of_verified(verified: &VerifiedKey, sides: &[Side; 2], midnight: u64) -> [Vec<Item>; 2] {
    let side = |holder| sides.iter().find(|side| side.holder == holder).unwrap();
    let rate = verified.rate().map(|RateStatus { holder, rate, remaining, reset_after }| {
        let name = side(holder).rate_name();
        let time = reset_after.as_millis().div_ceil(1_000).try_into().ok();
        let policy = [("q", Some(rate.burst().into())), ("w", Some(3_600))];
        [Item::new(name, policy), Item::new(name, [("r", Some(remaining.into())), ("t", time)])]
    });
    let quota = verified.quota().map(|QuotaStatus { holder, remaining, refilled_at }| {
        let time = refilled_at.map(|_| midnight);
        Item::new(side(holder).quota_name(), [("r", Some(remaining)), ("t", time)])
    });
    let [policy, left] = rate.map_or_else(Default::default, |items| items.map(|item| vec![item]));
    [policy, left.into_iter().chain(quota).collect()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// All headers of a key's life parse as structured fields, say what the verified key says, and are
    /// right by a reckoning of their own.
    #[test]
    fn the_headers_agree_with_the_verified_key(
        mut sides in sides(), since_midnight in 0..86_400_000_u64,
        steps in prop::collection::vec((0..4_u32, prop::bool::weighted(0.1)), 1..24),
    ) {
        let world = World::new();
        let [own, all] = &sides;
        let bearer = format!("Bearer {}", token(&world, own.limits(), all.limits()));
        world.clock.advance(Duration::from_millis(since_midnight));
        let midnight = (86_400_000 - since_midnight).div_ceil(1_000);
        let verified = Arc::new(Mutex::new(None));
        let heard = Arc::clone(&verified);
        let site = site(&world, |layer| {
            let layer = layer.cost_by(|parts| parts.headers["cost"].to_str().unwrap().parse().unwrap());
            layer.on_verified(move |key, _| *heard.lock().unwrap() = Some(*key))
        });
        for (cost, passes_a_day) in steps {
            if passes_a_day {
                world.clock.advance(DAY);
                sides.iter_mut().for_each(Side::pass_a_day);
            }
            let (cost_text, before) = (cost.to_string(), sides.clone());
            let headers = [("authorization", bearer.as_bytes()), ("cost", cost_text.as_bytes())];
            let answer = fetch(&site, "/", &headers);
            let [policy, left] = ["ratelimit-policy", "ratelimit"].map(|name| items(&answer, name));
            let verified = verified.lock().unwrap().take();
            let lacking = sides.iter().filter(|side| {
                side.quota.is_some_and(|quota| quota.left < u64::from(cost.max(1)))
            });
            let lacking: Vec<_> = lacking.map(|side| side.shown_quota(0, midnight)).collect();
            if let Some(([q, r], is_never)) = rejecting(&sides, cost) {
                prop_assert_eq!(answer.status.as_u16(), if is_never { 403 } else { 429 });
                prop_assert_eq!((policy, left, verified), (vec![q], vec![r], None));
                continue;
            }
            if !lacking.is_empty() {
                // If both reject, either may be told.
                prop_assert_eq!((answer.status.as_u16(), policy.len(), left.len()), (429, 0, 1));
                prop_assert!(lacking.contains(&left.into_iter().next()), "{:?}", before);
                continue;
            }
            for side in &mut sides {
                side.rate = side.rate.map(|(burst, used)| (burst, used + cost));
                if let Some(quota) = &mut side.quota {
                    quota.left -= u64::from(cost);
                    quota.is_charged |= cost > 0;
                }
            }
            prop_assert_eq!(answer.status.as_u16(), 200);
            let expected = of_verified(&verified.unwrap(), &sides, midnight);
            prop_assert_eq!([&policy, &left], expected.each_ref());
            let tightest = sides.iter().filter(|side| side.rate.is_some());
            let tightest = tightest.min_by_key(|side| side.rate.map(|(burst, used)| burst - used));
            let rate = tightest.and_then(|side| side.shown_rate(side.rate?.1));
            let mut left = left.into_iter().peekable();
            let shown = left.next_if(|item| !item.name.ends_with("-quota"));
            let shown = policy.into_iter().next().zip(shown).map(|(q, r)| [q, r]);
            prop_assert_eq!(shown, rate);
            let known = sides.iter().filter_map(|side| side.quota.filter(|quota| quota.is_charged));
            let least = known.map(|quota| quota.left).min();
            match (left.next(), least) {
                (None, least) => prop_assert_eq!(least, None),
                (Some(item), least) => {
                    let side = sides.iter().find(|side| side.quota_name() == item.name).unwrap();
                    let quota = side.quota.unwrap();
                    prop_assert!(least.is_none_or(|least| quota.left <= least), "{:?}", sides);
                    prop_assert_eq!(Some(item), side.shown_quota(quota.left, midnight));
                }
            }
            prop_assert_eq!(left.next(), None);
        }
    }
}
