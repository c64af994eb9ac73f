//! The retention of keys: those that ended long ago are purged beside other changes.

use std::time::Duration;

use keyhasp::authority::{Actor, Authority, Role};
use keyhasp::event::Fields;
use keyhasp::id::KeyId;
use keyhasp::key::Kind;
use keyhasp::{EventKind, Timestamp};

use super::reason::Reason;
use super::records::KeyFile;
use super::spending::Holder;
use super::state::Model;

/// A process removes nothing in that time after its opening.
const FIRST_HOUR: Duration = Duration::from_secs(60 * 60);

impl Model {
    /// Purges keys if a pass is due. The store looks at that after each change that reached the
    /// backend, a refused one too.
    pub(crate) fn purge_if_due(&mut self) {
        let Some(keep) = self.opening.key_retention else { return };
        let elapsed = self.expected.since(self.opened_at);
        if elapsed < self.purges_from.max(FIRST_HOUR) || self.ahead().is_some() {
            return;
        }
        self.purges_from = elapsed + keep / 60;
        let before = self.now.min(self.expected).saturating_sub(keep);
        let has_ended = |key: &&KeyFile| key.ended_at().is_some_and(|at| at < before);
        // The newest first.
        let ended: Vec<KeyId> =
            self.keys.values().rev().filter(has_ended).map(|key| key.id).collect();
        let by = Authority::new(Role::Administrator, Actor::new("keyhasp").unwrap());
        for id in ended {
            let owner = self.keys[&id].owner;
            let counting = self.counting_keys(owner);
            let stays = |key: &&KeyFile| key.kind == Kind::Standard && key.id != id;
            if self.rules.keep_standard_key && !counting.into_iter().any(|key| stays(&key)) {
                continue;
            }
            self.overtake(id);
            self.note_key(&by, EventKind::KeyPurged, id, None, Fields::NONE);
            self.keys.remove(&id);
            self.forget(Holder::Key(id));
            self.purges += 1;
        }
    }

    /// Returns the times from which on ended keys may be purged.
    pub(crate) fn moments_of_purges(&self) -> Vec<Timestamp> {
        let Some(keep) = self.opening.key_retention else { return Vec::new() };
        let ends = self.keys.values().filter_map(KeyFile::ended_at);
        ends.map(|at| at.saturating_add(keep)).collect()
    }
}

impl Reason {
    /// Whether the backend refused the change, by a rule that it decides inside the commit.
    pub(crate) fn is_of_commit(&self) -> bool {
        matches!(
            self,
            Self::DataForbid(_)
                | Self::LastStandardKey
                | Self::NameTaken(_)
                | Self::NumericIdTaken(_)
                | Self::NumericIdsExhausted
                | Self::OwnerExists
                | Self::PepperInUse { .. }
                | Self::TooManyKeys(_)
        )
    }
}
