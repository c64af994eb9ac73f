//! Settings: JSON objects, by top-level name.

use std::collections::BTreeSet;

use keyhasp::store::ForbiddenReason;
use serde_json::{Map, Value};

use super::authority::Caller;
use super::reason::Reason;
use super::records::{KeyFile, OwnerFile};

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

/// Returns each setting that holds for a key. What an administrator set on the key comes first, then
/// the owner's fixed defaults, then the key's other settings, then the owner's other defaults.
pub(crate) fn effective(key: &KeyFile, owner: &OwnerFile) -> Object {
    let names = key.settings.keys().chain(owner.defaults.keys());
    let value = |name: &String| {
        let (own, default) = (key.settings.get(name), owner.defaults.get(name));
        let is_fixed = owner.fixed.contains(name) && !key.protected.contains(name);
        if is_fixed { default.or(own) } else { own.or(default) }
    };
    names.filter_map(|name| Some((name.clone(), value(name)?.clone()))).collect()
}

/// A key's own settings after a patch by a caller, and the names among them that an administrator
/// has set. Returns the reasons against the patch.
pub(super) fn set(
    caller: &Caller,
    (own, protected): (&Object, &BTreeSet<String>),
    (defaults, fixed): (&Object, &BTreeSet<String>),
    patch: &Value,
) -> Result<(Object, BTreeSet<String>), Vec<Reason>> {
    let Value::Object(members) = patch else { return Err(vec![Reason::Invalid("settings")]) };
    let mut reasons = Vec::new();
    let (mut kept, mut protected) = (Object::new(), protected.clone());
    for (name, value) in members {
        let is_fixed = fixed.contains(name) && !protected.contains(name);
        let is_own = own.get(name) == Some(value);
        let refuses = if caller.is_admin {
            if value.is_null() {
                protected.remove(name)
            } else {
                protected.insert(name.clone())
            };
            false
        } else if protected.contains(name) {
            !is_own
        } else {
            is_fixed && !value.is_null() && !is_own && defaults.get(name) != Some(value)
        };
        if refuses {
            reasons.push(Reason::Forbidden(ForbiddenReason::ProtectedSetting));
        }
        // What the owner's fixed default says anyway isn't kept as the key's own.
        if caller.is_admin || value.is_null() || !is_fixed {
            kept.insert(name.clone(), value.clone());
        }
    }
    let Some(next) = patched(own, &Value::Object(kept)) else {
        // The store refuses it for a protected setting before it looks at what would come of it.
        reasons.push(Reason::Invalid("settings"));
        return Err(reasons);
    };
    if reasons.is_empty() { Ok((next, protected)) } else { Err(reasons) }
}

/// An owner's defaults after a patch, and which of them are fixed.
pub(super) fn set_defaults(
    (defaults, fixed): (&Object, &BTreeSet<String>),
    patch: Option<&Value>,
    new_fixed: Option<&Vec<String>>,
) -> Result<(Object, BTreeSet<String>), Vec<Reason>> {
    let next = match patch {
        Some(patch) => patched(defaults, patch).ok_or(vec![Reason::Invalid("settings")])?,
        None => defaults.clone(),
    };
    match new_fixed {
        Some(names) if names.iter().any(|name| !next.contains_key(name)) => {
            Err(vec![Reason::Invalid("fixed_defaults")])
        }
        Some(names) => Ok((next, names.iter().cloned().collect())),
        None => {
            let fixed = fixed.iter().filter(|name| next.contains_key(*name)).cloned().collect();
            Ok((next, fixed))
        }
    }
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
