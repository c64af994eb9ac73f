//! Refusals for reasons that the contract doesn't know.

use keyhasp::backend::{Backend, BackendError, Change, Rejection, Write};
use keyhasp::id::KeyId;
use keyhasp::key::{KeyRecord, Kind};

use super::written::{named, writes_to, written};
use super::{Fault, FaultyBackend};

impl FaultyBackend {
    /// A reason that the contract doesn't know.
    pub(super) fn refused_too_strictly(
        &self,
        change: &Change,
        previous: &[Change],
    ) -> Result<Option<Rejection>, BackendError> {
        for operation in &change.operations {
            let reason = match &operation.write {
                Write::CreateKey(create) => self.creation_refused_too_strictly(&create.record)?,
                Write::ReplaceKey(key) => self.replacement_refused_too_strictly(key, change)?,
                Write::RemoveKey(id, _) => self.guards_too_strictly(*id, change)?,
                Write::CreateOwner(owner)
                    if self.is(Fault::OwnersNeverComeAgain)
                        && self.notes().owners_ever.contains(&owner.id) =>
                {
                    Some(Rejection::OwnerExists)
                }
                Write::ReplaceMetadata(_)
                    if self.is(Fault::RulesChangeAlone) && change.operations.len() > 1 =>
                {
                    Some(Rejection::DataForbid { rule: "unique_names" })
                }
                _ => None,
            };
            let record = written(&operation.write);
            if self.is(Fault::BatchesSeeTheStateBeforeThem)
                && record.is_some_and(|record| writes_to(previous, record))
            {
                return Ok(Some(Rejection::OwnerMissing));
            }
            if reason.is_some() {
                return Ok(reason);
            }
        }
        Ok(None)
    }

    fn creation_refused_too_strictly(
        &self,
        key: &KeyRecord,
    ) -> Result<Option<Rejection>, BackendError> {
        let others = self.keys_of(&key.owner)?;
        let live = others.iter().filter(|key| key.is_live()).count();
        let limit = self.memory.owner(&key.owner)?.map_or(u32::MAX, |owner| owner.max_keys);
        let name = |key: &KeyRecord| key.name.as_ref().map(|name| name.as_str().to_lowercase());
        Ok(match self.fault {
            Fault::RevokedKeysTakeRoom if others.len() >= limit as usize => {
                Some(Rejection::TooManyKeys { limit })
            }
            Fault::NumbersOfKeysAreThoseBeforeTheChange if live >= limit as usize => {
                Some(Rejection::TooManyKeys { limit })
            }
            Fault::NamesAreComparedWithoutCase => others
                .iter()
                .find(|other| other.name.is_some() && name(other) == name(key))
                .map(|other| Rejection::NameTaken(other.id)),
            Fault::NamesAreOneForAllOwners => {
                let taken = self.notes().names_ever.clone();
                let again = named(key).is_some_and(|(_, name)| {
                    taken.iter().any(|(owner, other)| *owner != key.owner && *other == name)
                });
                again.then_some(Rejection::NameTaken(key.id))
            }
            Fault::NamesAreTakenForEver => {
                let again = named(key).is_some_and(|name| self.notes().names_ever.contains(&name));
                again.then_some(Rejection::NameTaken(key.id))
            }
            _ => None,
        })
    }

    fn replacement_refused_too_strictly(
        &self,
        key: &KeyRecord,
        change: &Change,
    ) -> Result<Option<Rejection>, BackendError> {
        let others = self.keys_of(&key.owner)?;
        let limit = self.memory.owner(&key.owner)?.map_or(u32::MAX, |owner| owner.max_keys);
        let live = others.iter().filter(|key| key.is_live()).count();
        let mut same_name = others.iter().filter(|other| {
            key.name.is_some() && key.is_live() && other.is_live() && other.name == key.name
        });
        Ok(match self.fault {
            Fault::LoweredNumbersForbidChanges if live > limit as usize => {
                Some(Rejection::TooManyKeys { limit })
            }
            Fault::NamesAreTakenThatAreOnesOwn => {
                same_name.find(|other| other.id == key.id).map(|key| Rejection::NameTaken(key.id))
            }
            Fault::NamesAreCheckedByTheOperation => {
                same_name.find(|other| other.id != key.id).map(|key| Rejection::NameTaken(key.id))
            }
            _ if !key.is_live() => self.guards_too_strictly(key.id, change)?,
            _ => None,
        })
    }

    /// Refuses to let the last standard keys go, whatever other keys the change adds or removes.
    fn guards_too_strictly(
        &self,
        id: KeyId,
        change: &Change,
    ) -> Result<Option<Rejection>, BackendError> {
        let guards = match self.fault {
            Fault::LastStandardKeysNeverGo => true,
            Fault::LastStandardKeysAreGuardedByTheOperation => {
                self.memory.metadata()?.unwrap().rules.keep_standard_key
            }
            _ => false,
        };
        let Some(key) = self.memory.key(id)?.filter(|_| guards) else { return Ok(None) };
        let goes = |id: KeyId| {
            change.operations.iter().any(|operation| match &operation.write {
                Write::RemoveKey(removed, _) => *removed == id,
                Write::ReplaceKey(key) => key.id == id && !key.is_live(),
                _ => false,
            })
        };
        let stays = |key: &KeyRecord| key.is_live() && key.kind == Kind::Standard && !goes(key.id);
        let any_stays = self.keys_of(&key.owner)?.iter().any(stays);
        Ok((!any_stays).then_some(Rejection::LastStandardKey))
    }
}
