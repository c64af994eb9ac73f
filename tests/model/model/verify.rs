//! Verification of a presented token.

use std::collections::BTreeSet;
use std::net::IpAddr;

use keyhasp::id::{KeyId, OwnerId};
use keyhasp::key::RateStatus;
use keyhasp::key::{Kind, RejectReason};
use keyhasp::store::VerifyError;
use keyhasp::{Prefix, Timestamp};

use super::records::TokenFile;
use super::state::Model;

/// A verdict on a token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Granted(GrantFile),
    /// Any of these: if several limits are used up, the store may return any of them.
    Limited(Vec<VerifyError>),
    Rejected(RejectReason),
    Unrecognized,
}

/// The fields of a verified key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GrantFile {
    pub(crate) key: KeyId,
    pub(crate) owner: OwnerId,
    pub(crate) kind: Kind,
    pub(crate) generation: u32,
    pub(crate) is_current: bool,
    pub(crate) ends_at: Option<Timestamp>,
    pub(crate) prefix: Prefix,
    /// Of each permission of the catalogue, in its order.
    pub(crate) allows: Vec<bool>,
    pub(crate) rate: Option<RateStatus>,
}

impl Model {
    /// Returns whether the pepper of a token's digest is open.
    pub(super) fn is_readable(&self, token: &TokenFile) -> bool {
        self.opening.peppers.contains(&token.pepper)
    }

    /// Counts the tokens whose peppers are open.
    pub(crate) fn readable_tokens(&self) -> usize {
        let tokens = self.keys.values().flat_map(|key| key.tokens());
        tokens.filter(|token| self.is_readable(token)).count()
    }

    /// Returns the peppers without which a store isn't opened: those of tokens that haven't ended
    /// for good. A token has ended for good if its key is revoked, its grace is over, or it was
    /// issued before `tokens_valid_from`.
    pub(crate) fn needed_peppers(&self) -> BTreeSet<u16> {
        let mut needed = BTreeSet::new();
        for key in self.keys.values().filter(|key| key.is_live()) {
            let living = key.living_previous(self.now);
            needed.extend(living.iter().map(|(token, _)| token.pepper));
            if !key.current.is_invalidated {
                needed.insert(key.current.pepper);
            }
        }
        needed
    }

    /// Returns the verdict on the token of a key's generation, whose secret is right. Consumes the
    /// cost if the verdict accepts the token.
    pub(crate) fn verify(
        &mut self,
        id: KeyId,
        generation: u32,
        address: Option<IpAddr>,
        cost: u32,
    ) -> Verdict {
        let verdict = self.judge_from(id, generation, address);
        let Verdict::Granted(verified) = verdict else { return verdict };
        match self.spend(id, verified.owner, cost) {
            Ok(rate) => Verdict::Granted(GrantFile { rate, ..verified }),
            Err(refusals) => Verdict::Limited(refusals),
        }
    }

    /// Returns the verdict on a token that was verified before. No use is taken, and one that is
    /// used up doesn't count.
    pub(crate) fn recheck(&self, id: KeyId, generation: u32, address: Option<IpAddr>) -> Verdict {
        match self.judge_from(id, generation, address) {
            Verdict::Granted(verified) => {
                let rate = self.rate_left(id, verified.owner);
                Verdict::Granted(GrantFile { rate, ..verified })
            }
            verdict => verdict,
        }
    }

    /// Returns the same verdict, as far as it doesn't depend on earlier consumption.
    pub(crate) fn judge_from(
        &self,
        id: KeyId,
        generation: u32,
        address: Option<IpAddr>,
    ) -> Verdict {
        let verdict = self.judge(id, generation);
        let Verdict::Granted(verified) = &verdict else { return verdict };
        let (key, owner) = (&self.keys[&id], &self.owners[&verified.owner]);
        let refusal = Self::wrong_place(key, owner, address);
        refusal.map_or(verdict, |refusal| Verdict::Limited(vec![refusal]))
    }

    /// Returns the same verdict, apart from the client's address.
    pub(crate) fn judge(&self, id: KeyId, generation: u32) -> Verdict {
        let Some(key) = self.keys.get(&id) else { return Verdict::Unrecognized };
        let tokens = key.tokens();
        let token = tokens.iter().find(|token| token.generation == generation);
        let Some(token) = token else { return Verdict::Unrecognized };
        if !self.is_readable(token) {
            return Verdict::Unrecognized;
        }
        if !self.prefixes.contains(&(key.prefix, true)) {
            return Verdict::Unrecognized;
        }
        let owner = &self.owners[&key.owner];
        if let Some(rejected_for) = key.rejected_for(owner, token, self.now) {
            return Verdict::Rejected(rejected_for);
        }
        if token.known_end.is_some_and(|end| end <= self.expected) {
            return Verdict::Rejected(RejectReason::Superseded);
        }
        if let Some(from) = key.begins(owner, self.now) {
            return Verdict::Limited(vec![VerifyError::Rejected(RejectReason::NotYet(from))]);
        }
        let max_access = (key.kind == Kind::Standard).then_some(&owner.max_access);
        let allows = |(name, is_read): &(&str, bool)| {
            key.access.grants(name, *is_read)
                && max_access.is_none_or(|max_access| max_access.grants(name, *is_read))
        };
        let ends: Vec<Timestamp> =
            [key.expires_at, key.grace_end(generation)].into_iter().flatten().collect();
        Verdict::Granted(GrantFile {
            key: id,
            owner: key.owner,
            kind: key.kind,
            generation,
            is_current: generation == key.current.generation,
            ends_at: ends.into_iter().min(),
            prefix: key.prefix,
            allows: self.opening.catalogue.iter().map(allows).collect(),
            rate: None,
        })
    }
}
