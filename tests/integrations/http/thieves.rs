//! Thieves with a leaked token, against an owner that ends the key: over HTTP, with threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use http::{Method, StatusCode};
use keyhasp::{Access, CreateKey, EventKind, ListEvents, OwnerKeys};
use serde_json::json;

use super::ricloud::{Ricloud, one};

const THIEVES: usize = 6;
/// Without the condition on the calling key, about every round ended with a good token.
const ROUNDS: usize = 10;

/// Six threads rotate a key by force with its leaked token, and go on with each token that they
/// get. The owner rotates it by force through another key. No thread has a good token in the end.
#[test]
fn a_forced_rotation_ends_the_token_of_each_thief() {
    for round in 0..ROUNDS {
        let service = Ricloud::new();
        let owners = service.make(CreateKey::new(Access::Full));
        let stolen = Mutex::new(vec![service.token.clone()]);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..THIEVES {
                scope.spawn(|| {
                    while !is_over.load(Ordering::SeqCst) {
                        let newest = stolen.lock().unwrap().last().unwrap().clone();
                        let path = "/keys/1/rotate";
                        let body = json!({"force": true});
                        let answer = service.ask(&newest, Method::POST, path, &body);
                        if answer.status.is_success() {
                            let token = answer.json()["token"].as_str().unwrap().to_owned();
                            stolen.lock().unwrap().push(token);
                        }
                    }
                });
            }
            while stolen.lock().unwrap().len() < 4 {
                thread::yield_now();
            }
            let body = json!({"force": true});
            let answer = service.ask(&owners, Method::POST, "/keys/1/rotate", &body);
            assert_eq!(answer.status, StatusCode::OK);
            is_over.store(true, Ordering::SeqCst);
        });
        let stolen = stolen.into_inner().unwrap();
        let good = stolen.iter().filter(|token| service.is_accepted(token)).count();
        assert_eq!(good, 0, "round {round}: of {} stolen tokens", stolen.len());
    }
}

/// Six threads create keys with a leaked token, and the owner revokes its key. No creation comes
/// after the revocation.
#[test]
fn no_thief_creates_a_key_after_the_revocation() {
    for round in 0..ROUNDS {
        let service = Ricloud::new();
        service.make(CreateKey::new(Access::Full));
        let id = service.world.verifier.verify(&service.token).unwrap().key_id();
        let keys = OwnerKeys::new(service.world.store.clone(), one(), "dashboard").unwrap();
        let created = Mutex::new(0);
        thread::scope(|scope| {
            for _ in 0..THIEVES {
                scope.spawn(|| {
                    while service
                        .ask(&service.token, Method::POST, "/keys", &json!({}))
                        .status
                        .is_success()
                    {
                        *created.lock().unwrap() += 1;
                    }
                });
            }
            while *created.lock().unwrap() < THIEVES {
                thread::yield_now();
            }
            keys.revoke(id).unwrap();
        });
        let query = ListEvents::new().key(id).kind(EventKind::KeyRevoked);
        let revoked = service.world.admin.events(&query).unwrap().items[0].sequence;
        let after = ListEvents::new().after(revoked).kind(EventKind::KeyCreated);
        let late = service.world.admin.events(&after).unwrap().items.len();
        assert_eq!(late, 0, "round {round}: keys were created after the revocation");
    }
}
