//! The limits of a key or an owner together.

use serde::Serialize;

use super::{Networks, QuotaRun, Rate};
use crate::clock::Timestamp;
use crate::key::SetBy;

/// A limit, and who set it: what an administrator has set, an owner may tighten, never loosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit<T> {
    /// The limit.
    pub value: T,
    /// Who set it.
    pub by: SetBy,
}

/// What a key, or all keys of an owner together, may use. What isn't there doesn't limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// No token is accepted before this moment.
    pub not_before: Option<Limit<Timestamp>>,
    /// From where tokens are accepted.
    pub networks: Option<Limit<Networks>>,
    /// How often.
    pub rate: Option<Limit<Rate>>,
    /// How many times in all, or in each day, week or month.
    pub quota: Option<Limit<QuotaRun>>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
