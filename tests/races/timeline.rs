//! The log's account of what happened: replayed by the plainest of rules, and held against them.

use std::collections::{BTreeMap, HashMap};

use keyhasp::EventKind;

use crate::history::{Ask, Entry, History, Logged, SET_UP};

/// Largest number of live previous tokens of a key.
const MAX_PREVIOUS: usize = 5;

/// A record as one event left it, and the call that did it.
#[derive(Clone, Debug)]
pub(crate) struct Version<S> {
    pub(crate) state: S,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) process: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyState {
    pub(crate) owner: String,
    pub(crate) generation: u32,
    pub(crate) previous: Vec<u32>,
    pub(crate) revoked: bool,
    pub(crate) blocked: bool,
    pub(crate) deactivated: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct OwnerState {
    pub(crate) suspended: bool,
}

/// Every version of everything, in order; that of number 1 comes first.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// The version of its owner with which a key was revoked with all others.
    pub(crate) swept: BTreeMap<String, usize>,
    pub(crate) keys: BTreeMap<String, Vec<Version<KeyState>>>,
    pub(crate) owners: BTreeMap<String, Vec<Version<OwnerState>>>,
    /// How many unrevoked keys an owner had, after each change of theirs.
    pub(crate) live: BTreeMap<String, Vec<Version<usize>>>,
    /// The versions that a call made: of which key, or of the owner where there is none.
    pub(crate) effects: HashMap<String, Vec<(Option<String>, u64)>>,
}

/// One change: its events, and when its call was made and answered.
struct Change<'a> {
    events: &'a [Logged],
    entry: Option<&'a Entry>,
}

impl Timeline {
    /// Replays the log.
    pub(crate) fn of(history: &History) -> Result<Self, String> {
        let calls: HashMap<&str, &Entry> =
            history.entries.iter().map(|entry| (entry.call.as_str(), entry)).collect();
        let mut timeline = Self::default();
        let mut latest_start = 0;
        for (event, number) in history.log.iter().zip(1..) {
            if event.sequence != number {
                return Err(format!("event {} where {number} belongs", event.sequence));
            }
        }
        let log = as_bound(&history.log);
        for events in log.chunk_by(|a, b| a.call == b.call) {
            let is_creation = |event: &Logged| event.kind == EventKind::StoreCreated;
            if events.iter().any(is_creation) {
                if events[0].sequence != 1 || events.len() != 1 {
                    return Err("the store was created in the midst of its log".into());
                }
                continue;
            }
            let entry = match events[0].call.as_str() {
                call if call.starts_with(SET_UP) => None,
                call => Some(*calls.get(call).ok_or("an event of no call")?),
            };
            let (start, end) = entry.map_or((0, 0), |entry| (entry.start, entry.end));
            if end < latest_start {
                return Err(format!(
                    "{events:?} was answered before a change before it was asked for"
                ));
            }
            latest_start = latest_start.max(start);
            timeline
                .change(&Change { events, entry })
                .map_err(|what| format!("{what}: {events:?}"))?;
        }
        Ok(timeline)
    }

    fn change(&mut self, change: &Change<'_>) -> Result<(), String> {
        if let Some(entry) = change.entry
            && self.effects.contains_key(&entry.call)
        {
            return Err("a call with effects in two places".into());
        }
        for event in change.events {
            match &event.key {
                Some(key) => self.change_key(key, event, change)?,
                None => self.change_owner(event, change)?,
            }
            if let Some(entry) = change.entry {
                let effect = (event.key.clone(), event.version);
                self.effects.entry(entry.call.clone()).or_default().push(effect);
            }
        }
        self.count_live(change)
    }

    fn change_key(&mut self, id: &str, event: &Logged, change: &Change<'_>) -> Result<(), String> {
        let versions = self.keys.entry(id.to_owned()).or_default();
        if event.version != versions.len() as u64 + 1 {
            return Err(format!("version {} does not follow {}", event.version, versions.len()));
        }
        let before = versions.last().map(|version| version.state.clone());
        let after = key_after(before, event, change.entry.map(|entry| &entry.ask))?;
        if event.binding.is_some() {
            let owners = self.owners.get(&after.owner).map_or(0, Vec::len);
            self.swept.insert(id.to_owned(), owners);
        }
        versions.push(change.version(after));
        Ok(())
    }

    fn change_owner(&mut self, event: &Logged, change: &Change<'_>) -> Result<(), String> {
        let id = event.owner.clone().ok_or("an event of nothing")?;
        let versions = self.owners.entry(id).or_default();
        if event.version != versions.len() as u64 + 1 {
            return Err(format!("version {} does not follow {}", event.version, versions.len()));
        }
        let before = versions.last().map(|version| version.state.suspended);
        let suspended = match (event.kind, before) {
            (EventKind::OwnerCreated, None) | (EventKind::OwnerResumed, Some(true)) => false,
            (EventKind::OwnerSuspended, Some(false)) => true,
            (EventKind::OwnerKeysRevoked, Some(before)) => before,
            _ => return Err(format!("an owner that was {before:?}")),
        };
        versions.push(change.version(OwnerState { suspended }));
        Ok(())
    }

    /// After a whole change, no owner is without a standard key.
    fn count_live(&mut self, change: &Change<'_>) -> Result<(), String> {
        let Some(owner) = &change.events[0].owner else { return Ok(()) };
        let last = |versions: &Vec<Version<KeyState>>| versions.last().map(|v| v.state.clone());
        let keys = self.keys.values().filter_map(last);
        let live = keys.filter(|key| key.owner == *owner && !key.revoked).count();
        if live == 0 {
            return Err("the owner is left without a key".into());
        }
        let revoked_all = change.events.iter().any(|e| e.kind == EventKind::OwnerKeysRevoked);
        if revoked_all && live != 1 {
            return Err(format!("{live} keys are left where one replaces all"));
        }
        self.live.entry(owner.clone()).or_default().push(change.version(live));
        Ok(())
    }
}

impl Change<'_> {
    fn version<S>(&self, state: S) -> Version<S> {
        let (start, end) = self.entry.map_or((0, 0), |entry| (entry.start, entry.end));
        Version { state, start, end, process: self.entry.map(|entry| entry.process) }
    }
}

/// The log in the order in which it is in force: what a piece of a sweep has written stands with the
/// event that bound it.
fn as_bound(log: &[Logged]) -> Vec<Logged> {
    let mut pieces: BTreeMap<u64, Vec<Logged>> = BTreeMap::new();
    for event in log.iter().filter(|event| event.kind != EventKind::OwnerSweepEnded) {
        if let Some(binding) = event.binding {
            pieces.entry(binding).or_default().push(event.clone());
        }
    }
    let mut bound = Vec::new();
    for event in log.iter().filter(|event| event.binding.is_none()) {
        bound.push(event.clone());
        bound.extend(pieces.remove(&event.sequence).into_iter().flatten());
    }
    bound
}

/// A key after an event, if it may come to that.
fn key_after(
    before: Option<KeyState>,
    event: &Logged,
    ask: Option<&Ask>,
) -> Result<KeyState, String> {
    let Some(mut key) = before else {
        let owner = event.owner.clone().ok_or("a key without an owner")?;
        return match event.kind {
            EventKind::KeyCreated => Ok(KeyState {
                owner,
                generation: 1,
                previous: Vec::new(),
                revoked: false,
                blocked: false,
                deactivated: false,
            }),
            _ => Err("a key that was never created".into()),
        };
    };
    if key.revoked {
        return Err("a change of a revoked key".into());
    }
    let turned = |switch: &mut bool, to: bool| {
        if *switch == to {
            return Err("a switch that was so already".to_owned());
        }
        *switch = to;
        Ok(())
    };
    match (event.kind, ask) {
        (EventKind::KeyRotated, Some(Ask::Rotate { force, unblock, .. })) => {
            if key.blocked && !force {
                return Err("a rotation of a blocked key".into());
            }
            if *force {
                key.previous.clear();
            } else {
                key.previous.push(key.generation);
            }
            if key.previous.len() > MAX_PREVIOUS {
                key.previous.remove(0);
            }
            key.generation += 1;
            key.blocked &= !unblock;
        }
        (EventKind::KeyRevoked, _) => key.revoked = true,
        (EventKind::KeyBlocked, _) => turned(&mut key.blocked, true)?,
        (EventKind::KeyUnblocked, _) => turned(&mut key.blocked, false)?,
        (EventKind::KeyDeactivated, _) => turned(&mut key.deactivated, true)?,
        (EventKind::KeyActivated, _) => turned(&mut key.deactivated, false)?,
        (EventKind::PreviousTokensInvalidated, _) if !key.previous.is_empty() => {
            key.previous.clear();
        }
        _ => return Err("an event that doesn't fit".into()),
    }
    Ok(key)
}
