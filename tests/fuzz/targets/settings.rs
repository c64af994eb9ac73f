//! Texts that may be settings, against serde_json and the limits counted independently.

use keyhasp::key::{Settings, SettingsPatch};
use serde_json::{Map, Value};

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let parsed: Option<Value> = serde_json::from_str(&text).ok();
    let expected = parsed.as_ref().and_then(Value::as_object).filter(|object| fits(object));
    let settings = Settings::from_json(&text);
    assert_eq!(settings.is_ok(), expected.is_some(), "limits");
    let (Ok(settings), Some(object)) = (settings, expected) else { return };
    assert_eq!(settings.as_object(), object);

    let printed = settings.to_json();
    let again = Settings::from_json(&printed).unwrap();
    assert_eq!(again, settings, "parsed, printed and parsed");
    assert_eq!(again.to_json(), printed);
    patched(&settings, object);
}

fn fits(object: &Map<String, Value>) -> bool {
    let value = Value::Object(object.clone());
    depth(&value) <= Settings::MAX_DEPTH
        && names(&value) <= Settings::MAX_NAMES
        && value.to_string().len() <= Settings::MAX_BYTES
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn names(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(names).sum(),
        Value::Object(object) => object.len() + object.values().map(names).sum::<usize>(),
        _ => 0,
    }
}

/// Each name is what the patch says, or what it was; and over the defaults the key's own counts.
fn patched(settings: &Settings, object: &Map<String, Value>) {
    let before = serde_json::json!({"a": 1, "b": {"c": null}, "d": "e"});
    let before = Settings::from_value(before).unwrap();
    let Ok(after) = before.patched(&SettingsPatch::new(object.clone())) else { return };
    for name in object.keys().chain(before.as_object().keys()) {
        let said = object.get(name).or(before.get(name)).filter(|value| !value.is_null());
        assert_eq!(after.get(name), said, "{name}");
        let effective = settings.over(&before, |_| false);
        assert_eq!(effective.get(name), object.get(name).or(before.get(name)), "{name}");
    }
    assert!(after.as_object().values().all(|value| !value.is_null()));
}
