//! Lapses: expired keys that end when another key needs their place or name.

use std::collections::BTreeSet;
use std::time::Duration;

use keyhasp::EventKind;
use keyhasp::event::Fields;
use keyhasp::id::KeyId;
use keyhasp::key::Kind;

use super::authority::Caller;
use super::reason::Reason;
use super::records::KeyFile;
use super::state::{Decided, Model};

const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);

/// A key as it will be: what it needs of its owner.
pub(super) struct Newcomer<'a> {
    /// Its id, unless it is new.
    pub(super) id: Option<KeyId>,
    pub(super) name: Option<&'a str>,
    pub(super) kind: Kind,
    /// Whether it took no place before.
    pub(super) is_new: bool,
}

impl Model {
    /// Chooses the keys that must lapse so that an owner may have this key.
    pub(super) fn room_for(
        &self,
        owner: keyhasp::id::OwnerId,
        newcomer: &Newcomer<'_>,
    ) -> Decided<BTreeSet<KeyId>> {
        let others = self.counting_keys(owner);
        let mut others: Vec<&KeyFile> =
            others.into_iter().filter(|key| Some(key.id) != newcomer.id).collect();
        let mut lapsing = BTreeSet::new();
        if self.rules.unique_names
            && let Some(name) = newcomer.name
            && let Some(at) = others.iter().position(|key| key.name.as_deref() == Some(name))
        {
            if !self.may_lapse(others[at], &others, newcomer) {
                return Err(vec![Reason::NameTaken(others[at].id)]);
            }
            lapsing.insert(others.remove(at).id);
        }
        let max_keys = self.owners[&owner].max_keys;
        while newcomer.is_new && others.len() >= max_keys as usize {
            let longest = others
                .iter()
                .enumerate()
                .filter(|(_, key)| self.may_lapse(key, &others, newcomer))
                .min_by_key(|(_, key)| (key.expires_at, key.id));
            let Some((at, _)) = longest else { return Err(vec![Reason::TooManyKeys(max_keys)]) };
            lapsing.insert(others.remove(at).id);
        }
        Ok(lapsing)
    }

    /// Returns whether a key has been expired for long enough, and isn't the last standard key that
    /// must stay.
    fn may_lapse(&self, key: &KeyFile, others: &[&KeyFile], newcomer: &Newcomer<'_>) -> bool {
        let is_over = self.ahead().is_none()
            && key.expires_at.is_some_and(|at| at.saturating_add(FIVE_MINUTES) <= self.now);
        let another_stays = newcomer.kind == Kind::Standard
            || others.iter().any(|other| other.kind == Kind::Standard && other.id != key.id);
        let must_stay = self.rules.keep_standard_key && key.kind == Kind::Standard;
        is_over && (!must_stay || another_stays)
    }

    /// Lets keys lapse, in the order of their ids.
    pub(super) fn lapse(&mut self, caller: &Caller, lapsing: &BTreeSet<KeyId>) {
        let now = self.now;
        for id in lapsing {
            if let Some(key) = self.keys.get_mut(id) {
                key.lapsed_at = Some(now);
                key.version += 1;
                key.updated_at = now;
            }
            self.lapses += 1;
            self.note_key(&caller.by, EventKind::KeyLapsed, *id, None, Fields::LAPSED);
        }
    }
}
