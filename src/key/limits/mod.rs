//! The limits of a key: its first moment, its networks, its rate and its quota.
//!
//! On a key, and on an owner for all of its keys together. The rules here are pure; what was used
//! is counted elsewhere.

mod gcra;
mod holder;
mod networks;
mod period;
mod quota;
mod quota_count;
mod rate;
mod set;

pub(crate) use gcra::{Gcra, Verdict};
pub use holder::LimitHolder;
pub use networks::{Network, Networks};
pub use period::{MonthDay, Period};
pub use quota::{Quota, QuotaStatus, Refill, VersionedQuota};
pub use quota_count::{Grant, Lease, LeaseRequest, QuotaState};
pub use rate::{Rate, RateStatus};
pub use set::{Limit, Limits};
