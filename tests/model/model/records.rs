//! The model's records of keys and owners, and their views.

use std::collections::BTreeSet;
use std::time::Duration;

use keyhasp::authority::{Authority, Role};
use keyhasp::id::{Generation, Incarnation, KeyId, OwnerId};
use keyhasp::key::{Kind, Lifetime, RejectReason, SetBy, State};
use keyhasp::{Prefix, Timestamp};
use serde_json::{Value, json};

use super::access::Reach;
use super::limits::LimitsFile;
use super::settings::{Object, effective};

/// A key.
#[derive(Clone, Debug)]
pub(crate) struct KeyFile {
    pub(crate) id: KeyId,
    pub(crate) owner: OwnerId,
    pub(crate) version: u64,
    pub(crate) numeric_id: Option<u64>,
    pub(crate) kind: Kind,
    pub(crate) name: Option<String>,
    pub(crate) access: Reach,
    pub(crate) access_by: SetBy,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) expiry_by: SetBy,
    pub(crate) limits: LimitsFile,
    pub(crate) settings: Object,
    /// The names of its own settings that an administrator has set.
    pub(crate) protected: BTreeSet<String>,
    pub(crate) prefix: Prefix,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: String,
    pub(crate) created_by_key: Option<KeyId>,
    pub(crate) created_as: SetBy,
    pub(crate) updated_at: Timestamp,
    pub(crate) current: TokenFile,
    /// Previous tokens whose digests are still kept, oldest first, each with its end.
    pub(crate) previous: Vec<(TokenFile, Timestamp)>,
    /// The number of the recovery key that seals the current token.
    pub(crate) sealed_under: Option<u16>,
    pub(crate) deactivated: Option<SwitchFile>,
    pub(crate) blocked: Option<SwitchFile>,
    pub(crate) revoked: Option<SwitchFile>,
    pub(crate) lapsed_at: Option<Timestamp>,
    pub(crate) tags: BTreeSet<String>,
}

/// A token.
#[derive(Clone, Debug)]
pub(crate) struct TokenFile {
    pub(crate) generation: u32,
    pub(crate) text: String,
    pub(crate) issued_at: Timestamp,
    /// When its grace began, if it has one.
    pub(crate) grace_from: Option<Timestamp>,
    /// When its grace ends by the clock that runs on in sleep, if the store knows that wall time was
    /// ahead when the grace began.
    pub(crate) known_end: Option<Timestamp>,
    /// Whether an invalidation has reached it.
    pub(crate) is_invalidated: bool,
    /// The number of the pepper of its digest.
    pub(crate) pepper: u16,
}

/// A switch that is on.
#[derive(Clone, Debug)]
pub(crate) struct SwitchFile {
    at: Timestamp,
    by: String,
    reason: Option<String>,
    set_by: SetBy,
    reason_for_owner: bool,
}

/// An owner.
#[derive(Clone, Debug)]
pub(crate) struct OwnerFile {
    pub(crate) id: OwnerId,
    pub(crate) version: u64,
    /// `None` as long as a call is only tried.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) defaults: Object,
    pub(crate) fixed: BTreeSet<String>,
    pub(crate) suspended: Option<SwitchFile>,
    pub(crate) max_access: Reach,
    pub(crate) limits: LimitsFile,
    pub(crate) max_keys: u32,
    pub(crate) lifetime: Lifetime,
    pub(crate) mark: Option<Mark>,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: String,
    pub(crate) updated_at: Timestamp,
    pub(crate) tags: BTreeSet<String>,
}

/// The invalidation of tokens by an owner or the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mark {
    pub(crate) moment: Timestamp,
    /// When tokens were last invalidated up to that time.
    up_to_now_at: Timestamp,
}

impl Mark {
    /// One that reaches no token.
    pub(crate) const NONE: Self = Self { moment: Timestamp::MIN, up_to_now_at: Timestamp::MIN };

    /// Returns the moment that is shown: none before which no token can have been issued.
    pub(crate) fn shown(self) -> Option<Timestamp> {
        Some(self.moment).filter(|moment| *moment > Timestamp::MIN)
    }

    /// Invalidates tokens issued before `to`. Returns the mark after that, and whether tokens with
    /// a stamp after `now` are reached: `to` is at most a minute ago, and no such invalidation came
    /// after it.
    pub(crate) fn after(before: Option<Self>, to: Timestamp, now: Timestamp) -> (Self, bool) {
        let before = before.unwrap_or(Self { moment: to, up_to_now_at: Timestamp::MIN });
        let last = before.up_to_now_at;
        let is_up_to_now = now.since(to) <= Duration::from_secs(60);
        let reaches_future = is_up_to_now && (to > last || last > now || before.moment > now);
        // A moment that lies ahead was set by a clock that was ahead.
        let moment = if before.moment <= now || !is_up_to_now { before.moment.max(to) } else { to };
        let up_to_now_at = if reaches_future { now } else { last };
        (Self { moment, up_to_now_at }, reaches_future)
    }
}

impl TokenFile {
    pub(crate) fn invalidate(&mut self, to: Timestamp, now: Timestamp, reaches_future: bool) {
        self.is_invalidated |= self.issued_at < to || reaches_future && self.issued_at > now;
    }
}

impl KeyFile {
    pub(crate) fn tokens_mut(&mut self) -> impl Iterator<Item = &mut TokenFile> {
        self.previous.iter_mut().map(|(token, _)| token).chain([&mut self.current])
    }

    /// Returns when it expired or was revoked, or will expire: the first of both.
    pub(super) fn ended_at(&self) -> Option<Timestamp> {
        let revoked_at = self.revoked.as_ref().map(|switch| switch.at);
        self.expires_at.into_iter().chain(revoked_at).min()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.revoked.is_none()
    }

    /// Returns whether it counts for its owner's number and names.
    pub(crate) fn counts(&self) -> bool {
        self.is_live() && self.lapsed_at.is_none()
    }

    pub(crate) fn state(&self, now: Timestamp) -> State {
        if self.revoked.is_some() {
            State::Revoked
        } else if self.blocked.is_some() {
            State::Blocked
        } else if self.deactivated.is_some() {
            State::Deactivated
        } else if self.has_expired(now) {
            State::Expired
        } else {
            State::Active
        }
    }

    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.lapsed_at.is_some() || self.expires_at.is_some_and(|at| now >= at)
    }

    /// The tokens whose digests are kept.
    pub(crate) fn tokens(&self) -> Vec<&TokenFile> {
        self.previous.iter().map(|(token, _)| token).chain([&self.current]).collect()
    }

    /// Returns the end of a generation's grace; `None` for the current generation.
    pub(crate) fn grace_end(&self, generation: u32) -> Option<Timestamp> {
        let found = self.previous.iter().find(|(token, _)| token.generation == generation);
        found.map(|(_, end)| *end)
    }

    /// Returns the previous tokens that live at `now` and weren't reached by an invalidation.
    pub(crate) fn living_previous(&self, now: Timestamp) -> Vec<(TokenFile, Timestamp)> {
        let lives = |(token, end): &&(TokenFile, Timestamp)| now < *end && !token.is_invalidated;
        self.previous.iter().filter(lives).cloned().collect()
    }

    /// Notes a change at `now`: the version grows by one, and tokens that have ended are dropped.
    pub(crate) fn change(&mut self, now: Timestamp) {
        self.version += 1;
        self.updated_at = now;
        self.previous = self.living_previous(now);
    }

    /// Shows the record as an answer does.
    pub(crate) fn shown(&self, owner: &OwnerFile, now: Timestamp) -> Value {
        let previous: Vec<Value> = self
            .living_previous(now)
            .iter()
            .map(|(token, end)| {
                json!({
                    "generation": token.generation,
                    "issued_at": token.issued_at,
                    "ends_at": end,
                })
            })
            .collect();
        let (public, _) = self.current.text.split_at(self.prefix.as_str().len() + 23);
        let (first, last) = (&public[..public.len() - 18], &public[public.len() - 6..]);
        let mut shown = json!({
            "id": self.id,
            "hint": format!("{first}…{last}"),
            "numeric_id": self.numeric_id,
            "owner": self.owner,
            "kind": self.kind,
            "state": self.state(now),
            "name": self.name,
            "tags": self.tags,
            "access": self.access.shown(),
            "access_by": self.access_by,
            "expires_at": self.expires_at,
            "expiry_by": self.expiry_by,
            "limits": self.limits.shown(),
            "settings": effective(self, owner),
            "own_settings": self.settings,
            "protected_settings": self.protected,
            "prefix": self.prefix,
            "generation": self.current.generation,
            "token_issued_at": self.current.issued_at,
            "previous_tokens": previous,
            "is_recoverable": self.sealed_under.is_some(),
            "deactivated": shown_switch(self.deactivated.as_ref()),
            "blocked": shown_switch(self.blocked.as_ref()),
            "revoked": shown_switch(self.revoked.as_ref()),
            "created_at": self.created_at,
            "created_by": self.created_by,
            "created_by_key": self.created_by_key,
            "created_as": self.created_as,
            "updated_at": self.updated_at,
            "version": self.version,
        });
        if let Some(at) = self.lapsed_at {
            shown["lapsed_at"] = json!(at);
        }
        if self.current.is_invalidated {
            shown["is_token_superseded"] = json!(true);
        }
        shown
    }

    /// Returns the later `not_before` of the key and its owner, if it lies in the future.
    pub(crate) fn begins(&self, owner: &OwnerFile, now: Timestamp) -> Option<Timestamp> {
        let both = [&self.limits.not_before, &owner.limits.not_before];
        let latest = both.into_iter().flatten().map(|from| from.value).max();
        latest.filter(|from| now < *from)
    }

    /// Returns the reason why a stored token isn't accepted, the owner's suspension first.
    pub(crate) fn rejected_for(
        &self,
        owner: &OwnerFile,
        token: &TokenFile,
        now: Timestamp,
    ) -> Option<RejectReason> {
        if owner.suspended.is_some() {
            return Some(RejectReason::Suspended);
        }
        match self.state(now) {
            State::Revoked => return Some(RejectReason::Revoked),
            State::Blocked => return Some(RejectReason::Blocked),
            State::Deactivated => return Some(RejectReason::Deactivated),
            State::Expired => return Some(RejectReason::Expired),
            State::Active => {}
        }
        let ran_out = self.grace_end(token.generation).is_some_and(|end| now >= end);
        (ran_out || token.is_invalidated).then_some(RejectReason::Superseded)
    }
}

impl OwnerFile {
    /// The number under which a quota counts that is set at a version: no other owner of this id
    /// has it.
    pub(crate) fn quota_version(&self, version: u64) -> u64 {
        quota_version(self.incarnation, version)
    }

    pub(crate) fn shown(&self) -> Value {
        json!({
            "id": self.id,
            "defaults": self.defaults,
            "fixed_defaults": self.fixed,
            "suspended": shown_switch(self.suspended.as_ref()),
            "max_access": self.max_access.shown(),
            "limits": self.limits.shown(),
            "max_keys": self.max_keys,
            "tags": self.tags,
            "lifetime": {
                "max_ms": self.lifetime.max().map(|time| time.as_millis() as u64),
                "default_ms": self.lifetime.default_lifetime().map(|time| time.as_millis() as u64),
            },
            "tokens_valid_from": self.mark.and_then(Mark::shown),
            "created_at": self.created_at,
            "created_by": self.created_by,
            "updated_at": self.updated_at,
            "version": self.version,
            "incarnation": self.incarnation,
        })
    }
}

/// Wraps at 2^53.
pub(crate) fn quota_version(incarnation: Option<Incarnation>, version: u64) -> u64 {
    (incarnation.map_or(0, Incarnation::get) + version) % (1 << 53)
}

impl SwitchFile {
    pub(crate) fn new(by: &Authority, now: Timestamp) -> Self {
        Self {
            at: now,
            by: by.actor.as_str().into(),
            reason: by.reason.as_ref().map(|reason| reason.as_str().into()),
            set_by: role_of(by),
            reason_for_owner: by.reason_for_owner,
        }
    }
}

fn role_of(by: &Authority) -> SetBy {
    match by.role {
        Role::Administrator => SetBy::Administrator,
        _ => SetBy::Owner,
    }
}

fn shown_switch(switch: Option<&SwitchFile>) -> Value {
    match switch {
        Some(switch) => json!({
            "at": switch.at,
            "by": switch.by,
            "reason": switch.reason,
            "set_by": switch.set_by,
            "reason_for_owner": switch.reason_for_owner,
        }),
        None => Value::Null,
    }
}

impl TokenFile {
    pub(crate) fn generation(&self) -> Generation {
        Generation::new(self.generation).unwrap()
    }
}
