//! New owners, before they are committed.

use super::authorize::Principal;
use super::limit_rules;
use super::new_key::Minter;
use super::setting_rules;
use crate::backend::{Change, Write};
use crate::event::{EventKind, Fields};
use crate::id::{OwnerId, Version};
use crate::key::{
    DEFAULT_MAX_KEYS, Limits, OwnerRecord, SettingNames, Settings, SettingsPatch, Tags,
};
use crate::permission::Access;
use crate::store::types::SettingsCheck;
use crate::store::types::error::Error;
use crate::store::types::request::CreateOwner;

impl Minter {
    /// Checks a request, and drafts the owner that it asks for, with the change that creates it. Its
    /// first key isn't looked at.
    pub(super) fn draft_owner(
        &self,
        caller: &Principal<'_>,
        id: &OwnerId,
        request: &CreateOwner,
        check: Option<&dyn SettingsCheck>,
    ) -> Result<(OwnerRecord, Change), Error> {
        caller.require_administrator()?;
        let catalogue = self.engine.records.catalogue();
        let max_access = request.max_access.as_ref().unwrap_or(&Access::Full).renamed(catalogue);
        max_access.check(catalogue)?;
        let mut limits = Limits::default();
        let incarnation = self.new_incarnation()?;
        let quota_version = incarnation.quota_version(Version::FIRST);
        limit_rules::set(caller, &mut limits, &request.limits, quota_version)?;
        let mut owner = OwnerRecord {
            sweeps: None,
            tags: Tags::new(&request.tags)?,
            id: *id,
            version: Version::FIRST,
            incarnation,
            defaults: Settings::default(),
            fixed_defaults: SettingNames::default(),
            suspended: None,
            max_access,
            limits,
            max_keys: request.max_keys.unwrap_or(DEFAULT_MAX_KEYS),
            lifetime: request.lifetime.unwrap_or_default(),
            tokens_valid_from: self.engine.records.epochs_of_purged(id)?,
            created_at: caller.now,
            created_by: caller.authority.actor.clone(),
            updated_at: caller.now,
        };
        let patch = request.defaults.clone().map(SettingsPatch::from_value).transpose()?;
        let fixed = request.fixed_defaults.as_ref();
        setting_rules::set_defaults(caller, &mut owner, patch, fixed, check)?;
        if owner.defaults.is_empty() {
            // The service checks them even if there are none.
            setting_rules::check_no_defaults(caller, check)?;
        }
        let event = caller.owner_event(EventKind::OwnerCreated, &owner, Fields::NONE);
        let change = Change::of(Write::CreateOwner(Box::new(owner.clone())), event);
        Ok((owner, change))
    }
}
