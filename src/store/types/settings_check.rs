//! The service's own check of settings.

use std::fmt;

use serde_json::Value;

use crate::invalid::{Invalid, Problem};
use crate::key::{Settings, SettingsPatch};

/// A check of settings, which rejects settings that the service doesn't know or whose type is
/// wrong. Every function from [`Settings`] to `Result<(), String>` is one.
pub trait SettingsCheck: Send + Sync + 'static {
    /// Checks the settings that a key of its own, or an owner as defaults, would have after the
    /// call.
    ///
    /// # Errors
    /// A message for the caller. The call then fails with `Invalid`.
    fn check(&self, settings: &Settings) -> Result<(), String>;
}

impl<F> SettingsCheck for F
where
    F: Fn(&Settings) -> Result<(), String> + Send + Sync + 'static,
{
    fn check(&self, settings: &Settings) -> Result<(), String> {
        self(settings)
    }
}

impl fmt::Debug for dyn SettingsCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettingsCheck")
    }
}

/// Creates the settings of a new record. A top-level member that is null sets nothing, as in every
/// later change.
pub(in crate::store) fn first_settings(given: Option<&Value>) -> Result<Settings, Invalid> {
    match given {
        Some(given) => Settings::default().patched(&SettingsPatch::from_value(given.clone())?),
        None => Ok(Settings::default()),
    }
}

/// Returns the settings if the service has no check, or if they pass it.
pub(in crate::store) fn checked(
    check: Option<&dyn SettingsCheck>,
    settings: Settings,
) -> Result<Settings, Invalid> {
    match check.map(|check| check.check(&settings)) {
        Some(Err(message)) => Err(Invalid::new("settings", Problem::Refused { message })),
        _ => Ok(settings),
    }
}
