//! A list that is read page by page, with other calls between the pages.

use std::collections::BTreeSet;

use keyhasp::authority::{Actor, Authority, Role};
use keyhasp::id::KeyId;
use keyhasp::{KeyStore, ListKeys, State};

use crate::compare;
use crate::model::{Answer, Model};

/// The state of a walk through a list.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The keys that there were at its start and that weren't purged since.
    there_throughout: BTreeSet<KeyId>,
    /// The keys that were shown.
    shown: Vec<KeyId>,
    limit: usize,
    cursor: Option<String>,
}

impl Walk {
    pub(crate) fn new(model: &Model, limit: usize) -> Self {
        let there_throughout = model.keys.keys().copied().collect();
        Self { there_throughout, shown: Vec::new(), limit, cursor: None }
    }

    /// Reads the next page; `None` at the end. By then, every key that was there throughout must
    /// have been shown once.
    pub(crate) fn on(
        mut self,
        store: &dyn KeyStore,
        model: &Model,
    ) -> Result<Option<Self>, String> {
        self.there_throughout.retain(|id| model.keys.contains_key(id));
        let by = Authority::new(Role::Administrator, Actor::new("walker").unwrap());
        let mut query = ListKeys::new().states(State::ALL);
        query = match &self.cursor {
            Some(cursor) => query.cursor(cursor),
            None => query.limit(self.limit),
        };
        let page = store.list_keys(&by, &query).map_err(|error| format!("walking: {error:?}"))?;
        for key in &page.items {
            let is_there = model.keys.contains_key(&key.id);
            let heard = || Answer::Shown(serde_json::to_value(key).unwrap());
            let expected = || Answer::Shown(model.shown_key(key.id));
            let is_now = is_there && compare::answers(&expected(), &heard()).is_empty();
            if !is_now || self.shown.last().is_some_and(|last| key.id >= *last) {
                return Err(format!("walking shows {key:?} after {:?}", self.shown));
            }
            self.shown.push(key.id);
        }
        self.cursor = page.next;
        if self.cursor.is_some() {
            return Ok(Some(self));
        }
        match self.there_throughout.iter().find(|id| !self.shown.contains(id)) {
            Some(missed) => Err(format!("walking has missed {missed}")),
            None => Ok(None),
        }
    }
}
