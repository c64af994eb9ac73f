//! Values of calls.

use std::time::Duration;

use keyhasp::id::{KeyId, NumericId, OwnerId, Version};
use keyhasp::key::{Expiry, State};
use keyhasp::{Prefix, Timestamp};
use serde_json::{Value, json};

use super::Generator;
use super::clock::DAY;
use super::world::{owners, prefixes};
use crate::model::{KeyFile, REFUSED_NAME, Reach};

impl Generator<'_> {
    /// Picks a key, mostly one that exists and isn't revoked.
    pub(super) fn key(&mut self) -> KeyId {
        self.key_that(KeyFile::is_live)
    }

    /// Picks a key, mostly one with this property.
    pub(super) fn key_that(&mut self, is_meant: impl Fn(&KeyFile) -> bool) -> KeyId {
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

    /// Picks an owner, mostly one that exists.
    pub(super) fn owner(&mut self) -> OwnerId {
        self.owner_that(|_| true)
    }

    pub(super) fn owner_that(
        &mut self,
        is_meant: impl Fn(&crate::model::OwnerFile) -> bool,
    ) -> OwnerId {
        let owners = self.model.owners.values();
        let meant: Vec<OwnerId> =
            owners.filter(|owner| is_meant(owner)).map(|owner| owner.id).collect();
        if meant.is_empty() || self.chance.percent(6) {
            return self.chance.pick(&self::owners());
        }
        self.chance.pick(&meant)
    }

    pub(super) fn expecting_key(&mut self, id: KeyId) -> Option<Version> {
        let found = self.model.keys.get(&id).map_or(1, |key| key.version);
        self.if_version(found)
    }

    pub(super) fn expecting_owner(&mut self, id: OwnerId) -> Option<Version> {
        let found = self.model.owners.get(&id).map_or(1, |owner| owner.version);
        self.if_version(found)
    }

    /// Picks an expected version: mostly none, then the right one, seldom a wrong one.
    pub(super) fn if_version(&mut self, found: u64) -> Option<Version> {
        let version = match self.chance.below(20) {
            0..=13 => return None,
            14..=17 => found,
            18 => found.saturating_sub(1),
            _ => found + 1,
        };
        Some(Version::new(version))
    }

    pub(super) fn expiry(&mut self) -> Expiry {
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

    /// Picks a time in the past, seldom now or later.
    pub(super) fn past(&mut self) -> Timestamp {
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
            // The value that is there already.
            10 => self.chance.pick_late(&self.marks()).unwrap_or(now),
            9 => now.saturating_sub(Duration::from_secs(24 * 60 * 60)),
            _ => now.saturating_sub(Duration::from_secs(60 * 60)),
        }
    }

    fn marks(&self) -> Vec<Timestamp> {
        self.model
            .owners
            .values()
            .map(|owner| owner.mark)
            .chain([self.model.mark])
            .flatten()
            .map(|mark| mark.moment)
            .collect()
    }

    pub(super) fn reach(&mut self) -> Reach {
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

    pub(super) fn name(&mut self) -> String {
        match self.chance.below(40) {
            0 => String::new(),
            1 => "two\nlines".into(),
            2 => "é".repeat(128),
            3 => "é".repeat(127),
            4..=11 => "first".into(),
            12 => " first\u{a0}".into(),
            13 => self
                .chance
                .pick(&[
                    "\u{2003} ",
                    "first\u{202e}",
                    "\u{2028}second",
                    "sec\u{2067}ond",
                    "fi\u{200b}rst",
                    "\u{feff}first",
                    "first\u{200d}",
                    "\u{1f469}\u{200d}\u{1f4bb}",
                    "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}",
                ])
                .into(),
            14..=21 => "second".into(),
            _ => format!("key {}", self.chance.below(6)),
        }
    }

    /// A few tags, seldom one that is refused or too many.
    pub(super) fn tags(&mut self) -> Vec<String> {
        if self.chance.percent(2) {
            return (0..17).map(|n| n.to_string()).collect();
        }
        (0..self.chance.below(4)).map(|_| self.tag()).collect()
    }

    pub(super) fn tag(&mut self) -> String {
        let bad = ["", "two words", &"x".repeat(65), "é"];
        if self.chance.percent(2) {
            return self.chance.pick(&bad).into();
        }
        self.chance.pick(&["ci", "CI", "env=prod", "team:a", "team:b/1"]).into()
    }

    pub(super) fn prefix(&mut self) -> Prefix {
        if self.chance.percent(80) {
            return self.chance.pick(&self.model.opening.prefixes);
        }
        self.chance.pick(&prefixes())
    }

    pub(super) fn numeric_id(&mut self) -> NumericId {
        let used: Vec<u64> = self.model.numeric_ids.iter().copied().collect();
        let number = match self.chance.below(40) {
            0 => NumericId::MAX - 1,
            1 => NumericId::MAX,
            2..=20 => self.chance.pick_late(&used).unwrap_or(1),
            _ => 1 + self.chance.below(40) as u64,
        };
        NumericId::new(number).unwrap()
    }

    pub(super) fn cursor(&mut self) -> String {
        let digits: String = (0..68).map(|_| self.chance.pick(&['0', '7', 'a', 'f'])).collect();
        self.chance.pick(&[String::new(), "next".into(), "é".repeat(34), "0".repeat(68), digits])
    }

    /// Makes settings or a patch, seldom ones that are refused.
    pub(super) fn settings(&mut self) -> Value {
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

    /// Picks names of settings, mostly few.
    pub(super) fn setting_names(&mut self) -> Vec<String> {
        let names = ["colour", "limit", "größe"].into_iter();
        names.filter(|_| self.chance.percent(35)).map(Into::into).collect()
    }

    pub(super) fn value(&mut self) -> Value {
        match self.chance.below(9) {
            0 | 1 => Value::Null,
            2 => json!("blue"),
            3 => json!("a \"quoted\"\u{0} \u{1f511}"),
            4 => json!(self.chance.number()),
            5 => json!(-1),
            // Any number, so that the number that is read back must be the same to the last bit.
            6 => json!(f64::from_bits(self.chance.number())),
            7 => json!({ "w": 1, "h": [true, null] }),
            _ => json!(false),
        }
    }
}
