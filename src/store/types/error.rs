//! The errors of calls.

use std::fmt::{self, Display, Formatter};

use super::clock::ClockBehindLog;
use super::verify_error::Unavailable;
use crate::backend::{BackendError, BackendErrorKind, PepperUse};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, Version};
use crate::invalid::Invalid;
use crate::key::{IdempotencyKey, Prefix, RejectReason, StoreRules};
use crate::token::RandomError;

/// The error of a management call. After any but [`Error::OutcomeUnknown`], nothing was changed.
///
/// No variant shows a token, a digest, a pepper or SQL.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backend failed; nothing was changed.
    #[error(transparent)]
    Backend(BackendError),
    /// The clock is behind the newest event, and the store was opened to refuse that.
    #[error("{0}")]
    ClockBehindLog(ClockBehindLog),
    /// The record has another version than the caller expected.
    #[error(
        "the record has version {found}, the caller expected {expected}; read the record and \
         decide again"
    )]
    Conflict {
        /// The version that the caller expected.
        expected: Version,
        /// The version of the record.
        found: Version,
    },
    /// The stored data don't satisfy the new rules of the store.
    #[error("the stored data don't satisfy the new `{rule}`; change the data first")]
    DataForbid {
        /// The name of the rule.
        rule: &'static str,
    },
    /// The caller may not do this.
    #[error("not allowed: {0}")]
    Forbidden(ForbiddenReason),
    /// Another request has used this idempotency key.
    #[error(
        "another request has used this idempotency key within {} hours; send a new one with a new \
         request",
        IdempotencyKey::KEPT.as_secs() / 3_600
    )]
    IdempotencyKeyReused,
    /// The index in memory, by which tokens are verified, has no room for what the change would write.
    #[error("the index has no room for more than {0}; revoke or purge some, or use another store")]
    IndexFull(IndexLimit),
    /// An input is invalid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The owner must keep a live standard key, by the rules of the store.
    #[error(
        "the owner must have a live standard key, and this would leave it none; create \
         another first, or in the same call"
    )]
    LastStandardKey,
    /// Another live key of the owner has this name.
    #[error("key {0} of the same owner has this name; choose another")]
    NameTaken(KeyId),
    /// The thing doesn't exist, or the caller doesn't reach it.
    #[error("{0} not found: it does not exist, or the caller does not reach it")]
    NotFound(Resource),
    /// A key has or had this numeric id. A store never accepts one twice.
    #[error("numeric id {0} was used before; choose another")]
    NumericIdTaken(NumericId),
    /// The greatest numeric id, 2^63-1, was used, so the store can't assign the next.
    #[error("the store can't assign a numeric id above 2^63-1; give an unused one")]
    NumericIdsExhausted,
    /// It is indeterminate whether the change took effect. The store finds out by itself. Until
    /// then it answers `Unavailable` for the keys concerned.
    #[error(
        "the store does not know yet whether the change took effect ({0}); read the record before \
         trying again"
    )]
    OutcomeUnknown(BackendError),
    /// An owner with this id exists.
    #[error("an owner with this id exists; update it, or choose another id")]
    OwnerExists,
    /// The store was opened with a pepper that doesn't fit its database, or without one that a
    /// token needs.
    #[error("pepper {number}: {problem}")]
    Pepper {
        /// The number of the pepper.
        number: u16,
        /// The problem with it.
        problem: PepperProblem,
    },
    /// Live tokens are under the pepper that was to be retired.
    #[error(
        "pepper {number} is needed by {used}; rotate or revoke these keys, or retire it with \
         `IfInUse::EndTokens`, which ends the tokens"
    )]
    PepperInUse {
        /// The number of the pepper.
        number: u16,
        /// The live tokens under it.
        used: PepperUse,
    },
    /// The source of randomness failed; nothing was made.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store was opened with a recovery key that doesn't fit its database.
    #[error("recovery key {number}: {problem}")]
    RecoveryKey {
        /// The number of the recovery key.
        number: u16,
        /// The problem with it.
        problem: RecoveryKeyProblem,
    },
    /// The database has other rules or prefixes than the store was opened with.
    #[error(
        "the database has the rules {}, the store was opened with {}; open it with those of the \
         database, and change them with `change_rules`",
        .0.stored, .0.given
    )]
    RulesDiffer(Box<RulesDiffer>),
    /// The store can't decrypt a recoverable token.
    #[error("the store can't reveal the token: {0}")]
    Seal(String),
    /// The state of the record doesn't allow this.
    #[error("{0}")]
    State(StateProblem),
    /// The owner would get more live keys than it may have. Keys that have been expired for five minutes
    /// lapse before.
    #[error(
        "the owner may have at most {limit} live keys; revoke one, or have an administrator \
         raise `max_keys`"
    )]
    TooManyKeys {
        /// The owner's `max_keys`.
        limit: u32,
    },
    /// The store can't answer now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A limit of the index. Changes are refused a little below it, but never one that revokes, blocks
/// or deactivates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexLimit {
    /// The most networks in the different lists of keys and owners.
    Networks(u64),
    /// The most owners.
    Owners(u64),
    /// The most owners that have limits.
    OwnersWithLimits(u64),
    /// The most different sets of permissions that keys and owners may have.
    PermissionSets(u64),
    /// The most tokens.
    Tokens(u64),
}

/// The thing that was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// A key.
    Key,
    /// An owner.
    Owner,
    /// A recoverable token of the key.
    RecoverableToken,
    /// A request under this idempotency key that issued a token of the key.
    Request,
}

/// The reason for which a caller may not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForbiddenReason {
    /// The acting key, or its owner, has a `not_before` that has not come.
    ActingKeyNotYet,
    /// The acting key would not verify now, for this reason. `None` if the key or the presented
    /// token is gone.
    ActingKeyRejected(Option<RejectReason>),
    /// Only an administrator may do this.
    AdministratorOnly,
    /// The key's access, before or after the call, is not within that of the acting key and the
    /// owner's `max_access`. Or the key lacks a limit that the acting key has, or has a looser one.
    BeyondActingKey,
    /// Only an owner or an administrator may do this, not a delegate.
    NotADelegate,
    /// The key's token begins, or would begin, with another prefix than the acting one.
    OtherPrefix,
    /// The key expires, before or after the call, later than the acting key.
    OutlastsActingKey,
    /// The acting token is a previous one, in its grace. A delegate may read with it, and deactivate
    /// or revoke its own key. An owner that acts by a key may do nothing with it, unless the service
    /// allows previous tokens.
    PreviousToken,
    /// The key would live longer than the greatest lifetime of its owner or of the store's rules
    /// allows. An administrator may let it.
    BeyondLifetime {
        /// The latest expiry that the key may have.
        latest: Timestamp,
    },
    /// An administrator has set this setting of the key, or fixed this default of its owner. Only an
    /// administrator changes it. `Key::protected_settings` and `Owner::fixed_defaults` name them.
    ProtectedSetting,
    /// An administrator has set this field. An owner may narrow it, but not widen it.
    SetByAdministrator {
        /// The name of the field.
        field: &'static str,
    },
    /// The acting key is a trial key, which can't delegate.
    TrialKey,
}

/// The problem with a pepper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PepperProblem {
    /// A live token needs it, and the store was opened without it.
    Missing,
    /// The database knows another pepper under this number.
    Wrong,
    /// The database knows this pepper under another number, which is given here. A new number needs
    /// a new pepper.
    KnownAs(u16),
    /// It is the pepper of new tokens, so it can't be retired.
    Current,
    /// It is retired, so it can't be the pepper of new tokens.
    Retired,
    /// The database knows no pepper under this number, so it can't be retired.
    Unknown,
}

/// The problem with a recovery key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryKeyProblem {
    /// The database knows another recovery key under this number.
    Wrong,
    /// The database knows this key under another number, which is given here. A new number needs a
    /// new key.
    KnownAs(u16),
}

/// The state that doesn't allow a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateProblem {
    /// The key is blocked. An administrator may rotate it with [`Rotate::forced`].
    ///
    /// [`Rotate::forced`]: crate::Rotate::forced
    Blocked,
    /// The key has expired.
    Expired,
    /// The key has used up its 16,777,215 generations.
    GenerationsExhausted,
    /// The key or owner has no quota.
    NoQuota,
    /// The token of the request was replaced before, or isn't the key's current one.
    NotReplaceable,
    /// The key is not revoked.
    NotRevoked,
    /// The owner is not suspended.
    NotSuspended,
    /// The key is not a trial key.
    NotTrial,
    /// The store doesn't keep tokens recoverable: its rules don't allow it, or it was opened
    /// without a recovery key.
    RecoveryOff,
    /// The key is revoked, which is final.
    Revoked,
}

/// The rules of the database, and the rules that the store was opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesDiffer {
    /// The rules of the database.
    pub stored: RulesShown,
    /// The rules that the store was opened with.
    pub given: RulesShown,
}

/// Rules with the accepted prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesShown {
    /// The rules.
    pub rules: StoreRules,
    /// The accepted prefixes, sorted.
    pub prefixes: Vec<Prefix>,
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        match error.kind() {
            BackendErrorKind::Closed => Self::Unavailable(Unavailable::Closed),
            BackendErrorKind::OutcomeUnknown => Self::OutcomeUnknown(error),
            _ => Self::Backend(error),
        }
    }
}

impl Display for Resource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Owner => "owner",
            Self::RecoverableToken => "recoverable token",
            Self::Request => "request",
        })
    }
}

impl Display for ForbiddenReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::ActingKeyNotYet => f.write_str(
                "the acting key or its owner is not accepted yet; try again after its `not_before`",
            ),
            Self::ActingKeyRejected(Some(reason)) => {
                write!(f, "the acting key would not verify now: {reason}")
            }
            Self::ActingKeyRejected(None) => {
                f.write_str("the store no longer knows the acting token; act with a current one")
            }
            Self::AdministratorOnly => f.write_str("only an administrator may do this"),
            Self::BeyondActingKey => f.write_str(
                "the key's access or limits go beyond those of the acting key, or its access beyond \
                 the owner's `max_access`; ask for less",
            ),
            Self::NotADelegate => {
                f.write_str("only the owner or an administrator may do this, not a delegate")
            }
            Self::OtherPrefix => f.write_str(
                "the key's prefix is not that of the acting token; leave the prefix out, or act with \
                 a key of that prefix",
            ),
            Self::OutlastsActingKey => f.write_str(
                "the key would expire later than the acting key; ask for an expiry within that of \
                 the acting key",
            ),
            Self::PreviousToken => f.write_str(
                "the acting token is a previous one, which may at most read, and deactivate or revoke \
                 its own key; act with the key's current token",
            ),
            Self::BeyondLifetime { latest } => write!(
                f,
                "the key may expire at {latest} at the latest, by the lifetime of its owner or of \
                 the store; choose an earlier expiry, or ask an administrator"
            ),
            Self::ProtectedSetting => f.write_str(
                "an administrator has set or fixed one of these settings; leave it as the key shows \
                 it, only an administrator may change it",
            ),
            Self::SetByAdministrator { field } => write!(
                f,
                "an administrator has set the {field}; the owner may narrow it, only an \
                 administrator may widen it"
            ),
            Self::TrialKey => {
                f.write_str("a trial key can't manage keys; act with a standard key")
            }
        }
    }
}

impl Display for IndexLimit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Networks(most) => write!(f, "{most} networks in different lists"),
            Self::Owners(most) => write!(f, "{most} owners"),
            Self::OwnersWithLimits(most) => write!(f, "{most} owners with limits"),
            Self::PermissionSets(most) => write!(f, "{most} different sets of permissions"),
            Self::Tokens(most) => write!(f, "{most} tokens"),
        }
    }
}

impl Display for PepperProblem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "a live token needs it; open the store with it too, or retire it with \
                 `retire_pepper` if it is lost",
            ),
            Self::Wrong => f.write_str(
                "the database knows another pepper under this number; open the store with that \
                 one, or give this one an unused number",
            ),
            Self::KnownAs(number) => write!(
                f,
                "the database knows the same pepper under number {number}; open the store with \
                 that number, or draw a new pepper"
            ),
            Self::Current => f.write_str(
                "new tokens are hashed under it; open the store with another current pepper, and \
                 retire it then",
            ),
            Self::Retired => f.write_str(
                "it is retired, so no token under it is accepted; open the store with a new \
                 current pepper under an unused number",
            ),
            Self::Unknown => f.write_str(
                "the database knows no pepper under this number; name the number of one that \
                 was open",
            ),
        }
    }
}

impl Display for RecoveryKeyProblem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong => f.write_str(
                "the database knows another recovery key under this number; open the store with \
                 that one, or give this one an unused number",
            ),
            Self::KnownAs(number) => write!(
                f,
                "the database knows the same recovery key under number {number}; open the store \
                 with that number, or draw a new key"
            ),
        }
    }
}

impl Display for StateProblem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocked => "the key is blocked; rotate it with `Rotate::forced`, or unblock it",
            Self::Expired => "the key has expired; extend its expiry first",
            Self::GenerationsExhausted => {
                "the key has used up its 16,777,215 generations; create another key"
            }
            Self::NoQuota => "there is no quota; set one first",
            Self::NotReplaceable => {
                "the token of this request was replaced before, or is not the key's current one; \
                 rotate the key instead"
            }
            Self::NotRevoked => "the key is not revoked; revoke it first",
            Self::NotSuspended => "the owner is not suspended; suspend it first",
            Self::NotTrial => "the key is not a trial key; only a trial key can be converted",
            Self::RecoveryOff => {
                "the store does not keep tokens recoverable; its rules must allow it, and it must \
                 be opened with a recovery key"
            }
            Self::Revoked => "the key is revoked, which is final; create another key",
        })
    }
}

impl Display for RulesShown {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let prefixes: Vec<&str> = self.prefixes.iter().map(Prefix::as_str).collect();
        write!(f, "[{} prefixes={}]", self.rules, prefixes.join(","))
    }
}
