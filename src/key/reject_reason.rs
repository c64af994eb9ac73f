//! The reasons for which a token is rejected although its secret was right: the one list of them.

use std::fmt;
use std::time::Duration;

use super::{LimitHolder, RateStatus};
use crate::clock::Timestamp;
use crate::invalid::{Invalid, Problem};
use crate::serial::as_word;

/// Declares the reasons with the number under which each is counted, its name and its text.
macro_rules! reject_reasons {
    ($(
        $(#[$doc:meta])*
        $variant:ident $(($data:ty))? $({ $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })?
            = $number:literal, $name:literal, $text:literal;
    )*) => {
        /// Why a token whose secret was right is rejected.
        ///
        /// The order is that in which `verify` looks; the first reason that holds is the answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum RejectReason {
            $($(#[$doc])* $variant $(($data))? $({ $($(#[$field_doc])* $field: $type,)* })?,)*
        }

        /// A [`RejectReason`] without its details, as it is counted and stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum RejectKind {
            $($(#[$doc])* $variant = $number,)*
        }

        impl RejectReason {
            /// The reason without its details.
            #[must_use]
            pub const fn kind(&self) -> RejectKind {
                match self {
                    $(Self::$variant { .. } => RejectKind::$variant,)*
                }
            }
        }

        impl RejectKind {
            /// All of them, in ascending order of their numbers, which begin with 1.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name, as in `rate_limited`; metrics, columns and JSON use it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

reject_reasons! {
    /// An administrator has suspended the owner.
    Suspended = 1, "suspended", "the key's owner is suspended";
    /// The key is revoked, for ever.
    Revoked = 2, "revoked", "the key is revoked";
    /// An administrator has blocked the key.
    Blocked = 3, "blocked", "the key is blocked";
    /// The owner has deactivated the key.
    Deactivated = 4, "deactivated", "the key is deactivated";
    /// The key has expired.
    Expired = 5, "expired", "the key has expired";
    /// The token is a previous one whose grace is over, or it was invalidated.
    Superseded = 6, "superseded", "the token was superseded by a newer one";
    /// The key or its owner is accepted from this moment on.
    NotYet(Timestamp) = 7, "not_yet", "the key is not accepted yet";
    /// The key is limited to networks, and the request has no peer address.
    AddressMissing = 8, "address_missing",
        "the key is limited to networks, and the address of the peer is not known";
    /// The key is limited to networks, and the peer address lies in none of them.
    AddressRejected = 9, "address_rejected", "the key is not accepted from this address";
    /// The rate of the key, or of its owner, is used up for now.
    RateLimited(RateLimited) = 10, "rate_limited", "too many uses, try again later";
    /// The quota of the key, or of its owner, is used up.
    QuotaExhausted {
        /// Whose quota it is.
        holder: LimitHolder,
        /// When the quota is refilled; `None` for a quota that never is.
        refilled_at: Option<Timestamp>,
    } = 11, "quota_exhausted", "the quota is used up";
}

impl RejectKind {
    /// The number under which the kind is stored.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind that is stored under a number.
    ///
    /// # Errors
    /// [`Invalid`] for an unknown number.
    pub fn from_number(number: u8) -> Result<Self, Invalid> {
        let index = usize::from(number).checked_sub(1);
        index.and_then(|index| Self::ALL.get(index).copied()).ok_or_else(|| {
            let max = Self::ALL.len() as u64;
            let problem = Problem::OutOfRange { given: number.into(), min: 1, max, unit: "" };
            Invalid::new("rejected_for", problem)
        })
    }
}

as_word!(RejectKind, "reason", "the name of a reason of rejection");

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet(from) => write!(f, "the key is not accepted before {from}"),
            Self::RateLimited(RateLimited { retry_after: None, .. }) => {
                f.write_str("more uses at once than the rate ever allows")
            }
            reason => f.write_str(reason.kind().text()),
        }
    }
}

/// A rate that is used up for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateLimited {
    /// The rate, and how much of it is left.
    pub status: RateStatus,
    /// The time until the same request is allowed if no other comes between, in whole
    /// milliseconds; `None` if it costs more than the burst, so never.
    pub retry_after: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_consecutive_and_read_back() {
        for (index, kind) in (1..).zip(RejectKind::ALL) {
            assert_eq!(kind.number(), index);
            assert_eq!(RejectKind::from_number(index), Ok(*kind));
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json, kind.name());
        }
        assert!(RejectKind::from_number(0).is_err());
        assert!(RejectKind::from_number(RejectKind::ALL.len() as u8 + 1).is_err());
    }
}
