//! Faults that lose or change a part of what is written.

use keyhasp::backend::{
    Applied, Backend, BackendError, Change, Operation, Precondition, Write, WriteKey,
};
use keyhasp::clock::Timestamp;
use keyhasp::id::{NumericId, Version};
use keyhasp::key::{
    Grant, KeyName, KeyRecord, Lifetime, Limits, Networks, OwnerRecord, SettingNames, Settings,
    Switch, Tags,
};
use keyhasp::permission::Access;
use serde_json::Value;

use super::written::{Record, writes_to};
use super::{Fault, FaultyBackend};

impl FaultyBackend {
    /// Loses or changes something of a change before it is committed.
    pub(super) fn spoil(
        &self,
        change: &mut Change,
        previous: &[Change],
    ) -> Result<(), BackendError> {
        change.preconditions.retain(|precondition| match (self.fault, precondition) {
            (Fault::MetadataPreconditionsAreIgnored, Precondition::StoreMetadata(_))
            | (Fault::IncarnationsAreIgnored, Precondition::Incarnation(..))
            | (Fault::KeyPreconditionsAreIgnored, Precondition::Key(..))
            | (Fault::LiveKeysPreconditionsAreIgnored, Precondition::LiveKeys(..))
            | (Fault::CreatedKeysPreconditionsAreIgnored, Precondition::CreatedKeys(..))
            | (Fault::OwnerPreconditionsAreIgnored, Precondition::Owner(..)) => false,
            (Fault::PreconditionsAreAboutTheStateBeforeTheBatch, Precondition::Owner(id, _)) => {
                !writes_to(previous, Record::Owner(*id))
            }
            _ => true,
        });
        match self.fault {
            Fault::LastPreconditionsAreIgnored => change.preconditions.truncate(1),
            Fault::KeysLapseBeforeTheirExpiry => change.lapse_expired_by = Some(Timestamp::MAX),
            Fault::KeysLapseWithoutNeed => self.lapse_all(change)?,
            Fault::KeysNeverLapse => change.lapse_expired_by = None,
            Fault::RetiredPeppersEndTokensUnasked => change.ends_tokens = true,
            Fault::OperationsOfAChangeAreCutAfterThree => change.operations.truncate(3),
            Fault::EventsOfAChangeAreBackwards => {
                let events: Vec<_> =
                    change.operations.iter().map(|operation| operation.event.clone()).collect();
                for (operation, event) in change.operations.iter_mut().rev().zip(events) {
                    operation.event = event;
                }
            }
            Fault::EventsThatStandAloneAreLost => {
                change.operations.retain(|operation| !matches!(operation.write, Write::Nothing));
            }
            _ => {}
        }
        for operation in &mut change.operations {
            if self.is(Fault::SweepsLoseTheirReason)
                && matches!(operation.write, Write::RevokeKeys(_))
            {
                operation.event.authority.reason = None;
            }
            self.spoil_write(&mut operation.write, operation.event.at)?;
        }
        Ok(())
    }

    /// Lets every expired key lapse that the change could end, whether it needs its place or not.
    fn lapse_all(&self, change: &mut Change) -> Result<(), BackendError> {
        let Some(by) = change.lapse_expired_by else { return Ok(()) };
        let cause = change.operations[0].event.clone();
        if let Some(owner) = cause.owner {
            let ends = |key: &KeyRecord| key.is_live() && key.expires_at.is_some_and(|at| at <= by);
            for key in self.keys_of(&owner)?.into_iter().filter(ends) {
                let (lapsed_at, version) = (Some(cause.at), key.version.next());
                let lapsed = KeyRecord { lapsed_at, version, ..key };
                change.operations.push(Operation {
                    write: Write::ReplaceKey(Box::new(lapsed)),
                    event: cause.clone(),
                });
            }
        }
        Ok(())
    }

    fn spoil_write(&self, write: &mut Write, at: Timestamp) -> Result<(), BackendError> {
        match write {
            Write::CreateKey(create) => {
                let id = create.record.id;
                self.spoil_key(&mut create.record);
                if self.is(Fault::CreationsOverwrite)
                    && let Some(found) = self.memory.key(id)?
                {
                    let version = found.version.next();
                    *write =
                        Write::ReplaceKey(Box::new(KeyRecord { version, ..create.record.clone() }));
                }
            }
            Write::ReplaceKey(key) => {
                // A key under quarantine reads as damaged.
                let found = self.memory.key(key.id).ok().flatten();
                self.spoil_key(key);
                match (self.fault, found) {
                    (Fault::ReplacementsCreate, None) => {
                        let (record, next_numeric_id) = ((**key).clone(), false);
                        *write = Write::CreateKey(Box::new(WriteKey { record, next_numeric_id }));
                    }
                    (Fault::KeysStayWithTheirFirstOwner, Some(found)) => key.owner = found.owner,
                    (Fault::VersionsAreIgnored, Some(found)) => key.version = found.version.next(),
                    (Fault::ReplacedKeysKeepTheirSeal, Some(found)) if key.seal.is_none() => {
                        key.seal = found.seal;
                    }
                    (Fault::ReplacedRecordsKeepTheirLimits, Some(found)) => {
                        key.limits = found.limits;
                    }
                    _ => {}
                }
            }
            Write::RemoveKey(id, version) => {
                let found = self.memory.key(*id).ok().flatten().map(|key| key.version);
                self.ignore_version(version, found);
            }
            Write::CreateOwner(owner) => {
                self.spoil_owner(owner);
                if self.is(Fault::CreationsOverwrite)
                    && let Some(found) = self.memory.owner(&owner.id)?
                {
                    let version = found.version.next();
                    *write =
                        Write::ReplaceOwner(Box::new(OwnerRecord { version, ..(**owner).clone() }));
                }
            }
            Write::ReplaceOwner(owner) => {
                let found = self.memory.owner(&owner.id)?;
                self.spoil_owner(owner);
                match (self.fault, found) {
                    (Fault::ReplacementsCreate, None) => {
                        *write = Write::CreateOwner(owner.clone());
                    }
                    (Fault::VersionsAreIgnored, Some(found)) => {
                        owner.version = found.version.next();
                    }
                    (Fault::ReplacedOwnersKeepTheirSwitch, Some(found)) => {
                        owner.suspended = owner.suspended.take().or(found.suspended);
                    }
                    (Fault::ReplacedRecordsKeepTheirLimits, Some(found)) => {
                        owner.limits = found.limits;
                    }
                    _ => {}
                }
            }
            Write::RemoveOwner(id, version) => {
                let found = self.memory.owner(id)?.map(|owner| owner.version);
                self.ignore_version(version, found);
            }
            Write::CreateMetadata(metadata) => **metadata = self.as_stored(metadata),
            Write::ReplaceMetadata(metadata) => {
                if self.is(Fault::VersionsAreIgnored) {
                    metadata.version = self.memory.metadata()?.unwrap().version.next();
                }
                if self.is(Fault::ReplacedMetadatasLoseTheirMark) {
                    metadata.tokens_valid_from = None;
                }
                **metadata = self.as_stored(metadata);
            }
            Write::RecordAlert(id, alert) => {
                let _is_new = self.notes().alerted.entry(*id).or_default().note(*alert, at);
                if self.is(Fault::AlertsAreToldAgain) {
                    *write = Write::Nothing;
                }
            }
            Write::GrantKeyUses(key, grant) => match self.fault {
                Fault::GrantsGiveNothing => *write = Write::ReplaceKey(key.clone()),
                Fault::RefillsAddNothing if *grant == Grant::Refill => *grant = Grant::Add(0),
                _ => {}
            },
            Write::GrantOwnerUses(owner, _) if self.is(Fault::GrantsGiveNothing) => {
                *write = Write::ReplaceOwner(owner.clone());
            }
            Write::Quarantine(_) if self.is(Fault::QuarantinesAreLost) => *write = Write::Nothing,
            Write::RemoveDamagedKey(_) if self.is(Fault::PurgesOfDamagedKeysAreLost) => {
                *write = Write::Nothing;
            }
            Write::RevokeKeys(owner) if self.is(Fault::SweepsAreLost) => {
                *write = Write::ReplaceOwner(owner.clone());
            }
            Write::PurgeOwner(..) if self.is(Fault::SweepsAreLost) => *write = Write::Nothing,
            Write::SweepKey(..) if self.is(Fault::PiecesWriteNothing) => *write = Write::Nothing,
            Write::EndSweep(_) if self.is(Fault::EndsOfSweepsAreLost) => *write = Write::Nothing,
            Write::GrantOwnerUses(..)
            | Write::EndSweep(_)
            | Write::Nothing
            | Write::PurgeOwner(..)
            | Write::RevokeKeys(_)
            | Write::SweepKey(..)
            | Write::Quarantine(_)
            | Write::RemoveDamagedKey(_) => {}
        }
        Ok(())
    }

    pub(super) fn spoil_request(&self, change: &mut Change) {
        let Some(once) = &mut change.once else { return };
        match self.fault {
            Fault::RequestsAreForgotten => change.once = None,
            Fault::RequestsAreOverTooEarly => {
                let hour = std::time::Duration::from_secs(60 * 60);
                once.over_before = once.over_before.map(|before| before.saturating_add(hour));
            }
            Fault::RequestsAreNeverOver => once.over_before = None,
            _ => {}
        }
    }

    fn ignore_version(&self, version: &mut Version, found: Option<Version>) {
        if self.is(Fault::VersionsAreIgnored) {
            *version = found.unwrap_or(*version);
        }
    }

    fn spoil_key(&self, key: &mut KeyRecord) {
        let name = key.name.as_ref().map_or("", KeyName::as_str);
        match self.fault {
            Fault::AccessIsCut => cut(&mut key.access),
            Fault::PreviousTokensAreCut => key.previous.truncate(1),
            Fault::LimitsAreLost => key.limits = Limits::default(),
            Fault::ManyNetworksAreCut => cut_networks(&mut key.limits),
            Fault::ProtectedSettingsAreLost => key.protected_settings = SettingNames::default(),
            Fault::SpacesInNamesAreJoined => {
                key.name = KeyName::new(name.replace("  ", " ")).ok();
            }
            Fault::NumbersInSettingsAreFloats => in_floats(&mut key.settings),
            Fault::ReasonsAreLost => {
                lose_reason(&mut key.deactivated);
                lose_reason(&mut key.blocked);
                lose_reason(&mut key.revoked);
            }
            Fault::SealsAreLost => key.seal = None,
            Fault::TagsAreLost => key.tags = Tags::default(),
            Fault::ShortNamesAreLost if name.len() < 2 => key.name = None,
            _ => {}
        }
    }

    fn spoil_owner(&self, owner: &mut OwnerRecord) {
        match self.fault {
            Fault::AccessIsCut => cut(&mut owner.max_access),
            Fault::DefaultsAreLost => owner.defaults = Settings::default(),
            Fault::FixedDefaultsAreLost => owner.fixed_defaults = SettingNames::default(),
            Fault::LifetimesAreLost => owner.lifetime = Lifetime::NONE,
            Fault::LimitsAreLost => owner.limits = Limits::default(),
            Fault::ManyNetworksAreCut => cut_networks(&mut owner.limits),
            Fault::NumbersInSettingsAreFloats => in_floats(&mut owner.defaults),
            Fault::NumbersOfKeysAreIgnored => owner.max_keys = u32::MAX,
            Fault::NumbersOfKeysHaveSixteenBits => owner.max_keys &= 0xffff,
            Fault::ReasonsAreLost => lose_reason(&mut owner.suspended),
            Fault::TagsAreLost => owner.tags = Tags::default(),
            _ => {}
        }
    }

    pub(super) fn spoil_answer(&self, applied: &mut Applied) {
        match self.fault {
            Fault::EventsOfAChangeAreLost => {
                let lost = applied.first_event + 1..=applied.last_event;
                self.notes().hidden_events.extend(lost);
            }
            Fault::EventsAreNumberedFromZero => {
                applied.first_event -= 1;
                applied.last_event -= 1;
            }
            Fault::NextNumericIdsAreAnsweredBackwards => applied.numeric_ids.reverse(),
            Fault::NextNumericIdsRepeat => {
                for id in &mut applied.numeric_ids {
                    *id = NumericId::new(id.get().div_ceil(2)).unwrap();
                }
            }
            _ => {}
        }
    }
}

fn cut(access: &mut Access) {
    if let Access::Limited(limited) = access {
        let some = limited.patterns().iter().take(100).map(|pattern| pattern.as_str().to_owned());
        *access = Access::limited(some).unwrap();
    }
}

fn cut_networks(limits: &mut Limits) {
    if let Some(networks) = &mut limits.networks {
        let some = networks.value.as_slice().iter().take(8).copied();
        networks.value = Networks::new(some).unwrap();
    }
}

fn lose_reason(switch: &mut Option<Switch>) {
    if let Some(switch) = switch {
        switch.reason = None;
    }
}

fn in_floats(settings: &mut Settings) {
    fn change(value: &mut Value) {
        match value {
            Value::Number(number) => *value = Value::from(number.as_f64()),
            Value::Array(items) => items.iter_mut().for_each(change),
            Value::Object(object) => object.values_mut().for_each(change),
            _ => {}
        }
    }
    let mut object = settings.as_object().clone();
    object.values_mut().for_each(change);
    *settings = Settings::new(object).unwrap_or_default();
}
