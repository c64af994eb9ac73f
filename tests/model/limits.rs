//! Limits as plain data, and their rules written a second time: networks bit by bit, rates as
//! fractions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use keyhasp::Timestamp;
use keyhasp::key::{Network, Period, Quota, Rate, Refill};
use keyhasp::store::SetLimits;
use serde_json::{Value, json};

/// Limits to set or clear; those that aren't named stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NewLimits {
    pub(crate) not_before: Option<Option<Timestamp>>,
    /// Networks as text; `None` clears the limit.
    pub(crate) networks: Option<Option<Vec<String>>>,
    pub(crate) rate: Option<Option<Pace>>,
    pub(crate) quota: Option<Option<Ration>>,
}

/// An address: 4 bytes of IPv4, or 16 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    is_v6: bool,
    bits: u128,
}

/// A network: the first bits of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Net {
    first: Place,
    len: u32,
}

/// A rate: a number of uses in a number of milliseconds, and the number of uses at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) count: u32,
    pub(crate) per_ms: u64,
    pub(crate) burst: u32,
}

/// A quota: a number of uses, refilled in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ration {
    pub(crate) uses: u64,
    pub(crate) refill: Option<(u64, Period)>,
}

impl NewLimits {
    pub(crate) fn request(&self) -> SetLimits {
        let mut request = SetLimits::new();
        match self.not_before {
            Some(Some(from)) => request = request.not_before(from),
            Some(None) => request = request.clear_not_before(),
            None => {}
        }
        match &self.networks {
            Some(Some(networks)) => {
                request = request.networks(networks.iter().map(|text| parse::<Network>(text)));
            }
            Some(None) => request = request.clear_networks(),
            None => {}
        }
        match self.rate {
            Some(Some(pace)) => request = request.rate(pace.rate()),
            Some(None) => request = request.clear_rate(),
            None => {}
        }
        match self.quota {
            Some(Some(ration)) => request = request.quota(ration.quota()),
            Some(None) => request = request.clear_quota(),
            None => {}
        }
        request
    }

    /// The networks, sorted, each once.
    pub(crate) fn nets(networks: &[String]) -> Vec<Net> {
        let mut nets: Vec<Net> = networks.iter().map(|text| Net::of(text)).collect();
        nets.sort_unstable();
        nets.dedup();
        nets
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

impl Place {
    /// An IPv4 address that is written as one of IPv6 (`::ffff:a.b.c.d`) is the IPv4 address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self { is_v6: false, bits: u32::from(address).into() },
            IpAddr::V6(address) => {
                let bits = u128::from(address);
                if bits >> 32 == 0xffff {
                    Self { is_v6: false, bits: bits & 0xffff_ffff }
                } else {
                    Self { is_v6: true, bits }
                }
            }
        }
    }

    /// Shows the limit as an answer does.
    pub(crate) fn address(self) -> IpAddr {
        match u32::try_from(self.bits) {
            Ok(bits) if !self.is_v6 => Ipv4Addr::from(bits).into(),
            _ => Ipv6Addr::from(self.bits).into(),
        }
    }

    /// Returns the bits, the first one first.
    fn bits(self) -> Vec<bool> {
        let width = if self.is_v6 { 128 } else { 32 };
        (0..width).rev().map(|at| self.bits >> at & 1 == 1).collect()
    }
}

impl Net {
    /// `ADDRESS/LENGTH`, or an address alone.
    fn of(text: &str) -> Self {
        let (address, len) = text.split_once('/').unwrap_or((text, ""));
        let written: IpAddr = parse(address);
        let width = if written.is_ipv6() { 128 } else { 32 };
        let len = if len.is_empty() { width } else { parse(len) };
        let first = Place::of(written);
        // A network of mapped addresses: its first 96 bits are the prefix of all mapped addresses.
        let len = if written.is_ipv6() && !first.is_v6 { len - 96 } else { len };
        Self { first, len }
    }

    pub(crate) fn contains(self, place: Place) -> bool {
        let len = self.len as usize;
        self.first.is_v6 == place.is_v6 && self.first.bits()[..len] == place.bits()[..len]
    }

    fn is_within(self, other: Self) -> bool {
        self.len >= other.len && other.contains(self.first)
    }

    fn text(self) -> String {
        let Self { first: Place { is_v6, bits }, len } = self;
        if is_v6 {
            return format!("{}/{len}", Ipv6Addr::from(bits));
        }
        format!("{}/{len}", Ipv4Addr::from(u32::try_from(bits).unwrap()))
    }
}

impl Pace {
    pub(crate) fn rate(self) -> Rate {
        let rate = Rate::new(self.count, Duration::from_millis(self.per_ms)).unwrap();
        rate.with_burst(self.burst).unwrap()
    }

    /// Returns whether the rate is no faster, as a fraction, and allows no more uses at once.
    fn is_within(&self, other: &Self) -> bool {
        let faster = u128::from(self.count) * u128::from(other.per_ms)
            > u128::from(other.count) * u128::from(self.per_ms);
        !faster && self.burst <= other.burst
    }
}

impl Ration {
    fn quota(self) -> Quota {
        let quota = Quota::one_time(self.uses).unwrap();
        match self.refill {
            Some((amount, every)) => quota.with_refill(Refill::new(amount, every).unwrap()),
            None => quota,
        }
    }

    /// Returns whether the quota has no more uses at first, and no more in each period. Periods of
    /// different kinds aren't comparable, as a week may begin when no month does.
    fn is_within(&self, other: &Self) -> bool {
        let refills_less = match (self.refill, other.refill) {
            (None, _) => true,
            (Some((own, every)), Some((others, as_often))) => every == as_often && own <= others,
            (Some(_), None) => false,
        };
        self.uses <= other.uses && refills_less
    }

    /// Returns the greatest number of uses that can be left.
    pub(crate) fn most(self) -> i128 {
        self.refill.map_or(self.uses, |(amount, _)| self.uses.max(amount)).into()
    }
}

/// A kind of limit: whether it is within another, and how an answer shows it.
pub(crate) trait Tight: Clone + PartialEq {
    fn is_as_tight_as(&self, other: &Self) -> bool;
    fn shown(&self) -> Value;
}

impl Tight for Timestamp {
    fn is_as_tight_as(&self, other: &Self) -> bool {
        self >= other
    }

    fn shown(&self) -> Value {
        json!(self)
    }
}

impl Tight for Vec<Net> {
    fn is_as_tight_as(&self, other: &Self) -> bool {
        self.iter().all(|net| other.iter().any(|outer| net.is_within(*outer)))
    }

    fn shown(&self) -> Value {
        self.iter().map(|net| Value::from(net.text())).collect()
    }
}

impl Tight for Pace {
    fn is_as_tight_as(&self, other: &Self) -> bool {
        self.is_within(other)
    }

    fn shown(&self) -> Value {
        json!({ "count": self.count, "per_ms": self.per_ms, "burst": self.burst })
    }
}

impl Tight for Ration {
    fn is_as_tight_as(&self, other: &Self) -> bool {
        self.is_within(other)
    }

    fn shown(&self) -> Value {
        let refill = self.refill.map(|(amount, every)| {
            let every = match every {
                Period::Day => "day".to_owned(),
                Period::Week => "week".into(),
                Period::Month => "month".into(),
                Period::MonthFrom(day) => format!("month_from_{}", day.get()),
            };
            json!({ "amount": amount, "period": every })
        });
        json!({ "uses": self.uses, "refill": refill })
    }
}

/// Uses that a caller gives to a quota.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gift {
    /// All that the quota can have.
    All,
    /// So many more.
    More(u64),
}
