//! Settings: JSON objects, by top-level name.

use serde_json::{Map, Value};

pub(crate) type Object = Map<String, Value>;

/// A name that the service's own check refuses.
pub(crate) const REFUSED_NAME: &str = "refused";

/// Returns `object` after a patch, in which null removes a name. Returns `None` if the result is no
/// object, exceeds a limit, or is refused by the service's check.
pub(crate) fn patched(object: &Object, patch: &Value) -> Option<Object> {
    let Value::Object(patch) = patch else { return None };
    let mut patched = object.clone();
    for (name, value) in patch {
        if value.is_null() {
            patched.remove(name);
        } else {
            patched.insert(name.clone(), value.clone());
        }
    }
    is_allowed(&patched).then_some(patched)
}

/// Returns the key's value for each name that it sets, and its owner's for the others.
pub(crate) fn effective(own: &Object, defaults: &Object) -> Object {
    let mut all = defaults.clone();
    for (name, value) in own {
        all.insert(name.clone(), value.clone());
    }
    all
}

/// 16 KiB of text, 256 names, depth 16.
fn is_allowed(object: &Object) -> bool {
    let value = Value::Object(object.clone());
    value.to_string().len() <= 16 * 1024
        && names(&value) <= 256
        && depth(&value) <= 16
        && !object.contains_key(REFUSED_NAME)
}

fn names(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(names).sum(),
        Value::Object(object) => object.len() + object.values().map(names).sum::<usize>(),
        _ => 0,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
