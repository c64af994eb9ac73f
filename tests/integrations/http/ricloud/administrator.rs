//! The administrator's commands of the example `ricloud`.

use http::StatusCode;
use keyhasp::{Access, CreateKey, NumericId, OwnerId};
use serde_json::{Value, json};

use super::example::admin::Command;
use super::example::organisation;
use super::{Ricloud, sealed};
use crate::common::HOUR;

/// Each command, by what it prints and by what becomes of the key.
#[test]
fn an_administrators_commands() {
    let service = Ricloud::new();
    let state = |printed: Vec<Value>| {
        assert_eq!(printed.len(), 1, "{printed:?}");
        assert!(printed[0].get("token").is_none());
        (printed[0]["id"].clone(), printed[0]["state"].as_str().unwrap().to_owned())
    };
    let is = |name: &str| (json!(1), name.to_owned());
    let good = || service.is_accepted(&service.token);
    assert_eq!(state(service.admin(["block", "1", "found in public"]).unwrap()), is("blocked"));
    assert!(!good());
    let blocked = service.world.admin.find(NumericId::new(1).unwrap()).unwrap();
    assert_eq!(blocked.blocked.unwrap().reason.unwrap().as_str(), "found in public");
    assert_eq!(state(service.admin(["unblock", "1"]).unwrap()), is("active"));
    assert!(good());
    assert_eq!(state(service.admin(["deactivate", "1"]).unwrap()), is("deactivated"));
    assert!(!good());
    assert_eq!(state(service.admin(["activate", "1"]).unwrap()), is("active"));
    assert!(good());
    assert_eq!(state(service.admin(["block", "1"]).unwrap()), is("blocked"));
    service.admin(["unblock", "1"]).unwrap();

    let trial = service.admin(["trial", "1", "14"]).unwrap().remove(0);
    assert_eq!((&trial["id"], &trial["type"]), (&json!(2), &json!("trial")));
    assert_eq!(trial["date_expires"], "2026-01-15T00:00:00Z");
    let token = trial["token"].as_str().unwrap();
    assert_eq!(service.get(token, "/sources").status, StatusCode::OK);
    assert_eq!(service.get(token, "/key").json()["token"], token);
    service.world.clock.advance(14 * 24 * HOUR);
    assert!(!service.is_accepted(token));

    let ids = |printed: Vec<Value>| {
        assert!(printed.iter().all(|key| key.get("token").is_none()));
        printed.iter().map(|key| key["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let second = organisation::with_key(sealed(CreateKey::new(Access::Full))).unwrap();
    service.world.admin.create_owner(&OwnerId::new("2").unwrap(), second).unwrap();
    assert_eq!(ids(service.admin(["list"]).unwrap()), [3, 2, 1]);
    assert_eq!(ids(service.admin(["list", "1"]).unwrap()), [2, 1]);
    assert_eq!(ids(service.admin(["list", "2"]).unwrap()), [3]);
}

/// Each slip is told in a sentence, and nothing is done.
#[test]
fn commands_that_are_not_done() {
    let service = Ricloud::new();
    let said = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let command = Command::read(&words).map_err(|error| error.to_string());
        let done = command.and_then(|command| {
            command.execute(&service.world.store, service.world.now()).map_err(|e| e.to_string())
        });
        done.unwrap_err()
    };
    for (words, part) in [
        (&[][..], "--help"),
        (&["revoke", "1"], "--help"),
        (&["block"], "--help"),
        (&["block", "1", "for", "this"], "--help"),
        (&["block", "one"], "KEY must be"),
        (&["block", "01"], "KEY must be"),
        (&["unblock", "-1"], "KEY must be"),
        (&["block", "9"], "not found"),
        (&["activate", "9"], "not found"),
        (&["list", "9"], "not found"),
        (&["list", "all"], "ORGANISATION must be"),
        (&["trial", "9", "14"], "not found"),
        (&["trial", "one", "14"], "ORGANISATION must be"),
        (&["trial", "1", "0"], "DAYS must be"),
        (&["trial", "1", "3651"], "DAYS must be"),
        (&["trial", "1"], "--help"),
        (&["defaults", "1", "4", "1"], "from 1 to 3"),
        (&["defaults", "1", "1", "null"], "from 1 to 3"),
        (&["defaults", "9", "1", "1"], "not found"),
    ] {
        let said = said(words);
        assert!(said.contains(part) && !said.contains('{'), "{words:?}: {said}");
    }
    assert_eq!(service.admin(["list"]).unwrap().len(), 1);
    assert!(service.is_accepted(&service.token));
}
