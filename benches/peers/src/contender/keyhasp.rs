//! keyhasp: an expiry on every key, 10 keys to an owner, and one permission asked for besides.

use std::sync::Arc;

use keyhasp::{Catalogue, KeyId, KeyStore, Peppers, Permission, Prefix, Store, Verifier};

use crate::drawn::numbers;
use crate::job::{Contender, Trial};
use crate::synthetic::{PEPPER, PREFIX, Synthetic, token};

pub struct Keyhasp {
    verifier: Verifier,
    permission: Permission,
}

impl Contender for Keyhasp {
    type Id = KeyId;

    fn verify(&self, token: &str) -> Option<KeyId> {
        let verified = self.verifier.verify(token).ok()?;
        verified.allows(self.permission).then(|| verified.key_id())
    }
}

pub fn trial(keys: usize) -> Trial<Keyhasp> {
    let keys = keys as u64;
    let catalogue = Catalogue::builder().read("links:read").write("links:write").build();
    let prefix = Prefix::new(PREFIX).expect("a good prefix");
    let store: Arc<dyn KeyStore> = Arc::new(
        Store::builder(catalogue.expect("a good catalogue"), [prefix])
            .peppers(Peppers::new(1, PEPPER).expect("a good pepper"))
            .open(Synthetic::new(keys))
            .expect("the store opens"),
    );
    let verifier = Verifier::new(store);
    let permission = verifier.permission("links:write").expect("declared above");
    let good = |number: usize| {
        let number = number as u64;
        (token(number, 1), Synthetic::scanned(number, false).id)
    };
    Trial {
        contender: Keyhasp { verifier, permission },
        good: numbers(keys as usize).into_iter().map(good).collect(),
        // No key of the synthetic store is past its expiry.
        bad: vec![token(0, 1).replacen('_', "-", 9), token(keys, 1), token(0, 9)],
    }
}
