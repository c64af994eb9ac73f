//! What was asked and what was answered, and when: all that the checker looks at.

use std::collections::BTreeMap;

use keyhasp::key::RejectReason;
use keyhasp::store::{StateProblem, Unavailable};
use keyhasp::{Error, Event, EventKind, Key, VerifiedKey, VerifyError};
use serde::{Deserialize, Serialize};

/// How calls are named that were answered before all others were made, and aren't noted.
pub(crate) const SET_UP: &str = "set up ";

/// A call of one thread, with the moments before it was made and after it was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Which process made it.
    pub(crate) process: usize,
    /// For how long, in the unit of the moments, it may not know what others did; `None` where
    /// there are no others.
    pub(crate) lag: Option<u64>,
    /// Its name, which stands in its events too.
    pub(crate) call: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) ask: Ask,
    pub(crate) told: Answered,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Ask {
    Create { owner: String },
    Get { key: String },
    List { owner: String },
    Resume { owner: String },
    RevokeAll { owner: String },
    Rotate { key: String, force: bool, unblock: bool, expected: Option<u64> },
    Suspend { owner: String },
    Turn { key: String, how: Turn, expected: Option<u64> },
    Verify { key: String, generation: u32 },
}

/// Change of a key other than a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Turn {
    Activate,
    Block,
    Deactivate,
    InvalidatePrevious,
    Revoke,
    Unblock,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answered {
    Conflict {
        expected: u64,
        found: u64,
    },
    /// Something that no race excuses.
    Failed(String),
    Granted {
        generation: u32,
        is_current: bool,
    },
    Key(Seen),
    Keys(Vec<Seen>),
    LastStandardKey,
    Owner {
        version: u64,
        suspended: bool,
    },
    Refused(Why),
    RevokedAll {
        revoked: usize,
        replacement: Option<Seen>,
    },
    State(Why),
}

/// Reason to reject a token or refuse a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Why {
    Blocked,
    Deactivated,
    Revoked,
    /// The process hasn't heard of the others for too long.
    Stale,
    Suspended,
    Unrecognized,
}

/// A key as it was shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) key: String,
    pub(crate) owner: String,
    pub(crate) version: u64,
    pub(crate) generation: u32,
    pub(crate) previous: Vec<u32>,
    pub(crate) revoked: bool,
    pub(crate) blocked: bool,
    pub(crate) deactivated: bool,
}

/// One event of the log.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) sequence: u64,
    /// The number of the event that bound it, if a piece of a sweep wrote it.
    pub(crate) binding: Option<u64>,
    /// The call that it names.
    pub(crate) call: String,
    pub(crate) kind: EventKind,
    pub(crate) key: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) version: u64,
}

/// A whole history.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) entries: Vec<Entry>,
    pub(crate) log: Vec<Logged>,
}

impl From<&Key> for Seen {
    fn from(key: &Key) -> Self {
        Self {
            key: key.id.to_string(),
            owner: key.owner.to_string(),
            version: key.version.get(),
            generation: key.generation.get(),
            previous: key.previous_tokens.iter().map(|token| token.generation.get()).collect(),
            revoked: key.revoked.is_some(),
            blocked: key.blocked.is_some(),
            deactivated: key.deactivated.is_some(),
        }
    }
}

impl From<&Event> for Logged {
    fn from(event: &Event) -> Self {
        Self {
            sequence: event.sequence,
            binding: event.binding,
            call: event
                .authority
                .correlation_id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            kind: event.kind,
            key: event.key.map(|key| key.to_string()),
            owner: event.owner.map(|owner| owner.to_string()),
            version: event.version.get(),
        }
    }
}

impl Answered {
    pub(crate) fn of_error(error: &Error) -> Self {
        match error {
            Error::Conflict { expected, found } => {
                Self::Conflict { expected: expected.get(), found: found.get() }
            }
            Error::LastStandardKey => Self::LastStandardKey,
            Error::State(StateProblem::Blocked) => Self::State(Why::Blocked),
            Error::State(StateProblem::Revoked) => Self::State(Why::Revoked),
            error => Self::Failed(format!("{error:?}")),
        }
    }

    pub(crate) fn of_verdict(verdict: &Result<VerifiedKey, VerifyError>) -> Self {
        Self::Refused(match verdict {
            Ok(verified) => {
                let (generation, is_current) = (verified.generation().get(), verified.is_current());
                return Self::Granted { generation, is_current };
            }
            Err(VerifyError::Unrecognized) => Why::Unrecognized,
            Err(VerifyError::Rejected(RejectReason::Blocked)) => Why::Blocked,
            Err(VerifyError::Rejected(RejectReason::Deactivated)) => Why::Deactivated,
            Err(VerifyError::Rejected(RejectReason::Revoked)) => Why::Revoked,
            Err(VerifyError::Rejected(RejectReason::Suspended)) => Why::Suspended,
            Err(VerifyError::Unavailable(Unavailable::Stale)) => Why::Stale,
            Err(refusal) => return Self::Failed(format!("{refusal:?}")),
        })
    }
}

/// Counts of what happened, over many histories.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(crate) fn note(&mut self, entry: &Entry, has_effect: bool) {
        let told = match &entry.told {
            Answered::Conflict { .. } => "conflict",
            Answered::Failed(_) => "failed",
            Answered::Granted { .. } => "granted",
            Answered::LastStandardKey => "last standard key",
            Answered::Refused(why) => return self.count(format!("verify: {why:?}")),
            Answered::State(why) => return self.count(format!("{why:?} forbids")),
            _ if has_effect => "done",
            _ => "told",
        };
        let ask = match &entry.ask {
            Ask::Create { .. } => "create",
            Ask::Get { .. } => "get",
            Ask::List { .. } => "list",
            Ask::Resume { .. } => "resume",
            Ask::RevokeAll { .. } => "revoke all",
            Ask::Rotate { .. } => "rotate",
            Ask::Suspend { .. } => "suspend",
            Ask::Turn { how: Turn::Revoke, .. } => "revoke",
            Ask::Turn { .. } => "switch",
            Ask::Verify { .. } => "verify",
        };
        self.count(format!("{ask}: {told}"));
    }

    fn count(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }

    /// What a run of many histories must have met, and this one hasn't.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let expected = [
            "Blocked forbids",
            "Revoked forbids",
            "create: done",
            "revoke all: done",
            "revoke: conflict",
            "revoke: done",
            "revoke: last standard key",
            "rotate: conflict",
            "rotate: done",
            "suspend: done",
            "switch: conflict",
            "switch: done",
            "switch: told",
            "verify: Blocked",
            "verify: Deactivated",
            "verify: Revoked",
            "verify: Suspended",
            "verify: Unrecognized",
            "verify: granted",
        ];
        expected.into_iter().filter(|what| !self.0.contains_key(*what)).collect()
    }
}
