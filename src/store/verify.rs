//! The path that every request takes.

use std::hint::black_box;

use constant_time_eq::constant_time_eq_n;

use super::core::Core;
use super::declassify::declassified;
use super::error::{Refusal, Unavailable};
use super::index::{DIGEST_LEN, Entry, SeenAt};
use super::limited::{Passed, Use};
use super::request::VerifyRequest;
use crate::clock::Timestamp;
use crate::grant::{Grant, GrantParts};
use crate::id::{Generation, KeyId};
use crate::key::{Prefix, Standing, Unfit};
use crate::token::{Peppers, Unverified};

/// What an unknown id is compared with, so that it does the same work.
const NOBODY: [u8; DIGEST_LEN] = [0; DIGEST_LEN];

impl Core {
    /// Judges a token: shape, prefix and id; one keyed digest; a constant-time comparison with
    /// each digest of the key; only then its state. No I/O, no allocation, no lock. Says in `judged_at`
    /// by which time it judges, as soon as it knows.
    pub(super) fn verify(
        &self,
        request: &VerifyRequest<'_>,
        judged_at: &mut Timestamp,
    ) -> Result<Grant, Refusal> {
        let token = Unverified::parse(request.token).ok_or(Refusal::Unrecognized)?;
        // First, so that the slot is on its way meanwhile.
        let search = self.index.search(token.id);
        let now = self.gate.pass(&*self.clock).map_err(Refusal::Unavailable)?;
        *judged_at = now;
        let (prefix_number, prefix) =
            self.prefixes.find(token.prefix).ok_or(Refusal::Unrecognized)?;
        // Under the pepper of most tokens already, while the slot is on its way.
        let mut digests = Digests::new(self, &token).ok_or(Refusal::Unrecognized)?;
        let mut compared = false;
        let answer = search.find(|entry| {
            compared = true;
            // Where its limits lie is known first now.
            self.index.prefetch_limiter(entry);
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
            self.judge(request, token.id, &entry, seen, now, prefix)
        });
        if !compared {
            // The same work for an id that nobody has.
            black_box(constant_time_eq_n(&digests.likely, &NOBODY));
        }
        answer.unwrap_or(Err(Refusal::Unrecognized))
    }

    /// The secret was right: looks at everything else. `None` if the key is replaced just now.
    // By force: the entry would else be built in memory.
    #[inline(always)]
    fn judge(
        &self,
        request: &VerifyRequest<'_>,
        key: KeyId,
        entry: &Entry,
        slot: SeenAt<'_>,
        now: Timestamp,
        prefix: &Prefix,
    ) -> Option<Result<Grant, Refusal>> {
        let recovering = Refusal::Unavailable(Unavailable::Recovering);
        let Some(flags) = self.index.owner_flags(entry.owner) else { return Some(Err(recovering)) };
        if entry.is_uncertain || flags.uncertain {
            return Some(Err(recovering));
        }
        let standing = Standing { suspended: flags.suspended, ..entry.standing };
        if let Some(unfit) = standing.unfit(now) {
            return Some(Err(Refusal::Unfit(unfit)));
        }
        let Entry { owner, short_owner, limited, .. } = *entry;
        let passed = if limited.is_none() && !flags.limited {
            Passed { owner: short_owner, rate: None }
        } else {
            let owner_limited = flags.limited;
            let one = Use { request, key, owner, short_owner, limited, owner_limited, slot, now };
            match self.judge_limits(&one)? {
                Ok(passed) => passed,
                Err(refusal) => return Some(Err(refusal)),
            }
        };
        let Some(owner) = self.index.owner(owner, passed.owner) else {
            return Some(Err(recovering));
        };
        let ends_at = match (standing.expires_at, standing.ends_at) {
            (Some(expiry), Some(end)) => Some(expiry.min(end)),
            (expiry, end) => expiry.or(end),
        };
        let Ok(generation) = Generation::new(entry.generation) else {
            return Some(Err(Refusal::Unfit(Unfit::Superseded)));
        };
        let grant = Grant::new(GrantParts {
            key,
            owner,
            kind: entry.kind,
            permissions: self.index.set(entry.set),
            generation,
            is_current: entry.is_current,
            ends_at,
            prefix: *prefix,
            rate: passed.rate,
        });
        if !entry.is_current {
            self.watching.note_earlier(&grant, now);
        }
        Some(Ok(grant))
    }
}

/// The digests of one token under the open peppers: at once under that of most tokens, under each
/// other one when it is first asked for.
struct Digests<'a> {
    core: &'a Core,
    token: &'a Unverified<'a>,
    likely_position: u8,
    likely: [u8; DIGEST_LEN],
    others: [Option<[u8; DIGEST_LEN]>; Peppers::MAX_OPEN],
}

impl<'a> Digests<'a> {
    #[inline]
    fn new(core: &'a Core, token: &'a Unverified<'a>) -> Option<Self> {
        let likely_position = core.index.likely_pepper();
        let likely = Entry::cut(&token.digest(core.peppers.at(likely_position.into())?));
        Some(Self { core, token, likely_position, likely, others: [None; Peppers::MAX_OPEN] })
    }

    #[inline]
    fn under(&mut self, position: u8) -> Option<&[u8; DIGEST_LEN]> {
        if position == self.likely_position { Some(&self.likely) } else { self.other(position) }
    }

    #[cold]
    fn other(&mut self, position: u8) -> Option<&[u8; DIGEST_LEN]> {
        let cell = self.others.get_mut(usize::from(position))?;
        if cell.is_none() {
            let pepper = self.core.peppers.at(position.into())?;
            *cell = Some(Entry::cut(&self.token.digest(pepper)));
        }
        cell.as_ref()
    }
}
