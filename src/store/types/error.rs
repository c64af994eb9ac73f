//! What a store says when it can't, won't, or must not.

use crate::backend::{BackendError, BackendErrorKind};
use crate::id::{KeyId, NumericId, Version};
use crate::invalid::Invalid;
use crate::key::{Prefix, RejectReason, StoreRules};
use crate::token::RandomError;

/// Why a management call failed. Unless it is [`Error::OutcomeUnknown`], nothing was changed.
///
/// No variant shows a token, a digest, a pepper or SQL.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backend failed; nothing was changed.
    #[error(transparent)]
    Backend(BackendError),
    /// The record has another version than the caller expected.
    #[error("version {expected} was expected, {found} found")]
    Conflict {
        /// What the caller expected.
        expected: Version,
        /// What was found.
        found: Version,
    },
    /// The data forbid this change of the store's rules.
    #[error("the data forbid this change of `{rule}`")]
    DataForbid {
        /// The rule's name.
        rule: &'static str,
    },
    /// Whoever asks may not do this.
    #[error("not allowed: {0}")]
    Forbidden(ForbiddenReason),
    /// The numeric id was used before, for ever.
    #[error("numeric id {0} was used before")]
    NumericIdTaken(NumericId),
    /// No numeric id is left to be assigned.
    #[error("no numeric id is left")]
    NumericIdsExhausted,
    /// An input is refused.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The owner's last unrevoked standard key must stay.
    #[error("the owner's last standard key must stay")]
    LastStandardKey,
    /// Another unrevoked key of the owner has this name.
    #[error("key {0} of the same owner has this name")]
    NameTaken(KeyId),
    /// There is no such thing, or it belongs to somebody else.
    #[error("{0} not found")]
    NotFound(Resource),
    /// Whether the change took effect can't be told yet; the store finds out by itself, and
    /// answers `Unavailable` for the keys concerned until it has.
    #[error("whether the change took effect is not known yet: {0}")]
    OutcomeUnknown(BackendError),
    /// An owner of this id exists.
    #[error("the owner already exists")]
    OwnerExists,
    /// The store was opened with a pepper that doesn't fit its database.
    #[error("pepper {number}: {problem}")]
    Pepper {
        /// The pepper's number.
        number: u16,
        /// What is wrong with it.
        problem: PepperProblem,
    },
    /// The source of randomness failed; nothing was made.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The database has other rules than the store was opened with.
    #[error(
        "the database has the rules {}, the store was opened with {}; `change_rules` changes them",
        .0.stored, .0.given
    )]
    RulesDiffer(Box<RulesDiffer>),
    /// A recoverable token can't be shown.
    #[error("the recoverable token can't be opened: {0}")]
    Seal(String),
    /// The record's state doesn't allow this.
    #[error("{0}")]
    State(StateProblem),
    /// The owner may not have so many unrevoked keys.
    #[error("the owner may have at most {limit} unrevoked keys")]
    TooManyKeys {
        /// How many it may have.
        limit: u32,
    },
    /// The store can't answer now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// A key.
    Key,
    /// An owner.
    Owner,
    /// A recoverable token of the key.
    RecoverableToken,
}

/// Why something is not allowed to whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForbiddenReason {
    /// Only an administrator may.
    AdministratorOnly,
    /// An administrator has set this; an owner may narrow it, never widen it.
    SetByAdministrator {
        /// The field.
        field: &'static str,
    },
    /// The acting key would not verify now.
    ActingKeyRejected(Option<RejectReason>),
    /// The acting key, or its owner, is limited to a later time.
    ActingKeyNotYet,
    /// The key's access, before or after the call, is not within that of the acting key and the
    /// owner's maximum access, or the key lacks a limit that the acting key has, or has a looser one.
    BeyondActingKey,
    /// A trial key doesn't delegate.
    TrialKey,
}

/// What is wrong with a pepper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PepperProblem {
    /// A live token needs it, and the store was opened without it.
    Missing,
    /// It is not the one that the database knows under this number.
    Wrong,
}

/// Which state doesn't allow a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateProblem {
    /// The key is blocked: an administrator rotates it, with force.
    Blocked,
    /// The key has expired.
    Expired,
    /// The key has used up its generations.
    GenerationsExhausted,
    /// The key is not revoked.
    NotRevoked,
    /// The key is no trial.
    NotTrial,
    /// The owner is not suspended.
    NotSuspended,
    /// The key is revoked, for ever.
    Revoked,
    /// The store doesn't seal tokens: by its rules, or for lack of a recovery key.
    RecoveryOff,
}

/// Rules found and rules given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesDiffer {
    /// What the database has.
    pub stored: RulesShown,
    /// What the store was opened with.
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

/// Why a store can't answer now. It never means that a key is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// More of a quota is needed than this process holds, and the backend couldn't give it.
    #[error("more of a quota is needed, and the backend can't give it")]
    Quota,
    /// A change of unknown outcome is being looked into.
    #[error("a change of unknown outcome is being looked into")]
    Recovering,
    /// Another process changed the store's rules: open it anew.
    #[error("the store's rules were changed elsewhere, open it anew")]
    RulesChanged,
    /// What other processes did is not known freshly enough.
    #[error("what other processes did is not known freshly enough")]
    Stale,
}

/// Why a token is not accepted.
///
/// `Unrecognized` is one and the same answer for a malformed token, an unknown key and a wrong
/// secret. A caller learns the other reasons only after it has shown the right secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VerifyError {
    /// No token of this store: malformed, unknown, or with a wrong secret.
    Unrecognized,
    /// The secret was right, and the token is not accepted now.
    Rejected(RejectReason),
    /// The store can't answer; this says nothing about the token.
    Unavailable(Unavailable),
}

impl std::fmt::Display for VerifyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unrecognized => f.write_str("the token is not recognized"),
            Self::Rejected(reason) => reason.fmt(f),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
        }
    }
}

impl std::error::Error for VerifyError {}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        match error.kind() {
            BackendErrorKind::Closed => Self::Unavailable(Unavailable::Closed),
            BackendErrorKind::OutcomeUnknown => Self::OutcomeUnknown(error),
            _ => Self::Backend(error),
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Owner => "owner",
            Self::RecoverableToken => "recoverable token",
        })
    }
}

impl std::fmt::Display for ForbiddenReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AdministratorOnly => f.write_str("only an administrator may"),
            Self::SetByAdministrator { field } => {
                write!(f, "an administrator has set the {field}; it can be narrowed, not widened")
            }
            Self::ActingKeyRejected(Some(rejected_for)) => {
                write!(f, "the acting key would not verify now: {}", rejected_for)
            }
            Self::ActingKeyRejected(None) => f.write_str("the acting token is no longer known"),
            Self::ActingKeyNotYet => f.write_str("the acting key is not accepted yet"),
            Self::BeyondActingKey => {
                f.write_str("beyond what the acting key and the owner's max_access allow")
            }
            Self::TrialKey => f.write_str("a trial key does not delegate"),
        }
    }
}

impl std::fmt::Display for PepperProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "a live token needs it: open the store with it too",
            Self::Wrong => "it is not the one that the database knows under this number",
        })
    }
}

impl std::fmt::Display for StateProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Blocked => "the key is blocked; an administrator can rotate it with force",
            Self::Expired => "the key has expired",
            Self::GenerationsExhausted => "the key has used up its generations",
            Self::NotRevoked => "the key is not revoked",
            Self::NotTrial => "the key is no trial",
            Self::NotSuspended => "the owner is not suspended",
            Self::Revoked => "the key is revoked",
            Self::RecoveryOff => "the store does not seal tokens",
        })
    }
}

impl std::fmt::Display for RulesShown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let prefixes: Vec<&str> = self.prefixes.iter().map(Prefix::as_str).collect();
        write!(f, "[{} prefixes={}]", self.rules, prefixes.join(","))
    }
}
