//! What becomes of a presented token.

use keyhasp::id::{KeyId, OwnerId};
use keyhasp::key::{Kind, Unfit};
use keyhasp::{Prefix, Timestamp};

use super::state::Model;

/// What verification says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Granted(GrantFile),
    Unfit(Unfit),
    Unrecognized,
}

/// What a grant tells.
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
}

impl Model {
    /// The verdict on the token of a generation of a key; the secret is the right one.
    pub(crate) fn verify(&self, id: KeyId, generation: u32) -> Verdict {
        let Some(key) = self.keys.get(&id) else { return Verdict::Unrecognized };
        let tokens = key.tokens();
        let token = tokens.iter().find(|token| token.generation == generation);
        let Some(token) = token else { return Verdict::Unrecognized };
        if !self.prefixes.contains(&(key.prefix, true)) {
            return Verdict::Unrecognized;
        }
        let owner = &self.owners[&key.owner];
        if let Some(unfit) = key.unfit(owner, token, self.mark_of(owner), self.now) {
            return Verdict::Unfit(unfit);
        }
        let ceiling = (key.kind == Kind::Standard).then_some(&owner.ceiling);
        let allows = |(name, is_read): &(&str, bool)| {
            key.access.grants(name, *is_read)
                && ceiling.is_none_or(|ceiling| ceiling.grants(name, *is_read))
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
        })
    }
}
