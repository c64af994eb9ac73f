//! Names of settings that are marked.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Field, Settings, Sink, Source};

/// Top-level names of settings, each once. A record marks with them which of its settings other
/// callers than administrators may not change. All of them are names of the record's settings, whose
/// limits bound them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SettingNames(BTreeSet<String>);

impl SettingNames {
    /// Makes the set of some names.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// Returns whether a name is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lists the names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Adds a name.
    pub(crate) fn insert(&mut self, name: &str) {
        self.0.insert(name.to_owned());
    }

    /// Keeps the names of these settings alone.
    pub(crate) fn retain_in(&mut self, settings: &Settings) {
        self.0.retain(|name| settings.get(name).is_some());
    }

    fn to_json(&self) -> String {
        // A list of texts is always written.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Reads what `to_json` wrote.
    fn from_json(text: &str) -> Option<Self> {
        if text == "[]" {
            return Some(Self::default());
        }
        let names: Vec<String> = serde_json::from_str(text).ok()?;
        let names = Self(names.into_iter().collect());
        (names.0.len() <= Settings::MAX_NAMES && names.to_json() == text).then_some(names)
    }
}

impl Field for SettingNames {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.text(&self.to_json())
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.text_as(name, Self::from_json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_as_one_text_alone() {
        let names = SettingNames::new(["plan", "a \"b\"", "größe", "plan"]);
        assert_eq!(names.to_json(), r#"["a \"b\"","größe","plan"]"#);
        assert_eq!(SettingNames::from_json(&names.to_json()), Some(names));
        assert_eq!(SettingNames::from_json("[]"), Some(SettingNames::default()));
        for other in ["", "{}", "[1]", "[ ]", r#"["b","a"]"#, r#"["a","a"]"#, r#"["a", "b"]"#] {
            assert_eq!(SettingNames::from_json(other), None, "{other}");
        }
        let many = SettingNames::new((0..257).map(|n| n.to_string()));
        assert_eq!(SettingNames::from_json(&many.to_json()), None);
    }
}
