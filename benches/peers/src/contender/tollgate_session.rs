//! tollgate-auth with a proof for each connection: `SessionCredential::authenticate`, which compares a
//! token that this connection has shown before with the one kept, and hashes nothing. It says who
//! calls; whether the key was revoked meanwhile is left to another check at each request.

use std::cell::Cell;

use jiff::Timestamp;
use tollgate_auth::{HmacRegistry, SessionCredential};

use super::tollgate_auth as registry;
use crate::drawn::numbers;
use crate::job::{Contender, Trial};

pub struct Sessions {
    registry: HmacRegistry,
    /// A connection for each key.
    sessions: Vec<SessionCredential>,
    /// The keys of the good tokens in their order, which repeats: a server knows the connection.
    order: Vec<usize>,
    /// The number of tokens that come before the good ones, each on a connection of its own.
    strangers: usize,
    seen: Cell<usize>,
}

impl Contender for Sessions {
    /// The principal.
    type Id = u128;

    fn verify(&self, token: &str) -> Option<u128> {
        let at = self.seen.replace(self.seen.get() + 1);
        let known = at.checked_sub(self.strangers);
        let session = known.map(|at| &self.sessions[self.order[at % self.order.len()]]);
        let fresh = SessionCredential::new();
        let session = session.unwrap_or(&fresh);
        let now = Timestamp::now();
        session.authenticate(Some(token.as_bytes()), &self.registry, now).map(|id| id.0)
    }
}

pub fn trial(keys: usize) -> Trial<Sessions> {
    let Trial { contender, good, bad } = registry::trial(keys);
    let (registry, order) = (contender.into_registry(), numbers(keys));
    let sessions: Vec<_> = (0..keys).map(|_| SessionCredential::new()).collect();
    for (key, (token, _)) in order.iter().zip(&good) {
        let known =
            sessions[*key].authenticate(Some(token.as_bytes()), &registry, Timestamp::now());
        assert!(known.is_some());
    }
    let contender =
        Sessions { registry, sessions, order, strangers: bad.len(), seen: Cell::new(0) };
    Trial { contender, good, bad }
}
