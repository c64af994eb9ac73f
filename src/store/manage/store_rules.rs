//! The calls that concern the whole store: its rules, `tokens_valid_from` and events.

use std::time::Duration;

use super::authorize::Principal;
use super::owners::check_tokens_valid_from;
use super::retry::{Decision, attempt, check_version};
use crate::authority::Authority;
use crate::backend::{Change, Write};
use crate::clock::Timestamp;
use crate::event::{EventKind, Fields};
use crate::id::Version;
use crate::key::{StoreMetadata, TokensValidFrom};
use crate::store::engine::{Engine, MetadataState};
use crate::store::types::error::Error;
use crate::store::types::request::ChangeRules;
use crate::store::types::views::Rules;

pub(in crate::store) fn rules(engine: &Engine, authority: &Authority) -> Result<Rules, Error> {
    Principal::new(engine, authority)?;
    Ok(engine.records.metadata().into())
}

pub(in crate::store) fn change_rules(
    engine: &Engine,
    authority: &Authority,
    request: &ChangeRules,
    expected: Option<Version>,
) -> Result<Rules, Error> {
    let order = request.prefixes.clone();
    let rules: Rules = attempt(engine, || {
        let caller = Principal::new(engine, authority)?;
        caller.require_administrator()?;
        let mut state = engine.records.metadata();
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
        engine.records.set_prefix_order(rules.version, order);
    }
    Ok(rules)
}

/// Ends every token of the store that was issued before a moment.
pub(in crate::store) fn invalidate_tokens_issued_before(
    engine: &Engine,
    authority: &Authority,
    to: Timestamp,
    expected: Option<Version>,
) -> Result<Rules, Error> {
    attempt(engine, || {
        let caller = Principal::new(engine, authority)?;
        caller.require_administrator()?;
        check_tokens_valid_from(to, caller.now)?;
        let mut state = engine.records.metadata();
        let before = state.metadata.clone();
        let next = Some(TokensValidFrom::after(before.tokens_valid_from, to, caller.now));
        if before.tokens_valid_from == next {
            return Ok(Decision::Answer(state.into()));
        }
        state.metadata.tokens_valid_from = next;
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
    engine: &Engine,
    authority: &Authority,
    before: Timestamp,
) -> Result<u64, Error> {
    Principal::new(engine, authority)?.require_administrator()?;
    engine.prune(before)
}

pub(in crate::store) fn wait_for_event(
    engine: &Engine,
    after: u64,
    timeout: Duration,
) -> Result<u64, Error> {
    engine.records.check_open()?;
    Ok(engine.records.backend.wait(after, timeout)?)
}

/// Makes a change that replaces the store's metadata.
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
            tokens_valid_from: state.metadata.tokens_valid_from.map(|from| from.moment),
            version: state.metadata.version,
        }
    }
}
