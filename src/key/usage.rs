//! The use of a key, and the pure rules by which uses are added up.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::{AlertState, Field, QuotaState, RejectKind, Sink, Source, bytes};
use crate::clock::Timestamp;

/// Counts of rejections of the right secret, by reason. Serialized as a map of the reasons that
/// occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RejectedCounts([u64; RejectKind::ALL.len()]);

impl RejectedCounts {
    /// The count of a reason.
    #[must_use]
    pub const fn get(&self, reason: RejectKind) -> u64 {
        self.0[reason as usize - 1]
    }

    /// Adds to the count of a reason, which stops at [`Usage::MAX_COUNT`].
    pub fn add(&mut self, reason: RejectKind, count: u64) {
        let sum = &mut self.0[reason as usize - 1];
        *sum = added(*sum, count);
    }

    /// Sums the counts of all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| added(sum, *count))
    }

    /// The reasons that occurred, by number, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (RejectKind, u64)> + '_ {
        let each = RejectKind::ALL.iter().map(|reason| (*reason, self.get(*reason)));
        each.filter(|(_, count)| *count > 0)
    }

    fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(reason, count)| self.add(reason, count));
    }
}

/// A column for each reason; elsewhere a list of the reasons that occurred.
impl Field for RejectedCounts {
    const WIDTH: usize = RejectKind::ALL.len();

    fn columns(_: &str, columns: &mut Vec<String>) {
        columns.extend(RejectKind::ALL.iter().map(|reason| reason.name().to_owned()));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        if S::HAS_PLACES {
            return self.0.iter().try_for_each(|count| count.put(sink));
        }
        let counts: Vec<_> = self.iter().map(|(reason, count)| Counted { reason, count }).collect();
        sink.list(&counts)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        let mut counts = Self::default();
        if S::HAS_PLACES {
            for reason in RejectKind::ALL {
                counts.add(*reason, Field::get(reason.name(), source)?);
            }
            return Ok(counts);
        }
        for Counted { reason, count } in source.list(name, RejectKind::ALL.len())? {
            if counts.get(reason) > 0 || count == 0 {
                return Err(source.damaged(name));
            }
            counts.add(reason, count);
        }
        Ok(counts)
    }
}

/// A reason that occurred, and how often.
struct Counted {
    reason: RejectKind,
    count: u64,
}

impl Field for Counted {
    const WIDTH: usize = 2;

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.number(self.reason.number().into())?;
        self.count.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        let reason = source
            .number_as(name, |number| RejectKind::from_number(number.try_into().ok()?).ok())?;
        Ok(Self { reason, count: Field::get(name, source)? })
    }
}

impl Serialize for RejectedCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// From where a key was used last, and when that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LastAddress {
    /// The address of the peer.
    pub address: IpAddr,
    /// When it was seen.
    pub at: Timestamp,
}

/// Uses that are added to those before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// When a token was last accepted.
    pub last_used_at: Option<Timestamp>,
    /// From where.
    pub last_address: Option<LastAddress>,
    /// The number of accepted tokens.
    pub accepted: u64,
    /// The numbers of rejected tokens.
    pub rejected: RejectedCounts,
}

/// The use of a key, or of an owner's quota. It is kept beside the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All uses of a key together; of an owner there are none.
    pub used: Used,
    /// The state of the quota, as of the last lease.
    pub quota: Option<QuotaState>,
    /// The time-based alerts that were already written as events.
    pub alert_state: AlertState,
}

impl Usage {
    /// The greatest count, at which counts stop: 2^63 - 1.
    pub const MAX_COUNT: u64 = u64::MAX >> 1;

    fn put_fields<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { used, quota, alert_state } = self;
        used.put(sink)?;
        quota.put(sink)?;
        alert_state.put(sink)
    }

    fn get_fields<S: Source>((): (), source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            used: Field::get("used", source)?,
            quota: Field::get("quota", source)?,
            alert_state: Field::get("alert_state", source)?,
        })
    }
}

bytes!(Usage, "usage", (), |_usage| &());

impl Field for LastAddress {
    const WIDTH: usize = 2;

    fn columns(_: &str, columns: &mut Vec<String>) {
        columns.extend(["address", "address_at"].map(String::from));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.text(&self.address.to_string())?;
        self.at.put(sink)
    }

    fn get<S: Source>(_: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            address: source.text_as("address", |text| text.parse().ok())?,
            at: Field::get("address_at", source)?,
        })
    }
}

impl Field for Used {
    const WIDTH: usize = 2 + LastAddress::WIDTH + RejectedCounts::WIDTH;

    fn columns(_: &str, columns: &mut Vec<String>) {
        columns.extend(["last_used_at", "accepted"].map(String::from));
        LastAddress::columns("last_address", columns);
        RejectedCounts::columns("rejected", columns);
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { last_used_at, last_address, accepted, rejected } = self;
        last_used_at.put(sink)?;
        accepted.put(sink)?;
        last_address.put(sink)?;
        rejected.put(sink)
    }

    fn get<S: Source>(_: &'static str, source: &mut S) -> Result<Self, S::Error> {
        let last_used_at = Field::get("last_used_at", source)?;
        let accepted = Field::get("accepted", source)?;
        let last_address = Field::get("address", source)?;
        let rejected = Field::get("rejected", source)?;
        Ok(Self { last_used_at, last_address, accepted, rejected })
    }
}

impl Used {
    /// Whether there is nothing to add.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds later or earlier uses: the latest moment counts, of addresses the latest (of two at one
    /// moment the one added last), and counts are summed.
    pub fn add(&mut self, more: &Self) {
        self.last_used_at = self.last_used_at.max(more.last_used_at);
        let at = |seen: &Option<LastAddress>| seen.map(|seen| seen.at);
        if at(&more.last_address) >= at(&self.last_address) {
            self.last_address = more.last_address;
        }
        self.accepted = added(self.accepted, more.accepted);
        self.rejected.merge(&more.rejected);
    }

    /// Counts what was noted at a time after `now` as noted now: the clock was ahead then.
    pub fn settle(&mut self, now: Timestamp) {
        self.last_used_at = self.last_used_at.map(|at| at.min(now));
        self.last_address =
            self.last_address.map(|seen| LastAddress { at: seen.at.min(now), ..seen });
    }

    /// Forgets the address if it was seen before a moment.
    pub fn forget_address(&mut self, before: Timestamp) {
        self.last_address = self.last_address.filter(|seen| seen.at >= before);
    }
}

fn added(sum: u64, more: u64) -> u64 {
    sum.saturating_add(more).min(Usage::MAX_COUNT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_stop_and_show_what_occurred() {
        let mut counts = RejectedCounts::default();
        counts.add(RejectKind::AddressRejected, 3);
        counts.add(RejectKind::Expired, u64::MAX);
        counts.add(RejectKind::Expired, 1);
        assert_eq!(counts.get(RejectKind::Expired), Usage::MAX_COUNT);
        assert_eq!(counts.total(), Usage::MAX_COUNT);
        let json = serde_json::to_string(&counts).unwrap();
        assert_eq!(json, r#"{"expired":9223372036854775807,"address_rejected":3}"#);
    }

    fn used() -> impl Strategy<Value = Used> {
        let at = || (0..5_u64).prop_map(|millis| Timestamp::from_millis(millis).unwrap());
        let address = (any::<u8>(), at())
            .prop_map(|(n, at)| LastAddress { address: IpAddr::from([10, 0, 0, n]), at });
        let rejected = (0..10_usize, 0..9_u64).prop_map(|(reason, count)| {
            let mut counts = RejectedCounts::default();
            counts.add(RejectKind::ALL[reason], count);
            counts
        });
        let accepted = prop_oneof![0..9_u64, Just(u64::MAX)];
        (prop::option::of(at()), prop::option::of(address), accepted, rejected).prop_map(
            |(last_used_at, last_address, accepted, rejected)| Used {
                last_used_at,
                last_address,
                accepted,
                rejected,
            },
        )
    }

    proptest! {
        /// However uses are bundled on their way, the sum is the same.
        #[test]
        fn bundles_add_up_alike(each in prop::collection::vec(used(), 0..8), cut in 0..8_usize) {
            let sum = |each: &[Used]| {
                let mut sum = Used::default();
                each.iter().for_each(|one| sum.add(one));
                sum
            };
            let (first, rest) = each.split_at(cut.min(each.len()));
            let mut bundled = sum(first);
            bundled.add(&sum(rest));
            prop_assert_eq!(bundled, sum(&each));
            let latest = each.iter().filter_map(|one| one.last_used_at).max();
            prop_assert_eq!(bundled.last_used_at, latest);
            let seen = each.iter().filter_map(|one| one.last_address).max_by_key(|seen| seen.at);
            prop_assert_eq!(bundled.last_address, seen);
        }
    }
}
