//! The map that people write by hand where all keys fit in memory, from the SHA-256 of the whole token
//! to the key. It compares digests as the map does, not in constant time.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::drawn::{LATER, PREVIOUS, now, numbers, secret};
use crate::job::{Contender, Trial};

struct Key {
    owner: i64,
    expires_at: i64,
}

pub struct Sha256Map(HashMap<[u8; 32], Key>);

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn token(number: usize) -> String {
    format!("acme_{}", secret(number))
}

impl Contender for Sha256Map {
    /// The owner.
    type Id = i64;

    fn verify(&self, token: &str) -> Option<i64> {
        let key = self.0.get(&digest(token))?;
        (now() < key.expires_at).then_some(key.owner)
    }
}

pub fn trial(keys: usize) -> Trial<Sha256Map> {
    let key = |number, expires_at| {
        (digest(&token(number)), Key { owner: (number / 10) as i64, expires_at })
    };
    let good = (0..keys).map(|number| key(number, LATER));
    let expired = token(keys + 1);
    Trial {
        contender: Sha256Map(good.chain([key(keys + 1, PREVIOUS)]).collect()),
        good: numbers(keys).into_iter().map(|n| (token(n), (n / 10) as i64)).collect(),
        // It has neither ids nor a shape: unknown, malformed and wrong are one.
        bad: vec![token(keys), String::new(), expired],
    }
}
