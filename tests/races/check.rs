//! Whether a history is one that a store may have.
//!
//! The log gives the order of all changes; the timeline holds it against the rules and against the
//! order in which calls were made and answered. What is left is each answer: it must be that of
//! the version it made, or, if it changed nothing, of one that it can have met: none that came
//! after it was answered, and none that had been replaced, in an acknowledged change, before it
//! was asked for.

use std::ops::RangeInclusive;

use crate::history::{Answered, Ask, Entry, History, Seen, Tally, Turn, Why};
use crate::timeline::{KeyState, Timeline, Version};

/// What was found out beside that nothing is wrong.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) tally: Tally,
    /// Longest time after another process's change for which an answer showed the state before it.
    pub(crate) longest_delay: u64,
}

/// Holds a history against the rules.
pub(crate) fn check(history: &History, found: &mut Found) -> Result<(), String> {
    let timeline = Timeline::of(history)?;
    for entry in &history.entries {
        let effects = timeline.effects.get(&entry.call).map_or(&[][..], Vec::as_slice);
        let checker = Checker { timeline: &timeline, entry, effects };
        let delay = checker.check().map_err(|what| format!("{what}: {entry:?}"))?;
        found.longest_delay = found.longest_delay.max(delay);
        found.tally.note(entry, !effects.is_empty());
    }
    Ok(())
}

struct Checker<'a> {
    timeline: &'a Timeline,
    entry: &'a Entry,
    /// What the call has done.
    effects: &'a [(Option<String>, u64)],
}

type Checked = Result<(), String>;

impl Checker<'_> {
    /// Also how stale the answer was.
    fn check(&self) -> Result<u64, String> {
        let Entry { ask, told, .. } = self.entry;
        if let Answered::Failed(error) = told {
            return Err(format!("no race excuses {error}"));
        }
        match ask {
            Ask::Verify { key, generation } => return self.verified(key, *generation),
            Ask::Get { key } => match told {
                Answered::Key(seen) if seen.key == *key => self.shown(seen),
                _ => Err("another answer".into()),
            },
            Ask::List { owner } => match told {
                Answered::Keys(keys) => self.listed(owner, keys),
                _ => Err("another answer".into()),
            },
            Ask::Create { owner } => match (told, self.effects) {
                (Answered::Key(seen), [(Some(key), 1)])
                    if seen.key == *key && seen.owner == *owner =>
                {
                    self.made(seen)
                }
                _ => Err("no creation".into()),
            },
            Ask::Rotate { key, force, expected, .. } => {
                let blocked = |state: &KeyState| state.blocked && !force;
                self.key_changed(key, *expected, blocked, |_| false)
            }
            Ask::Turn { key, how, expected } => {
                self.key_changed(key, *expected, |_| false, |state| is_so(state, *how))
            }
            Ask::Suspend { owner } => self.owner_turned(owner, true),
            Ask::Resume { owner } => self.owner_turned(owner, false),
            Ask::RevokeAll { owner } => self.all_revoked(owner),
        }?;
        Ok(0)
    }

    /// A key was rotated or switched: or not, for a reason.
    fn key_changed(
        &self,
        key: &str,
        expected: Option<u64>,
        blocked: impl Fn(&KeyState) -> bool,
        is_so: impl Fn(&KeyState) -> bool,
    ) -> Checked {
        let met = |fits: &dyn Fn(&KeyState) -> bool| -> Result<bool, String> {
            Ok(self.met(key)?.any(|(_, state)| fits(state)))
        };
        match (&self.entry.told, self.effects) {
            (Answered::Key(seen), [(Some(changed), version)])
                if seen.key == key && changed == key =>
            {
                if expected.is_some_and(|expected| expected + 1 != *version) {
                    return Err(format!("it made version {version}, and expected another"));
                }
                self.made(seen)
            }
            (Answered::Key(seen), []) if seen.key == key => {
                let (state, _) = self.version(seen)?;
                if !is_so(state) {
                    return Err("it changed nothing, and should have".into());
                }
                self.shown(seen)
            }
            (_, [_, ..]) => Err("it was refused, and took effect".into()),
            (Answered::Conflict { expected: told, found }, []) => {
                let fits = |(version, state): (u64, &KeyState)| version == *found && !is_so(state);
                if Some(*told) != expected || found == told || !self.met(key)?.any(fits) {
                    return Err("a conflict with nothing".into());
                }
                Ok(())
            }
            (Answered::State(Why::Revoked), []) if met(&|state| state.revoked)? => Ok(()),
            (Answered::State(Why::Blocked), []) if met(&blocked)? => Ok(()),
            (Answered::LastStandardKey, []) if met(&|state| !state.revoked)? => self.was_last(key),
            _ => Err("another answer".into()),
        }
    }

    fn was_last(&self, key: &str) -> Checked {
        let owner = &self.timeline.keys[key][0].state.owner;
        let counts = &self.timeline.live[owner];
        let window = self.window(counts, 0);
        if counts[(*window.start()).max(1) - 1..*window.end()].iter().any(|live| live.state == 1) {
            return Ok(());
        }
        Err("it was never the last standard key".into())
    }

    fn owner_turned(&self, owner: &str, to: bool) -> Checked {
        let versions = &self.timeline.owners[owner];
        let Answered::Owner { version, suspended } = &self.entry.told else {
            return Err("another answer".into());
        };
        let is_made = match self.effects {
            [(None, made)] => made == version,
            [] => self.window(versions, 0).contains(&(*version as usize)),
            _ => false,
        };
        let is_so = versions.get(*version as usize - 1).is_some_and(|v| v.state.suspended == to);
        if is_made && is_so && *suspended == to { Ok(()) } else { Err("another owner".into()) }
    }

    fn all_revoked(&self, owner: &str) -> Checked {
        let Answered::RevokedAll { revoked, replacement: Some(seen) } = &self.entry.told else {
            return Err("another answer".into());
        };
        // The owner's own version, those of its keys, and the key in their place.
        if self.effects.len() != revoked + 2 || seen.owner != owner {
            return Err(format!("{} changes", self.effects.len()));
        }
        self.made(seen)
    }

    /// What is shown is what the call itself made.
    fn made(&self, seen: &Seen) -> Checked {
        let is_own = self.effects.contains(&(Some(seen.key.clone()), seen.version));
        self.version(seen)?;
        if is_own { Ok(()) } else { Err("a version that it didn't make".into()) }
    }

    /// What is shown can have been met.
    fn shown(&self, seen: &Seen) -> Checked {
        self.version(seen)?;
        let window = self.window(&self.timeline.keys[&seen.key], 0);
        if window.contains(&(seen.version as usize)) {
            return Ok(());
        }
        Err(format!("version {} of {window:?}", seen.version))
    }

    fn listed(&self, owner: &str, keys: &[Seen]) -> Checked {
        for seen in keys {
            self.shown(seen)?;
            if seen.revoked || seen.owner != owner {
                return Err("a key that doesn't belong there".into());
            }
        }
        if !keys.is_sorted_by(|a, b| a.key > b.key) {
            return Err("not newest first".into());
        }
        for (id, versions) in &self.timeline.keys {
            let is_left_out = keys.iter().all(|seen| seen.key != *id);
            if versions[0].state.owner != *owner || !is_left_out {
                continue;
            }
            let window = self.window(versions, 0);
            let may_be_left_out = *window.start() == 0 || self.met(id)?.any(|(_, s)| s.revoked);
            if !may_be_left_out {
                return Err(format!("key {id} is left out"));
            }
        }
        Ok(())
    }

    /// The verdict is that of a version that was to be met; how stale it was.
    fn verified(&self, key: &str, generation: u32) -> Result<u64, String> {
        let told = &self.entry.told;
        if self.entry.lag.is_some() && *told == Answered::Refused(Why::Stale) {
            return Ok(0);
        }
        let versions = self.timeline.keys.get(key).ok_or("no such key")?;
        let owners = &self.timeline.owners[&versions[0].state.owner];
        let lag = self.entry.lag.unwrap_or(0);
        let swept = self.timeline.swept.get(key);
        let mut least = None;
        for at in self.window(versions, lag) {
            for owner_at in self.window(owners, lag) {
                let suspended = owner_at > 0 && owners[owner_at - 1].state.suspended;
                let mut state = (at > 0).then(|| versions[at - 1].state.clone());
                // That version of the owner revokes the key, whatever is known of the key.
                if swept.is_some_and(|swept| owner_at >= *swept) {
                    state.iter_mut().for_each(|key| key.revoked = true);
                }
                if verdict(state.as_ref(), generation, suspended) == *told {
                    let delay = self.age(versions, at).max(self.age(owners, owner_at));
                    least = Some(least.map_or(delay, |least: u64| least.min(delay)));
                }
            }
        }
        least.ok_or_else(|| "no caller was to be answered so".to_owned())
    }

    /// How long a version had been replaced when the call was made.
    fn age<S>(&self, versions: &[Version<S>], at: usize) -> u64 {
        let after = versions.iter().skip(at).map(|version| version.end).min();
        after.map_or(0, |end| self.entry.start.saturating_sub(end))
    }

    /// The versions of a key that the call can have met; nothing before it was created.
    fn met(&self, key: &str) -> Result<impl Iterator<Item = (u64, &KeyState)>, String> {
        let versions = self.timeline.keys.get(key).ok_or("no such key")?;
        let numbers = self.window(versions, 0).filter(|number| *number > 0);
        Ok(numbers.map(|number| (number as u64, &versions[number - 1].state)))
    }

    /// The numbers of the versions that the call can have met, 0 for none yet: from the last that
    /// was acknowledged before it was made (another process may not know for `lag` longer), to the
    /// last that was asked for before it was answered.
    fn window<S>(&self, versions: &[Version<S>], lag: u64) -> RangeInclusive<usize> {
        let Entry { process, start, end, .. } = self.entry;
        let is_known = |version: &Version<S>| {
            let is_own = version.process.is_none_or(|by| by == *process);
            version.end + if is_own { 0 } else { lag } < *start
        };
        let first = versions.iter().rposition(is_known).map_or(0, |at| at + 1);
        let last = versions.iter().position(|version| version.start > *end);
        first..=last.unwrap_or(versions.len())
    }

    /// A version as it is shown is as it was made.
    fn version(&self, seen: &Seen) -> Result<(&KeyState, u64), String> {
        let versions = self.timeline.keys.get(&seen.key).ok_or("no such key")?;
        let version = versions.get((seen.version as usize).wrapping_sub(1));
        let state = &version.ok_or("no such version")?.state;
        let Seen { owner, generation, previous, revoked, blocked, deactivated, .. } = seen.clone();
        let shown = KeyState { owner, generation, previous, revoked, blocked, deactivated };
        if *state == shown {
            return Ok((state, seen.version));
        }
        Err(format!("version {} is {state:?}", seen.version))
    }
}

/// Whether a switch is as it is asked for.
fn is_so(key: &KeyState, how: Turn) -> bool {
    match how {
        Turn::Revoke => key.revoked,
        _ if key.revoked => false,
        Turn::Activate => !key.deactivated,
        Turn::Block => key.blocked,
        Turn::Deactivate => key.deactivated,
        Turn::InvalidatePrevious => key.previous.is_empty(),
        Turn::Unblock => !key.blocked,
    }
}

/// What a token of a key is answered.
fn verdict(key: Option<&KeyState>, generation: u32, suspended: bool) -> Answered {
    let known =
        key.filter(|key| key.generation == generation || key.previous.contains(&generation));
    let Some(key) = known else { return Answered::Refused(Why::Unrecognized) };
    let reasons = [
        (suspended, Why::Suspended),
        (key.revoked, Why::Revoked),
        (key.blocked, Why::Blocked),
        (key.deactivated, Why::Deactivated),
    ];
    match reasons.into_iter().find(|(holds, _)| *holds) {
        Some((_, why)) => Answered::Refused(why),
        None => Answered::Granted { generation, is_current: key.generation == generation },
    }
}
