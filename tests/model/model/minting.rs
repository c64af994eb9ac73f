//! New keys and new tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use keyhasp::authority::Role;
use keyhasp::event::Fields;
use keyhasp::id::{Generation, KeyId, OwnerId};
use keyhasp::key::{Expiry, Kind, Lifetime, SetBy};
use keyhasp::store::{ForbiddenReason, NumericIdChoice, StateProblem};
use keyhasp::{EventKind, Prefix, Timestamp};
use serde_json::{Value, json};

use super::authority::{Caller, Span};
use super::lapses::Newcomer;
use super::limits::LimitsFile;
use super::reason::Reason;
use super::records::{KeyFile, OwnerFile, TokenFile};
use super::settings::{Object, set};
use super::state::{Decided, Fresh, Model, unless_refused};
use crate::calls::NewKey;

impl Model {
    pub(super) fn create_key(
        &mut self,
        caller: &Caller,
        owner: OwnerId,
        key: &NewKey,
        fresh: &Fresh,
    ) -> Decided<Value> {
        if let Some(new) = &key.or_owner {
            caller.require_admin()?;
            if new.first_key.is_some() {
                return Err(vec![Reason::Invalid("or_create_owner")]);
            }
            if !self.owners.contains_key(&owner) {
                return self.create_owner_of_key(caller, owner, (new, key), fresh);
            }
        }
        let file = self.owner_in_reach(caller, owner)?;
        let mut reasons = self.against_new_key(caller, file, key);
        let name = key.name.as_deref().map(label);
        let (name, kind) = (name.as_deref(), key.kind);
        let newcomer = Newcomer { id: None, name, kind, is_new: true };
        let lapsing = self.room_for(owner, &newcomer).unwrap_or_else(|against| {
            reasons.extend(against);
            BTreeSet::new()
        });
        unless_refused(reasons)?;
        self.lapse(caller, &lapsing);
        Ok(self.add_key(caller, owner, key, fresh))
    }

    /// Returns the reasons against a new key that don't depend on its owner's other keys.
    pub(super) fn against_new_key(
        &self,
        caller: &Caller,
        owner: &OwnerFile,
        key: &NewKey,
    ) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if key.kind == Kind::Trial {
            reasons.extend(caller.not_admin());
        }
        if key.access.names_unknown(&self.opening.catalogue) {
            reasons.push(Reason::Invalid("access"));
        }
        let lifetime = self.lifetime_of(owner.lifetime);
        match LimitsFile::default().with(caller, &key.limits, 1) {
            Ok(limits) => reasons.extend(caller.beyond(&Span {
                access: key.access.clone(),
                limits,
                expires_at: expires_at(caller, key, lifetime, self.now),
                prefix: self.prefix_of(caller, key),
            })),
            Err(against) => reasons.extend(against),
        }
        reasons.extend(key.expiry.and_then(|expiry| against_expiry(expiry, self.now)));
        let expires_at = expires_at(caller, key, lifetime, self.now);
        reasons.extend(against_lifetime(caller, lifetime, self.now, expires_at));
        reasons.extend(key.name.as_deref().and_then(against_name));
        reasons.extend(key.tags.as_deref().and_then(against_tags));
        if let Some(patch) = &key.settings {
            let none = (&Object::new(), &BTreeSet::new());
            let of_owner = (&owner.defaults, &owner.fixed);
            reasons.extend(set(caller, none, of_owner, patch).err().unwrap_or_default());
        }
        match key.numeric_id {
            NumericIdChoice::Given(id) => {
                reasons.extend(caller.not_admin());
                if self.numeric_ids.contains(&id.get()) {
                    reasons.push(Reason::NumericIdTaken(id.get()));
                }
            }
            NumericIdChoice::Next if self.greatest_numeric_id() == i64::MAX as u64 => {
                reasons.push(Reason::NumericIdsExhausted);
            }
            _ => {}
        }
        let accepted = |prefix| self.prefixes.contains(&(prefix, true));
        if key.prefix.is_some_and(|prefix| !accepted(prefix)) {
            reasons.push(Reason::Invalid("prefix"));
        }
        let can_seal = self.rules.recoverable_tokens && !self.opening.recovery_keys.is_empty();
        if key.sealed && !can_seal {
            reasons.push(Reason::State(StateProblem::RecoveryOff));
        }
        if self.random_fails {
            reasons.push(Reason::Random);
        }
        reasons
    }

    /// Stores a key, and answers it with its token.
    pub(super) fn add_key(
        &mut self,
        caller: &Caller,
        owner: OwnerId,
        key: &NewKey,
        fresh: &Fresh,
    ) -> Value {
        let set_by = if caller.is_admin { SetBy::Administrator } else { SetBy::Owner };
        let numeric_id = match key.numeric_id {
            NumericIdChoice::Given(id) => Some(id.get()),
            NumericIdChoice::Next => Some(self.greatest_numeric_id() + 1),
            NumericIdChoice::None => None,
        };
        self.numeric_ids.extend(numeric_id);
        let (id, _) = drawn(fresh);
        let sealed_under =
            if key.sealed { self.opening.recovery_keys.first().copied() } else { None };
        let limits = LimitsFile::default().with(caller, &key.limits, 1).unwrap_or_default();
        let lifetime = self.lifetime_of(self.owners[&owner].lifetime);
        let none = (&Object::new(), &BTreeSet::new());
        let own = key.settings.as_ref();
        let of_owner = (&self.owners[&owner].defaults, &self.owners[&owner].fixed);
        let own = own.and_then(|patch| set(caller, none, of_owner, patch).ok());
        let (settings, protected) = own.unwrap_or_default();
        let file = KeyFile {
            id,
            owner,
            version: 1,
            numeric_id,
            kind: key.kind,
            name: key.name.as_deref().map(label),
            access: key.access.clone(),
            access_by: set_by,
            expires_at: expires_at(caller, key, lifetime, self.now),
            expiry_by: set_by,
            limits,
            settings,
            protected,
            prefix: self.prefix_of(caller, key),
            created_at: self.now,
            created_by: caller.by.actor.as_str().into(),
            created_by_key: match caller.by.role {
                Role::Delegate { key, .. } | Role::OwnerByKey { key, .. } => Some(key),
                _ => None,
            },
            created_as: set_by,
            updated_at: self.now,
            current: self.new_token(owner, 1, fresh),
            previous: Vec::new(),
            sealed_under,
            deactivated: None,
            blocked: None,
            revoked: None,
            lapsed_at: None,
            tags: key.tags.iter().flatten().cloned().collect(),
        };
        let fields = [
            (true, Fields::TOKEN),
            (true, Fields::ACCESS),
            (file.name.is_some(), Fields::NAME),
            (!file.tags.is_empty(), Fields::TAGS),
            (file.expires_at.is_some(), Fields::EXPIRY),
            (!file.settings.is_empty(), Fields::SETTINGS),
            (file.sealed_under.is_some(), Fields::SEAL),
        ];
        let fields = all(&fields).with(file.limits.differing(&LimitsFile::default()));
        let text = file.current.text.clone();
        self.keys.insert(id, file);
        let first = Some(Generation::FIRST);
        self.note_key(&caller.by, EventKind::KeyCreated, id, first, fields);
        json!({ "key": self.shown_key(id), "token": text, "dropped": null })
    }

    /// Returns the prefix of a new key: the given one, otherwise a delegate's own, otherwise the
    /// first of the opening.
    fn prefix_of(&self, caller: &Caller, key: &NewKey) -> Prefix {
        key.prefix.or(caller.acting_prefix()).unwrap_or(self.opening.prefixes[0])
    }

    /// Makes a token that is issued now, or at `tokens_valid_from` if that is later.
    pub(super) fn new_token(&self, owner: OwnerId, generation: u32, fresh: &Fresh) -> TokenFile {
        let marks = [self.owners.get(&owner).and_then(|owner| owner.mark), self.mark];
        let moments = marks.into_iter().flatten().map(|mark| mark.moment);
        let (_, text) = drawn(fresh);
        TokenFile {
            generation,
            text,
            issued_at: moments.fold(self.now, Ord::max),
            grace_from: None,
            known_end: None,
            is_invalidated: false,
            pepper: self.opening.peppers[0],
        }
    }

    /// The keys that count for an owner's number and names, newest first.
    pub(super) fn counting_keys(&self, owner: OwnerId) -> Vec<&KeyFile> {
        self.keys.values().rev().filter(|key| key.owner == owner && key.counts()).collect()
    }

    /// The unrevoked keys of an owner, newest first.
    pub(super) fn unrevoked_keys(&self, owner: OwnerId) -> Vec<&KeyFile> {
        self.keys.values().rev().filter(|key| key.owner == owner && key.is_live()).collect()
    }

    fn greatest_numeric_id(&self) -> u64 {
        self.numeric_ids.last().copied().unwrap_or(0)
    }
}

/// Returns the expiry of a new key: the given one, otherwise the end of the lifetime that is the
/// default or the greatest, or that of a delegate's own key, whichever comes first.
fn expires_at(
    caller: &Caller,
    key: &NewKey,
    lifetime: [Lifetime; 2],
    now: Timestamp,
) -> Option<Timestamp> {
    if let Some(expiry) = key.expiry {
        return expiry.at();
    }
    let times = lifetime.map(|lifetime| lifetime.default_lifetime().or(lifetime.max()));
    let mut ends: Vec<Timestamp> =
        times.into_iter().flatten().map(|time| now.saturating_add(time)).collect();
    ends.extend(caller.default_expiry());
    ends.into_iter().min()
}

/// Returns the reason against an expiry that lies further from the creation than the greatest
/// lifetime.
pub(super) fn against_lifetime(
    caller: &Caller,
    lifetime: [Lifetime; 2],
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
) -> Option<Reason> {
    let greatest: Duration = lifetime.into_iter().filter_map(Lifetime::max).min()?;
    let latest = created_at.saturating_add(greatest);
    let is_within = expires_at.is_some_and(|at| at <= latest);
    let forbidden = Reason::Forbidden(ForbiddenReason::BeyondLifetime { latest });
    (!caller.is_admin && !is_within).then_some(forbidden)
}

/// Returns the reason against a name. A name has 1 to 255 bytes without the white space at its ends.
/// It has no control characters, separators of lines, or characters that turn the direction of text
/// or aren't seen (of the last, those that names are made with here). A joiner needs a character
/// outside ASCII before it.
pub(super) fn against_name(name: &str) -> Option<Reason> {
    const UNSEEN: &str = "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{ad}\u{200b}\u{2060}\u{3164}\u{feff}";
    let is_refused = |c: char| c.is_control() || UNSEEN.contains(c);
    let mut pairs = name.chars().zip(name.chars().skip(1));
    let is_loose = name.starts_with(JOINERS)
        || pairs.any(|(before, c)| JOINERS.contains(&c) && before.is_ascii());
    let is_refused = name.chars().any(is_refused) || is_loose;
    let is_fine = (1..=255).contains(&label(name).len()) && !is_refused;
    (!is_fine).then_some(Reason::Invalid("name"))
}

/// Returns the reason against tags: at most 16 different ones, of 1 to 64 characters each.
pub(super) fn against_tags(tags: &[String]) -> Option<Reason> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_.:/=+-@".contains(c);
    let is_tag = |tag: &String| (1..=64).contains(&tag.len()) && tag.chars().all(is_allowed);
    if !tags.iter().all(is_tag) {
        return Some(Reason::Invalid("tag"));
    }
    let different: BTreeSet<&String> = tags.iter().collect();
    (different.len() > 16).then_some(Reason::Invalid("tags"))
}

const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// A name as it is kept: without the white space at its ends.
pub(super) fn label(name: &str) -> String {
    let start = name.trim_start_matches(char::is_whitespace);
    start.trim_end_matches(char::is_whitespace).into()
}

/// Returns the reason against an expiry that isn't in the future.
pub(super) fn against_expiry(expiry: Expiry, now: Timestamp) -> Option<Reason> {
    expiry.at().is_some_and(|at| at <= now).then_some(Reason::Invalid("expiry"))
}

/// The fields for which the condition holds.
pub(super) fn all(fields: &[(bool, Fields)]) -> Fields {
    let set = fields.iter().filter(|(is_set, _)| *is_set);
    set.fold(Fields::NONE, |all, (_, field)| all.with(*field))
}

/// Returns the value that the store has drawn. Without an answer of the store any value does, since
/// the comparison fails anyway.
fn drawn(fresh: &Fresh) -> (KeyId, String) {
    fresh.token.clone().unwrap_or_else(|| (KeyId::from_u128(0), String::new()))
}
