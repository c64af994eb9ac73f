//! Data that outlives the process: the service on the same file again.

use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};

use crate::taapit::world::{World, place, user};

#[test]
fn keys_and_what_was_done_to_them() {
    let place = place();
    let (world, tokens) = World::at(&place);
    let tokens = tokens.unwrap();
    let (full, limited) = (tokens.full.expose(), tokens.limited.expose());
    let added = world.key("website", "limited:links=read");
    let own = world.get("/v1/api-keys/validate", limited).is_ok();
    let uri = format!("/v1/api-keys/{}", own["id"].as_str().unwrap());
    world.delete(&uri, full).is_ok();
    let mut listed = world.get("/v1/api-keys", full).is_ok();
    let uses = last_uses(&mut listed);
    // Newest first: the added one, the limited, the read-only and the full one.
    assert_eq!(uses.each_ref().map(Value::is_null), [true, false, true, false]);
    world.store.close().unwrap();
    drop(world);

    let (world, tokens) = World::at(&place);
    assert!(tokens.is_none(), "tokens can't be shown again");
    // So that the use by which it is listed is told apart.
    world.clock.advance(Duration::from_secs(60));
    let mut again = world.get("/v1/api-keys", full).is_ok();
    let uses_again = last_uses(&mut again);
    assert_eq!(again, listed);
    assert_eq!(uses_again[..3], uses[..3]);
    assert_ne!(uses_again[3], uses[3]);
    assert_eq!(world.get("/v1/links", added.token.expose()).status, 200);
    world.get("/v1/links", limited).is_refused(401, "unauthorized");
    // A key that is made on it now.
    let further = world.key("further", "read_only");
    assert_eq!(world.get("/v1/links", further.token.expose()).status, 200);
    let listed = world.get("/v1/api-keys", full).is_ok();
    assert!(names(&listed).contains(&"further") && names(&listed).len() == 5);
}

/// The command line makes a key on a fresh file too; then there is nothing left to demonstrate.
#[test]
fn a_first_key_by_hand() {
    let place = place();
    {
        let file = place.path().join("taapit.db").display().to_string();
        let place = crate::taapit::example::shared::Place::new(Some(file)).unwrap();
        let create = |name, level, networks| {
            crate::taapit::example::create(&place, user(1), name, level, networks)
        };
        create("first", "full_access", None).unwrap();
        assert!(create("second", "limited", None).is_err());
        assert!(create("", "full_access", None).is_err());
        for bad in ["192.0.2.1/24", "x", "192.0.2.0/24 ::1"] {
            assert!(create("second", "read_only", Some(bad)).is_err(), "{bad}");
        }
        assert!(create("second", "read_only", Some("192.0.2.0/24,::1")).is_ok());
    }
    let (world, tokens) = World::at(&place);
    assert!(tokens.is_none());
    let added = world.key("third", "full_access");
    let listed = world.get("/v1/api-keys", added.token.expose()).is_ok();
    // Three processes made them, whose order is that of their clocks, about.
    let items = listed["items"].as_array().unwrap();
    let second = items.iter().find(|key| key["name"] == "second").unwrap();
    assert_eq!(second["allowed_ips"], json!(["192.0.2.0/24", "::1/128"]));
    let mut names = names(&listed);
    names.sort_unstable();
    assert_eq!(names, ["first", "second", "third"]);
}

/// Processes that start on one new file at the same time read it with one secret.
#[test]
fn a_secret_is_drawn_once() {
    const STARTS: usize = 8;
    for _ in 0..20 {
        let folder = place();
        let file = folder.path().join("taapit.db").display().to_string();
        let place = &crate::taapit::example::shared::Place::new(Some(file)).unwrap();
        let start = &Barrier::new(STARTS);
        let secrets: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let secret = || {
                start.wait();
                place.secret("pepper").unwrap()
            };
            let started: Vec<_> = (0..STARTS).map(|_| scope.spawn(secret)).collect();
            started.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(secrets.windows(2).all(|two| two[0] == two[1]));
        let files = std::fs::read_dir(folder.path()).unwrap();
        assert_eq!(files.count(), 1, "no draft is left");
    }
}

/// Taken out of a list of four.
fn last_uses(listed: &mut Value) -> [Value; 4] {
    let items = listed["items"].as_array_mut().unwrap();
    let uses: Vec<Value> = items.iter_mut().map(|key| key["last_used_at"].take()).collect();
    uses.try_into().unwrap()
}

fn names(listed: &Value) -> Vec<&str> {
    let items = listed["items"].as_array().unwrap().iter();
    items.map(|key| key["name"].as_str().unwrap()).collect()
}
