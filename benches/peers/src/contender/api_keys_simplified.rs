//! api-keys-simplified: a checksum, Argon2id in its default setting, and the expiry, which lies in
//! the token itself; given a map from its own stable id of a key to the hash.
//!
//! To hash a million keys would take half a day, so only a few keys are real. The map is as large
//! as the others' all the same: the other entries have ids of the same shape, and one of the
//! hashes.

use std::collections::HashMap;

use api_keys_simplified::{ApiKeyManagerV0, Environment, ExposeSecret, KeyStatus, SecureString};
use chrono::DateTime;

use crate::drawn::{PREVIOUS, LATER};
use crate::job::{Contender, Trial};

/// Number of real keys.
const REAL: usize = 4;

pub struct Simplified {
    manager: ApiKeyManagerV0,
    by_id: HashMap<String, Stored>,
}

struct Stored {
    hash: String,
    number: usize,
}

impl Contender for Simplified {
    type Id = usize;

    fn verify(&self, token: &str) -> Option<usize> {
        let key = SecureString::from(token.to_owned());
        let stored = self.by_id.get(&self.manager.extract_key_id(&key))?;
        let status = self.manager.verify(&key, &stored.hash).ok()?;
        (status == KeyStatus::Valid).then_some(stored.number)
    }
}

pub fn trial(keys: usize) -> Trial<Simplified> {
    let manager = ApiKeyManagerV0::init_default_config("acme").expect("a good configuration");
    let mut by_id = HashMap::new();
    let mut issue = |number, expires_at| {
        let expires_at = DateTime::from_timestamp(expires_at, 0).expect("in range");
        let issued = manager.generate_with_expiry(Environment::production(), expires_at);
        let issued = issued.expect("a key");
        let (id, hash) = (issued.expose_hash().key_id(), issued.expose_hash().hash());
        by_id.insert(id.clone(), Stored { hash: hash.clone(), number });
        issued.key().expose_secret().to_owned()
    };
    let good: Vec<_> = (0..REAL).map(|number| (issue(number, LATER), number)).collect();
    let expired = issue(REAL, PREVIOUS);
    let hash = by_id.values().next().expect("it was issued").hash.clone();
    for number in by_id.len()..keys {
        by_id.insert(format!("{number:032x}"), Stored { hash: hash.clone(), number });
    }
    // Found by its id, rejected for its secret: the hash is another key's.
    let unmatched = manager.generate(Environment::production()).expect("a key");
    let id = unmatched.expose_hash().key_id().clone();
    by_id.insert(id, Stored { hash, number: keys });
    let unknown = manager.generate(Environment::production()).expect("a key");
    Trial {
        bad: vec![
            good[0].0.replace('-', "_"),
            unknown.key().expose_secret().to_owned(),
            unmatched.key().expose_secret().to_owned(),
            expired,
        ],
        good,
        contender: Simplified { manager, by_id },
    }
}
