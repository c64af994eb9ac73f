//! Headers that show a client what is left of its limits.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Timestamp;
use crate::invalid::{Invalid, Problem};
use crate::key::{LimitHolder, QuotaStatus, RateLimited, RateStatus, RejectReason};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Headers that show a client what is left of its key's limits.
///
/// The headers of the IETF's draft name each limit, as a policy:
///
/// | policy | limit | item of `RateLimit-Policy` | item of `RateLimit` |
/// | --- | --- | --- | --- |
/// | `"key"` | the key's rate | `"key";q=100;w=60` | `"key";r=57;t=26` |
/// | `"owner"` | the rate of its owner, for all of the owner's keys | `"owner";q=100;w=60` | `"owner";r=57;t=26` |
/// | `"key-quota"` | the key's quota | none | `"key-quota";r=1200;t=86400` |
/// | `"owner-quota"` | the quota of its owner, for all of the owner's keys | none | `"owner-quota";r=1200;t=86400` |
///
/// - An accepted request is told of one rate: the key's, or its owner's if that has less left. It is told
///   of one quota in the same way. The rate comes first.
/// - A rejected request is told of the one limit that rejected it.
/// - `q` is the burst of the rate, and `w` the seconds in which a spent burst comes back. For 100 uses a
///   minute with a burst of 10 that is 10 in 6 seconds. So `r` never exceeds `q`.
/// - `r` is the number of uses that are left. A quota that rejected a request has `r=0`: fewer are left
///   than the request costs.
/// - `t` is the number of seconds until the burst is whole again, or until the quota is refilled. A quota
///   that is never refilled has none. In the answer to a request rejected for its rate it is the time of
///   `Retry-After`: by the draft that should not end before `t` does.
/// - A quota has no item in `RateLimit-Policy`. That needs `q`, the quota's size, which a verification
///   doesn't know: it would have to read the database.
/// - A quota whose rest this process doesn't know ([`VerifiedKey::quota`]) isn't shown.
///
/// Seconds are whole and rounded up, so that no client is promised more uses than it has. Where several
/// processes share the database, others may have used more of a quota than this one knows.
///
/// ```
/// # use std::time::Duration;
/// # use http::HeaderMap;
/// # use keyhasp::{Rate, Timestamp, integrations::http::RateHeaders};
/// # use keyhasp::key::{LimitHolder, QuotaStatus, RateStatus};
/// let rate = RateStatus {
///     holder: LimitHolder::Key,
///     rate: Rate::new(100, Duration::from_secs(60))?,
///     remaining: 50,
///     reset_after: Duration::from_secs(30),
/// };
/// let quota = QuotaStatus { holder: LimitHolder::Owner, remaining: 1200, refilled_at: None };
/// let (now, mut headers) = (Timestamp::MIN, HeaderMap::new());
/// RateHeaders::draft().add(Some(rate), Some(quota), now, &mut headers);
/// assert_eq!(headers["RateLimit-Policy"], "\"key\";q=100;w=60");
/// assert_eq!(headers["RateLimit"], "\"key\";r=50;t=30, \"owner-quota\";r=1200");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`VerifiedKey::quota`]: crate::VerifiedKey::quota
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateHeaders(Names);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    Draft,
    Named(Box<[HeaderName; 3]>),
    Off,
}

impl RateHeaders {
    /// Sends `RateLimit-Policy` and `RateLimit` as in revision 11 of the IETF's draft
    /// `draft-ietf-httpapi-ratelimit-headers` (May 2026), the newest one. The draft isn't a standard
    /// yet, and earlier revisions had other fields.
    #[must_use]
    pub fn draft() -> Self {
        Self(Names::Draft)
    }

    /// Sends three headers of an API's own: the limit, the remaining uses, and the seconds until
    /// the remaining uses are the limit again. They show a rate alone, the key's or its owner's, and no quota.
    ///
    /// # Errors
    /// [`Invalid`] for a name that can't be a header's, and for a name that comes twice.
    pub fn named(limit: &str, remaining: &str, reset: &str) -> Result<Self, Invalid> {
        let name = |text: &str| {
            let expected = "the name of a header";
            let malformed = |_| Invalid::new("header", Problem::Malformed { expected });
            HeaderName::from_bytes(text.as_bytes()).map_err(malformed)
        };
        let names = [name(limit)?, name(remaining)?, name(reset)?];
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                let name = name.as_str().to_owned();
                return Err(Invalid::new("header", Problem::Duplicate { name }));
            }
        }
        Ok(Self(Names::Named(Box::new(names))))
    }

    /// Sends no such header.
    #[must_use]
    pub fn off() -> Self {
        Self(Names::Off)
    }

    /// Adds to the answer to an accepted request what is left at `now`, as in [`VerifiedKey::rate`] and
    /// [`VerifiedKey::quota`]. Adds nothing if the service has already set one of the headers.
    ///
    /// [`VerifiedKey::rate`]: crate::VerifiedKey::rate
    /// [`VerifiedKey::quota`]: crate::VerifiedKey::quota
    pub fn add(
        &self,
        rate: Option<RateStatus>,
        quota: Option<QuotaStatus>,
        now: Timestamp,
        headers: &mut HeaderMap,
    ) {
        match &self.0 {
            Names::Draft => {
                if headers.contains_key(POLICY) || headers.contains_key(LIMIT) {
                    return;
                }
                let policies = rate.map(|rate| policy(&rate));
                let rate = rate.map(|rate| rate_left(&rate));
                let quota = quota.map(|quota| quota_left(&quota, now));
                let left: Vec<String> = rate.into_iter().chain(quota).collect();
                let left = (!left.is_empty()).then(|| left.join(", "));
                for (name, value) in [(POLICY, policies), (LIMIT, left)] {
                    if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
                        headers.insert(name, value);
                    }
                }
            }
            Names::Named(names) => {
                if names.iter().any(|name| headers.contains_key(name)) {
                    return;
                }
                let Some(rate) = rate else { return };
                let limit = rate.rate.burst().into();
                let values = [limit, rate.remaining.into(), seconds(rate.reset_after).into()];
                headers.extend(names.iter().cloned().zip::<[HeaderValue; 3]>(values));
            }
            Names::Off => {}
        }
    }

    /// Adds to the answer to a request that was rejected at `now` which limit rejected it. Adds nothing if
    /// that was no rate and no quota.
    pub fn add_rejected(&self, reason: &RejectReason, now: Timestamp, headers: &mut HeaderMap) {
        match *reason {
            RejectReason::RateLimited(RateLimited { status, retry_after }) => {
                let reset_after = retry_after.unwrap_or(status.reset_after);
                self.add(Some(RateStatus { reset_after, ..status }), None, now, headers);
            }
            RejectReason::QuotaExhausted { holder, refilled_at } => {
                let quota = QuotaStatus { holder, remaining: 0, refilled_at };
                self.add(None, Some(quota), now, headers);
            }
            _ => {}
        }
    }
}

impl Default for RateHeaders {
    /// Returns [`RateHeaders::draft`].
    fn default() -> Self {
        Self::draft()
    }
}

/// Returns the item of `RateLimit-Policy` for a rate.
fn policy(status: &RateStatus) -> String {
    format!("\"{}\";q={};w={}", rate_name(status), status.rate.burst(), window(status))
}

/// Returns the item of `RateLimit` for a rate.
fn rate_left(status: &RateStatus) -> String {
    let (remaining, reset) = (status.remaining, seconds(status.reset_after));
    format!("\"{}\";r={remaining};t={reset}", rate_name(status))
}

/// Returns the item of `RateLimit` for a quota.
fn quota_left(status: &QuotaStatus, now: Timestamp) -> String {
    let name = match status.holder {
        LimitHolder::Key => "key-quota",
        LimitHolder::Owner => "owner-quota",
    };
    // At least 1, as in `Retry-After`: a client must not come again at once.
    let time = status.refilled_at.map(|at| format!(";t={}", seconds(at.since(now)).max(1)));
    format!("\"{name}\";r={}{}", status.remaining, time.unwrap_or_default())
}

fn rate_name(status: &RateStatus) -> &'static str {
    match status.holder {
        LimitHolder::Key => "key",
        LimitHolder::Owner => "owner",
    }
}

/// Computes the seconds in which a spent burst comes back whole, at least 1.
fn window(status: &RateStatus) -> u128 {
    let rate = status.rate;
    let millis = u128::from(rate.burst()) * rate.per().as_millis();
    millis.div_ceil(u128::from(rate.count()) * 1_000)
}

/// Rounds up to whole seconds.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
