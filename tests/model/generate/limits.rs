//! Limits, and the requests that are verified against them: few values, so that they often meet.

use std::net::IpAddr;
use std::time::Duration;

use keyhasp::Timestamp;
use keyhasp::key::Period;

use super::Generator;
use crate::chance::Chance;
use crate::limits::{NewLimits, Pace, Ration};

/// Networks, some inside others, one of them the same as another.
const NETWORKS: [&str; 10] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3",
    "::ffff:10.1.0.0/112",
    "::ffff:10.1.2.3/128",
    "0.0.0.0/0",
    "192.0.2.128/25",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "::/0",
];

/// Addresses, in some of those networks or in none.
const ADDRESSES: [&str; 9] = [
    "10.1.2.3",
    "10.1.2.4",
    "10.200.0.1",
    "::ffff:10.1.2.3",
    "::ffff:192.0.2.129",
    "192.0.2.127",
    "2001:db8:1::7",
    "2001:db8:2::7",
    "::1",
];

/// Rates: slow and fast, and one of the greatest numbers.
const PACES: [Pace; 8] = [
    Pace { count: 1, per_ms: 1_000, burst: 1 },
    Pace { count: 3, per_ms: 10_000, burst: 2 },
    Pace { count: 5, per_ms: 60_000, burst: 5 },
    Pace { count: 1, per_ms: 3, burst: 2 },
    Pace { count: 7, per_ms: 10, burst: 3 },
    Pace { count: 10, per_ms: 60_000, burst: 20 },
    Pace { count: 2, per_ms: 3_600_000, burst: 40 },
    Pace { count: 1_000_000, per_ms: 31_622_400_000, burst: 1_000_000 },
];

/// Picks the address and cost with which a token is presented, mostly the usual ones.
pub(crate) fn presented(chance: &mut Chance) -> (Option<IpAddr>, u32) {
    let address = chance.maybe(70, |chance| chance.pick(&ADDRESSES).parse().unwrap());
    let cost = match chance.below(20) {
        0 | 1 => 0,
        2 | 3 => 2,
        4 => chance.pick(&[3, 21, 1_000, u32::MAX]),
        _ => 1,
    };
    (address, cost)
}

impl Generator<'_> {
    /// Makes limits to set, and a few to clear.
    pub(super) fn limits(&mut self) -> NewLimits {
        let set = |chance: &mut Chance| chance.percent(80);
        NewLimits {
            not_before: self.chance.percent(30).then(|| {
                let is_set = set(self.chance);
                is_set.then(|| self.first_moment())
            }),
            networks: self.chance.percent(30).then(|| {
                let is_set = set(self.chance);
                is_set.then(|| self.networks())
            }),
            rate: self.chance.percent(40).then(|| {
                let is_set = set(self.chance);
                is_set.then(|| self.chance.pick(&PACES))
            }),
            quota: self.chance.percent(25).then(|| {
                let is_set = set(self.chance);
                is_set.then(|| self.ration(self.mood.refills_keys))
            }),
        }
    }

    /// Makes the limits of an owner.
    pub(super) fn owner_limits(&mut self) -> NewLimits {
        let mut limits = self.seldom_limits();
        if let Some(Some(_)) = limits.quota {
            let refills_keys = self.mood.refills_keys;
            limits.quota = (!refills_keys).then(|| Some(self.ration(true)));
        }
        limits
    }

    /// Makes limits now and then: most keys have none.
    pub(super) fn seldom_limits(&mut self) -> NewLimits {
        if self.chance.percent(35) { self.limits() } else { NewLimits::default() }
    }

    fn first_moment(&mut self) -> Timestamp {
        let now = self.model.now;
        match self.chance.below(8) {
            0 => Timestamp::MIN,
            1 => now.saturating_sub(Duration::from_secs(3_600)),
            2 | 3 => now,
            4 | 5 => now.saturating_add(Duration::from_millis(1)),
            6 => now.saturating_add(Duration::from_secs(3_600)),
            _ => now.saturating_add(Duration::from_secs(20 * 3_600)),
        }
    }

    fn networks(&mut self) -> Vec<String> {
        if self.chance.percent(2) {
            return Vec::new();
        }
        if self.chance.percent(4) {
            let many = 64 + self.chance.below(2);
            return (0..many).map(|n| format!("10.1.2.{n}")).collect();
        }
        (0..1 + self.chance.below(3)).map(|_| self.chance.pick(&NETWORKS).into()).collect()
    }

    /// Makes a number of uses to add to a quota, now and then one that can't be added.
    pub(super) fn gift(&mut self) -> u64 {
        match self.chance.below(12) {
            0 => self.chance.pick(&[0, 1 << 40, u64::MAX]),
            1 => 1 << 30,
            _ => self.chance.pick(&[1, 3, 40]),
        }
    }

    /// Makes a quota, also one that carries over what is left.
    fn ration(&mut self, is_refilled: bool) -> Ration {
        let on = |day| Period::month_from(day).unwrap();
        let every = [Period::Day, Period::Week, Period::Month, on(31), on(15)];
        let every = self.chance.pick(&every);
        match self.chance.below(if is_refilled { 8 } else { 3 }) {
            0..=2 => Ration { uses: self.chance.pick(&[0, 1, 3, 20]), refill: None },
            3 => Ration { uses: 0, refill: Some((2, every)) },
            4 => Ration { uses: 2, refill: Some((2, every)) },
            5 => Ration { uses: 20, refill: Some((3, every)) },
            6 => Ration { uses: 5, refill: Some((2, every)) },
            _ => Ration { uses: 5, refill: Some((5, every)) },
        }
    }
}
