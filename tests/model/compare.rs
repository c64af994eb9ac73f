//! Differences of two values, as text.

use keyhasp::event::Event;
use keyhasp::{KeyStore, VerifiedKey, VerifyError};
use serde_json::Value;

use crate::model::{Answer, Verdict};

/// Returns the differences between two answers; empty if there are none.
pub(crate) fn answers(expected: &Answer, heard: &Answer) -> Vec<String> {
    match (expected, heard) {
        (Answer::Shown(expected), Answer::Shown(heard)) => {
            let mut differences = Vec::new();
            values("", expected, heard, &mut differences);
            differences
        }
        (
            Answer::Events { items: expected, pruned_through: a },
            Answer::Events { items: heard, pruned_through: b },
        ) => {
            let mut differences = events(expected, heard);
            if a != b {
                differences.push(format!("pruned through {a} expected, {b} heard"));
            }
            differences
        }
        _ => vec![format!("{expected:?} expected, {heard:?} heard")],
    }
}

/// Returns the differences between two lists of events.
pub(crate) fn events(expected: &[Event], heard: &[Event]) -> Vec<String> {
    let mut differences = Vec::new();
    for at in 0..expected.len().max(heard.len()) {
        let (expected, heard) = (expected.get(at), heard.get(at));
        if expected != heard {
            differences.push(format!("event {expected:#?} expected, {heard:#?} heard"));
            break;
        }
    }
    if expected.len() != heard.len() {
        differences.push(format!("{} events expected, {} heard", expected.len(), heard.len()));
    }
    differences
}

fn values(path: &str, expected: &Value, heard: &Value, differences: &mut Vec<String>) {
    match (expected, heard) {
        (Value::Object(expected), Value::Object(heard)) => {
            for name in expected.keys().chain(heard.keys().filter(|k| !expected.contains_key(*k))) {
                let path = format!("{path}.{name}");
                match (expected.get(name), heard.get(name)) {
                    (Some(expected), Some(heard)) => values(&path, expected, heard, differences),
                    (expected, heard) => {
                        differences.push(format!("{path}: {expected:?} expected, {heard:?} heard"));
                    }
                }
            }
        }
        (Value::Array(expected), Value::Array(heard)) if expected.len() == heard.len() => {
            for (at, (expected, heard)) in expected.iter().zip(heard).enumerate() {
                values(&format!("{path}[{at}]"), expected, heard, differences);
            }
        }
        // A value that only the store knows exactly.
        (Value::Object(range), Value::Number(heard)) if range.contains_key("at_least") => {
            let (least, most) = (range["at_least"].as_u64(), range["at_most"].as_u64());
            if !(least..=most).contains(&heard.as_u64()) {
                differences.push(format!("{path}: {range:?} expected, {heard} heard"));
            }
        }
        _ if expected == heard => {}
        _ => differences.push(format!("{path}: {expected} expected, {heard} heard")),
    }
}

/// Returns the difference between the expected verdict and the store's.
pub(crate) fn verdicts(
    expected: &Verdict,
    heard: &Result<VerifiedKey, VerifyError>,
    store: &dyn KeyStore,
) -> Option<String> {
    let same = match (expected, heard) {
        (Verdict::Unrecognized, Err(VerifyError::Unrecognized)) => true,
        (Verdict::Rejected(expected), Err(VerifyError::Rejected(heard))) => expected == heard,
        (Verdict::Limited(expected), Err(heard)) => expected.contains(heard),
        (Verdict::Granted(expected), Ok(verified)) => {
            let allows =
                store.catalogue().iter().map(|(permission, _)| verified.allows(permission));
            verified.key_id() == expected.key
                && *verified.owner_id() == expected.owner
                && verified.kind() == expected.kind
                && verified.generation().get() == expected.generation
                && verified.is_current() == expected.is_current
                && verified.ends_at() == expected.ends_at
                && *verified.prefix() == expected.prefix
                && allows.eq(expected.allows.iter().copied())
        }
        _ => false,
    };
    (!same).then(|| format!("{expected:?} expected, {heard:?} heard"))
}

/// Returns the difference in the rest of a rate. The caller knows the rate's consumption.
pub(crate) fn rates(
    expected: &Verdict,
    heard: &Result<VerifiedKey, VerifyError>,
) -> Option<String> {
    let (Verdict::Granted(expected), Ok(verified)) = (expected, heard) else { return None };
    let (expected, heard) = (expected.rate, verified.rate());
    (expected != heard).then(|| format!("rate {expected:?} expected, {heard:?} heard"))
}
