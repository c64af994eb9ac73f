//! What every old database must be good for.

use std::sync::Arc;

use keyhasp::{AdminKeys, Event, EventKind, KeyStore, ListKeys, OwnerKeys, Rotate};
use serde_json::Value;

use crate::old_files::world::{self, Facts, Open, owner, reader};

/// The tokens that the expectation names, in their order.
fn tokens(expected: &Value) -> Vec<String> {
    let tokens = expected["tokens"].as_array().unwrap();
    tokens.iter().map(|verdict| verdict["token"].as_str().unwrap().to_owned()).collect()
}

/// Opens what a version wrote: it answers as it did then, goes on from there, and has kept all of
/// it when it is opened again.
pub(crate) fn check(version: u32, open: Open<'_>) {
    let expected = crate::old_files::expected(version);
    let tokens = tokens(&expected);
    let store: Arc<dyn KeyStore> = Arc::new(open(reader()));
    let heard = Facts::of(&store, &tokens).json();
    let mut found = Vec::new();
    crate::old_files::lacking("", &expected, &heard, &mut found);
    assert!(found.is_empty(), "version {version}:\n{}", found.join("\n"));
    // Something of each sort is in there.
    let verdicts = expected["tokens"].to_string();
    for refusal in ["Blocked", "Deactivated", "Expired", "Revoked", "Superseded", "Suspended"] {
        assert!(verdicts.contains(refusal), "version {version} has nothing {refusal}");
    }
    assert!(verdicts.contains("is_current\":false") && verdicts.contains("is_current\":true"));

    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    let before = world::events(&admin).unwrap();
    let rotated = use_it(&store, &admin, &tokens);
    let after = world::events(&admin).unwrap();
    assert_eq!(after[..before.len()], before);
    let kinds: Vec<_> = after[before.len()..].iter().map(|event| event.draft.kind).collect();
    assert_eq!(kinds, [EventKind::KeyRotated, EventKind::TokenRevealed, EventKind::KeyRevoked]);
    let is_next = |pair: &[Event]| pair[1].sequence == pair[0].sequence + 1;
    assert!(after.windows(2).all(is_next), "the numbers of events go on");
    store.close().unwrap();

    let store: Arc<dyn KeyStore> = Arc::new(open(reader()));
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    assert_eq!(world::events(&admin).unwrap(), after);
    for (token, is_current) in rotated {
        let verdict = world::verdict(&store, &token);
        assert_eq!(verdict["is_current"], Value::Bool(is_current), "{verdict}");
    }
    store.close().unwrap();
}

/// Rotates a key, opens a recoverable token, revokes another key. The tokens of the first key.
fn use_it(store: &Arc<dyn KeyStore>, admin: &AdminKeys, tokens: &[String]) -> [(String, bool); 2] {
    let keys = OwnerKeys::new(Arc::clone(store), owner("acme"), "alice").unwrap();
    let all = keys.list(&ListKeys::new()).unwrap().items;
    let of_name = |name: &str| {
        all.iter().find(|key| key.name.as_ref().is_some_and(|n| n.as_str() == name)).unwrap()
    };
    let sealed = of_name("recoverable");
    let is_it = |token: &&String| {
        let verified = store.verify(token.as_bytes());
        verified.is_ok_and(|verified| verified.key_id() == sealed.id && verified.is_current())
    };
    let was = tokens.iter().find(is_it).unwrap().clone();
    let rotated = keys.rotate(sealed.id, Rotate::new()).unwrap();
    let opened = admin.reveal_token(sealed.id).unwrap();
    assert_eq!(opened.expose(), rotated.token.expose());
    keys.revoke(of_name("long \u{e9}").id).unwrap();
    [(was, false), (opened.expose().to_owned(), true)]
}
