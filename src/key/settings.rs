//! The service's own settings of a key: a JSON object over its owner's defaults.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Field, Sink, Source};
use crate::invalid::{Invalid, Problem};
use crate::serial::by_parts;

const FIELD: &str = "settings";

/// A JSON object of at most 16 KiB of text, 256 names in all and depth 16 (the object itself is
/// the first level).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Settings(Map<String, Value>);

/// A change of settings, by top-level name: a value sets it, null takes it away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsPatch(Map<String, Value>);

impl TryFrom<Map<String, Value>> for Settings {
    type Error = Invalid;

    fn try_from(object: Map<String, Value>) -> Result<Self, Invalid> {
        Self::new(object)
    }
}

by_parts!(Settings, Map<String, Value>);

impl Settings {
    /// The greatest size as compact JSON, in bytes.
    pub const MAX_BYTES: usize = 16 * 1024;
    /// The greatest number of names, those of nested objects included.
    pub const MAX_NAMES: usize = 256;
    /// The greatest depth of nesting.
    pub const MAX_DEPTH: usize = 16;

    /// Takes an object.
    ///
    /// # Errors
    /// [`Invalid`] over a limit.
    pub fn new(object: Map<String, Value>) -> Result<Self, Invalid> {
        let names = check_depth(&object, 1)?;
        if names > Self::MAX_NAMES {
            let (given, limit) = (names, Self::MAX_NAMES);
            return Err(Invalid::new(FIELD, Problem::TooMany { given, limit }));
        }
        let settings = Self(object);
        let given = settings.to_json().len();
        if given > Self::MAX_BYTES {
            let limit = Self::MAX_BYTES;
            return Err(Invalid::new(FIELD, Problem::TooLong { given, limit }));
        }
        Ok(settings)
    }

    /// Takes any JSON value that is an object.
    ///
    /// # Errors
    /// [`Invalid`] over a limit, or for another kind of value.
    pub fn from_value(value: Value) -> Result<Self, Invalid> {
        match value {
            Value::Object(object) => Self::new(object),
            _ => Err(Invalid::new(FIELD, Problem::Malformed { expected: "a JSON object" })),
        }
    }

    /// Reads JSON text, as a backend stored it.
    ///
    /// # Errors
    /// [`Invalid`] over a limit, or for anything but an object.
    pub fn from_json(text: &str) -> Result<Self, Invalid> {
        if text == "{}" {
            return Ok(Self::default());
        }
        let value = serde_json::from_str(text)
            .map_err(|_| Invalid::new(FIELD, Problem::Malformed { expected: "a JSON object" }))?;
        Self::from_value(value)
    }

    /// Compact JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        // It has names for keys and nothing that fails to be written.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// The value of a top-level name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The object.
    #[must_use]
    pub fn as_object(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Whether no name is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These settings with a patch applied.
    ///
    /// # Errors
    /// [`Invalid`] when the result is over a limit.
    pub fn patched(&self, patch: &SettingsPatch) -> Result<Self, Invalid> {
        let mut object = self.0.clone();
        for (name, value) in &patch.0 {
            if value.is_null() {
                object.remove(name);
            } else {
                object.insert(name.clone(), value.clone());
            }
        }
        Self::new(object)
    }

    /// Merges the settings that hold for a key: its own value for each name it sets, its owner's
    /// default for others, and for the names that are fixed.
    #[must_use]
    pub fn over(&self, defaults: &Self, is_fixed: impl Fn(&str) -> bool) -> Map<String, Value> {
        let mut object = defaults.0.clone();
        let own = self.0.iter().filter(|(name, _)| !is_fixed(name));
        object.extend(own.map(|(name, value)| (name.clone(), value.clone())));
        object
    }
}

impl Field for Settings {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.text(&self.to_json())
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.text_as(name, |text| Self::from_json(text).ok())
    }
}

impl SettingsPatch {
    /// Lists the names with their values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Keeps the names for which a condition holds.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(&str, &Value) -> bool) {
        self.0.retain(|name, value| keeps(name, value));
    }

    /// Takes an object; a top-level null takes its name away.
    #[must_use]
    pub fn new(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// Takes any JSON value that is an object.
    ///
    /// # Errors
    /// [`Invalid`] for another kind of value.
    pub fn from_value(value: Value) -> Result<Self, Invalid> {
        match value {
            Value::Object(object) => Ok(Self(object)),
            _ => Err(Invalid::new(FIELD, Problem::Malformed { expected: "a JSON object" })),
        }
    }
}

/// Counts the names at and below this object, and refuses what lies too deep.
fn check_depth(object: &Map<String, Value>, depth: usize) -> Result<usize, Invalid> {
    object.values().try_fold(object.len(), |names, value| Ok(names + check_value(value, depth)?))
}

fn check_value(value: &Value, depth: usize) -> Result<usize, Invalid> {
    let below = depth + 1;
    if matches!(value, Value::Array(_) | Value::Object(_)) && below > Settings::MAX_DEPTH {
        return Err(Invalid::new(FIELD, Problem::TooDeep { limit: Settings::MAX_DEPTH }));
    }
    match value {
        Value::Array(items) => {
            items.iter().try_fold(0, |names, item| Ok(names + check_value(item, below)?))
        }
        Value::Object(object) => check_depth(object, below),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn settings(value: Value) -> Settings {
        Settings::from_value(value).unwrap()
    }

    #[test]
    fn null_goes_back_to_the_default() {
        let defaults = settings(json!({"colour": "blue", "size": {"w": 1}}));
        let own = settings(json!({"colour": "red"}));
        assert_eq!(
            Value::Object(own.over(&defaults, |_| false)),
            json!({"colour": "red", "size": {"w": 1}})
        );
        let patch = SettingsPatch::from_value(json!({"colour": null, "size": {"h": 2}})).unwrap();
        let own = own.patched(&patch).unwrap();
        // Replaced by top-level name: `size` is replaced whole.
        assert_eq!(
            Value::Object(own.over(&defaults, |_| false)),
            json!({"colour": "blue", "size": {"h": 2}})
        );
    }

    #[test]
    fn limits() {
        let nested = |depth: usize| (1..depth).fold(json!({}), |inner, _| json!({"a": inner}));
        assert!(Settings::from_value(nested(16)).is_ok());
        let deep = Settings::from_value(nested(17)).unwrap_err();
        assert_eq!(deep.problem(), &Problem::TooDeep { limit: 16 });
        let in_arrays = (1..17).fold(json!(1), |inner, _| json!([inner]));
        assert!(Settings::from_value(json!({"a": in_arrays})).is_err());

        let named = |n: usize| (0..n).map(|i| (format!("n{i}"), json!(1))).collect::<Map<_, _>>();
        assert!(Settings::new(named(256)).is_ok());
        assert!(Settings::new(named(257)).is_err());
        assert!(Settings::from_value(json!({"inner": named(256)})).is_err());

        let sized = |n: usize| json!({"a": "x".repeat(n - r#"{"a":""}"#.len())});
        assert!(Settings::from_value(sized(16 * 1024)).is_ok());
        let long = Settings::from_value(sized(16 * 1024 + 1)).unwrap_err();
        assert_eq!(long.problem(), &Problem::TooLong { given: 16_385, limit: 16_384 });

        for other in [json!([]), json!(null), json!("a"), json!(1)] {
            assert!(Settings::from_value(other).is_err());
        }
        assert!(Settings::from_json("{").is_err());
    }

    fn objects() -> impl Strategy<Value = Map<String, Value>> {
        let value = prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!({"a": [2]}))];
        prop::collection::btree_map("[ab]{1,2}", value, 0..5).prop_map(|m| m.into_iter().collect())
    }

    proptest! {
        #[test]
        fn each_name_is_the_keys_own_or_the_default(own in objects(), defaults in objects(), patch in objects()) {
            let (own, defaults) = (Settings::new(own).unwrap(), Settings::new(defaults).unwrap());
            let patched = own.patched(&SettingsPatch::new(patch.clone())).unwrap();
            let effective = patched.over(&defaults, |name| name == "bb");
            for name in ["a", "b", "aa", "ab", "ba", "bb"] {
                let mine = match patch.get(name) {
                    Some(Value::Null) => None,
                    Some(value) => Some(value),
                    None => own.get(name),
                };
                let mine = mine.filter(|_| name != "bb");
                prop_assert_eq!(effective.get(name), mine.or(defaults.get(name)));
            }
            prop_assert_eq!(Settings::from_json(&patched.to_json()).unwrap(), patched);
        }
    }
}
