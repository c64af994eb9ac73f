//! prefixed-api-key: SHA-256 of the long token, in hexadecimal; given a map from the short token to
//! that hash, and an expiry.

use std::collections::HashMap;

use prefixed_api_key::{PakControllerOsSha256, PrefixedApiKey};

use crate::drawn::{PREVIOUS, LATER, now, numbers};
use crate::job::{Contender, Trial};

const PREFIX: &str = "acme";

pub struct Prefixed {
    controller: PakControllerOsSha256,
    by_short_token: HashMap<String, Stored>,
}

struct Stored {
    hash: String,
    expires_at: i64,
    number: usize,
}

impl Contender for Prefixed {
    type Id = usize;

    fn verify(&self, token: &str) -> Option<usize> {
        let key = PrefixedApiKey::from_string(token).ok()?;
        if key.prefix() != PREFIX {
            return None;
        }
        let stored = self.by_short_token.get(key.short_token())?;
        let is_good = self.controller.check_hash(&key, &stored.hash) && now() < stored.expires_at;
        is_good.then_some(stored.number)
    }
}

pub fn trial(keys: usize) -> Trial<Prefixed> {
    let controller = PakControllerOsSha256::configure()
        .prefix(PREFIX.to_owned())
        .seam_defaults()
        .finalize()
        .expect("nothing is missing");
    let mut by_short_token = HashMap::new();
    let mut tokens = Vec::with_capacity(keys + 1);
    // The last one is past its expiry.
    for number in 0..=keys {
        let expires_at = if number == keys { PREVIOUS } else { LATER };
        let (key, hash) = controller.generate_key_and_hash();
        tokens.push(key.to_string());
        by_short_token.insert(key.short_token().to_owned(), Stored { hash, expires_at, number });
    }
    assert_eq!(by_short_token.len(), tokens.len(), "two short tokens are the same");
    let unknown = controller.generate_key().to_string();
    let (head, _) = tokens[0].rsplit_once('_').expect("three parts");
    let (_, other) = tokens[1].rsplit_once('_').expect("three parts");
    Trial {
        bad: vec![
            tokens[0].replace('_', "-"),
            tokens[0].replacen(PREFIX, "else", 1),
            unknown,
            format!("{head}_{other}"),
            tokens[keys].clone(),
        ],
        good: numbers(keys).into_iter().map(|n| (tokens[n].clone(), n)).collect(),
        contender: Prefixed { controller, by_short_token },
    }
}
