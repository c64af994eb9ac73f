//! Calls and their callers.

use std::time::Duration;

use keyhasp::id::{KeyId, NumericId, OwnerId, Version};
use keyhasp::key::{Kind, Lifetime, State, StoreRules};
use keyhasp::store::NumericIdChoice;
use keyhasp::{IfInUse, Rotate, VerifiedKey};

use super::mood::{Mood, Pick};
use super::world::{lifetime, owners, prefixes};
use crate::calls::{
    Call, KeyQuery, KeyUpdate, NewKey, NewOwner, OnKey, OnOwner, Rotation, Side, Who,
};
use crate::chance::Chance;
use crate::model::{KeyFile, Model, RequestFile, Verdict};

/// Picks calls for a model in its present state.
#[derive(Debug)]
pub(crate) struct Generator<'a> {
    pub(crate) chance: &'a mut Chance,
    pub(crate) model: &'a Model,
    /// Verified keys of the sequence, still valid or not.
    pub(crate) grants: &'a [VerifiedKey],
    /// Every key there ever was.
    pub(crate) ever: &'a [KeyId],
    pub(crate) mood: &'a Mood,
}

impl Generator<'_> {
    /// Makes a call and its caller.
    pub(crate) fn call(&mut self) -> (Who, Call) {
        let pick = match (self.model.owners.len(), self.model.keys.len()) {
            (0, _) if self.chance.percent(90) => Pick::CreateOwner,
            (_, 0..3) if self.chance.percent(50) => Pick::CreateKey,
            // A call that needs room for a sweep would work the pieces by itself, also if it is
            // refused after that.
            _ if self.model.is_full_of_sweeps() => Pick::WorkSweeps,
            _ => self.chance.weigh(&self.mood.picks),
        };
        // One that was made while the clock was ahead lies ahead now.
        let is_ahead = self.model.mark.is_some_and(|mark| mark.moment > self.model.now);
        let again = is_ahead && self.chance.percent(10);
        let call = self.fill(if again { Pick::InvalidateTokens } else { pick });
        (self.who(&call), call)
    }

    pub(super) fn fill(&mut self, pick: Pick) -> Call {
        match pick {
            Pick::GiveToKey => {
                let id = self.key_that(|key| key.limits.quota.is_some());
                let action = match self.chance.below(2) {
                    0 => OnKey::RefillQuota,
                    _ => OnKey::AddToQuota(self.gift()),
                };
                self.on_key(id, action)
            }
            Pick::GiveToOwner => {
                let id = self.owner_that(|owner| owner.limits.quota.is_some());
                let action = match self.chance.below(2) {
                    0 => OnOwner::RefillQuota,
                    _ => OnOwner::AddToQuota(self.gift()),
                };
                Call::ActOnOwner { id, action, expected: self.expecting_owner(id) }
            }
            Pick::Activate => {
                let id = self.key_that(|key| key.deactivated.is_some());
                self.on_key(id, OnKey::Activate)
            }
            Pick::Block => self.on_any_key(OnKey::Block),
            Pick::ChangeRules => self.change_rules(),
            Pick::ConvertTrial => {
                let id = self.key_that(|key| key.kind == Kind::Trial);
                let expiry = self.expiry();
                self.on_key(id, OnKey::ConvertTrial(expiry))
            }
            Pick::Count => Call::Count { query: self.key_query() },
            Pick::CreateKey => self.create_key(),
            Pick::CreateOwner => self.create_owner(),
            Pick::Deactivate => self.on_any_key(OnKey::Deactivate),
            Pick::InvalidatePrevious => {
                let id = self.key_that(|key| !key.previous.is_empty());
                self.on_key(id, OnKey::InvalidatePrevious)
            }
            Pick::Events => Call::Events { query: self.event_query() },
            Pick::Find => Call::Find { id: self.numeric_id() },
            Pick::FlushUsage => Call::FlushUsage,
            Pick::ForeignCursor => {
                let of = KeyQuery { limit: Some(1), ..self.key_query() };
                let used_for = if self.chance.percent(40) {
                    KeyQuery { limit: Some(7), ..of.clone() }
                } else {
                    self.key_query()
                };
                Call::ForeignCursor { of, used_for }
            }
            Pick::Get => Call::Get { id: self.key() },
            Pick::GetOwner => Call::GetOwner { id: self.owner() },
            Pick::Leaked => self.leaked(),
            Pick::List => Call::List { query: self.key_query() },
            Pick::ListOwners => Call::ListOwners { query: self.owner_query() },
            Pick::LookOut => Call::LookOut,
            Pick::MadeUpCursor => Call::MadeUpCursor { cursor: self.cursor() },
            Pick::InvalidateTokens => {
                let to = self.past();
                Call::InvalidateTokens { to, expected: self.if_version(self.model.version) }
            }
            Pick::RetirePepper => self.retire_pepper(),
            Pick::Once => self.once(),
            Pick::ReplaceLost => match self.young_request() {
                Some((name, request)) => Call::ReplaceLost { id: request.key, name },
                None => Call::ReplaceLost { id: self.key(), name: "none".into() },
            },
            Pick::OpenToken => {
                Call::OpenToken { id: self.key_that(|key| key.sealed_under.is_some()) }
            }
            Pick::OpenTokens => self.reveal_tokens(),
            Pick::OwnerMark => {
                let to = self.past();
                self.on_owner(OnOwner::InvalidateTokens(to))
            }
            Pick::OwnerUpdate => self.update_owner(),
            Pick::ExtendExpiry => {
                let id = self.key_that(|key| key.expires_at.is_some());
                let expiry = self.expiry();
                self.on_key(id, OnKey::ExtendExpiry(expiry))
            }
            Pick::WorkSweeps => Call::WorkSweeps { pieces: 1 + self.chance.below(5) },
            Pick::Prune => Call::Prune { before: self.past() },
            Pick::Purge => {
                let id = self.key_that(|key| !key.is_live());
                Call::Purge { id, expected: self.expecting_key(id) }
            }
            // A bulk call may meet a key that is purged beside changes before or after that.
            Pick::PurgeMany if self.model.opening.key_retention.is_some() => self.fill(Pick::Purge),
            Pick::RevokeMany if self.model.opening.key_retention.is_some() => {
                self.fill(Pick::Revoke)
            }
            Pick::PurgeMany => {
                let (ids, expected) = self.many(|key| !key.is_live());
                Call::PurgeMany { ids, expected }
            }
            Pick::PurgeOwner => {
                let id = self.owner_that(|owner| owner.suspended.is_some());
                Call::PurgeOwner { id, expected: self.expecting_owner(id) }
            }
            Pick::Recover => Call::Recover,
            Pick::Resume => {
                let id = self.owner_that(|owner| owner.suspended.is_some());
                let expected = self.expecting_owner(id);
                Call::ActOnOwner { id, action: OnOwner::Resume, expected }
            }
            Pick::Revoke => self.on_any_key(OnKey::Revoke),
            Pick::RevokeAll => {
                let owner = self.owner();
                let replacement = self.chance.percent(60).then(|| NewKey {
                    or_owner: self.chance.percent(2).then(Box::default),
                    ..self.new_key()
                });
                Call::RevokeAll { owner, replacement, expected: self.expecting_owner(owner) }
            }
            Pick::RevokeMany => {
                let (ids, expected) = self.many(KeyFile::is_live);
                Call::RevokeMany { ids, expected }
            }
            Pick::RevokeTree => {
                let creators = self.creators();
                let id = self.key_that(|key| creators.contains(&key.id));
                Call::RevokeTree { id, expected: self.expecting_key(id) }
            }
            Pick::Rotate => self.rotate(),
            Pick::Rules => Call::Rules,
            Pick::Suspend => self.on_owner(OnOwner::Suspend),
            Pick::Unblock => {
                let id = self.key_that(|key| key.blocked.is_some());
                self.on_key(id, OnKey::Unblock)
            }
            Pick::Update => {
                let (id, update) = (self.key(), self.key_update());
                self.on_key(id, OnKey::Update(update))
            }
            Pick::Wait => {
                let after = self.chance.below(2) as u64 * self.model.last_event;
                Call::Wait { after }
            }
        }
    }

    /// Picks the caller of a call, mostly one that may make it.
    pub(super) fn who(&mut self, call: &Call) -> Who {
        let owner = self.concerned(call);
        let side = match self.chance.below(20) {
            _ if is_administrators(call) && self.chance.percent(80) => Side::Admin,
            // A change that is refused is decided again after its piece, which may end an acting key.
            0..=8 if matches!(call, Call::RevokeMany { .. }) => Side::Admin,
            _ if matches!(call, Call::RevokeMany { .. }) => Side::Owner(owner),
            0..=8 => Side::Admin,
            9..=13 => Side::Owner(owner),
            14 => Side::Owner(self.owner()),
            15..=18 => match self.verified(owner) {
                None => Side::Owner(owner),
                Some(verified) if self.chance.percent(40) => {
                    Side::Provided { owner, verified, previous_tokens: self.chance.percent(40) }
                }
                Some(verified) => Side::VerifiedKey(verified),
            },
            _ => {
                let key = self.key();
                let generation = 1 + u32::try_from(self.chance.below(3)).unwrap();
                Side::Claim { owner, key, generation }
            }
        };
        Who {
            side,
            actor: self.chance.pick(&["ann", "ben", "service account 7", "zoë"]).into(),
            reason: self.chance.maybe(20, |chance| {
                chance.pick(&["leaked in a log", "the customer asked for it"]).to_owned()
            }),
            for_owner: self.chance.percent(50),
            correlation: self.chance.maybe(10, |chance| format!("req-{}", chance.below(1_000))),
        }
    }

    /// Picks a verified key of the sequence, mostly of this owner and mostly still valid.
    pub(super) fn verified(&mut self, owner: OwnerId) -> Option<VerifiedKey> {
        let is_good = |verified: &&VerifiedKey| {
            let verdict = self.model.judge(verified.key_id(), verified.generation().get());
            *verified.owner_id() == owner && matches!(verdict, Verdict::Granted(_))
        };
        let good: Vec<VerifiedKey> = self.grants.iter().filter(is_good).copied().collect();
        let is_near = |verified: &&VerifiedKey| *verified.owner_id() == owner;
        let near: Vec<VerifiedKey> = self.grants.iter().filter(is_near).copied().collect();
        match self.chance.below(10) {
            0 => self.chance.pick_late(self.grants),
            1 | 2 => self.chance.pick_late(&near),
            _ => self.chance.pick_late(if good.is_empty() { &near } else { &good }),
        }
    }

    /// Returns the owner that a call is about.
    pub(super) fn concerned(&mut self, call: &Call) -> OwnerId {
        if let Call::Once { call, .. } = call {
            return self.concerned(call);
        }
        let of_key = |id: &KeyId| self.model.keys.get(id).map(|key| key.owner);
        let owner = match call {
            Call::ActOnKey { id, .. }
            | Call::Get { id }
            | Call::OpenToken { id }
            | Call::ReplaceLost { id, .. }
            | Call::Purge { id, .. }
            | Call::RevokeTree { id, .. }
            | Call::Rotate { id, .. } => of_key(id),
            Call::ActOnOwner { id, .. }
            | Call::CreateKey { owner: id, .. }
            | Call::GetOwner { id }
            | Call::PurgeOwner { id, .. }
            | Call::RevokeAll { owner: id, .. } => Some(*id),
            Call::PurgeMany { ids, .. } | Call::RevokeMany { ids, .. } => {
                ids.first().and_then(of_key)
            }
            Call::Count { query } | Call::List { query } | Call::OpenTokens { query } => {
                query.owners.first().copied()
            }
            _ => None,
        };
        owner.unwrap_or_else(|| self.owner())
    }

    pub(super) fn on_key(&mut self, id: KeyId, action: OnKey) -> Call {
        Call::ActOnKey { id, action, expected: self.expecting_key(id) }
    }

    /// Picks keys, mostly with this property and now and then one twice, and their expected version.
    /// There is at least one: a handle makes no call for none.
    fn many(&mut self, is_meant: fn(&KeyFile) -> bool) -> (Vec<KeyId>, Option<Version>) {
        let mut ids: Vec<KeyId> =
            (0..=self.chance.below(5)).map(|_| self.key_that(is_meant)).collect();
        if self.chance.percent(15) {
            ids.extend(ids.first().copied());
        }
        let expected = ids.first().and_then(|id| self.expecting_key(*id));
        (ids, expected)
    }

    pub(super) fn on_any_key(&mut self, action: OnKey) -> Call {
        let id = self.key();
        self.on_key(id, action)
    }

    pub(super) fn on_owner(&mut self, action: OnOwner) -> Call {
        let id = self.owner();
        Call::ActOnOwner { id, action, expected: self.expecting_owner(id) }
    }

    pub(super) fn rotate(&mut self) -> Call {
        let now = self.model.now;
        let is_blocked = |key: &KeyFile| key.blocked.is_some();
        let is_good = |key: &KeyFile| key.state(now) == State::Active;
        let id = match self.chance.below(8) {
            0 => self.key_that(is_blocked),
            1 => self.key(),
            _ => self.key_that(is_good),
        };
        let grace = match self.chance.below(30) {
            0 => Some(Duration::ZERO),
            1 => Some(Duration::from_millis(1)),
            2 | 3 => Some(Duration::from_secs(60)),
            4..=6 => Some(Rotate::MAX_GRACE),
            7 => Some(Rotate::MAX_GRACE + Duration::from_secs(1)),
            8..=13 => Some(Duration::from_secs(7 * 24 * 60 * 60)),
            _ => None,
        };
        // Many tokens of one key live at once only if few of them are ended.
        let is_gentle = self.mood.is_about_one && self.chance.percent(80);
        let grace = if is_gentle { Some(Rotate::MAX_GRACE) } else { grace };
        let force = !is_gentle && self.chance.percent(20);
        let how = Rotation { grace, force, unblock: self.chance.percent(8) };
        Call::Rotate { id, how, expected: self.expecting_key(id) }
    }

    pub(super) fn create_owner(&mut self) -> Call {
        let id = self.chance.pick(&owners());
        Call::CreateOwner { id, owner: self.new_owner(80) }
    }

    /// Makes a creation of a key, now and then with its owner.
    fn create_key(&mut self) -> Call {
        if self.chance.percent(85) {
            return Call::CreateKey { owner: self.owner(), key: self.new_key() };
        }
        let owner = match self.chance.percent(70) {
            true => self.chance.pick(&owners()),
            false => self.owner(),
        };
        let new = self.new_owner(4);
        Call::CreateKey { owner, key: NewKey { or_owner: Some(Box::new(new)), ..self.new_key() } }
    }

    /// Makes an owner, mostly or seldom with a first key.
    fn new_owner(&mut self, percent_with_key: usize) -> NewOwner {
        NewOwner {
            first_key: self.chance.percent(percent_with_key).then(|| NewKey {
                kind: if self.chance.percent(5) { Kind::Trial } else { Kind::Standard },
                or_owner: self.chance.percent(2).then(Box::default),
                ..self.new_key()
            }),
            defaults: self.chance.percent(50).then(|| self.settings()),
            fixed: self.chance.percent(20).then(|| self.setting_names()),
            lifetime: self.chance.percent(15).then(|| lifetime(self.chance)),
            max_access: self.chance.percent(40).then(|| self.reach()),
            max_keys: self.chance.percent(30).then(|| self.max_keys()),
            limits: self.owner_limits(),
            tags: if self.chance.percent(25) { self.tags() } else { Vec::new() },
        }
    }

    pub(super) fn update_owner(&mut self) -> Call {
        let action = OnOwner::Update {
            defaults: self.chance.percent(30).then(|| self.settings()),
            fixed: self.chance.percent(25).then(|| self.setting_names()),
            lifetime: self.chance.percent(15).then(|| lifetime(self.chance)),
            max_access: self.chance.percent(50).then(|| self.reach()),
            max_keys: self.chance.percent(25).then(|| self.max_keys()),
            limits: Box::new(self.owner_limits()),
            tags: self.chance.percent(25).then(|| self.tags()),
        };
        self.on_owner(action)
    }

    pub(super) fn max_keys(&mut self) -> u32 {
        self.chance.pick(&[0, 1, 3, 5, 6, 8, 12, 1_000, 5_000, u32::MAX])
    }

    pub(super) fn new_key(&mut self) -> NewKey {
        let kind = if self.chance.percent(20) { Kind::Trial } else { Kind::Standard };
        NewKey {
            access: self.reach(),
            kind,
            name: self.chance.percent(50).then(|| self.name()),
            expiry: (kind == Kind::Trial || self.chance.percent(40)).then(|| self.expiry()),
            settings: self.chance.percent(30).then(|| self.settings()),
            numeric_id: match self.chance.below(10) {
                // No number follows the greatest.
                4..=7 if self.model.numeric_ids.contains(&NumericId::MAX) => NumericIdChoice::Next,
                0..=2 => NumericIdChoice::Next,
                3 => NumericIdChoice::Given(self.numeric_id()),
                _ => NumericIdChoice::None,
            },
            prefix: self.chance.percent(30).then(|| self.prefix()),
            sealed: self.chance.percent(if self.can_seal() { 60 } else { 2 }),
            limits: self.seldom_limits(),
            or_owner: None,
            tags: self.chance.percent(25).then(|| self.tags()),
        }
    }

    pub(super) fn can_seal(&self) -> bool {
        self.model.rules.recoverable_tokens && !self.model.opening.recovery_keys.is_empty()
    }

    pub(super) fn key_update(&mut self) -> KeyUpdate {
        // Often limits alone: nothing else is a reason against them.
        let others = if self.chance.percent(30) { 0 } else { 1 };
        KeyUpdate {
            name: self
                .chance
                .percent(35 * others)
                .then(|| self.chance.percent(70).then(|| self.name())),
            access: self.chance.percent(40 * others).then(|| self.reach()),
            expiry: self.chance.percent(30 * others).then(|| self.expiry()),
            settings: self.chance.percent(30 * others).then(|| self.settings()),
            limits: self.limits(),
            tags: self.chance.percent(25 * others).then(|| self.tags()),
        }
    }

    pub(super) fn change_rules(&mut self) -> Call {
        let expected = self.if_version(self.model.version);
        if self.chance.percent(40) {
            // Only one: another would be the reason that is told.
            let mut rules = self.model.rules;
            match self.chance.below(2) {
                0 => rules.keep_standard_key = !rules.keep_standard_key,
                _ => rules.unique_names = !rules.unique_names,
            }
            return Call::ChangeRules { rules: Some(rules), prefixes: None, expected };
        }
        let rules = self.chance.maybe(60, |chance| StoreRules {
            unique_names: chance.percent(50),
            keep_standard_key: chance.percent(50),
            recoverable_tokens: chance.percent(50),
            lifetime: if chance.percent(20) { lifetime(chance) } else { Lifetime::default() },
        });
        let prefixes = self.chance.percent(60).then(|| {
            let mut all = prefixes();
            self.chance.shuffle(&mut all);
            all.truncate(match self.chance.below(12) {
                0 => 0,
                1 => 9,
                2..=4 => 1 + self.chance.below(3),
                _ => 4 + self.chance.below(5),
            });
            if self.chance.percent(5) && !all.is_empty() {
                all.push(all[0]);
            }
            // Mostly one that fits the present records.
            for (prefix, accepted) in &self.model.prefixes {
                if *accepted && self.chance.percent(70) && !all.contains(prefix) && !all.is_empty()
                {
                    all.insert(self.chance.below(all.len()), *prefix);
                }
            }
            all
        });
        Call::ChangeRules { rules, prefixes, expected }
    }

    /// Makes a token that some key has, or one that differs little from it.
    /// A creation or rotation under an idempotency key: often one that was made before.
    fn once(&mut self) -> Call {
        let new = match self.chance.percent(50) {
            true => self.rotate(),
            false => self.create_key(),
        };
        let (name, call) = match self.young_request() {
            Some((name, request)) if self.chance.percent(60) => match self.chance.percent(75) {
                true => (name, request.call),
                false => (name, new),
            },
            _ => (format!("request-{}", self.chance.below(1_000_000_000)), new),
        };
        Call::Once { name, call: Box::new(call) }
    }

    fn young_request(&mut self) -> Option<(String, RequestFile)> {
        self.chance.pick_late(&self.model.young_requests())
    }

    /// Mostly an open pepper, now and then one of before, or one that no store ever had.
    fn retire_pepper(&mut self) -> Call {
        let known: Vec<u16> = self.model.known_peppers.iter().copied().collect();
        let number = match self.chance.below(10) {
            0 => 60_000,
            1 | 2 => self.chance.pick(&known),
            _ => self.chance.pick(&self.model.opening.peppers),
        };
        let if_in_use = if self.chance.percent(60) { IfInUse::EndTokens } else { IfInUse::Refuse };
        Call::RetirePepper { number, if_in_use, expected: self.if_version(self.model.version) }
    }

    pub(super) fn leaked(&mut self) -> Call {
        let block = self.chance.percent(50);
        // A token under a closed pepper is rare, and decides nothing unless it is asked about.
        let open = self.model.opening.peppers.clone();
        let is_closed = |key: &KeyFile| key.tokens().iter().any(|t| !open.contains(&t.pepper));
        let id = match self.chance.percent(50) {
            true => self.key_that(is_closed),
            false => self.key_that(|key| !key.previous.is_empty()),
        };
        let tokens = self.model.keys.get(&id).map_or_else(Vec::new, KeyFile::tokens);
        let tokens: Vec<String> = tokens.into_iter().map(|token| token.text.clone()).collect();
        let mut text = match tokens.as_slice() {
            [] => "acme_0".to_owned(),
            tokens => self.chance.pick(tokens),
        };
        match self.chance.below(10) {
            0 => _ = text.pop(),
            1 => {
                let last = if text.ends_with('0') { "1" } else { "0" };
                text.replace_range(text.len() - 1.., last);
            }
            2 => text.insert(0, 'x'),
            _ => {}
        }
        Call::Leaked { text, block }
    }

    pub(super) fn reveal_tokens(&mut self) -> Call {
        let mut query = self.key_query();
        // A page with a token that can't be opened is refused as a whole, so the pages would
        // matter.
        let opens = |key: &KeyFile| {
            key.sealed_under.is_none_or(|number| self.model.opening.recovery_keys.contains(&number))
        };
        if !self.model.keys.values().all(opens) {
            query.limit = None;
        }
        Call::OpenTokens { query }
    }
}

/// Returns whether only administrators may make a call.
fn is_administrators(call: &Call) -> bool {
    match call {
        Call::ActOnOwner { .. }
        | Call::ChangeRules { .. }
        | Call::CreateOwner { .. }
        | Call::Leaked { .. }
        | Call::ListOwners { .. }
        | Call::InvalidateTokens { .. }
        | Call::RetirePepper { .. }
        | Call::Prune { .. }
        | Call::Purge { .. }
        | Call::PurgeMany { .. }
        | Call::PurgeOwner { .. } => true,
        Call::ActOnKey { action, .. } => {
            matches!(action, OnKey::Block | OnKey::ConvertTrial(_) | OnKey::Unblock)
        }
        Call::CreateKey { key, .. } => key.kind == Kind::Trial || key.or_owner.is_some(),
        Call::Once { call, .. } => is_administrators(call),
        _ => false,
    }
}
