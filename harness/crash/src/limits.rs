//! Limits that carry a number and reject no use.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use keyhasp::key::{Limit, Limits, Networks, SetBy, VersionedQuota};
use keyhasp::{Error, Network, Quota, Rate, SetLimits, Timestamp, Version};

/// The least number whose quota is small, so that it can be used up.
const SMALL: u64 = 1 << 40;
/// The bits of such a number that hold the uses of the quota.
const USES: u64 = 0xffff;

/// The address from which tokens are presented.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The values of the limits of a number.
struct Values {
    not_before: Timestamp,
    networks: Vec<Network>,
    rate: Rate,
    quota: Option<Quota>,
}

impl Values {
    fn new(mark: u64) -> Result<Self, Error> {
        let network = |address: [u8; 4], len| Network::new(Ipv4Addr::from(address).into(), len);
        let third = u8::try_from(mark % 200).unwrap_or_default();
        Ok(Self {
            not_before: Timestamp::from_millis(mark % 1_000_000)?,
            networks: vec![network([10, 1, third, 0], 24)?, network([127, 0, 0, 0], 8)?],
            rate: Rate::new(Rate::MAX_COUNT, Duration::from_millis(1 + mark % 1_000))?,
            quota: match small_quota(mark) {
                Some(uses) => Some(Quota::one_time(uses)?),
                None if mark % 2 == 1 => Some(Quota::one_time(Quota::MAX_USES - mark % 1_000)?),
                None => None,
            },
        })
    }
}

/// Makes a number whose limits have a small quota of so many uses, below 2^16. A salt below 2^24
/// makes numbers with equal quotas differ.
#[must_use]
pub fn mark_of_quota(uses: u64, salt: u64) -> u64 {
    SMALL | ((salt % (1 << 24)) << 16) | (uses & USES)
}

/// Returns the uses of the small quota of a number; `None` if it has none.
#[must_use]
pub fn small_quota(mark: u64) -> Option<u64> {
    (mark >= SMALL).then_some(mark & USES)
}

/// Makes the request that sets the limits of a number.
///
/// # Errors
/// None, since no value is out of range.
pub fn limits(mark: u64) -> Result<SetLimits, Error> {
    let Values { not_before, networks, rate, quota } = Values::new(mark)?;
    let limits = SetLimits::new().not_before(not_before).networks(networks).rate(rate);
    Ok(match quota {
        Some(quota) => limits.quota(quota),
        None => limits.clear_quota(),
    })
}

/// Tells whether these are the limits of a number, whose quota was set at this version at the latest.
///
/// # Errors
/// Those of [`limits`].
pub fn are_limits(found: &Limits, mark: u64, version: Version) -> Result<bool, Error> {
    fn set<T>(value: T) -> Option<Limit<T>> {
        Some(Limit { value, by: SetBy::Administrator })
    }
    let Values { not_before, networks, rate, quota } = Values::new(mark)?;
    let since = found.quota.map_or(Version::FIRST, |quota| quota.value.quota_version);
    let expected = Limits {
        not_before: set(not_before),
        networks: set(Networks::new(networks)?),
        rate: set(rate),
        quota: quota.and_then(|quota| set(VersionedQuota { quota, quota_version: since })),
    };
    Ok(*found == expected && since <= version)
}
