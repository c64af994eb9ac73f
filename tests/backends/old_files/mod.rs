//! Databases of every released format, and of the one that is written now, are opened and used. A
//! file's name carries the number of its format. A file of a released format is never written
//! again; `docs/storage-format.md` says when a new one joins them. A format from before the first
//! release is refused.
#![cfg(all(feature = "recoverable", feature = "sled", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

mod packed;
mod sled;
mod sqlite;
mod used;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The directory of the old files.
fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backends/old_files")
}

/// The formats of the files with this ending, in ascending order.
fn formats(ending: &str) -> Vec<u32> {
    let names = fs::read_dir(dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let number = |name: &str| name.strip_prefix('v')?.strip_suffix(ending)?.parse().ok();
    let mut formats: Vec<u32> = names.filter_map(|name| number(name.to_str()?)).collect();
    formats.sort_unstable();
    formats
}

/// What a store on a file must answer: a list of tokens, keys, owners and events.
fn expected(version: u32) -> Value {
    let text = fs::read(dir().join(format!("v{version}.expected.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Lists where an answer lacks something that is expected, or says otherwise. An answer may
/// say more than it did when the file was written.
fn lacking(path: &str, expected: &Value, heard: &Value, found: &mut Vec<String>) {
    match (expected, heard) {
        (Value::Object(expected), Value::Object(heard)) => {
            for (name, expected) in expected {
                let heard = heard.get(name).unwrap_or(&Value::Null);
                lacking(&format!("{path}.{name}"), expected, heard, found);
            }
        }
        (Value::Array(expected), Value::Array(heard)) if expected.len() == heard.len() => {
            for (at, (expected, heard)) in expected.iter().zip(heard).enumerate() {
                lacking(&format!("{path}[{at}]"), expected, heard, found);
            }
        }
        _ if expected == heard => {}
        _ => found.push(format!("{path}: {expected} expected, {heard} heard")),
    }
}

#[test]
fn what_is_lacking_is_found() {
    use serde_json::json;
    let expected = json!({"a": [1, {"b": null}], "c": "d"});
    let lacks = |heard: Value| {
        let mut found = Vec::new();
        lacking("", &expected, &heard, &mut found);
        found.len()
    };
    assert_eq!(lacks(json!({"a": [1, {"b": null, "new": 1}], "c": "d", "new": 2})), 0);
    assert_eq!(lacks(json!({"a": [2, {"b": 1}], "c": null})), 3);
    assert_eq!(lacks(json!({"a": [1], "c": "d"})), 1);
}

#[test]
fn what_is_packed_is_unpacked() {
    for bytes in
        [&b""[..], &[0; 100], &[1; 100], b"\n1 2\n", &[&[7; 5][..], &[0; 40], &[0, 9]].concat()]
    {
        let files = vec![("a/b".to_owned(), bytes.to_vec()), ("c".to_owned(), bytes.to_vec())];
        assert_eq!(packed::unpack(&packed::pack(&files)), files);
    }
}
