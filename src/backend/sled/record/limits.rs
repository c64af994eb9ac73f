//! What keys and owners may use.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fields::{set_by, set_by_number, version};
use crate::backend::sled::fault::Fault;
use crate::clock::Timestamp;
use crate::key::{Limit, Limits, Network, Networks, Period, Quota, VersionedQuota, Rate, Refill};

/// Without a limit there is none of it: one byte.
#[derive(Serialize, Deserialize)]
pub(super) struct LimitsWire {
    not_before: Option<By<u64>>,
    networks: Option<By<Vec<NetworkWire>>>,
    rate: Option<By<RateWire>>,
    quota: Option<By<QuotaWire>>,
}

#[derive(Serialize, Deserialize)]
struct By<T> {
    value: T,
    by: u8,
}

#[derive(Serialize, Deserialize)]
struct NetworkWire {
    address: IpAddr,
    prefix_len: u8,
}

#[derive(Serialize, Deserialize)]
struct RateWire {
    count: u32,
    per_ms: u64,
    burst: u32,
}

#[derive(Serialize, Deserialize)]
struct QuotaWire {
    uses: u64,
    refill: Option<RefillWire>,
    quota_version: u64,
}

#[derive(Serialize, Deserialize)]
struct RefillWire {
    amount: u64,
    period: u8,
}

impl LimitsWire {
    pub(super) fn of(limits: &Limits) -> Option<Self> {
        let Limits { not_before, networks, rate, quota } = limits;
        (!limits.is_empty()).then(|| Self {
            not_before: by(not_before.as_ref(), |from| from.as_millis()),
            networks: by(networks.as_ref(), |networks| {
                networks.as_slice().iter().map(NetworkWire::from).collect()
            }),
            rate: by(rate.as_ref(), |rate| RateWire {
                count: rate.count(),
                per_ms: u64::try_from(rate.per().as_millis()).unwrap_or(u64::MAX),
                burst: rate.burst(),
            }),
            quota: by(quota.as_ref(), |run| QuotaWire {
                uses: run.quota.uses(),
                refill: run.quota.refill().map(|refill| RefillWire {
                    amount: refill.amount(),
                    period: refill.period().number(),
                }),
                quota_version: run.quota_version.get(),
            }),
        })
    }
}

fn by<T, M>(limit: Option<&Limit<T>>, mirror: impl FnOnce(&T) -> M) -> Option<By<M>> {
    limit.map(|limit| By { value: mirror(&limit.value), by: set_by_number(limit.by) })
}

impl From<&Network> for NetworkWire {
    fn from(network: &Network) -> Self {
        Self { address: network.address(), prefix_len: network.prefix_len() }
    }
}

/// The limits of a mirror, if there is one.
pub(super) fn limits(mirror: Option<LimitsWire>) -> Result<Option<Limits>, Fault> {
    let Some(LimitsWire { not_before, networks, rate, quota }) = mirror else { return Ok(None) };
    let limits = Limits {
        not_before: limit(not_before, |from| Ok(Timestamp::from_millis(from)?))?,
        networks: limit(networks, |mirrors| {
            let networks = mirrors.iter().map(|one| Network::new(one.address, one.prefix_len));
            Ok(Networks::new(networks.collect::<Result<Vec<_>, _>>()?)?)
        })?,
        rate: limit(rate, |RateWire { count, per_ms, burst }| {
            Ok(Rate::new(count, Duration::from_millis(per_ms))?.with_burst(burst)?)
        })?,
        quota: limit(quota, run)?,
    };
    Ok(Some(limits).filter(|limits| !limits.is_empty()))
}

fn limit<M, T>(
    mirror: Option<By<M>>,
    value: impl FnOnce(M) -> Result<T, Fault>,
) -> Result<Option<Limit<T>>, Fault> {
    mirror
        .map(|By { value: mirror, by }| Ok(Limit { value: value(mirror)?, by: set_by(by)? }))
        .transpose()
}

fn run(mirror: QuotaWire) -> Result<VersionedQuota, Fault> {
    let quota = Quota::one_time(mirror.uses)?;
    let quota = match mirror.refill {
        Some(refill) => {
            quota.with_refill(Refill::new(refill.amount, Period::from_number(refill.period)?)?)
        }
        None => quota,
    };
    Ok(VersionedQuota { quota, quota_version: version(mirror.quota_version)? })
}
