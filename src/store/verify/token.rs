//! Judging a token: the path that every request takes.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use constant_time_eq::{constant_time_eq_32, constant_time_eq_n};

use super::declassify::declassified;
use super::lease_queue::Need;
use super::lease_waits::LeaseWait;
use super::limits::{Allowed, Consumption, LimitJudge};
use super::parked::parked;
use super::quota_leases::LeaseSettings;
use crate::backend::DamagedRow;
use crate::clock::Timestamp;
use crate::id::{Generation, KeyId, OwnerId};
use crate::key::{Digest, Prefix, RejectKind, RejectReason, ValidityInputs};
use crate::store::alerts::Noticed;
use crate::store::engine::{Engine, Next, Records, Workers};
use crate::store::index::{ByOwner, DIGEST_LEN, Entry, ReadVersion};
use crate::store::types::error::Error;
use crate::store::types::explanation::{Explanation, Obstacle, ObstacleKind};
use crate::store::types::request::VerifyRequest;
use crate::store::types::reserved::ReservedUses;
use crate::store::types::verify_error::{Unavailable, VerifyError};
use crate::store::usage::{Collector, UsageRecorder};
use crate::token::{Peppers, Unverified};
use crate::verified_key::{LimitsLeft, VerifiedKey, VerifiedKeyParts};

/// A digest that the token of an unknown id is compared with. Without that comparison the time of
/// an answer would show whether an id exists.
const NO_DIGEST: [u8; DIGEST_LEN] = [0; DIGEST_LEN];

/// Judges tokens, and notes the answers for usage and alerts.
#[derive(Debug)]
pub(in crate::store) struct TokenVerifier {
    records: Arc<Records>,
    limits: LimitJudge,
    noticed: Arc<Noticed>,
    usage: Option<Arc<Collector>>,
}

/// A token by its place in the index, without its secret.
#[derive(Clone, Copy, Debug)]
struct IndexedToken<'a> {
    key: KeyId,
    owner: &'a OwnerId,
    generation: Generation,
    prefix: &'a Prefix,
}

/// An attempt to judge a token.
#[derive(Debug)]
struct Attempt {
    /// The time by which it judges, as soon as an answer needs the time.
    judged_at: Timestamp,
    /// The lease that it lacks. Then it has taken nothing, and its answer doesn't count.
    need: Option<Need>,
}

impl Default for Attempt {
    fn default() -> Self {
        Self { judged_at: Timestamp::MIN, need: None }
    }
}

impl TokenVerifier {
    pub(in crate::store) fn new(
        engine: &Arc<Engine>,
        noticed: &Arc<Noticed>,
        usage: &UsageRecorder,
        leases: LeaseSettings,
    ) -> Self {
        Self {
            records: Arc::clone(&engine.records),
            limits: LimitJudge::new(engine, leases),
            noticed: Arc::clone(noticed),
            usage: usage.collector().cloned(),
        }
    }

    /// Starts the thread that fetches leases of quotas, and the one that watches the deadlines of
    /// those who wait for them.
    pub(in crate::store) fn start(&self, workers: &mut Workers) -> Result<(), Error> {
        let name = self.records.backend.name();
        let (leases, waits) = (&self.limits.leases, Arc::clone(&self.limits.leases.waits));
        let signal = Arc::clone(&waits.deadlines);
        workers.spawn(name, "keyhasp-waits", &signal, Next::WhenWoken, move || waits.watch())?;
        let (fetcher, signal) = (Arc::clone(leases), &leases.waits.fetches);
        workers.spawn(name, "keyhasp-leases", signal, Next::WhenWoken, move || fetcher.work())
    }

    /// Fetches now the leases that are due.
    pub(in crate::store) fn fetch_leases(&self) -> Result<(), Error> {
        self.limits.leases.fetch().0.unwrap_or(Ok(()))
    }

    /// Gives back the rest of all leases of quotas. The store must be closed.
    pub(in crate::store) fn close_leases(&self) -> Result<(), Error> {
        self.limits.leases.close()
    }

    /// Judges a token, and notes the answer. If a lease is lacking, waits for it.
    #[inline]
    pub(in crate::store) fn verify(
        &self,
        request: &VerifyRequest<'_>,
    ) -> Result<VerifiedKey, VerifyError> {
        let mut attempt = Attempt::default();
        // One place for both answers, so that none is copied on its way out.
        let mut answer = self.judge_token(request, &mut attempt);
        if attempt.need.is_some() {
            answer = self.verify_parked(request);
        } else {
            self.note(request, &answer, attempt.judged_at);
        }
        answer
    }

    /// Verifies while this thread is parked.
    #[cold]
    fn verify_parked(&self, request: &VerifyRequest<'_>) -> Result<VerifiedKey, VerifyError> {
        parked(|wait, context| self.poll(request, wait, context))
    }

    /// Judges a token, and notes the answer. If a lease is lacking, takes nothing, and takes a place
    /// among those who wait; judges it again from the start once the wait is over.
    pub(in crate::store) fn poll(
        &self,
        request: &VerifyRequest<'_>,
        wait: &mut Option<LeaseWait>,
        context: &mut Context<'_>,
    ) -> Poll<Result<VerifiedKey, VerifyError>> {
        if let Some(waiting) = wait
            && let Err(unavailable) = ready!(waiting.poll(context))
        {
            *wait = None;
            return Poll::Ready(Err(VerifyError::Unavailable(unavailable)));
        }
        let mut attempt = Attempt::default();
        let answer = self.judge_token(request, &mut attempt);
        if let Some(need) = &attempt.need {
            let waiting = wait.get_or_insert_with(|| self.limits.leases.begin_wait());
            match waiting.wait_for(need, context.waker()) {
                Ok(()) => return Poll::Pending,
                Err(unavailable) => {
                    *wait = None;
                    return Poll::Ready(Err(VerifyError::Unavailable(unavailable)));
                }
            }
        }
        *wait = None;
        self.note(request, &answer, attempt.judged_at);
        Poll::Ready(answer)
    }

    /// Notes an answer for usage and alerts.
    #[inline]
    fn note(
        &self,
        request: &VerifyRequest<'_>,
        answer: &Result<VerifiedKey, VerifyError>,
        at: Timestamp,
    ) {
        match answer {
            Ok(verified) => {
                if let Some(usage) = &self.usage {
                    usage.accepted(verified.key_id(), request, at);
                }
                if !verified.is_current() {
                    self.noticed.note_previous(verified, at);
                }
            }
            Err(VerifyError::Rejected(reason)) => self.note_rejection(request, reason.kind(), at),
            // A caller without the secret must not change what is noted of a key.
            Err(VerifyError::Unrecognized | VerifyError::Unavailable(_)) => {}
        }
    }

    /// Counts what was used in place of what was reserved.
    pub(in crate::store) fn settle(
        &self,
        reserved: &ReservedUses,
        actual: u32,
    ) -> Result<(), Error> {
        self.limits.leases.settle(reserved, actual)
    }

    /// Notes the rejection of a token whose secret was right, so its id is the key's.
    #[cold]
    fn note_rejection(&self, request: &VerifyRequest<'_>, reason: RejectKind, at: Timestamp) {
        // Parsed once more: an id that every answer carried along would cost each of them.
        let Some(Unverified { id: key, .. }) = Unverified::parse(request.token) else { return };
        if let Some(usage) = &self.usage {
            usage.rejected(key, reason, at);
        }
        self.noticed.note_rejection(key, at);
    }

    /// Judges a token. Checks shape, prefix and id; computes one keyed digest; compares it in
    /// constant time with each digest of the key. Only then reads the key's state. Does no I/O,
    /// allocates nothing and locks nothing, with the exceptions that the README lists.
    fn judge_token(
        &self,
        request: &VerifyRequest<'_>,
        attempt: &mut Attempt,
    ) -> Result<VerifiedKey, VerifyError> {
        let token = Unverified::parse(request.token).ok_or(VerifyError::Unrecognized)?;
        // First, so that memory fetches the slot during the next steps.
        let search = self.records.index.search(token.id);
        let now = self
            .records
            .availability
            .check(&*self.records.clock)
            .map_err(VerifyError::Unavailable)?;
        attempt.judged_at = now;
        let (prefix_number, prefix) =
            self.records.prefixes.find(token.prefix).ok_or(VerifyError::Unrecognized)?;
        // Before the slot has arrived and names its pepper: most tokens have the likely one.
        let mut digests = Digests::new(&self.records, &token).ok_or(VerifyError::Unrecognized)?;
        let mut compared = false;
        let answer = search.find(|entry| {
            compared = true;
            // Only the slot names the place of the key's limits.
            self.records.index.prefetch_limiter(entry);
            let digest = digests.under(entry.pepper())?;
            // A right secret under another prefix is rejected like a wrong secret.
            let is_accepted = entry.prefix() == prefix_number
                && constant_time_eq_n(digest, &entry.digest_bytes());
            if !declassified(is_accepted) {
                return None;
            }
            // `None` if the entry is being replaced; the search then looks again.
            let seen = entry.seen();
            let entry = entry.judged_at(now)?;
            self.judge(token.id, &entry, seen, prefix, now, |entry, owner_limited| {
                let limited = limited_use(request, token.id, entry, owner_limited, (seen, now));
                self.limits.judge(&limited, &mut attempt.need)
            })
        });
        if !compared {
            // The same work as for an id that exists. `black_box` keeps the compiler from removing
            // a comparison whose answer isn't used.
            black_box(constant_time_eq_n(&digests.likely, &NO_DIGEST));
        }
        answer.unwrap_or_else(|| Err(self.judge_damaged(&token, prefix_number, now)))
    }

    /// Judges the token of an answer that was given before, as it stands now. Computes no hash, since
    /// it looks for the key's token of that generation; takes nothing, waits for nothing, and notes
    /// nothing.
    pub(in crate::store) fn recheck(
        &self,
        verified: &VerifiedKey,
        address: Option<IpAddr>,
    ) -> Result<VerifiedKey, VerifyError> {
        let token = IndexedToken {
            key: verified.key_id(),
            owner: verified.owner_id(),
            generation: verified.generation(),
            prefix: verified.prefix(),
        };
        self.look_up(token, address)
    }

    /// Judges a token that is known by its key and generation, from an address.
    #[inline]
    fn look_up(
        &self,
        token: IndexedToken<'_>,
        address: Option<IpAddr>,
    ) -> Result<VerifiedKey, VerifyError> {
        let key = token.key;
        let search = self.records.index.search(key);
        let now = self
            .records
            .availability
            .check(&*self.records.clock)
            .map_err(VerifyError::Unavailable)?;
        let (prefix_number, prefix) =
            self.records.prefixes.find(token.prefix.as_bytes()).ok_or(VerifyError::Unrecognized)?;
        let request = VerifyRequest { address, cost: 0, ..VerifyRequest::new(b"") };
        let answer = search.find(|entry| {
            if entry.prefix() != prefix_number {
                return None;
            }
            self.records.index.prefetch_limiter(entry);
            let seen = entry.seen();
            let entry = entry.judged_at(now)?;
            // Keys of different owners may share a hash.
            let is_same = entry.generation == token.generation.get()
                && self.records.index.owner(entry.owner, entry.short_owner, seen)? == *token.owner;
            if !is_same {
                return None;
            }
            self.judge(key, &entry, seen, prefix, now, |entry, owner_limited| {
                let limited = limited_use(&request, key, entry, owner_limited, (seen, now));
                self.limits.recheck(&limited)
            })
        });
        answer.unwrap_or_else(|| Err(self.recheck_damaged(key, now)))
    }

    /// Adds to an explanation, in which nothing stands against a token, why the store can't answer for
    /// it.
    pub(in crate::store) fn add_unavailable(&self, mut explained: Explanation) -> Explanation {
        let Explanation::Known(known) = &mut explained else { return explained };
        let token = IndexedToken {
            key: known.key.id,
            owner: &known.owner.id,
            generation: known.generation,
            prefix: &known.prefix,
        };
        if known.obstacles.is_empty()
            && let Err(VerifyError::Unavailable(unavailable)) = self.look_up(token, None)
        {
            let kind = ObstacleKind::Unavailable(unavailable);
            known.obstacles.push(Obstacle::since(kind, None));
        }
        explained
    }

    /// Judges a token, whose secret is right, by state and limits. Returns `None` if the key is
    /// being replaced.
    // `inline(always)`: otherwise the compiler builds `Entry` in memory.
    #[inline(always)]
    fn judge(
        &self,
        key: KeyId,
        entry: &Entry,
        slot: ReadVersion<'_>,
        prefix: &Prefix,
        now: Timestamp,
        by_limits: impl FnOnce(&Entry, bool) -> Option<Result<Allowed, VerifyError>>,
    ) -> Option<Result<VerifiedKey, VerifyError>> {
        let recovering = VerifyError::Unavailable(Unavailable::Recovering);
        let ByOwner { is_known, suspended, limited: owner_limited, revoked, permissions } =
            self.records.index.by_owner(entry, slot)?;
        if entry.is_indeterminate || !is_known {
            return Some(Err(recovering));
        }
        let revoked = revoked || entry.standing.revoked;
        let validity = ValidityInputs { suspended, revoked, ..entry.standing };
        if let Some(reason) = validity.rejected_for(now) {
            return Some(Err(VerifyError::Rejected(reason)));
        }
        if !entry.is_current && self.is_grace_over(key, entry.generation) {
            return Some(Err(VerifyError::Rejected(RejectReason::Superseded)));
        }
        let Entry { owner, short_owner, limited, .. } = *entry;
        let allowed = if limited.is_none() && !owner_limited {
            let owner = self.records.index.owner(owner, short_owner, slot)?;
            Allowed { owner, left: LimitsLeft::NOTHING_KNOWN }
        } else {
            match by_limits(entry, owner_limited)? {
                Ok(allowed) => allowed,
                Err(error) => return Some(Err(error)),
            }
        };
        let ends_at = match (validity.expires_at, validity.ends_at) {
            (Some(expiry), Some(end)) => Some(expiry.min(end)),
            (expiry, end) => expiry.or(end),
        };
        let Ok(generation) = Generation::new(entry.generation) else {
            return Some(Err(VerifyError::Rejected(RejectReason::Superseded)));
        };
        let verified = VerifiedKey::new(VerifiedKeyParts {
            key,
            owner: allowed.owner,
            kind: entry.kind,
            permissions,
            generation,
            is_current: entry.is_current,
            ends_at,
            prefix: *prefix,
            left: allowed.left,
        });
        Some(Ok(verified))
    }
}

impl TokenVerifier {
    /// Judges a token that the index doesn't know. The holder of a damaged key's token learns that
    /// from the damage or from the quarantine over it; nothing damaged lets a token in.
    #[inline]
    fn judge_damaged(&self, token: &Unverified<'_>, prefix: u8, now: Timestamp) -> VerifyError {
        let Records { damages, peppers, .. } = &*self.records;
        let Some(row) = damages.key(token.id) else { return VerifyError::Unrecognized };
        // One hash for each pepper, however many digests are stored under it.
        let is_right = peppers.iter().any(|(number, pepper)| {
            let is_meant =
                |digest: &&Digest| digest.pepper == number && digest.prefix.get() == prefix;
            let mut digests = row.digests.iter().filter(is_meant).peekable();
            digests.peek().is_some() && {
                let made = token.digest(pepper);
                digests.any(|digest| declassified(constant_time_eq_32(digest.expose(), &made)))
            }
        });
        if is_right { damaged(&row, now) } else { VerifyError::Unrecognized }
    }

    /// Judges a token that was verified before, and that the index doesn't know any more.
    #[cold]
    fn recheck_damaged(&self, key: KeyId, now: Timestamp) -> VerifyError {
        let row = self.records.damages.key(key);
        row.map_or(VerifyError::Unrecognized, |row| damaged(&row, now))
    }

    /// Returns whether a previous token's grace is over, though its end lies ahead: a clock that was
    /// ahead reckoned it. Takes a lock if there is such a grace.
    #[cold]
    fn is_grace_over(&self, key: KeyId, generation: u32) -> bool {
        let Records { graces, clock_watch, .. } = &*self.records;
        Generation::new(generation)
            .is_ok_and(|generation| graces.is_over(key, generation, clock_watch))
    }
}

/// Returns what the holder of a damaged key's token learns.
fn damaged(row: &DamagedRow, now: Timestamp) -> VerifyError {
    let unknown = VerifyError::Unavailable(Unavailable::Damaged);
    let Some(entry) = row.quarantine.as_deref() else { return unknown };
    let (revoked, blocked) = (entry.revoked.is_some(), entry.blocked.is_some());
    let validity = ValidityInputs { revoked, blocked, ..ValidityInputs::default() };
    validity.rejected_for(now).map_or(unknown, VerifyError::Rejected)
}

/// Returns the use of a limited key by a request.
#[inline(always)]
fn limited_use<'a>(
    request: &'a VerifyRequest<'a>,
    key: KeyId,
    entry: &Entry,
    owner_limited: bool,
    (slot, now): (ReadVersion<'a>, Timestamp),
) -> Consumption<'a> {
    let Entry { owner, short_owner, limited, .. } = *entry;
    Consumption { request, key, owner, short_owner, limited, owner_limited, slot, now }
}

/// The digests of one token under the open peppers. The digest under the likely pepper is computed
/// at once, each other one when it is first needed.
struct Digests<'a> {
    records: &'a Records,
    token: &'a Unverified<'a>,
    likely_position: u8,
    likely: [u8; DIGEST_LEN],
    others: [Option<[u8; DIGEST_LEN]>; Peppers::MAX_OPEN],
}

impl<'a> Digests<'a> {
    #[inline]
    fn new(records: &'a Records, token: &'a Unverified<'a>) -> Option<Self> {
        let likely_position = records.index.likely_pepper();
        let likely = Entry::cut(&token.digest(records.peppers.at(likely_position.into())?));
        Some(Self { records, token, likely_position, likely, others: [None; Peppers::MAX_OPEN] })
    }

    #[inline]
    fn under(&mut self, position: u8) -> Option<&[u8; DIGEST_LEN]> {
        if position == self.likely_position { Some(&self.likely) } else { self.other(position) }
    }

    #[cold]
    fn other(&mut self, position: u8) -> Option<&[u8; DIGEST_LEN]> {
        let cell = self.others.get_mut(usize::from(position))?;
        if cell.is_none() {
            let pepper = self.records.peppers.at(position.into())?;
            *cell = Some(Entry::cut(&self.token.digest(pepper)));
        }
        cell.as_ref()
    }
}
