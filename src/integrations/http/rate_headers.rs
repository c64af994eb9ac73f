//! Headers that show a client what is left of its rate.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::invalid::{Invalid, Problem};
use crate::key::{RateLimited, RateStatus};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Headers that show a client how much of its key's rate is left.
///
/// They show a rate as its burst, and the time in which a burst comes back. For 100 uses a minute
/// with a burst of 10 that is 10 in 6 seconds. So the remaining uses never exceed the limit.
/// Seconds are whole and rounded up, so that no client is promised more uses than it has.
///
/// ```
/// # use std::time::Duration;
/// # use http::HeaderMap;
/// # use keyhasp::{Rate, integrations::http::RateHeaders, key::RateStatus};
/// let rate = Rate::new(100, Duration::from_secs(60))?;
/// let status = RateStatus { rate, remaining: 50, reset_after: Duration::from_secs(30) };
/// let mut headers = HeaderMap::new();
/// RateHeaders::draft().add(&status, &mut headers);
/// assert_eq!(headers["RateLimit-Policy"], "\"rate\";q=100;w=60");
/// assert_eq!(headers["RateLimit"], "\"rate\";r=50;t=30");
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
    /// Sends `RateLimit-Policy` and `RateLimit` as in revision 11 of the IETF's draft
    /// `draft-ietf-httpapi-ratelimit-headers` (May 2026), the newest one. The policy `"rate"` is the
    /// rate of the key or of its owner, whichever has less left; `"quota"` is a quota that is used up.
    /// The draft isn't a standard yet, and earlier revisions had other fields.
    #[must_use]
    pub fn draft() -> Self {
        Self(Names::Draft)
    }

    /// Sends three headers of an API's own: the limit, the remaining uses, and the seconds until
    /// the remaining uses are the limit again.
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

    /// Adds the headers to an answer. Adds none if the service has already set one of them.
    pub fn add(&self, status: &RateStatus, headers: &mut HeaderMap) {
        let (limit, remaining) = (status.rate.burst(), status.remaining);
        let reset = seconds(status.reset_after);
        match &self.0 {
            Names::Draft => {
                let policy = format!("\"rate\";q={limit};w={}", window(status));
                let current = format!("\"rate\";r={remaining};t={reset}");
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

    /// Adds the headers to the answer of a request that was rejected for its rate. Their time is
    /// then that of `Retry-After`: the draft forbids that it ends before `Retry-After` does.
    pub fn add_rejected(&self, limited: &RateLimited, headers: &mut HeaderMap) {
        let reset_after = limited.retry_after.unwrap_or(limited.status.reset_after);
        self.add(&RateStatus { reset_after, ..limited.status }, headers);
    }
}

impl RateHeaders {
    /// Adds to the answer of a request that was rejected for a quota that it is used up, and the time
    /// until it is refilled, if it ever is. Headers of an API's own are those of a rate alone.
    pub fn add_exhausted(&self, refilled_after: Option<Duration>, headers: &mut HeaderMap) {
        if self.0 != Names::Draft {
            return;
        }
        let time = refilled_after.map(|time| format!(";t={}", seconds(time).max(1)));
        let current = format!("\"quota\";r=0{}", time.unwrap_or_default());
        if let Ok(current) = HeaderValue::try_from(current) {
            insert([(&LIMIT, current)], headers);
        }
    }
}

impl Default for RateHeaders {
    /// Returns [`RateHeaders::draft`].
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
