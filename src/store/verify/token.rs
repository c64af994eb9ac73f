//! The path that every request takes.

use std::hint::black_box;
use std::sync::Arc;

use constant_time_eq::constant_time_eq_n;

use super::declassify::declassified;
use super::limits::{Allowed, Consumption};
use super::quota_leases::QuotaLeases;
use crate::clock::Timestamp;
use crate::id::{Generation, KeyId};
use crate::key::{Prefix, RejectKind, RejectReason, ValidityInputs};
use crate::store::alerts::Noticed;
use crate::store::engine::Engine;
use crate::store::index::{DIGEST_LEN, Entry, ReadVersion};
use crate::store::types::error::{Error, Unavailable, VerifyError};
use crate::store::types::request::VerifyRequest;
use crate::store::usage::{Collector, UsageRecorder};
use crate::token::{Peppers, Unverified};
use crate::verified_key::{VerifiedKey, VerifiedKeyParts};

/// What an unknown id is compared with, so that it does the same work.
const NOBODY: [u8; DIGEST_LEN] = [0; DIGEST_LEN];

/// Judges tokens, and notes the answers.
#[derive(Debug)]
pub(in crate::store) struct TokenVerifier {
    pub(super) engine: Arc<Engine>,
    pub(super) leases: QuotaLeases,
    noticed: Arc<Noticed>,
    usage: Option<Arc<Collector>>,
}

/// What is known of a request besides its answer: the parts that are noted of it.
#[derive(Debug)]
struct Judged {
    /// The time by which it was judged; `Timestamp::MIN` if the answer came before the time.
    at: Timestamp,
    /// The key whose secret was right.
    key: Option<KeyId>,
}

impl TokenVerifier {
    pub(in crate::store) fn new(
        engine: &Arc<Engine>,
        noticed: &Arc<Noticed>,
        usage: &UsageRecorder,
    ) -> Self {
        Self {
            engine: Arc::clone(engine),
            leases: QuotaLeases::new(engine),
            noticed: Arc::clone(noticed),
            usage: usage.collector().cloned(),
        }
    }

    /// Puts back what is left of all leases. For a store that was closed.
    pub(in crate::store) fn put_back_leases(&self) -> Result<(), Error> {
        self.leases.put_back()
    }

    /// Judges a token, and notes the answer.
    #[inline]
    pub(in crate::store) fn verify(
        &self,
        request: &VerifyRequest<'_>,
    ) -> Result<VerifiedKey, VerifyError> {
        let mut judged = Judged { at: Timestamp::MIN, key: None };
        let answer = self.judge_token(request, &mut judged);
        match &answer {
            Ok(verified) => {
                if let Some(usage) = &self.usage {
                    usage.accepted(verified.key_id(), request, judged.at);
                }
                if !verified.is_current() {
                    self.noticed.note_previous(verified, judged.at);
                }
            }
            Err(VerifyError::Rejected(reason)) => {
                if let Some(key) = judged.key {
                    self.note_rejection(key, reason.kind(), judged.at);
                }
            }
            // Whoever lacks the secret must leave no trace at a key.
            Err(VerifyError::Unrecognized | VerifyError::Unavailable(_)) => {}
        }
        answer
    }

    #[cold]
    fn note_rejection(&self, key: KeyId, reason: RejectKind, at: Timestamp) {
        if let Some(usage) = &self.usage {
            usage.rejected(key, reason, at);
        }
        self.noticed.note_rejection(key, at);
    }

    /// Judges shape, prefix and id; computes one keyed digest; compares it in constant time with
    /// each digest of the key; and only then looks at the key's state. It does no I/O, allocates
    /// nothing and takes no lock.
    fn judge_token(
        &self,
        request: &VerifyRequest<'_>,
        judged: &mut Judged,
    ) -> Result<VerifiedKey, VerifyError> {
        let token = Unverified::parse(request.token).ok_or(VerifyError::Unrecognized)?;
        // First, so that the slot is on its way meanwhile.
        let search = self.engine.index.search(token.id);
        let now = self
            .engine
            .availability
            .check(&*self.engine.clock)
            .map_err(VerifyError::Unavailable)?;
        judged.at = now;
        let (prefix_number, prefix) =
            self.engine.prefixes.find(token.prefix).ok_or(VerifyError::Unrecognized)?;
        // Under the pepper of most tokens already, while the slot is on its way.
        let mut digests = Digests::new(&self.engine, &token).ok_or(VerifyError::Unrecognized)?;
        let mut compared = false;
        let answer = search.find(|entry| {
            compared = true;
            // Where its limits lie is known first now.
            self.engine.index.prefetch_limiter(entry);
            let digest = digests.under(entry.pepper())?;
            // The prefix first: a right secret under another one is refused like a wrong one.
            let is_accepted = entry.prefix() == prefix_number
                && constant_time_eq_n(digest, &entry.digest_bytes());
            if !declassified(is_accepted) {
                return None;
            }
            // One that is replaced just now is looked for again.
            let seen = entry.seen();
            let entry = entry.judged_at(now)?;
            judged.key = Some(token.id);
            self.judge(request, token.id, &entry, seen, now, prefix)
        });
        if !compared {
            // The same work for an id that nobody has.
            black_box(constant_time_eq_n(&digests.likely, &NOBODY));
        }
        answer.unwrap_or(Err(VerifyError::Unrecognized))
    }

    /// The secret was right: looks at everything else. `None` if the key is replaced just now.
    // By force: the entry would else be built in memory.
    #[inline(always)]
    fn judge(
        &self,
        request: &VerifyRequest<'_>,
        key: KeyId,
        entry: &Entry,
        slot: ReadVersion<'_>,
        now: Timestamp,
        prefix: &Prefix,
    ) -> Option<Result<VerifiedKey, VerifyError>> {
        let recovering = VerifyError::Unavailable(Unavailable::Recovering);
        let Some(flags) = self.engine.index.owner_flags(entry.owner) else {
            return Some(Err(recovering));
        };
        if entry.is_indeterminate || flags.indeterminate {
            return Some(Err(recovering));
        }
        let standing = ValidityInputs { suspended: flags.suspended, ..entry.standing };
        if let Some(rejected_for) = standing.rejected_for(now) {
            return Some(Err(VerifyError::Rejected(rejected_for)));
        }
        let Entry { owner, short_owner, limited, .. } = *entry;
        let passed = if limited.is_none() && !flags.limited {
            Allowed { owner: short_owner, rate: None }
        } else {
            let owner_limited = flags.limited;
            let one =
                Consumption { request, key, owner, short_owner, limited, owner_limited, slot, now };
            match self.judge_limits(&one)? {
                Ok(passed) => passed,
                Err(refusal) => return Some(Err(refusal)),
            }
        };
        let Some(owner) = self.engine.index.owner(owner, passed.owner) else {
            return Some(Err(recovering));
        };
        let ends_at = match (standing.expires_at, standing.ends_at) {
            (Some(expiry), Some(end)) => Some(expiry.min(end)),
            (expiry, end) => expiry.or(end),
        };
        let Ok(generation) = Generation::new(entry.generation) else {
            return Some(Err(VerifyError::Rejected(RejectReason::Superseded)));
        };
        let verified = VerifiedKey::new(VerifiedKeyParts {
            key,
            owner,
            kind: entry.kind,
            permissions: self.engine.index.set(entry.set),
            generation,
            is_current: entry.is_current,
            ends_at,
            prefix: *prefix,
            rate: passed.rate,
        });
        Some(Ok(verified))
    }
}

/// The digests of one token under the open peppers: at once under that of most tokens, under each
/// other one when it is first asked for.
struct Digests<'a> {
    engine: &'a Engine,
    token: &'a Unverified<'a>,
    likely_position: u8,
    likely: [u8; DIGEST_LEN],
    others: [Option<[u8; DIGEST_LEN]>; Peppers::MAX_OPEN],
}

impl<'a> Digests<'a> {
    #[inline]
    fn new(engine: &'a Engine, token: &'a Unverified<'a>) -> Option<Self> {
        let likely_position = engine.index.likely_pepper();
        let likely = Entry::cut(&token.digest(engine.peppers.at(likely_position.into())?));
        Some(Self { engine, token, likely_position, likely, others: [None; Peppers::MAX_OPEN] })
    }

    #[inline]
    fn under(&mut self, position: u8) -> Option<&[u8; DIGEST_LEN]> {
        if position == self.likely_position { Some(&self.likely) } else { self.other(position) }
    }

    #[cold]
    fn other(&mut self, position: u8) -> Option<&[u8; DIGEST_LEN]> {
        let cell = self.others.get_mut(usize::from(position))?;
        if cell.is_none() {
            let pepper = self.engine.peppers.at(position.into())?;
            *cell = Some(Entry::cut(&self.token.digest(pepper)));
        }
        cell.as_ref()
    }
}
