//! A history of changes, each known by its number, and the records and events after it.

use super::ask::Ask;
use super::failure::{Failure, Tested, ensure, ensure_eq};
use super::wording;
use crate::backend::{Backend, Change, Memory};
use crate::id::OwnerId;
use crate::invalid::Invalid;
use crate::testing::sample;

/// The number of changes in a round. A round leaves one owner and one key more.
const ROUND: usize = 5;

/// The history up to a change, as it is in memory.
#[derive(Debug)]
pub(super) struct History {
    memory: Memory,
    changes: usize,
}

impl History {
    pub(super) fn new() -> Self {
        Self { memory: Memory::new(), changes: 0 }
    }

    /// Returns the number of changes so far.
    pub(super) fn changes(&self) -> usize {
        self.changes
    }

    /// Returns a change by its number, from 0.
    pub(super) fn change(number: usize) -> Result<Change, Invalid> {
        match number {
            0 => return sample::create_metadata(&sample::metadata()?),
            1 => return sample::create_owner(&sample::owner("acme")?),
            _ => {}
        }
        let (round, step) = ((number - 2) / ROUND, (number - 2) % ROUND);
        let first = u32::try_from(round * 2).unwrap_or(u32::MAX - 1);
        let owner = sample::owner(&format!("owner-{round}"))?;
        let (stays, goes) =
            (sample::key(first, owner.id.as_str())?, sample::key(first + 1, "acme")?);
        let changed = sample::changed_key(&goes);
        let revoked = sample::revoked(&changed)?;
        Ok(match step {
            0 => sample::in_one([sample::create_owner(&owner)?, sample::create_key(&stays)?]),
            1 => sample::create_key(&goes)?,
            2 => {
                let owner = sample::changed_owner(&owner);
                sample::in_one([sample::replace_key(&changed)?, sample::replace_owner(&owner)?])
            }
            3 => sample::replace_key(&revoked)?,
            _ => {
                let changed = sample::changed_key(&stays);
                sample::in_one([sample::remove_key(&revoked)?, sample::replace_key(&changed)?])
            }
        })
    }

    /// Names a change in words.
    pub(super) fn named(number: usize) -> String {
        match Self::change(number) {
            Ok(change) => wording::of_change(&change),
            Err(invalid) => invalid.to_string(),
        }
    }

    /// Goes on to the change whose last event has this number. Fails if the event lies within a change,
    /// or before this point.
    pub(super) fn go_to(&mut self, event: u64) -> Tested {
        while self.memory.last_event()? < event {
            self.memory.apply(Self::change(self.changes)?)?;
            self.changes += 1;
        }
        let last = self.memory.last_event()?;
        ensure!(
            last == event,
            "the last event is {event}, which is none with which a change ends: a change is there in part \
             ({}), or the database has lost what it had",
            Self::named(self.changes.saturating_sub(1))
        );
        Ok(())
    }

    /// Compares all that a backend holds with this point of the history.
    pub(super) fn compare(&self, backend: &dyn Backend) -> Tested {
        ensure!(backend.metadata()? == self.memory.metadata()?, "the store's own record differs");
        let owners = |backend: &dyn Backend| -> Result<Vec<OwnerId>, Failure> {
            let mut ids: Vec<OwnerId> = backend.scanned()?.0.iter().map(|owner| owner.id).collect();
            ids.sort_unstable();
            Ok(ids)
        };
        let expected = owners(&self.memory)?;
        ensure_eq!(owners(backend)?, expected, "owners scanned");
        for id in expected {
            if let Some(owner) = self.memory.owner(&id)? {
                backend.expect_owner(&owner)?;
            }
        }
        let expected = self.memory.all_keys()?;
        ensure_eq!(backend.all_keys()?, expected, "keys listed");
        ensure_eq!(backend.scanned()?.1.len(), expected.len(), "number of keys scanned");
        for id in expected {
            if let Some(key) = self.memory.key(id)? {
                backend.expect_key(&key)?;
            }
        }
        let (found, expected) = (backend.all_events()?, self.memory.all_events()?);
        for (found, expected) in found.iter().zip(&expected) {
            ensure!(found == expected, "event {} differs", expected.sequence);
        }
        ensure_eq!(found.len(), expected.len(), "number of events");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_takes_effect_and_ends_with_an_event_of_its_own() {
        let history = History::new();
        let mut ends = vec![0];
        for number in 0..40 {
            history.memory.apply(History::change(number).unwrap()).unwrap();
            ends.push(history.memory.last_event().unwrap());
        }
        for (changes, end) in ends.iter().enumerate() {
            let mut other = History::new();
            other.go_to(*end).unwrap();
            assert_eq!(other.changes(), changes);
        }
        let within = (1..40).find(|event| !ends.contains(event)).unwrap();
        let failure = History::new().go_to(within).unwrap_err();
        assert!(failure.message().contains("a change is there in part"), "{failure}");
    }

    #[test]
    fn a_history_is_the_same_as_itself_and_no_other() {
        let at = |event| {
            let mut history = History::new();
            history.go_to(event).unwrap();
            history
        };
        let whole = History::new();
        for number in 0..7 {
            whole.memory.apply(History::change(number).unwrap()).unwrap();
        }
        let last = whole.memory.last_event().unwrap();
        let (one, other) = (at(last), at(last));
        one.compare(&other.memory).unwrap();
        other
            .memory
            .apply(sample::create_owner(&sample::owner("other").unwrap()).unwrap())
            .unwrap();
        assert!(one.compare(&other.memory).is_err());
    }
}
