//! The data of a key that a store keeps in memory.

use std::sync::Arc;

use serde_json::Value;

use crate::id::NumericId;
use crate::key::{KeyName, Tags};

/// A name of a setting, and its value.
pub(in crate::store) type NamedSetting = (Arc<str>, Value);

/// The data of a key that a store keeps in memory, if
/// [`StoreBuilder::key_details`](crate::StoreBuilder::key_details) asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyDetails {
    pub(in crate::store) name: Option<KeyName>,
    pub(in crate::store) numeric_id: Option<NumericId>,
    pub(in crate::store) tags: Tags,
    /// Ascending by name. Keys without a value of their own share their owner's.
    pub(in crate::store) settings: Arc<[NamedSetting]>,
}

impl KeyDetails {
    /// Returns the name of the key, a label for people.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(KeyName::as_str)
    }

    /// Returns the service's own number for the key.
    #[must_use]
    pub fn numeric_id(&self) -> Option<NumericId> {
        self.numeric_id
    }

    /// Returns the key's tags.
    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Returns the effective value of a setting: as [`Key::settings`](super::Key::settings) has it.
    /// `None` if the key and its owner have none, and for a setting that the builder didn't name.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&Value> {
        self.settings().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Lists the effective values of the settings that the builder named, ascending by name.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.settings.iter().map(|(name, value)| (&**name, value))
    }
}
