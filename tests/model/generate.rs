//! What to ask for next: mostly what makes sense, now and then what doesn't.

use std::time::Duration;

use keyhasp::id::{ExternalId, KeyId, OwnerId, Version};
use keyhasp::key::{Expiry, Kind, State, StoreRules};
use keyhasp::store::ExternalIdWish;
use keyhasp::{EventKind, Grant, Prefix, Rotate, Timestamp};
use serde_json::{Value, json};

use crate::calls::{
    Call, EventQuery, KeyQuery, KeyUpdate, NewKey, NewOwner, OnKey, OnOwner, OwnerQuery, Rotation,
    Side, Who,
};
use crate::chance::Chance;
use crate::model::{KeyFile, Model, Names, REFUSED_NAME, Reach, Verdict};

/// All permissions that a catalogue may declare.
const NAMES: [(&str, bool); 7] = [
    ("links:read", true),
    ("links:write", false),
    ("stats:read", true),
    ("stats:export", false),
    ("READ_DEVICES", true),
    ("org:keys:write", false),
    ("org:keys:read", true),
];

const DAY: u64 = 24 * 60 * 60 * 1_000;

/// A kind of call.
#[derive(Clone, Copy, Debug)]
enum Pick {
    Activate,
    Block,
    ChangeRules,
    ConvertTrial,
    Count,
    CreateKey,
    CreateOwner,
    Deactivate,
    EndEarlier,
    Events,
    Find,
    ForeignCursor,
    Get,
    GetOwner,
    List,
    ListOwners,
    MadeUpCursor,
    MoveMark,
    OpenToken,
    OpenTokens,
    OwnerMark,
    OwnerUpdate,
    Prolong,
    Prune,
    Purge,
    PurgeOwner,
    Recover,
    Resume,
    Revoke,
    RevokeAll,
    Rotate,
    Rules,
    Suspend,
    Unblock,
    Update,
    Wait,
}

const PICKS: [(usize, Pick); 36] = [
    (5, Pick::Activate),
    (5, Pick::Block),
    (4, Pick::ChangeRules),
    (4, Pick::ConvertTrial),
    (2, Pick::Count),
    (20, Pick::CreateKey),
    (3, Pick::CreateOwner),
    (5, Pick::Deactivate),
    (4, Pick::EndEarlier),
    (4, Pick::Events),
    (3, Pick::Find),
    (1, Pick::ForeignCursor),
    (4, Pick::Get),
    (1, Pick::GetOwner),
    (5, Pick::List),
    (2, Pick::ListOwners),
    (1, Pick::MadeUpCursor),
    (1, Pick::MoveMark),
    (5, Pick::OpenToken),
    (2, Pick::OpenTokens),
    (2, Pick::OwnerMark),
    (6, Pick::OwnerUpdate),
    (5, Pick::Prolong),
    (2, Pick::Prune),
    (4, Pick::Purge),
    (2, Pick::PurgeOwner),
    (1, Pick::Recover),
    (3, Pick::Resume),
    (6, Pick::Revoke),
    (2, Pick::RevokeAll),
    (18, Pick::Rotate),
    (1, Pick::Rules),
    (2, Pick::Suspend),
    (5, Pick::Unblock),
    (12, Pick::Update),
    (1, Pick::Wait),
];

/// Picks calls for a model in its present state.
#[derive(Debug)]
pub(crate) struct Generator<'a> {
    pub(crate) chance: &'a mut Chance,
    pub(crate) model: &'a Model,
    /// Grants given in the sequence, valid still or not.
    pub(crate) grants: &'a [Grant],
    /// Every key there ever was.
    pub(crate) ever: &'a [KeyId],
    pub(crate) mood: &'a Mood,
}

/// What a sequence likes best: a few kinds of calls that it makes more often than others do, so
/// that some sequences rotate one key many times, and others do nothing but revoke.
#[derive(Debug)]
pub(crate) struct Mood {
    picks: Vec<(usize, Pick)>,
    /// Whether most of it is about one key.
    is_about_one: bool,
}

impl Mood {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let mut picks = PICKS.to_vec();
        for _ in 0..chance.below(4) {
            let places: Vec<(usize, usize)> =
                picks.iter().enumerate().map(|(at, (weight, _))| (*weight, at)).collect();
            picks[chance.weigh(&places)].0 *= 6;
        }
        let is_about_one = chance.percent(30);
        if is_about_one && chance.percent(50) {
            picks.push((200, Pick::Rotate));
        }
        Self { picks, is_about_one }
    }
}

impl Generator<'_> {
    /// A call, and who makes it.
    pub(crate) fn call(&mut self) -> (Who, Call) {
        let pick = match (self.model.owners.len(), self.model.keys.len()) {
            (0, _) if self.chance.percent(90) => Pick::CreateOwner,
            (_, 0..3) if self.chance.percent(50) => Pick::CreateKey,
            _ => self.chance.weigh(&self.mood.picks),
        };
        let call = self.fill(pick);
        (self.who(&call), call)
    }

    fn fill(&mut self, pick: Pick) -> Call {
        match pick {
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
            Pick::CreateKey => Call::CreateKey { owner: self.owner(), key: self.new_key() },
            Pick::CreateOwner => self.create_owner(),
            Pick::Deactivate => self.on_any_key(OnKey::Deactivate),
            Pick::EndEarlier => {
                let id = self.key_that(|key| !key.earlier.is_empty());
                self.on_key(id, OnKey::EndEarlier)
            }
            Pick::Events => Call::Events { query: self.event_query() },
            Pick::Find => Call::Find { id: self.external_id() },
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
            Pick::List => Call::List { query: self.key_query() },
            Pick::ListOwners => Call::ListOwners { query: self.owner_query() },
            Pick::MadeUpCursor => Call::MadeUpCursor { cursor: self.cursor() },
            Pick::MoveMark => {
                let to = self.past();
                Call::MoveMark { to, expected: self.expecting(self.model.version) }
            }
            Pick::OpenToken => {
                Call::OpenToken { id: self.key_that(|key| key.sealed_under.is_some()) }
            }
            Pick::OpenTokens => self.open_tokens(),
            Pick::OwnerMark => {
                let to = self.past();
                self.on_owner(OnOwner::MoveMark(to))
            }
            Pick::OwnerUpdate => self.update_owner(),
            Pick::Prolong => {
                let id = self.key_that(|key| key.expires_at.is_some());
                let expiry = self.expiry();
                self.on_key(id, OnKey::Prolong(expiry))
            }
            Pick::Prune => Call::Prune { before: self.past() },
            Pick::Purge => {
                let id = self.key_that(|key| !key.is_live());
                Call::Purge { id, expected: self.expecting_key(id) }
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
                let replacement = self.chance.percent(60).then(|| self.new_key());
                Call::RevokeAll { owner, replacement, expected: self.expecting_owner(owner) }
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

    /// Who makes a call: somebody who may, mostly.
    fn who(&mut self, call: &Call) -> Who {
        let owner = self.concerned(call);
        let side = match self.chance.below(20) {
            _ if is_administrators(call) && self.chance.percent(80) => Side::Admin,
            0..=8 => Side::Admin,
            9..=13 => Side::Owner(owner),
            14 => Side::Owner(self.owner()),
            15..=18 => self.grant(owner).map_or(Side::Owner(owner), Side::Grant),
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
            correlation: self.chance.maybe(10, |chance| format!("req-{}", chance.below(1_000))),
        }
    }

    /// A grant that was given to somebody, mostly of this owner and mostly good still.
    fn grant(&mut self, owner: OwnerId) -> Option<Grant> {
        let is_good = |grant: &&Grant| {
            let verdict = self.model.verify(grant.key(), grant.generation().get());
            *grant.owner() == owner && matches!(verdict, Verdict::Granted(_))
        };
        let good: Vec<Grant> = self.grants.iter().filter(is_good).copied().collect();
        let is_near = |grant: &&Grant| *grant.owner() == owner;
        let near: Vec<Grant> = self.grants.iter().filter(is_near).copied().collect();
        match self.chance.below(10) {
            0 => self.chance.pick_late(self.grants),
            1 | 2 => self.chance.pick_late(&near),
            _ => self.chance.pick_late(if good.is_empty() { &near } else { &good }),
        }
    }

    /// The owner that a call is about.
    fn concerned(&mut self, call: &Call) -> OwnerId {
        let of_key = |id: &KeyId| self.model.keys.get(id).map(|key| key.owner);
        let owner = match call {
            Call::ActOnKey { id, .. }
            | Call::Get { id }
            | Call::OpenToken { id }
            | Call::Purge { id, .. }
            | Call::Rotate { id, .. } => of_key(id),
            Call::ActOnOwner { id, .. }
            | Call::CreateKey { owner: id, .. }
            | Call::GetOwner { id }
            | Call::PurgeOwner { id, .. }
            | Call::RevokeAll { owner: id, .. } => Some(*id),
            Call::Count { query } | Call::List { query } | Call::OpenTokens { query } => {
                query.owners.first().copied()
            }
            _ => None,
        };
        owner.unwrap_or_else(|| self.owner())
    }

    fn on_key(&mut self, id: KeyId, action: OnKey) -> Call {
        Call::ActOnKey { id, action, expected: self.expecting_key(id) }
    }

    fn on_any_key(&mut self, action: OnKey) -> Call {
        let id = self.key();
        self.on_key(id, action)
    }

    fn on_owner(&mut self, action: OnOwner) -> Call {
        let id = self.owner();
        Call::ActOnOwner { id, action, expected: self.expecting_owner(id) }
    }

    fn rotate(&mut self) -> Call {
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

    fn create_owner(&mut self) -> Call {
        let id = self.chance.pick(&owners());
        let owner = NewOwner {
            first_key: self.chance.percent(80).then(|| NewKey {
                kind: if self.chance.percent(5) { Kind::Trial } else { Kind::Standard },
                ..self.new_key()
            }),
            defaults: self.chance.percent(50).then(|| self.settings()),
            ceiling: self.chance.percent(40).then(|| self.reach()),
            max_keys: self.chance.percent(30).then(|| self.max_keys()),
        };
        Call::CreateOwner { id, owner }
    }

    fn update_owner(&mut self) -> Call {
        let action = OnOwner::Update {
            defaults: self.chance.percent(30).then(|| self.settings()),
            ceiling: self.chance.percent(50).then(|| self.reach()),
            max_keys: self.chance.percent(25).then(|| self.max_keys()),
        };
        self.on_owner(action)
    }

    fn max_keys(&mut self) -> u32 {
        self.chance.pick(&[0, 1, 3, 5, 6, 8, 12, 1_000, 5_000, u32::MAX])
    }

    fn new_key(&mut self) -> NewKey {
        let kind = if self.chance.percent(20) { Kind::Trial } else { Kind::Standard };
        NewKey {
            access: self.reach(),
            kind,
            name: self.chance.percent(50).then(|| self.name()),
            expiry: (kind == Kind::Trial || self.chance.percent(40)).then(|| self.expiry()),
            settings: self.chance.percent(30).then(|| self.settings()),
            external_id: match self.chance.below(10) {
                0..=2 => ExternalIdWish::Next,
                3 => ExternalIdWish::Given(self.external_id()),
                _ => ExternalIdWish::None,
            },
            prefix: self.chance.percent(30).then(|| self.prefix()),
            sealed: self.chance.percent(if self.can_seal() { 60 } else { 2 }),
        }
    }

    fn can_seal(&self) -> bool {
        self.model.rules.sealed_tokens && !self.model.opening.sealing_keys.is_empty()
    }

    fn key_update(&mut self) -> KeyUpdate {
        KeyUpdate {
            name: self.chance.percent(35).then(|| self.chance.percent(70).then(|| self.name())),
            access: self.chance.percent(40).then(|| self.reach()),
            expiry: self.chance.percent(30).then(|| self.expiry()),
            settings: self.chance.percent(30).then(|| self.settings()),
        }
    }

    fn change_rules(&mut self) -> Call {
        let rules = self.chance.maybe(60, |chance| StoreRules {
            unique_names: chance.percent(50),
            keep_standard_key: chance.percent(50),
            sealed_tokens: chance.percent(50),
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
            // Mostly one that fits what is there.
            for (prefix, accepted) in &self.model.prefixes {
                if *accepted && self.chance.percent(70) && !all.contains(prefix) && !all.is_empty()
                {
                    all.insert(self.chance.below(all.len()), *prefix);
                }
            }
            all
        });
        Call::ChangeRules { rules, prefixes, expected: self.expecting(self.model.version) }
    }

    fn open_tokens(&mut self) -> Call {
        let mut query = self.key_query();
        // A page on which one doesn't open is refused whole, so that pages would matter.
        let opens = |key: &KeyFile| {
            key.sealed_under.is_none_or(|number| self.model.opening.sealing_keys.contains(&number))
        };
        if !self.model.keys.values().all(opens) {
            query.limit = None;
        }
        Call::OpenTokens { query }
    }

    fn key_query(&mut self) -> KeyQuery {
        let mut owners = Vec::new();
        if self.chance.percent(50) {
            owners.push(self.owner());
            while self.chance.percent(35) {
                owners.push(self.owner());
            }
        }
        if self.chance.percent(1) {
            owners.extend((0..65).map(|n| OwnerId::new(format!("o{n}")).unwrap()));
        }
        KeyQuery {
            owners,
            kind: self.chance.maybe(20, |chance| chance.pick(&[Kind::Standard, Kind::Trial])),
            states: self.chance.maybe(45, |chance| {
                State::ALL.into_iter().filter(|_| chance.percent(60)).collect()
            }),
            after: self.chance.percent(12).then(|| self.key()),
            before: self.chance.percent(12).then(|| self.key()),
            limit: self
                .chance
                .maybe(60, |chance| chance.pick(&[0, 1, 1, 2, 3, 5, 10, 1_000, 10_000_000])),
        }
    }

    fn owner_query(&mut self) -> OwnerQuery {
        OwnerQuery {
            suspended: self.chance.maybe(30, |chance| chance.percent(50)),
            after: self.chance.percent(20).then(|| self.owner()),
            limit: self.chance.maybe(60, |chance| chance.pick(&[0, 1, 2, 10_000_000])),
        }
    }

    fn event_query(&mut self) -> EventQuery {
        let after = match self.chance.below(4) {
            0 => 0,
            1 => self.model.pruned_through(),
            2 => self.model.last_event.saturating_sub(self.chance.below(20) as u64),
            _ => self.chance.below(200) as u64,
        };
        EventQuery {
            after,
            limit: self.chance.maybe(60, |chance| chance.pick(&[0, 1, 3, 10, 10_000_000])),
            key: self.chance.percent(25).then(|| self.key()),
            owner: self.chance.percent(25).then(|| self.owner()),
            actor: self
                .chance
                .maybe(15, |chance| chance.pick(&["ann", "nobody", "zoë", ""]).into()),
            kind: self.chance.maybe(20, |chance| chance.pick(EventKind::ALL)),
            since: self.chance.percent(20).then(|| self.past()),
            until: self.chance.percent(20).then(|| self.past()),
        }
    }

    /// A key: mostly one that is there and not revoked.
    fn key(&mut self) -> KeyId {
        self.key_that(KeyFile::is_live)
    }

    /// A key, mostly one like that.
    fn key_that(&mut self, is_meant: impl Fn(&KeyFile) -> bool) -> KeyId {
        let all: Vec<KeyId> = self.model.keys.keys().copied().collect();
        let meant: Vec<KeyId> =
            self.model.keys.values().filter(|key| is_meant(key)).map(|key| key.id).collect();
        let is_good = |key: &&KeyFile| key.state(self.model.now) == State::Active;
        let oldest = self.model.keys.values().find(is_good);
        if let Some(oldest) = oldest
            && self.mood.is_about_one
            && is_meant(oldest)
            && self.chance.percent(60)
        {
            return oldest.id;
        }
        let found = match self.chance.below(40) {
            0 | 1 => self.chance.pick_late(self.ever),
            2 => None,
            3..=6 => self.chance.pick_late(&all),
            _ => self.chance.pick_late(if meant.is_empty() { &all } else { &meant }),
        };
        found.unwrap_or_else(|| KeyId::from_u128(u128::from(self.chance.number()) << 64))
    }

    /// An owner: mostly one that is there.
    fn owner(&mut self) -> OwnerId {
        self.owner_that(|_| true)
    }

    fn owner_that(&mut self, is_meant: impl Fn(&crate::model::OwnerFile) -> bool) -> OwnerId {
        let owners = self.model.owners.values();
        let meant: Vec<OwnerId> =
            owners.filter(|owner| is_meant(owner)).map(|owner| owner.id).collect();
        if meant.is_empty() || self.chance.percent(6) {
            return self.chance.pick(&self::owners());
        }
        self.chance.pick(&meant)
    }

    fn expecting_key(&mut self, id: KeyId) -> Option<Version> {
        let found = self.model.keys.get(&id).map_or(1, |key| key.version);
        self.expecting(found)
    }

    fn expecting_owner(&mut self, id: OwnerId) -> Option<Version> {
        let found = self.model.owners.get(&id).map_or(1, |owner| owner.version);
        self.expecting(found)
    }

    /// Mostly none, then the right one, seldom a wrong one.
    fn expecting(&mut self, found: u64) -> Option<Version> {
        let version = match self.chance.below(20) {
            0..=13 => return None,
            14..=17 => found,
            18 => found.saturating_sub(1),
            _ => found + 1,
        };
        Some(Version::new(version))
    }

    fn expiry(&mut self) -> Expiry {
        let now = self.model.now.as_millis();
        let at = match self.chance.below(30) {
            0..=6 => return Expiry::Never,
            7 => now,
            8 => now.saturating_sub(1),
            9 => now + 1,
            10..=13 => now + 60 * 60 * 1_000,
            14..=20 => now + 2 * DAY,
            21..=26 => now + 30 * DAY,
            27 => Timestamp::MAX.as_millis(),
            _ => now + self.chance.below(1_000_000) as u64,
        };
        Expiry::At(Timestamp::from_millis(at.min(Timestamp::MAX.as_millis())).unwrap())
    }

    /// A moment of the past, seldom now or later.
    fn past(&mut self) -> Timestamp {
        let now = self.model.now;
        match self.chance.below(12) {
            0 => now.saturating_add(Duration::from_millis(1)),
            1 | 2 => now,
            3 => now.saturating_sub(Duration::from_millis(1)),
            4..=7 => {
                let events: Vec<Timestamp> =
                    self.model.events.iter().map(|event| event.at).collect();
                self.chance.pick_late(&events).unwrap_or(now)
            }
            8 => Timestamp::MIN,
            9 => now.saturating_sub(Duration::from_secs(24 * 60 * 60)),
            _ => now.saturating_sub(Duration::from_secs(60 * 60)),
        }
    }

    fn reach(&mut self) -> Reach {
        match self.chance.below(40) {
            13..=27 => Reach::Full,
            0..=5 => Reach::ReadOnly,
            6 => Reach::limited(&["links:*"]),
            7 => Reach::limited(&["*:read"]),
            8 => Reach::limited(&["links:read"]),
            9 => Reach::limited(&["links:read", "stats:*"]),
            10 => Reach::limited(&["READ_DEVICES", "org:*:write"]),
            11 => Reach::limited(&["*:*"]),
            12 | 28 => Reach::limited(&["org:keys:*", "links:write", "stats:read"]),
            29 => Reach::limited(&["links:read", "nobody:knows"]),
            _ => Reach::limited(&[self.chance.pick(&self.model.opening.catalogue).0]),
        }
    }

    fn name(&mut self) -> String {
        match self.chance.below(40) {
            0 => String::new(),
            1 => "two\nlines".into(),
            2 => "é".repeat(128),
            3 => "é".repeat(127),
            4..=13 => "first".into(),
            14..=21 => "second".into(),
            _ => format!("key {}", self.chance.below(6)),
        }
    }

    fn prefix(&mut self) -> Prefix {
        if self.chance.percent(80) {
            return self.chance.pick(&self.model.opening.prefixes);
        }
        self.chance.pick(&prefixes())
    }

    fn external_id(&mut self) -> ExternalId {
        let used: Vec<u64> = self.model.external_ids.iter().copied().collect();
        let number = match self.chance.below(40) {
            0 => ExternalId::MAX - 1,
            1 => ExternalId::MAX,
            2..=20 => self.chance.pick_late(&used).unwrap_or(1),
            _ => 1 + self.chance.below(40) as u64,
        };
        ExternalId::new(number).unwrap()
    }

    fn cursor(&mut self) -> String {
        let digits: String = (0..68).map(|_| self.chance.pick(&['0', '7', 'a', 'f'])).collect();
        self.chance.pick(&[String::new(), "next".into(), "é".repeat(34), "0".repeat(68), digits])
    }

    /// An object to be taken over, or a patch; seldom one that is refused.
    fn settings(&mut self) -> Value {
        match self.chance.below(90) {
            0 => return json!([]),
            1 => return json!("text"),
            2 => return (0..257).map(|n| (format!("n{n}"), json!(n))).collect::<Value>(),
            3 => return (0..20).fold(json!({}), |inner, _| json!({ "a": inner })),
            4 => return json!({ "long": "x".repeat(16 * 1024) }),
            5 => return json!({ REFUSED_NAME: true }),
            6 => return json!({ "deep": (0..14).fold(json!(1), |inner, _| json!([inner])) }),
            _ => {}
        }
        let mut object = serde_json::Map::new();
        for name in ["colour", "limit", "größe"] {
            if self.chance.percent(60) {
                object.insert(name.into(), self.value());
            }
        }
        object.into()
    }

    fn value(&mut self) -> Value {
        match self.chance.below(9) {
            0 | 1 => Value::Null,
            2 => json!("blue"),
            3 => json!("a \"quoted\"\u{0} \u{1f511}"),
            4 => json!(self.chance.number()),
            5 => json!(-1),
            // Any number at all, so that what is read back must be the same to the last bit.
            6 => json!(f64::from_bits(self.chance.number())),
            7 => json!({ "w": 1, "h": [true, null] }),
            _ => json!(false),
        }
    }
}

/// What only administrators may ask for.
fn is_administrators(call: &Call) -> bool {
    match call {
        Call::ActOnOwner { .. }
        | Call::ChangeRules { .. }
        | Call::CreateOwner { .. }
        | Call::ListOwners { .. }
        | Call::MoveMark { .. }
        | Call::Prune { .. }
        | Call::Purge { .. }
        | Call::PurgeOwner { .. } => true,
        Call::ActOnKey { action, .. } => {
            matches!(action, OnKey::Block | OnKey::ConvertTrial(_) | OnKey::Unblock)
        }
        Call::CreateKey { key, .. } => key.kind == Kind::Trial,
        _ => false,
    }
}

/// The owners that a sequence knows.
pub(crate) fn owners() -> [OwnerId; 4] {
    ["acme", "b", "zoë", &"o".repeat(64)].map(|id| OwnerId::new(id).unwrap())
}

/// The prefixes that a sequence knows.
pub(crate) fn prefixes() -> Vec<Prefix> {
    let longest = "p".repeat(32);
    ["acme", "acme_live", "acme_test", "x", "_", "k9", "old", "new", &longest]
        .iter()
        .map(|text| Prefix::new(text).unwrap())
        .collect()
}

/// What a service may declare: some of all names, in any order.
pub(crate) fn catalogue(chance: &mut Chance) -> Names {
    let always = chance.below(NAMES.len());
    let declared = NAMES.into_iter().enumerate();
    let declared = declared.filter(|(at, _)| *at == always || chance.percent(85));
    let mut names: Names = declared.map(|(_, name)| name).collect();
    chance.shuffle(&mut names);
    names
}

/// Where the clock goes next: nowhere mostly, on, back, or to where something ends.
pub(crate) fn next_moment(chance: &mut Chance, model: &Model) -> Timestamp {
    let now = model.now;
    let millis = |n: u64| Duration::from_millis(n);
    match chance.below(40) {
        0..=17 => now,
        18..=24 => now.saturating_add(millis(1 + chance.below(5) as u64)),
        25..=27 => now.saturating_add(millis(1_000 * chance.below(3_600) as u64)),
        28..=30 => now.saturating_add(millis(chance.below(8) as u64 * 60 * 60 * 1_000)),
        31 => now.saturating_add(millis(chance.below(40) as u64 * DAY)),
        32 => now.saturating_sub(millis(1 + chance.below(1_000) as u64)),
        33 => now.saturating_sub(millis(chance.below(7_200_000) as u64)),
        34 => now.saturating_sub(millis(chance.below(3) as u64 * DAY)),
        _ => {
            let keys = model.keys.values();
            let ends: Vec<Timestamp> = keys
                .flat_map(|key| key.earlier.iter().map(|(_, end)| *end).chain(key.expires_at))
                .filter(|end| *end < now.saturating_add(millis(400 * DAY)))
                .collect();
            let Some(end) = chance.pick_late(&ends) else { return now };
            match chance.below(3) {
                0 => end.saturating_sub(millis(1)),
                1 => end,
                _ => end.saturating_add(millis(1)),
            }
        }
    }
}
