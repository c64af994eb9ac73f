//! The request that changes the rules of a store.

use crate::key::{Prefix, StoreRules};

/// A request to change the rules of a store. Each field that isn't set stays.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ChangeRules {
    pub(in crate::store) rules: Option<StoreRules>,
    pub(in crate::store) prefixes: Option<Vec<Prefix>>,
}

impl ChangeRules {
    /// Starts with no change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the rules. The call fails if the stored data don't satisfy the new ones.
    pub fn rules(mut self, rules: StoreRules) -> Self {
        self.rules = Some(rules);
        self
    }

    /// Accepts exactly these prefixes from now on, 1 to 8. The first is the default of new keys. A
    /// prefix that a live token begins with must stay.
    pub fn prefixes(mut self, prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        self.prefixes = Some(prefixes.into_iter().collect());
        self
    }
}

/// The course of retiring a pepper if live tokens are under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfInUse {
    /// Refuse, and change nothing.
    Refuse,
    /// Retire the pepper, which ends these tokens.
    EndTokens,
}
