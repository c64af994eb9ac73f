//! How a client learns how much of its rate is left.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::invalid::{Invalid, Problem};
use crate::key::RateLimited;
use crate::key::RateStatus;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The headers that tell a client how much of its key's rate is left.
///
/// A rate is shown by what may come at once and the time in which so much comes back: of 100 uses a
/// minute with a burst of 10 that is 10 in 6 seconds. So what remains is never more than the limit.
/// Seconds are whole and rounded up, so that nobody is promised more than it has.
///
/// ```
/// # use std::time::Duration;
/// # use http::HeaderMap;
/// # use keyhasp::{Rate, verified::RateStatus, integrations::http::RateHeaders};
/// let rate = Rate::new(100, Duration::from_secs(60))?;
/// let status = RateStatus { rate, remaining: 50, reset_after: Duration::from_secs(30) };
/// let mut headers = HeaderMap::new();
/// RateHeaders::draft().add(&status, &mut headers);
/// assert_eq!(headers["RateLimit-Policy"], "\"default\";q=100;w=60");
/// assert_eq!(headers["RateLimit"], "\"default\";r=50;t=30");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateHeaders(Names);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    Draft,
    Named(Box<[HeaderName; 3]>),
    Off,
}

impl RateHeaders {
    /// `RateLimit-Policy` and `RateLimit` as in revision 11 of the IETF's draft
    /// `draft-ietf-httpapi-ratelimit-headers` (May 2026), with one policy, `"default"`. It isn't a
    /// standard yet, and earlier revisions had other fields.
    #[must_use]
    pub fn draft() -> Self {
        Self(Names::Draft)
    }

    /// Three headers of an API's own: the limit, what remains of it, and in how many seconds that
    /// is the limit again.
    ///
    /// # Errors
    /// [`Invalid`] for what can't be a header's name, and for one that stands there twice.
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

    /// None.
    #[must_use]
    pub fn off() -> Self {
        Self(Names::Off)
    }

    /// Adds them to an answer. Where one of them stands there already, the service has its say:
    /// then none is added.
    pub fn add(&self, status: &RateStatus, headers: &mut HeaderMap) {
        let (limit, remaining) = (status.rate.burst(), status.remaining);
        let reset = seconds(status.reset_after);
        match &self.0 {
            Names::Draft => {
                let policy = format!("\"default\";q={limit};w={}", window(status));
                let current = format!("\"default\";r={remaining};t={reset}");
                let value = |text| HeaderValue::try_from(text).ok();
                if let (Some(policy), Some(current)) = (value(policy), value(current)) {
                    insert([(&POLICY, policy), (&LIMIT, current)], headers);
                }
            }
            Names::Named(names) => {
                let [for_limit, for_remaining, for_reset] = &**names;
                let named = [
                    (for_limit, limit.into()),
                    (for_remaining, remaining.into()),
                    (for_reset, reset.into()),
                ];
                insert(named, headers);
            }
            Names::Off => {}
        }
    }

    /// Adds them to the answer of a request that was refused for its rate. The time in them is then
    /// that of `Retry-After`, for the draft wants the one not to end before the other.
    pub fn add_refused(&self, limited: &RateLimited, headers: &mut HeaderMap) {
        let reset_after = limited.retry_after.unwrap_or(limited.status.reset_after);
        self.add(&RateStatus { reset_after, ..limited.status }, headers);
    }
}

impl Default for RateHeaders {
    /// [`RateHeaders::draft`].
    fn default() -> Self {
        Self::draft()
    }
}

fn insert<const N: usize>(named: [(&HeaderName, HeaderValue); N], headers: &mut HeaderMap) {
    if named.iter().any(|(name, _)| headers.contains_key(*name)) {
        return;
    }
    for (name, value) in named {
        headers.insert(name, value);
    }
}

/// In how many seconds a burst that is used up comes back whole, at least 1.
fn window(status: &RateStatus) -> u128 {
    let rate = status.rate;
    let millis = u128::from(rate.burst()) * rate.per().as_millis();
    millis.div_ceil(u128::from(rate.count()) * 1_000)
}

/// Whole seconds, rounded up.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
