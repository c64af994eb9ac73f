//! tollgate-auth: `HmacRegistry::verify`, HMAC-SHA256 of the whole token, which is found by its
//! digest in the registry's own map. The expiry comes back and is the caller's to look at.

use jiff::Timestamp;
use tollgate_auth::{CredentialVerifier, HmacRegistry};

use crate::drawn::{PREVIOUS, LATER, numbers, secret};
use crate::job::{Contender, Trial};
use crate::synthetic::PEPPER;

pub struct Tollgate(HmacRegistry);

impl Tollgate {
    pub fn into_registry(self) -> HmacRegistry {
        self.0
    }
}

impl Contender for Tollgate {
    /// The principal.
    type Id = u128;

    fn verify(&self, token: &str) -> Option<u128> {
        let verified = self.0.verify(token.as_bytes())?;
        verified.is_reusable_at(Timestamp::now()).then_some(verified.principal.0)
    }
}

pub fn trial(keys: usize) -> Trial<Tollgate> {
    let registry = HmacRegistry::new(&PEPPER);
    let expired = secret(keys + 1);
    let until = |seconds| Timestamp::from_second(seconds).expect("in range");
    let key = |token: &str, expires_at| {
        let (principal, digest) = registry.digest_credential(token.as_bytes());
        (principal, digest, Some(until(expires_at)))
    };
    let good = (0..keys).map(|number| key(&secret(number), LATER));
    registry.install(good.chain([key(&expired, PREVIOUS)]));
    let good = |number| {
        let token = secret(number);
        let (principal, _) = registry.digest_credential(token.as_bytes());
        (token, principal.0)
    };
    Trial {
        good: numbers(keys).into_iter().map(good).collect(),
        // It has neither ids nor a shape: unknown, malformed and wrong are one.
        bad: vec![secret(keys), String::new(), expired],
        contender: Tollgate(registry),
    }
}
