//! The rules by which settings of keys and defaults of owners are set, protected and fixed.

use super::authorize::Principal;
use crate::event::Fields;
use crate::invalid::{Invalid, Problem};
use crate::key::{KeyRecord, OwnerRecord, SettingNames, Settings, SettingsPatch};
use crate::store::types::error::{Error, ForbiddenReason};
use crate::store::types::settings_check::{SettingsChange, SettingsCheck, SettingsOf, checked};

/// Sets a key's own settings; returns their field if they or their protection differ.
///
/// A setting that an administrator sets is protected from then on: no other caller changes or
/// removes it, and it goes over a fixed default. An administrator that removes it lifts that.
///
/// # Errors
/// `Forbidden` if another caller would change a protected setting, or set one over a fixed default.
/// `Invalid` over a limit, or if the service's own check refuses the settings.
pub(in crate::store::manage) fn set(
    caller: &Principal<'_>,
    key: &mut KeyRecord,
    patch: SettingsPatch,
    owner: &OwnerRecord,
    settings_check: Option<&dyn SettingsCheck>,
) -> Result<Fields, Error> {
    let (patched, protected) = patched(caller, key, patch, owner)?;
    let mut fields = Fields::NONE;
    if patched != key.settings {
        check(caller, settings_check, SettingsOf::Key, &key.settings, &patched)?;
        fields = Fields::SETTINGS;
    }
    if protected != key.protected_settings {
        fields = Fields::SETTINGS;
    }
    (key.settings, key.protected_settings) = (patched, protected);
    Ok(fields)
}

/// Sets the settings of a new key. The service checks them even if there are none.
///
/// # Errors
/// As [`set`].
pub(in crate::store::manage) fn set_first(
    caller: &Principal<'_>,
    key: &mut KeyRecord,
    patch: SettingsPatch,
    owner: &OwnerRecord,
    settings_check: Option<&dyn SettingsCheck>,
) -> Result<(), Error> {
    let (patched, protected) = patched(caller, key, patch, owner)?;
    check(caller, settings_check, SettingsOf::Key, &key.settings, &patched)?;
    (key.settings, key.protected_settings) = (patched, protected);
    Ok(())
}

/// Returns a key's own settings after a patch, and those of them that are protected.
fn patched(
    caller: &Principal<'_>,
    key: &KeyRecord,
    mut patch: SettingsPatch,
    owner: &OwnerRecord,
) -> Result<(Settings, SettingNames), Error> {
    let mut protected = key.protected_settings.clone();
    if caller.is_administrator() {
        patch.iter().for_each(|(name, _)| protected.insert(name));
    } else {
        keep_protected(key, owner, &mut patch)?;
    }
    let patched = key.settings.patched(&patch)?;
    protected.retain_in(&patched);
    Ok((patched, protected))
}

/// Refuses a patch that changes what an administrator has set or fixed. What it sets to the fixed
/// default, which is shown anyway, isn't kept as the key's own.
fn keep_protected(
    key: &KeyRecord,
    owner: &OwnerRecord,
    patch: &mut SettingsPatch,
) -> Result<(), Error> {
    for (name, value) in patch.iter() {
        let is_shown = if key.protected_settings.contains(name) {
            key.settings.get(name) == Some(value)
        } else if owner.fixed_defaults.contains(name) {
            // A value of the key's own that the default hides may stay or go.
            value.is_null()
                || [&owner.defaults, &key.settings].map(|all| all.get(name)).contains(&Some(value))
        } else {
            true
        };
        if !is_shown {
            return Err(Error::Forbidden(ForbiddenReason::ProtectedSetting));
        }
    }
    patch.retain(|name, value| value.is_null() || !owner.fixed_defaults.contains(name));
    Ok(())
}

/// Sets the defaults of an owner, and which of them are fixed; returns their field if they differ.
///
/// # Errors
/// `Invalid` over a limit, if the service's own check refuses the defaults, or for a fixed name that
/// has no default.
pub(in crate::store::manage) fn set_defaults(
    caller: &Principal<'_>,
    owner: &mut OwnerRecord,
    patch: Option<SettingsPatch>,
    fixed: Option<&SettingNames>,
    settings_check: Option<&dyn SettingsCheck>,
) -> Result<Fields, Error> {
    let patched = owner.defaults.patched(&patch.unwrap_or_default())?;
    let mut fields = Fields::NONE;
    if patched != owner.defaults {
        check(caller, settings_check, SettingsOf::Owner, &owner.defaults, &patched)?;
        fields = Fields::SETTINGS;
    }
    let fixed_before = owner.fixed_defaults.clone();
    match fixed {
        Some(fixed) => {
            if fixed.iter().any(|name| patched.get(name).is_none()) {
                let what = "each name must be one of the owner's default settings";
                return Err(Invalid::new("fixed_defaults", Problem::Required { what }).into());
            }
            owner.fixed_defaults = fixed.clone();
        }
        None => owner.fixed_defaults.retain_in(&patched),
    }
    owner.defaults = patched;
    if owner.fixed_defaults != fixed_before {
        fields = Fields::SETTINGS;
    }
    Ok(fields)
}

/// Checks that a new owner may be without defaults.
///
/// # Errors
/// `Invalid` if the service's own check refuses that.
pub(in crate::store::manage) fn check_no_defaults(
    caller: &Principal<'_>,
    settings_check: Option<&dyn SettingsCheck>,
) -> Result<(), Invalid> {
    let none = Settings::default();
    check(caller, settings_check, SettingsOf::Owner, &none, &none)
}

fn check(
    caller: &Principal<'_>,
    check: Option<&dyn SettingsCheck>,
    of: SettingsOf,
    old: &Settings,
    new: &Settings,
) -> Result<(), Invalid> {
    checked(check, &SettingsChange { role: &caller.authority.role, of, old, new })
}
