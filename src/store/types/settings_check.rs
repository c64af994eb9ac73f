//! The service's own check of settings.

use std::fmt;

use crate::authority::Role;
use crate::invalid::{Invalid, Problem};
use crate::key::Settings;

/// A change of settings, as the service's own check sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SettingsChange<'a> {
    /// The role of the caller.
    pub role: &'a Role,
    /// The record whose settings change.
    pub of: SettingsOf,
    /// The settings before the call; none of a new record.
    pub old: &'a Settings,
    /// The settings after the call.
    pub new: &'a Settings,
}

/// The record whose settings change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsOf {
    /// A key: settings of its own.
    Key,
    /// An owner: the defaults of its keys.
    Owner,
}

/// A check of settings, which rejects settings that the service doesn't know, whose type is wrong,
/// or that this caller may not set. Every function from [`SettingsChange`] to `Result<(), String>` is
/// one.
pub trait SettingsCheck: Send + Sync + 'static {
    /// Checks a change of the settings that a key has of its own, or an owner as defaults.
    ///
    /// # Errors
    /// A message for the caller. The call then fails with `Invalid`.
    fn check(&self, change: &SettingsChange<'_>) -> Result<(), String>;
}

impl<F> SettingsCheck for F
where
    F: Fn(&SettingsChange<'_>) -> Result<(), String> + Send + Sync + 'static,
{
    fn check(&self, change: &SettingsChange<'_>) -> Result<(), String> {
        self(change)
    }
}

impl fmt::Debug for dyn SettingsCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettingsCheck")
    }
}

/// Returns an error if the service has a check, and the change doesn't pass it.
pub(in crate::store) fn checked(
    check: Option<&dyn SettingsCheck>,
    change: &SettingsChange<'_>,
) -> Result<(), Invalid> {
    let message = check.and_then(|check| check.check(change).err());
    message.map_or(Ok(()), |message| Err(Invalid::new("settings", Problem::Refused { message })))
}
