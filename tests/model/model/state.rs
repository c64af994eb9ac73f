//! The state of the model, and the dispatch of calls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyhasp::authority::{Actor, Authority, Role};
use keyhasp::event::{Event, EventDraft, Fields};
use keyhasp::id::{Generation, Incarnation, KeyId, OwnerId, Version};
use keyhasp::key::{Lifetime, StoreRules};
use keyhasp::{EventKind, Prefix, Timestamp};
use serde_json::{Value, json};

use super::access::Names;
use super::authority::Caller;
use super::eyes::hide_administrators;
use super::once::{RequestFile, Scope};
use super::reason::Reason;
use super::records::{KeyFile, Mark, OwnerFile};
use super::spending::{Account, Bucket, Holder};
use super::sweeps::SweepsFile;
use super::usage::UsesFile;
use super::watching::{Alert, AlertStateFile, Alerts};
use crate::calls::{Call, OnKey};
use crate::plans::{UsagePlan, WatchPlan};

const MINUTE: Duration = Duration::from_secs(60);

/// The settings with which a store was opened.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) catalogue: Names,
    pub(crate) prefixes: Vec<Prefix>,
    /// The numbers of the open peppers, the current one first.
    pub(crate) peppers: Vec<u16>,
    /// The numbers of the open recovery keys, the current one first.
    pub(crate) recovery_keys: Vec<u16>,
    pub(crate) usage: Option<UsagePlan>,
    pub(crate) watch: WatchPlan,
    /// The time for which keys are kept that have ended.
    pub(crate) key_retention: Option<Duration>,
}

/// Values that the model can't know beforehand: drawn at random, or the store's own choice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fresh {
    /// The id and the token of the key that was made or rotated.
    pub(crate) token: Option<(KeyId, String)>,
    /// The incarnation of the owner that was made.
    pub(crate) incarnation: Option<Incarnation>,
    /// Whether a first query gave a cursor.
    pub(crate) gave_cursor: bool,
    /// The alerts of keys, in the order in which they were written.
    pub(crate) told: Vec<Alert>,
    /// The reasons of the refused ones of many changes, in their order.
    pub(crate) refused: Vec<Option<Reason>>,
}

/// The answer of a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Events { items: Vec<Event>, pruned_through: u64 },
    Shown(Value),
}

/// The model.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) now: Timestamp,
    /// Whether the source of randomness fails now.
    pub(crate) random_fails: bool,
    pub(crate) opening: Opening,
    pub(crate) rules: StoreRules,
    /// Every prefix ever accepted, and whether it is accepted now.
    pub(crate) prefixes: Vec<(Prefix, bool)>,
    /// Every pepper ever opened.
    pub(crate) known_peppers: BTreeSet<u16>,
    /// Those of them that are retired.
    pub(crate) retired_peppers: BTreeSet<u16>,
    /// Every recovery key ever opened.
    known_recovery_keys: BTreeSet<u16>,
    pub(crate) version: u64,
    /// What wall time would be if it had run like the clock that runs on in sleep since the opening.
    pub(crate) expected: Timestamp,
    /// The time at the opening.
    pub(super) opened_at: Timestamp,
    /// The time since the opening from which on the next pass over ended keys is due.
    pub(super) purges_from: Duration,
    /// The number of keys that were purged since they had ended long ago.
    pub(crate) purges: usize,
    /// The time of the newest event: of the last one at the opening, and of those since that a right
    /// clock dated.
    pub(crate) newest_event: Timestamp,
    pub(crate) mark: Option<Mark>,
    pub(crate) owners: BTreeMap<OwnerId, OwnerFile>,
    /// Every incarnation that there ever was.
    pub(crate) incarnations: BTreeSet<(OwnerId, Incarnation)>,
    pub(crate) keys: BTreeMap<KeyId, KeyFile>,
    /// Consumption of the rates that were used since the store was opened.
    pub(super) buckets: BTreeMap<Holder, Bucket>,
    /// The rest of each quota that was ever used.
    pub(super) accounts: BTreeMap<Holder, Account>,
    /// The usage of the keys that exist.
    pub(super) uses: BTreeMap<KeyId, UsesFile>,
    /// The interval of the resolution in which a use of each key was last noted, since the store
    /// was opened.
    pub(super) noted_in: BTreeMap<KeyId, u128>,
    /// The latest time of an accepted use that was noted, and of a flush, since the clock stepped
    /// back.
    pub(super) latest_noted: Timestamp,
    pub(super) told: BTreeMap<KeyId, AlertStateFile>,
    pub(super) alerts: Alerts,
    /// Kept for ever.
    pub(crate) numeric_ids: BTreeSet<u64>,
    /// The number of keys that have lapsed.
    pub(crate) lapses: usize,
    /// Sweeps that pieces have yet to write, by owners' ids.
    pub(super) sweeps: BTreeMap<OwnerId, SweepsFile>,
    /// The requests that took effect once.
    pub(super) requests: BTreeMap<(Scope, String), RequestFile>,
    pub(crate) events: Vec<Event>,
    /// The number of all events that there ever were.
    pub(crate) last_event: u64,
}

/// The authority of what a store does by itself.
fn by_keyhasp() -> Authority {
    Authority::new(Role::Administrator, Actor::new("keyhasp").unwrap())
}

/// The decision of a rule of the model.
pub(super) type Decided<T> = Result<T, Vec<Reason>>;

impl Model {
    /// A new store.
    pub(crate) fn new(now: Timestamp, rules: StoreRules, opening: Opening) -> Self {
        let mut model = Self {
            now,
            random_fails: false,
            rules,
            prefixes: opening.prefixes.iter().map(|prefix| (*prefix, true)).collect(),
            known_peppers: opening.peppers.iter().copied().collect(),
            retired_peppers: BTreeSet::new(),
            known_recovery_keys: opening.recovery_keys.iter().copied().collect(),
            opening,
            version: 1,
            expected: now,
            opened_at: now,
            purges_from: Duration::ZERO,
            purges: 0,
            newest_event: Timestamp::MIN,
            mark: None,
            owners: BTreeMap::new(),
            incarnations: BTreeSet::new(),
            keys: BTreeMap::new(),
            buckets: BTreeMap::new(),
            accounts: BTreeMap::new(),
            uses: BTreeMap::new(),
            noted_in: BTreeMap::new(),
            latest_noted: Timestamp::MIN,
            told: BTreeMap::new(),
            alerts: Alerts::new(now),
            numeric_ids: BTreeSet::new(),
            lapses: 0,
            sweeps: BTreeMap::new(),
            requests: BTreeMap::new(),
            events: Vec::new(),
            last_event: 0,
        };
        model.note(&by_keyhasp(), EventKind::StoreCreated, None, None, 1, None, Fields::NONE);
        model
    }

    /// Opens the same store again.
    pub(crate) fn reopen(&mut self, opening: Opening) {
        self.begin_opening();
        let added = |known: &mut BTreeSet<u16>, opened: &[u16]| {
            let before = known.len();
            known.extend(opened);
            known.len() > before
        };
        let pepper = added(&mut self.known_peppers, &opening.peppers);
        let recovery_key = added(&mut self.known_recovery_keys, &opening.recovery_keys);
        self.opening = opening;
        for (is_added, kind, fields) in [
            (pepper, EventKind::PepperAdded, Fields::PEPPERS),
            (recovery_key, EventKind::RecoveryKeyAdded, Fields::RECOVERY_KEYS),
        ] {
            if is_added {
                self.version += 1;
                self.note(&by_keyhasp(), kind, None, None, self.version, None, fields);
            }
        }
        self.mend_graces();
    }

    /// Returns by how much the clock is ahead, if that is more than a minute.
    pub(crate) fn ahead(&self) -> Option<Duration> {
        Some(self.now.since(self.expected)).filter(|by| *by > MINUTE)
    }

    /// Returns the time of the newest event, if it lies over a minute after now.
    pub(crate) fn behind_log(&self, newest_event: Timestamp) -> Option<Timestamp> {
        Some(newest_event).filter(|newest| newest.since(self.now) > MINUTE)
    }

    /// Returns the time of the last event in the log, as an opening finds it.
    pub(crate) fn time_of_last_event(&self) -> Timestamp {
        self.events.last().map_or(Timestamp::MIN, |event| event.draft.at)
    }

    /// Returns the time of an event, if the clock was right by which it was dated, as far as a store
    /// can tell now.
    pub(crate) fn right_time_of(&self, event: &Event) -> Option<Timestamp> {
        Some(event.draft.at).filter(|at| *at <= self.expected.saturating_add(MINUTE))
    }

    /// Performs a call and returns its answer. Or returns all the reasons for which the call may be
    /// refused, and changes nothing.
    pub(crate) fn call(&mut self, by: &Authority, call: &Call, fresh: &Fresh) -> Decided<Answer> {
        self.note_time();
        // These calls have no caller with an authority.
        match call {
            Call::Recover => return Ok(Answer::Shown(Value::Null)),
            Call::Wait { .. } => return Ok(Answer::Shown(self.last_event.into())),
            Call::FlushUsage => {
                self.flush_usage();
                return Ok(Answer::Shown(Value::Null));
            }
            Call::WorkSweeps { pieces } => {
                return Ok(Answer::Shown(self.work_sweeps(*pieces).into()));
            }
            Call::LookOut => {
                let told = self.run_alerts(&fresh.told);
                return Ok(Answer::Shown(shown_alerts(told.len(), &told)));
            }
            Call::PurgeMany { ids, expected } => {
                let purge =
                    |model: &mut Self, caller: &Caller, id| model.purge(caller, id, *expected);
                return Ok(self.many(by, ids, purge, fresh));
            }
            Call::RevokeMany { ids, expected } => {
                let revoke = |model: &mut Self, caller: &Caller, id| {
                    model.act_on_key(caller, id, &OnKey::Revoke, *expected)
                };
                return Ok(self.many(by, ids, revoke, fresh));
            }
            Call::Once { name, call } => {
                self.mend_graces();
                let mut shown = self.once(by, name, call, fresh)?;
                if by.role != Role::Administrator {
                    hide_administrators(&mut shown);
                }
                return Ok(Answer::Shown(shown));
            }
            _ => {}
        }
        if call.may_change() {
            self.mend_graces();
        }
        let caller = self.caller(by)?;
        let mut shown = match call {
            Call::ActOnKey { id, action, expected } => {
                self.act_on_key(&caller, *id, action, *expected)?
            }
            Call::ActOnOwner { id, action, expected } => {
                self.act_on_owner(&caller, *id, action, *expected)?
            }
            Call::ChangeRules { rules, prefixes, expected } => {
                self.change_rules(&caller, *rules, prefixes.as_deref(), *expected)?
            }
            Call::Count { query } => self.count(&caller, query)?,
            Call::CreateKey { owner, key } => self.create_key(&caller, *owner, key, fresh)?,
            Call::CreateOwner { id, owner } => self.create_owner(&caller, *id, owner, fresh)?,
            Call::Events { query } => return self.read_events(&caller, query),
            Call::Find { id } => self.find(&caller, *id)?,
            Call::ForeignCursor { of, used_for } => {
                self.use_cursor(&caller, of, used_for, fresh.gave_cursor)?
            }
            Call::Get { id } => self.get(&caller, *id)?,
            Call::GetOwner { id } => self.owner_in_reach(&caller, *id)?.shown(),
            Call::Leaked { text, block } => self.leaked(&caller, text, *block)?,
            Call::List { query } => self.list(&caller, query)?,
            Call::ListOwners { query } => self.list_owners(&caller, query)?,
            Call::MadeUpCursor { .. } => return Err(vec![Reason::Invalid("cursor")]),
            Call::InvalidateTokens { to, expected } => self.move_mark(&caller, *to, *expected)?,
            Call::RetirePepper { number, if_in_use, expected } => {
                self.retire_pepper(&caller, *number, *if_in_use, *expected)?
            }
            Call::OpenToken { id } => self.reveal_token(&caller, *id)?,
            Call::OpenTokens { query } => self.reveal_tokens(&caller, query)?,
            Call::Prune { before } => self.prune(&caller, *before)?,
            Call::Purge { id, expected } => self.purge(&caller, *id, *expected)?,
            Call::PurgeOwner { id, expected } => self.purge_owner(&caller, *id, *expected)?,
            Call::RevokeAll { owner, replacement, expected } => {
                self.revoke_all(&caller, *owner, replacement.as_ref(), *expected, fresh)?
            }
            Call::RevokeTree { id, expected } => self.revoke_tree(&caller, *id, *expected)?,
            Call::Rotate { id, how, expected } => {
                self.rotate(&caller, *id, *how, *expected, fresh)?
            }
            Call::ReplaceLost { id, name } => self.replace_lost(&caller, *id, name, fresh)?,
            Call::FlushUsage
            | Call::LookOut
            | Call::Once { .. }
            | Call::PurgeMany { .. }
            | Call::Recover
            | Call::RevokeMany { .. }
            | Call::Wait { .. }
            | Call::WorkSweeps { .. } => Value::Null,
            Call::Rules => self.shown_rules(),
        };
        if !caller.is_admin {
            hide_administrators(&mut shown);
        }
        Ok(Answer::Shown(shown))
    }

    /// Makes a call for each of many keys, one after the other.
    fn many(
        &mut self,
        by: &Authority,
        ids: &[KeyId],
        call: impl Fn(&mut Self, &Caller, KeyId) -> Decided<Value>,
        fresh: &Fresh,
    ) -> Answer {
        self.mend_graces();
        let mut outcomes = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            let told = fresh.refused.get(at).cloned().flatten();
            let outcome = self.caller(by).and_then(|caller| {
                let mut shown = call(self, &caller, *id)?;
                if !caller.is_admin {
                    hide_administrators(&mut shown);
                }
                Ok(shown)
            });
            outcomes.push(outcome.unwrap_or_else(|reasons| {
                shown_refusal(
                    told.as_ref().filter(|told| reasons.contains(told)).unwrap_or(&reasons[0]),
                )
            }));
        }
        Answer::Shown(outcomes.into())
    }

    /// Returns the lifetimes that hold for an owner's keys: the owner's and the store's.
    pub(super) fn lifetime_of(&self, owner: Lifetime) -> [Lifetime; 2] {
        [owner, self.rules.lifetime]
    }

    /// Shows a key as an answer does.
    pub(crate) fn shown_key(&self, id: KeyId) -> Value {
        let key = &self.keys[&id];
        let owner = &self.owners[&key.owner];
        let mut shown = key.shown(owner, self.now);
        if let Some(usage) = self.shown_usage(id) {
            shown["usage"] = usage;
        }
        shown
    }

    #[allow(clippy::too_many_arguments)] // An event has that many fields.
    pub(super) fn note(
        &mut self,
        by: &Authority,
        kind: EventKind,
        owner: Option<OwnerId>,
        key: Option<KeyId>,
        version: u64,
        generation: Option<Generation>,
        fields: Fields,
    ) {
        self.last_event += 1;
        let incarnation = owner.and_then(|owner| self.owners.get(&owner)?.incarnation);
        let draft = EventDraft {
            at: self.now,
            kind,
            owner,
            key,
            version: Version::new(version),
            generation,
            fields,
            authority: by.clone(),
        };
        let event = Event { binding: None, sequence: self.last_event, incarnation, draft };
        self.newest_event = self.right_time_of(&event).max(Some(self.newest_event)).unwrap();
        self.events.push(event);
    }

    /// Notes an event of a key.
    pub(super) fn note_key(
        &mut self,
        by: &Authority,
        kind: EventKind,
        key: KeyId,
        generation: Option<Generation>,
        fields: Fields,
    ) {
        let (owner, version) = (self.keys[&key].owner, self.keys[&key].version);
        self.alerts.note_change(key);
        self.note(by, kind, Some(owner), Some(key), version, generation, fields);
    }

    /// Notes an event of an owner.
    pub(super) fn note_owner(
        &mut self,
        by: &Authority,
        kind: EventKind,
        owner: OwnerId,
        fields: Fields,
    ) {
        let version = self.owners[&owner].version;
        self.note(by, kind, Some(owner), None, version, None, fields);
    }
}

/// The outcome of a scan for alerts.
pub(crate) fn shown_alerts(count: usize, told: &[Alert]) -> Value {
    let each = |alert: &Alert| json!([alert.kind, alert.key, alert.generation]);
    json!({ "count": count, "told": told.iter().map(each).collect::<Vec<_>>() })
}

/// Checks that a record has the version that the caller expects.
pub(super) fn conflict(expected: Option<Version>, found: u64) -> Option<Reason> {
    match expected {
        Some(expected) if expected.get() != found => Some(Reason::Conflict { expected, found }),
        _ => None,
    }
}

/// Returns `Ok` if there is no reason to refuse.
pub(super) fn unless_refused(reasons: Vec<Reason>) -> Decided<()> {
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

/// Shows the refusal of one of many changes.
pub(crate) fn shown_refusal(reason: &Reason) -> Value {
    json!({ "refused": format!("{reason:?}") })
}
