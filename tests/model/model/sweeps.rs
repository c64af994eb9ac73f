//! Revocations of all keys of an owner, and purges of owners: what pieces have yet to write.

use std::collections::BTreeMap;

use keyhasp::EventKind;
use keyhasp::authority::{Actor, Authority, Role};
use keyhasp::event::{Event, EventDraft, Fields};
use keyhasp::id::{Incarnation, KeyId, OwnerId, Version};
use keyhasp::key::MAX_SWEEPS;

use super::authority::Caller;
use super::minting::all;
use super::state::Model;

/// A sweep that pieces have yet to write.
#[derive(Clone, Debug)]
struct SweepFile {
    purges: bool,
    by: Authority,
    at: keyhasp::Timestamp,
    incarnation: Option<Incarnation>,
    /// The number of the event that bound it.
    binding: u64,
}

/// A key that a sweep covers, as its stored record is.
#[derive(Clone, Debug)]
struct CoveredFile {
    version: u64,
    had_seal: bool,
    /// The numbers of the sweeps that are to be written into it, in order.
    sweeps: Vec<u64>,
}

/// The sweeps of an owner's id.
#[derive(Clone, Debug, Default)]
pub(super) struct SweepsFile {
    pending: Vec<SweepFile>,
    covered: BTreeMap<KeyId, CoveredFile>,
    /// The version of the owner that was purged last.
    version: u64,
}

impl Model {
    /// Returns whether an owner has as many sweeps as it may.
    pub(crate) fn is_full_of_sweeps(&self) -> bool {
        self.sweeps.values().any(|sweeps| sweeps.pending.len() >= MAX_SWEEPS)
    }

    /// Notes that the event written last has bound a sweep of an owner's keys: of the unrevoked, or
    /// of all. Their records are as they are before the sweep.
    pub(super) fn bind(&mut self, caller: &Caller, owner: OwnerId, purges: bool) {
        let (number, at) = (self.last_event, self.now);
        let (version, incarnation) = {
            let owner = &self.owners[&owner];
            (owner.version, owner.incarnation)
        };
        let keys = self.keys.values().filter(|key| key.owner == owner);
        let keys = keys.filter(|key| purges || key.revoked.is_none());
        let keys: Vec<(KeyId, u64, bool)> =
            keys.map(|key| (key.id, key.version, key.sealed_under.is_some())).collect();
        let sweeps = self.sweeps.entry(owner).or_default();
        sweeps.version = version;
        for (id, version, had_seal) in keys {
            let covered = || CoveredFile { version, had_seal, sweeps: Vec::new() };
            sweeps.covered.entry(id).or_insert_with(covered).sweeps.push(number);
        }
        let (by, binding) = (caller.by.clone(), number);
        sweeps.pending.push(SweepFile { purges, by, at, incarnation, binding });
    }

    /// Writes so many pieces; returns how many records of keys. Each piece is of one sweep.
    pub(super) fn work_sweeps(&mut self, pieces: usize) -> u64 {
        let (mut left, mut written) = (pieces, 0);
        while let Some(owner) = self.sweeps.keys().next().copied() {
            let sweeps = self.sweeps[&owner].clone();
            for sweep in &sweeps.pending {
                let of_it =
                    |(_, file): &(&KeyId, &CoveredFile)| file.sweeps.contains(&sweep.binding);
                let keys: Vec<KeyId> =
                    sweeps.covered.iter().rev().filter(of_it).map(|(id, _)| *id).collect();
                if keys.is_empty() {
                    continue;
                }
                if left == 0 {
                    return written;
                }
                left -= 1;
                written += keys.len() as u64;
                keys.into_iter().for_each(|key| self.write_covered(owner, key));
            }
            for sweep in &sweeps.pending {
                if left == 0 {
                    return written;
                }
                left -= 1;
                let version = self.owners.get(&owner).map_or(sweeps.version, |file| file.version);
                let by = Authority::new(Role::Administrator, Actor::new("keyhasp").unwrap());
                let event = (EventKind::OwnerSweepEnded, None, version, Fields::NONE);
                self.note_piece(sweep, owner, event, &by, self.now);
                self.sweeps.get_mut(&owner).unwrap().pending.retain(|s| s.binding != sweep.binding);
            }
            self.sweeps.remove(&owner);
            if left == 0 {
                return written;
            }
        }
        written
    }

    /// Writes what a sweep says of a key, if that isn't written yet: another change of the key does
    /// so too.
    pub(super) fn overtake(&mut self, id: KeyId) {
        let of_key = self.sweeps.iter().find(|(_, sweeps)| sweeps.covered.contains_key(&id));
        if let Some(owner) = of_key.map(|(owner, _)| *owner) {
            // Of its own change a store notes the time of the last event.
            let newest = self.newest_event;
            self.write_covered(owner, id);
            self.newest_event = newest;
        }
    }

    fn write_covered(&mut self, owner: OwnerId, id: KeyId) {
        let sweeps = self.sweeps.get_mut(&owner).unwrap();
        let file = sweeps.covered.get_mut(&id).unwrap();
        let number = file.sweeps.remove(0);
        let sweep = sweeps.pending.iter().find(|sweep| sweep.binding == number).unwrap().clone();
        let event = if sweep.purges {
            (EventKind::KeyPurged, Some(id), file.version, Fields::NONE)
        } else {
            file.version += 1;
            let fields = all(&[(true, Fields::REVOKED), (file.had_seal, Fields::SEAL)]);
            (EventKind::KeyRevoked, Some(id), file.version, fields)
        };
        if file.sweeps.is_empty() {
            sweeps.covered.remove(&id);
        }
        let (by, at) = (sweep.by.clone(), sweep.at);
        self.note_piece(&sweep, owner, event, &by, at);
    }

    fn note_piece(
        &mut self,
        sweep: &SweepFile,
        owner: OwnerId,
        (kind, key, version, fields): (EventKind, Option<KeyId>, u64, Fields),
        by: &Authority,
        at: keyhasp::Timestamp,
    ) {
        self.last_event += 1;
        let draft = EventDraft {
            at,
            kind,
            owner: Some(owner),
            key,
            version: Version::new(version),
            generation: None,
            fields,
            authority: by.clone(),
        };
        let (binding, incarnation) = (Some(sweep.binding), sweep.incarnation);
        let event = Event { binding, sequence: self.last_event, incarnation, draft };
        self.newest_event = self.right_time_of(&event).max(Some(self.newest_event)).unwrap();
        self.events.push(event);
    }
}
