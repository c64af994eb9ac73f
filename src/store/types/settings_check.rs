//! The service's own check of settings.

use std::fmt;

use serde_json::Value;

use crate::invalid::{Invalid, Problem};
use crate::key::{Settings, SettingsPatch};

/// Refuses settings that the service doesn't know, or of a wrong type. Every function of
/// [`Settings`] that answers why not is one.
pub trait SettingsCheck: Send + Sync + 'static {
    /// Looks at a key's own settings, or at an owner's defaults, as they would be.
    ///
    /// # Errors
    /// A message for whoever asked for them.
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

/// The settings of something new. As in every later change, null at the top sets nothing.
pub(in crate::store) fn first_settings(given: Option<&Value>) -> Result<Settings, Invalid> {
    match given {
        Some(given) => Settings::default().patched(&SettingsPatch::from_value(given.clone())?),
        None => Ok(Settings::default()),
    }
}

/// Settings that have passed the service's check, if it has one.
pub(in crate::store) fn checked(
    check: Option<&dyn SettingsCheck>,
    settings: Settings,
) -> Result<Settings, Invalid> {
    match check.map(|check| check.check(&settings)) {
        Some(Err(message)) => Err(Invalid::new("settings", Problem::Refused { message })),
        _ => Ok(settings),
    }
}
