//! What concerns the whole store.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::answer::{Health, Rules};
use super::attempt::{Decision, check_version};
use super::caller::Caller;
use super::core::{Core, HeaderState};
use super::error::{Error, Unavailable};
use super::owners::check_mark;
use super::request::ChangeRules;
use crate::authority::Authority;
use crate::backend::{Change, Write};
use crate::clock::Timestamp;
use crate::event::{EventKind, Fields};
use crate::id::Version;
use crate::key::Header;

impl Core {
    pub(super) fn rules(&self, by: &Authority) -> Result<Rules, Error> {
        Caller::new(self, by)?;
        Ok(self.header().into())
    }

    pub(super) fn change_rules(
        self: &Arc<Self>,
        by: &Authority,
        request: &ChangeRules,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        let order = request.prefixes.clone();
        let rules: Rules = self.attempt(|| {
            let caller = Caller::new(self, by)?;
            caller.require_administrator()?;
            let mut state = self.header();
            let before = state.header.clone();
            let next = &mut state.header;
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
            let change = header_change(
                &caller,
                &before,
                &mut state.header,
                EventKind::StoreRulesChanged,
                fields,
                expected,
            )?;
            Ok(Decision::commit(change, move |_| state.into()))
        })?;
        if let Some(order) = order {
            let mut state = self.header.write().unwrap_or_else(PoisonError::into_inner);
            // Unless somebody was faster with others.
            if state.header.version == rules.version {
                state.prefixes = order;
            }
        }
        Ok(rules)
    }

    /// Supersedes every token of the store that was issued before a moment.
    pub(super) fn move_issue_mark(
        self: &Arc<Self>,
        by: &Authority,
        to: Timestamp,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        self.attempt(|| {
            let caller = Caller::new(self, by)?;
            caller.require_administrator()?;
            check_mark(to, caller.now)?;
            let mut state = self.header();
            let before = state.header.clone();
            if before.issue_mark >= Some(to) {
                return Ok(Decision::Answer(state.into()));
            }
            state.header.issue_mark = Some(to);
            let change = header_change(
                &caller,
                &before,
                &mut state.header,
                EventKind::StoreMarkMoved,
                Fields::ISSUE_MARK,
                expected,
            )?;
            Ok(Decision::commit(change, move |_| state.into()))
        })
    }

    pub(super) fn prune_events(
        self: &Arc<Self>,
        by: &Authority,
        before: Timestamp,
    ) -> Result<u64, Error> {
        Caller::new(self, by)?.require_administrator()?;
        self.prune(before)
    }

    pub(super) fn wait_for_event(&self, after: u64, timeout: Duration) -> Result<u64, Error> {
        self.check_open()?;
        Ok(self.backend.wait(after, timeout)?)
    }

    pub(super) fn health(&self) -> Health {
        let unavailable = match self.gate.unavailable() {
            Some(unavailable) => Some(unavailable),
            None if self.gate.is_recovering() => Some(Unavailable::Recovering),
            None if self.gate.is_stale(&*self.clock) => Some(Unavailable::Stale),
            None => None,
        };
        let staleness = self.gate.staleness(&*self.clock);
        Health { unavailable, staleness, tokens: self.index.tokens() }
    }

    /// Lets a commit under way end, then flushes and closes. What is left of leases is put back.
    pub(super) fn close(&self) -> Result<(), Error> {
        let _lead = self.committer.pause();
        if !self.gate.close() {
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
fn header_change(
    caller: &Caller<'_>,
    before: &Header,
    next: &mut Header,
    kind: EventKind,
    fields: Fields,
    expected: Option<Version>,
) -> Result<Change, Error> {
    check_version(expected, before.version)?;
    next.version = before.version.next();
    let event = caller.event(kind, next.version, fields);
    Ok(Change::of(Write::ReplaceHeader(Box::new(next.clone())), event))
}

impl From<HeaderState> for Rules {
    fn from(state: HeaderState) -> Self {
        Self {
            rules: state.header.rules,
            prefixes: state.prefixes,
            issue_mark: state.header.issue_mark,
            version: state.header.version,
        }
    }
}
