//! Sweeps: what one commit has done to all keys that an owner had, until pieces have written it into
//! the keys' records.

use serde::{Deserialize, Serialize};

use super::{Field, KeyCounts, KeyRecord, Sink, Source, Switch, TokenRecord};
use crate::authority::{Actor, Authority, Role};
use crate::clock::Timestamp;
use crate::id::{Generation, Incarnation, KeyId};
use crate::text::StoredText;

/// The greatest number of sweeps of an owner that pieces have yet to write.
pub const MAX_SWEEPS: usize = 4;

/// The effect of a sweep on the keys that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepKind {
    /// Removes the keys.
    Purge,
    /// Revokes the keys.
    Revoke,
}

/// The revocation or the purge of all keys that an owner had at one commit.
///
/// The commit that binds ends an epoch of the owner's tokens. So a key is covered if its current
/// token was issued in an epoch before: it goes by the order of commits, whatever the clocks say. A
/// covered key gets no other token, since it is revoked or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The number of epochs that had ended when it was bound. It covers the keys of those.
    pub epoch: u32,
    /// The effect on these keys.
    pub kind: SweepKind,
    /// The moment of the decision.
    pub at: Timestamp,
    /// The authority of the actor.
    pub authority: Authority,
    /// The incarnation of the owner whose keys they are.
    pub incarnation: Incarnation,
    /// The number of the event that bound it.
    pub binding: u64,
    /// The greatest id of the keys that the owner had; 0 without any. A damaged key with a greater one
    /// came later: ids grow.
    pub last_key: KeyId,
}

/// The sweeps of an owner that pieces have yet to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweeps {
    /// The owner was purged, and its record stays only until its keys are gone: to all reads it
    /// doesn't exist.
    pub purged: bool,
    /// Number of keys that the stored counts have too many.
    pub left: KeyCounts,
    /// The sweeps, in the order of their commits: at least one, and at most [`MAX_SWEEPS`].
    pub pending: Vec<Sweep>,
}

impl Sweep {
    /// Returns whether the key of a current token is one of those that the owner had.
    #[must_use]
    pub fn covers(&self, current: &TokenRecord) -> bool {
        current.epochs.owner < self.epoch
    }

    /// Returns whether a key whose record can't be read is one of those that the owner had, as far as
    /// its id tells.
    #[must_use]
    pub fn covers_damaged(&self, id: KeyId) -> bool {
        id <= self.last_key
    }

    /// Returns the switch of the keys that it revokes.
    #[must_use]
    pub fn switch(&self) -> Switch {
        Switch::new(self.at, &self.authority)
    }

    /// Returns a covered key as it is after this sweep; `None` if it is gone.
    #[must_use]
    pub fn applied(&self, key: KeyRecord) -> Option<KeyRecord> {
        match self.kind {
            SweepKind::Purge => None,
            SweepKind::Revoke => Some(KeyRecord {
                revoked: Some(self.switch()),
                // The previous tokens stay, also those whose grace is over: to tell which, a
                // verification would need the record.
                seal: None,
                version: key.version.next(),
                updated_at: self.at,
                ..key
            }),
        }
    }
}

impl Sweeps {
    /// Returns the sweep that is to be written next into a key's stored record: the first, in the
    /// order of their commits, that covers it, unless that revokes a key that is revoked.
    #[must_use]
    pub fn of(&self, current: &TokenRecord, is_revoked: bool) -> Option<&Sweep> {
        self.pending
            .iter()
            .find(|sweep| sweep.covers(current) && (sweep.kind == SweepKind::Purge || !is_revoked))
    }

    /// Returns the sweep of a key's stored record.
    #[must_use]
    pub fn of_key(&self, key: &KeyRecord) -> Option<&Sweep> {
        self.of(&key.current, key.revoked.is_some())
    }

    /// Returns a key as its stored record and these sweeps say that it is; `None` if it is gone.
    /// The pieces write this very record.
    #[must_use]
    pub fn applied(&self, mut key: KeyRecord) -> Option<KeyRecord> {
        while let Some(sweep) = self.of_key(&key) {
            key = sweep.applied(key)?;
        }
        Some(key)
    }

    /// Lists the sweeps that are to be written into a key's stored record, one after the other, each
    /// with the record as it is before.
    pub fn steps(&self, key: KeyRecord) -> impl Iterator<Item = (&Sweep, KeyRecord)> {
        let mut next = Some(key);
        std::iter::from_fn(move || {
            let key = next.take()?;
            let sweep = self.of_key(&key)?;
            next = sweep.applied(key.clone());
            Some((sweep, key))
        })
    }

    /// Returns the sweep that ends a damaged key of the owner: a purge before a revocation, since it
    /// removes the key with what lies over it; otherwise the first, as for a whole key.
    #[must_use]
    pub fn of_damaged(&self, id: KeyId) -> Option<&Sweep> {
        let mut covering = self.pending.iter().filter(|sweep| sweep.covers_damaged(id));
        let purge = covering.clone().find(|sweep| sweep.kind == SweepKind::Purge);
        purge.or_else(|| covering.next())
    }

    /// Returns whether one of them is a purge.
    #[must_use]
    pub fn has_purge(&self) -> bool {
        self.pending.iter().any(|sweep| sweep.kind == SweepKind::Purge)
    }
}

/// Sweeps as they are stored: JSON, so that a person can query it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSweeps {
    purged: bool,
    /// All, unrevoked, live, live standard keys.
    left: [u64; 4],
    pending: Vec<StoredSweep>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSweep {
    epoch: u32,
    kind: SweepKind,
    at: u64,
    incarnation: u64,
    binding: u64,
    last_key: String,
    role: StoredRole,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    generation: Option<u32>,
    actor: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reason: Option<String>,
    reason_for_owner: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    correlation_id: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredRole {
    Administrator,
    Owner,
    Delegate,
    OwnerByKey,
    OwnerByPreviousToken,
}

impl StoredSweep {
    fn of(sweep: &Sweep) -> Self {
        let Sweep { epoch, kind, at, authority, incarnation, binding, last_key } = sweep;
        let Authority { role, actor, reason, reason_for_owner, correlation_id } = authority;
        let token = role.acting_token();
        Self {
            epoch: *epoch,
            kind: *kind,
            at: at.as_millis(),
            incarnation: incarnation.get(),
            binding: *binding,
            last_key: last_key.to_string(),
            role: match role {
                Role::Administrator => StoredRole::Administrator,
                Role::Owner { .. } => StoredRole::Owner,
                Role::Delegate { .. } => StoredRole::Delegate,
                Role::OwnerByKey { previous_tokens: false, .. } => StoredRole::OwnerByKey,
                Role::OwnerByKey { previous_tokens: true, .. } => StoredRole::OwnerByPreviousToken,
            },
            owner: role.owner().map(ToString::to_string),
            key: token.map(|(key, _)| key.to_string()),
            generation: token.map(|(_, generation)| generation.get()),
            actor: actor.as_str().to_owned(),
            reason: reason.as_ref().map(|reason| reason.as_str().to_owned()),
            reason_for_owner: *reason_for_owner,
            correlation_id: correlation_id.as_ref().map(|id| id.as_str().to_owned()),
        }
    }

    /// Reads a sweep; `None` if a value is outside its limits.
    fn read(self) -> Option<Sweep> {
        let owner = self.owner.map(|owner| owner.parse()).transpose().ok()?;
        let key: Option<KeyId> = self.key.map(|key| key.parse()).transpose().ok()?;
        let generation = self.generation.map(Generation::new).transpose().ok()?;
        let role = match (self.role, owner, key.zip(generation)) {
            (StoredRole::Administrator, None, None) => Role::Administrator,
            (StoredRole::Owner, Some(owner), None) => Role::Owner { owner },
            (StoredRole::Delegate, Some(owner), Some((key, generation))) => {
                Role::Delegate { owner, key, generation }
            }
            (StoredRole::OwnerByKey, Some(owner), Some((key, generation))) => {
                Role::OwnerByKey { owner, key, generation, previous_tokens: false }
            }
            (StoredRole::OwnerByPreviousToken, Some(owner), Some((key, generation))) => {
                Role::OwnerByKey { owner, key, generation, previous_tokens: true }
            }
            _ => return None,
        };
        Some(Sweep {
            epoch: self.epoch,
            kind: self.kind,
            at: Timestamp::from_millis(self.at).ok()?,
            incarnation: Incarnation::new(self.incarnation).ok()?,
            binding: self.binding,
            last_key: self.last_key.parse().ok()?,
            authority: Authority {
                role,
                actor: Actor::from_stored_text(&self.actor)?,
                reason: text(self.reason)?,
                reason_for_owner: self.reason_for_owner,
                correlation_id: text(self.correlation_id)?,
            },
        })
    }
}

/// Reads a text that may be absent; `None` if it is none that was stored.
fn text<T: StoredText>(stored: Option<String>) -> Option<Option<T>> {
    match stored {
        Some(stored) => T::from_stored_text(&stored).map(Some),
        None => Some(None),
    }
}

impl StoredSweeps {
    fn of(sweeps: &Sweeps) -> Self {
        let Sweeps { purged, left, pending } = sweeps;
        let KeyCounts { all, unrevoked, live, live_standard } = *left;
        let pending = pending.iter().map(StoredSweep::of).collect();
        Self { purged: *purged, left: [all, unrevoked, live, live_standard], pending }
    }

    fn read(self) -> Option<Sweeps> {
        let [all, unrevoked, live, live_standard] = self.left;
        let is_possible = live_standard <= live && live <= unrevoked;
        if !is_possible || self.pending.is_empty() || self.pending.len() > MAX_SWEEPS {
            return None;
        }
        let pending = self.pending.into_iter().map(StoredSweep::read).collect::<Option<_>>()?;
        let left = KeyCounts { all, unrevoked, live, live_standard };
        Some(Sweeps { purged: self.purged, left, pending })
    }
}

impl Field for Box<Sweeps> {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        // Texts and numbers alone: that can't fail.
        sink.text(&serde_json::to_string(&StoredSweeps::of(self)).unwrap_or_default())
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.text_as(name, |text| {
            serde_json::from_str::<StoredSweeps>(text).ok()?.read().map(Box::new)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::authority::{CorrelationId, Reason};
    use crate::id::OwnerId;
    use crate::key::{Digest, IssueEpochs, PepperNumber, PrefixNumber, Scheme};

    fn roles() -> impl Strategy<Value = Role> {
        let (owner, key) = (OwnerId::new("acme").unwrap(), KeyId::from_u128(7));
        let generation =
            (1..=Generation::MAX.get()).prop_map(|number| Generation::new(number).unwrap());
        (0..4_u8, generation, any::<bool>()).prop_map(move |(role, generation, previous_tokens)| {
            match role {
                0 => Role::Administrator,
                1 => Role::Owner { owner },
                2 => Role::Delegate { owner, key, generation },
                _ => Role::OwnerByKey { owner, key, generation, previous_tokens },
            }
        })
    }

    fn sweeps() -> impl Strategy<Value = Sweeps> {
        let texts = (".{0,20}", prop::option::of("[ -~]{1,40}"), any::<bool>());
        let kind = prop_oneof![Just(SweepKind::Purge), Just(SweepKind::Revoke)];
        let at = (0..1_u64 << 40).prop_map(|at| Timestamp::from_millis(at).unwrap());
        let numbers = (any::<u32>(), 1..1_u64 << 52, any::<u64>(), any::<u128>());
        let sweep = (numbers, kind, at, roles(), texts).prop_filter_map(
            "texts within their limits",
            |(
                (epoch, incarnation, binding, last_key),
                kind,
                at,
                role,
                (actor, reason, reason_for_owner),
            )| {
                let reason = reason.map(Reason::new).transpose().ok()?;
                let correlation_id = CorrelationId::new("7").ok().filter(|_| reason_for_owner);
                let actor = Actor::new(actor).ok()?;
                let authority = Authority { role, actor, reason, reason_for_owner, correlation_id };
                let incarnation = Incarnation::new(incarnation).unwrap();
                let last_key = KeyId::from_u128(last_key);
                Some(Sweep { epoch, kind, at, authority, incarnation, binding, last_key })
            },
        );
        let pending = prop::collection::vec(sweep, 1..=MAX_SWEEPS);
        (any::<bool>(), [0..9_u64, 0..9, 0..9, 0..9], pending).prop_map(
            |(purged, left, pending)| {
                let mut left = left;
                left.sort_unstable_by(|a, b| b.cmp(a));
                let [all, unrevoked, live, live_standard] = left;
                let left = KeyCounts { all, unrevoked, live, live_standard };
                Sweeps { purged, left, pending }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read_back(sweeps in sweeps()) {
            let stored = serde_json::to_string(&StoredSweeps::of(&sweeps)).unwrap();
            let read = serde_json::from_str::<StoredSweeps>(&stored).unwrap().read();
            prop_assert_eq!(read, Some(sweeps));
        }

        /// A piece writes what is shown already, and nothing after that.
        #[test]
        fn what_is_written_is_what_was_shown(
            sweeps in sweeps(), epoch in 0..9_u32, epochs in prop::collection::vec(0..9_u32, 4),
        ) {
            let mut sweeps = sweeps;
            let mut ascending = epochs;
            ascending.sort_unstable();
            for (sweep, epoch) in sweeps.pending.iter_mut().zip(ascending) {
                sweep.epoch = epoch;
            }
            let digest = Digest::new([0; 32], Scheme::Blake3Keyed64, PepperNumber::new(1), PrefixNumber::new(0).unwrap());
            let epochs = IssueEpochs { owner: epoch, store: 0 };
            let at = Timestamp::MIN;
            let token = TokenRecord { generation: Generation::FIRST, digest, issued_at: at, epochs };
            let actor = Actor::new("root").unwrap();
            let key = KeyRecord::new(KeyId::from_u128(1), OwnerId::new("acme").unwrap(), token, at, actor);
            let covering: Vec<_> =
                sweeps.pending.iter().filter(|sweep| epoch < sweep.epoch).collect();
            let purged = covering.iter().any(|sweep| sweep.kind == SweepKind::Purge);
            match sweeps.applied(key) {
                None => prop_assert!(purged),
                Some(key) => {
                    prop_assert!(!purged && sweeps.of_key(&key).is_none());
                    let first = covering.first().map(|sweep| sweep.switch());
                    prop_assert_eq!(key.version.get(), 1 + u64::from(first.is_some()));
                    prop_assert_eq!(key.revoked, first);
                }
            }
        }

        /// A damaged key shows the time and the actor of the revocation that whole keys show.
        #[test]
        fn a_damaged_key_ends_as_whole_ones_do(sweeps in sweeps()) {
            let id = KeyId::from_u128(0);
            prop_assert!(sweeps.pending.iter().all(|sweep| sweep.covers_damaged(id)));
            let ending = sweeps.of_damaged(id).unwrap();
            if sweeps.has_purge() {
                prop_assert_eq!(ending.kind, SweepKind::Purge);
            } else {
                prop_assert_eq!(ending.switch(), sweeps.pending[0].switch());
            }
        }
    }

    #[test]
    fn what_no_sink_took_is_damaged() {
        let right = r#"{"purged":false,"left":[2,2,1,1],"pending":[{"epoch":1,"kind":"revoke","at":5,
            "incarnation":1,"binding":9,"last_key":"00000000-0000-0000-0000-000000000007",
            "role":"administrator","actor":"root","reason_for_owner":false}]}"#;
        let read = |text: &str| serde_json::from_str::<StoredSweeps>(text).ok()?.read();
        assert!(read(right).is_some());
        for (from, to) in [
            ("[2,2,1,1]", "[2,2,1,2]"),
            ("[2,2,1,1]", "[2,2,1]"),
            ("\"revoke\"", "\"other\""),
            ("\"administrator\"", "\"owner\""),
            ("\"root\"", "\"\""),
            ("\"last_key\":\"0", "\"last_key\":\"g"),
            ("\"last_key\":", "\"lost_key\":"),
            ("\"incarnation\":1", "\"incarnation\":0"),
            ("\"purged\":false", "\"purged\":1"),
            ("\"epoch\":1", "\"epoch\":-1"),
            ("\"epoch\":1", "\"epoch\":1,\"more\":1"),
        ] {
            let wrong = right.replace(from, to);
            assert_ne!(wrong, right, "{from}");
            assert!(read(&wrong).is_none(), "{wrong}");
        }
        assert!(read(r#"{"purged":true,"left":[0,0,0,0],"pending":[]}"#).is_none());
    }
}
