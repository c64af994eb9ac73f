//! What an owner sees of administrators: that they acted and when, the reason if it was meant for the
//! owner, and never a name.

use keyhasp::authority::{Actor, Authority, Role};
use keyhasp::event::Event;
use serde_json::{Value, json};

/// The name shown in place of an administrator's.
const SHOWN: &str = "administrator";

/// Hides administrators in an answer: in switches that they set, and where they created.
pub(super) fn hide_administrators(shown: &mut Value) {
    match shown {
        Value::Array(items) => items.iter_mut().for_each(hide_administrators),
        Value::Object(fields) => {
            let is_by_one = |field: &str| fields.get(field).is_some_and(|by| by == SHOWN);
            // An owner is always created by one.
            let is_created = is_by_one("created_as") || fields.contains_key("max_keys");
            let (is_switch, is_told) =
                (is_by_one("set_by"), fields.get("reason_for_owner") == Some(&true.into()));
            if fields.contains_key("max_keys") {
                fields["tags"] = json!([]);
            }
            if is_created && let Some(by) = fields.get_mut("created_by") {
                *by = SHOWN.into();
            }
            if is_switch {
                fields["by"] = SHOWN.into();
            }
            if is_switch && !is_told {
                fields["reason"] = Value::Null;
            }
            fields.values_mut().for_each(hide_administrators);
        }
        _ => {}
    }
}

/// An event as an owner sees it.
pub(super) fn hidden(mut event: Event) -> Event {
    let by = &mut event.draft.authority;
    if by.role == Role::Administrator {
        by.actor = actor(by);
        by.reason = by.reason.take().filter(|_| by.reason_for_owner);
        by.correlation_id = None;
    }
    event
}

/// The store's own name is no person's.
fn actor(by: &Authority) -> Actor {
    if by.actor.as_str() == "keyhasp" { by.actor.clone() } else { Actor::new(SHOWN).unwrap() }
}
