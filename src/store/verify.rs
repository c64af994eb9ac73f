//! The path that every request takes.

use std::hint::black_box;

use constant_time_eq::constant_time_eq_n;

use super::core::Core;
use super::declassify::declassified;
use super::error::{Refusal, Unavailable};
use super::index::{DIGEST_LEN, Entry, OwnerFlags, ShortOwner};
use super::limited::Use;
use super::request::VerifyRequest;
use crate::grant::{Grant, GrantParts, RateUse};
use crate::id::Generation;
use crate::key::{Prefix, Standing, Unfit};
use crate::token::{Peppers, Unverified};

/// What an unknown id is compared with, so that it does the same work.
const NOBODY: [u8; DIGEST_LEN] = [0; DIGEST_LEN];

impl Core {
    /// Judges a token: shape, prefix and id; one keyed digest; a constant-time comparison with
    /// each digest of the key; only then its state. No I/O, no allocation, no lock.
    pub(super) fn verify(&self, request: &VerifyRequest<'_>) -> Result<Grant, Refusal> {
        let token = Unverified::parse(request.token).ok_or(Refusal::Unrecognized)?;
        // First, so that the slot is on its way meanwhile.
        let search = self.index.search(token.id);
        let now = self.gate.pass(&*self.clock).map_err(Refusal::Unavailable)?;
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
            let whole = entry.judged_at(now)?;
            let key = token.id;
            self.judge(&Use { request, key, packed: entry, entry: &whole, now }, prefix)
        });
        if !compared {
            // The same work for an id that nobody has.
            black_box(constant_time_eq_n(&digests.likely, &NOBODY));
        }
        answer.unwrap_or(Err(Refusal::Unrecognized))
    }

    /// The secret was right: looks at everything else. `None` if the key is replaced just now.
    #[inline]
    fn judge(&self, one: &Use<'_>, prefix: &Prefix) -> Option<Result<Grant, Refusal>> {
        let flags = match self.standing(one) {
            Ok(flags) => flags,
            Err(refusal) => return Some(Err(refusal)),
        };
        if one.entry.limited.is_none() && !flags.limited {
            return Some(self.grant(one, prefix, None, None));
        }
        Some(match self.judge_limits(one)? {
            Ok(passed) => self.grant(one, prefix, passed.owner, passed.rate),
            Err(refusal) => Err(refusal),
        })
    }

    /// Whether the key is good now.
    #[inline]
    fn standing(&self, one: &Use<'_>) -> Result<OwnerFlags, Refusal> {
        let Use { entry, now, .. } = *one;
        let recovering = Refusal::Unavailable(Unavailable::Recovering);
        let flags = self.index.owner_flags(entry).ok_or(recovering)?;
        if entry.is_uncertain || flags.uncertain {
            return Err(recovering);
        }
        let standing = Standing { suspended: flags.suspended, ..entry.standing };
        if let Some(unfit) = standing.unfit(now) {
            return Err(Refusal::Unfit(unfit));
        }
        Ok(flags)
    }

    #[inline]
    fn grant(
        &self,
        one: &Use<'_>,
        prefix: &Prefix,
        owner: Option<ShortOwner>,
        rate: Option<RateUse>,
    ) -> Result<Grant, Refusal> {
        let entry = one.entry;
        let recovering = Refusal::Unavailable(Unavailable::Recovering);
        let owner = self.index.owner(entry, owner).ok_or(recovering)?;
        let standing = entry.standing;
        let ends_at = match (standing.expires_at, standing.ends_at) {
            (Some(expiry), Some(end)) => Some(expiry.min(end)),
            (expiry, end) => expiry.or(end),
        };
        let generation =
            Generation::new(entry.generation).map_err(|_| Refusal::Unfit(Unfit::Superseded))?;
        let grant = Grant::new(GrantParts {
            key: one.key,
            owner,
            kind: entry.kind,
            permissions: self.index.set(entry.set),
            generation,
            is_current: entry.is_current,
            ends_at,
            prefix: *prefix,
            rate,
        });
        if !grant.is_current() {
            self.watching.note_earlier(&grant, one.now);
        }
        Ok(grant)
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
