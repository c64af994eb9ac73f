//! Calls that concern the whole store.

use keyhasp::event::Fields;
use keyhasp::id::{KeyId, Version};
use keyhasp::key::{Kind, StoreRules};
use keyhasp::{EventKind, IfInUse, Prefix, Timestamp};
use serde_json::{Value, json};

use super::authority::Caller;
use super::minting::all;
use super::owners::against_mark;
use super::reason::Reason;
use super::records::{KeyFile, Mark};
use super::state::{Decided, Model, conflict, unless_refused};

impl Model {
    pub(super) fn shown_rules(&self) -> Value {
        json!({
            "rules": self.rules.to_string(),
            "prefixes": self.opening.prefixes,
            "tokens_valid_from": self.mark.map(|mark| mark.moment),
            "version": self.version,
        })
    }

    pub(super) fn change_rules(
        &mut self,
        caller: &Caller,
        rules: Option<StoreRules>,
        prefixes: Option<&[Prefix]>,
        expected: Option<Version>,
    ) -> Decided<Value> {
        caller.require_admin()?;
        let new_rules = rules.unwrap_or(self.rules);
        let new_prefixes = prefixes.unwrap_or(&self.opening.prefixes).to_vec();
        let repeated =
            new_prefixes.iter().any(|a| new_prefixes.iter().filter(|b| a == *b).count() > 1);
        if !(1..=8).contains(&new_prefixes.len()) || repeated {
            return Err(vec![Reason::Invalid("prefixes")]);
        }
        let mut table = self.prefixes.clone();
        for (prefix, accepted) in &mut table {
            *accepted = new_prefixes.contains(prefix);
        }
        for prefix in &new_prefixes {
            if !table.iter().any(|(known, _)| known == prefix) {
                table.push((*prefix, true));
            }
        }
        let fields = all(&[
            (new_rules != self.rules, Fields::RULES),
            (table != self.prefixes, Fields::PREFIXES),
        ]);
        if !fields.is_empty() {
            let mut reasons = self.data_against(new_rules, &new_prefixes);
            reasons.extend(conflict(expected, self.version));
            unless_refused(reasons)?;
            self.version += 1;
            self.rules = new_rules;
            self.prefixes = table;
            let version = self.version;
            let kind = EventKind::StoreRulesChanged;
            self.note(&caller.by, kind, None, None, version, None, fields);
        }
        self.opening.prefixes = new_prefixes;
        Ok(self.shown_rules())
    }

    /// The rules that the data don't satisfy.
    fn data_against(&self, rules: StoreRules, prefixes: &[Prefix]) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let live: Vec<_> = self.keys.values().filter(|key| key.counts()).collect();
        // A lapsed key may be extended, so its prefix stays.
        let mut unrevoked = self.keys.values().filter(|key| key.is_live());
        if !rules.recoverable_tokens && self.keys.values().any(|key| key.sealed_under.is_some()) {
            reasons.push(Reason::DataForbid("recoverable_tokens"));
        }
        let shares_name = live.iter().any(|a| {
            live.iter()
                .any(|b| a.id != b.id && a.owner == b.owner && a.name.is_some() && a.name == b.name)
        });
        if rules.unique_names && shares_name {
            reasons.push(Reason::DataForbid("unique_names"));
        }
        let has_standard =
            |owner| live.iter().any(|key| key.owner == owner && key.kind == Kind::Standard);
        if rules.keep_standard_key && !self.owners.keys().all(|owner| has_standard(*owner)) {
            reasons.push(Reason::DataForbid("keep_standard_key"));
        }
        if unrevoked.any(|key| !prefixes.contains(&key.prefix)) {
            reasons.push(Reason::DataForbid("prefixes"));
        }
        reasons
    }

    pub(super) fn move_mark(
        &mut self,
        caller: &Caller,
        to: Timestamp,
        expected: Option<Version>,
    ) -> Decided<Value> {
        caller.require_admin()?;
        let (mark, reaches_future) = Mark::after(self.mark, to, self.now);
        let moves = self.mark != Some(mark);
        let mut reasons: Vec<Reason> = against_mark(to, self.now).into_iter().collect();
        if moves || !reasons.is_empty() {
            reasons.extend(conflict(expected, self.version));
        }
        unless_refused(reasons)?;
        if moves {
            self.version += 1;
            self.mark = Some(mark);
            let now = self.now;
            let tokens = self.keys.values_mut().flat_map(KeyFile::tokens_mut);
            tokens.for_each(|token| token.invalidate(to, now, reaches_future));
            let (kind, version) = (EventKind::StoreTokensInvalidated, self.version);
            self.note(&caller.by, kind, None, None, version, None, Fields::TOKENS_VALID_FROM);
        }
        Ok(self.shown_rules())
    }

    pub(super) fn retire_pepper(
        &mut self,
        caller: &Caller,
        number: u16,
        if_in_use: IfInUse,
        expected: Option<Version>,
    ) -> Decided<Value> {
        caller.require_admin()?;
        if number == self.opening.peppers[0] {
            return Err(vec![Reason::PepperCurrent]);
        }
        if !self.known_peppers.contains(&number) {
            return Err(vec![Reason::PepperUnknown]);
        }
        let (mut tokens, mut keys) = (0, Vec::new());
        if !self.retired_peppers.contains(&number) {
            let mut reasons: Vec<Reason> = conflict(expected, self.version).into_iter().collect();
            for key in self.keys.values().filter(|key| key.is_live()) {
                let current = Some(&key.current).filter(|token| !token.is_invalidated);
                let previous = key.living_previous(self.now);
                let living = previous.iter().map(|(token, _)| token).chain(current);
                let ended = living.filter(|token| token.pepper == number).count();
                tokens += ended;
                keys.extend((ended > 0).then_some(key.id));
            }
            if tokens > 0 && if_in_use == IfInUse::Refuse {
                reasons.push(Reason::PepperInUse { tokens, keys: keys.len() });
            }
            unless_refused(reasons)?;
            self.version += 1;
            self.retired_peppers.insert(number);
            let all = self.keys.values_mut().flat_map(KeyFile::tokens_mut);
            let under = all.filter(|token| token.pepper == number);
            under.for_each(|token| token.is_invalidated = true);
            let (kind, version) = (EventKind::PepperRetired, self.version);
            self.note(&caller.by, kind, None, None, version, None, Fields::PEPPERS);
        }
        let some_keys: Vec<KeyId> = keys.iter().copied().take(20).collect();
        let ended = json!({
            "tokens": tokens, "keys": keys.len(), "some_keys": some_keys, "damaged": 0,
        });
        Ok(json!({"number": number, "ended": ended, "version": self.version}))
    }

    pub(super) fn prune(&mut self, caller: &Caller, before: Timestamp) -> Decided<Value> {
        caller.require_admin()?;
        let mut pruned = 0;
        while self.events.len() > 1 && self.events[0].at < before {
            self.events.remove(0);
            pruned += 1;
        }
        Ok(pruned.into())
    }
}
