//! What is changed of the store's rules.

use crate::key::{Prefix, StoreRules};

/// A change of the store's rules: what isn't named stays.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ChangeRules {
    pub(in crate::store) rules: Option<StoreRules>,
    pub(in crate::store) prefixes: Option<Vec<Prefix>>,
}

impl ChangeRules {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Other rules, as far as the data allow.
    pub fn rules(mut self, rules: StoreRules) -> Self {
        self.rules = Some(rules);
        self
    }

    /// Exactly these prefixes are accepted from now on; the first is used unless told. One that a
    /// live token begins with can't be left out.
    pub fn prefixes(mut self, prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        self.prefixes = Some(prefixes.into_iter().collect());
        self
    }
}
