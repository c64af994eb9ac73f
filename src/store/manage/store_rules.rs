//! What concerns the whole store.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::authorize::Principal;
use super::owners::check_mark;
use super::retry::{Decision, check_version};
use crate::authority::Authority;
use crate::backend::{Change, Write};
use crate::clock::Timestamp;
use crate::event::{EventKind, Fields};
use crate::id::Version;
use crate::key::StoreMetadata;
use crate::store::engine::state::{Core, MetadataState};
use crate::store::types::error::{Error, Unavailable};
use crate::store::types::request::ChangeRules;
use crate::store::types::views::{Health, Rules};

impl Core {
    pub(in crate::store) fn rules(&self, by: &Authority) -> Result<Rules, Error> {
        Principal::new(self, by)?;
        Ok(self.metadata().into())
    }

    pub(in crate::store) fn change_rules(
        self: &Arc<Self>,
        by: &Authority,
        request: &ChangeRules,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        let order = request.prefixes.clone();
        let rules: Rules = self.attempt(|| {
            let caller = Principal::new(self, by)?;
            caller.require_administrator()?;
            let mut state = self.metadata();
            let before = state.metadata.clone();
            let next = &mut state.metadata;
            let mut fields = Fields::NONE;
            if let Some(rules) = request.rules.filter(|rules| *rules != before.rules) {
                next.rules = rules;
                fields = fields.with(Fields::RULES);
            }
            if let Some(prefixes) = &request.prefixes {
                next.prefixes = before.prefixes.accepting(prefixes)?;
                if next.prefixes != before.prefixes {
                    fields = fields.with(Fields::PREFIXES);
                }
                state.prefixes.clone_from(prefixes);
            }
            if fields.is_empty() {
                return Ok(Decision::Answer(state.into()));
            }
            let change = metadata_change(
                &caller,
                &before,
                &mut state.metadata,
                EventKind::StoreRulesChanged,
                fields,
                expected,
            )?;
            Ok(Decision::commit(change, move |_| state.into()))
        })?;
        if let Some(order) = order {
            let mut state = self.metadata.write().unwrap_or_else(PoisonError::into_inner);
            // Unless somebody was faster with others.
            if state.metadata.version == rules.version {
                state.prefixes = order;
            }
        }
        Ok(rules)
    }

    /// Supersedes every token of the store that was issued before a moment.
    pub(in crate::store) fn invalidate_tokens_issued_before(
        self: &Arc<Self>,
        by: &Authority,
        to: Timestamp,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        self.attempt(|| {
            let caller = Principal::new(self, by)?;
            caller.require_administrator()?;
            check_mark(to, caller.now)?;
            let mut state = self.metadata();
            let before = state.metadata.clone();
            if before.tokens_valid_from >= Some(to) {
                return Ok(Decision::Answer(state.into()));
            }
            state.metadata.tokens_valid_from = Some(to);
            let change = metadata_change(
                &caller,
                &before,
                &mut state.metadata,
                EventKind::StoreTokensInvalidated,
                Fields::TOKENS_VALID_FROM,
                expected,
            )?;
            Ok(Decision::commit(change, move |_| state.into()))
        })
    }

    pub(in crate::store) fn prune_events(
        self: &Arc<Self>,
        by: &Authority,
        before: Timestamp,
    ) -> Result<u64, Error> {
        Principal::new(self, by)?.require_administrator()?;
        self.prune(before)
    }

    pub(in crate::store) fn wait_for_event(
        &self,
        after: u64,
        timeout: Duration,
    ) -> Result<u64, Error> {
        self.check_open()?;
        Ok(self.backend.wait(after, timeout)?)
    }

    pub(in crate::store) fn health(&self) -> Health {
        let unavailable = match self.availability.unavailable() {
            Some(unavailable) => Some(unavailable),
            None if self.availability.is_recovering() => Some(Unavailable::Recovering),
            None if self.availability.is_stale(&*self.clock) => Some(Unavailable::Stale),
            None => None,
        };
        let staleness = self.availability.staleness(&*self.clock);
        Health { unavailable, staleness, tokens: self.index.tokens() }
    }

    /// Lets a commit under way end, then flushes and closes. What is left of leases is put back.
    pub(in crate::store) fn close(&self) -> Result<(), Error> {
        let _guard = self.group_commit.acquire();
        if !self.availability.close() {
            return Ok(());
        }
        self.stop.set();
        // Closed all the same.
        let put_back = self.put_back_leases();
        let flushed = self.flush_last_usage();
        self.backend.close()?;
        put_back.and(flushed)
    }
}

/// A change of the store's own record.
fn metadata_change(
    caller: &Principal<'_>,
    before: &StoreMetadata,
    next: &mut StoreMetadata,
    kind: EventKind,
    fields: Fields,
    expected: Option<Version>,
) -> Result<Change, Error> {
    check_version(expected, before.version)?;
    next.version = before.version.next();
    let event = caller.event(kind, next.version, fields);
    Ok(Change::of(Write::ReplaceMetadata(Box::new(next.clone())), event))
}

impl From<MetadataState> for Rules {
    fn from(state: MetadataState) -> Self {
        Self {
            rules: state.metadata.rules,
            prefixes: state.prefixes,
            tokens_valid_from: state.metadata.tokens_valid_from,
            version: state.metadata.version,
        }
    }
}
