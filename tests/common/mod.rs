//! A store in memory, with its time and randomness set by the test; and helpers that several test
//! binaries share.
#![allow(dead_code, unreachable_pub, unused_macros)] // Each test binary uses its part.
#![allow(clippy::unwrap_used)]

pub mod gate;
pub mod keep_open;
pub mod records;
pub mod source;

use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::{Backend, Memory};
use keyhasp::store::StoreBuilder;
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, Issued, KeyStore, ManualClock, OwnerId,
    OwnerKeys, Prefix, Store, Timestamp, Verifier,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// 2026-01-01T00:00:00Z.
pub const START: u64 = 1_767_225_600_000;

pub const HOUR: Duration = Duration::from_secs(3_600);

pub struct World {
    pub store: Arc<dyn KeyStore>,
    pub clock: Arc<ManualClock>,
    pub admin: AdminKeys,
    pub verifier: Verifier,
}

pub fn catalogue() -> Catalogue {
    let builder = Catalogue::builder().read("links:read").write("links:write");
    builder.read("domains:read").write("domains:write").build().unwrap()
}

pub fn prefix(text: &str) -> Prefix {
    Prefix::new(text).unwrap()
}

pub fn owner(id: &str) -> OwnerId {
    OwnerId::new(id).unwrap()
}

/// A builder with a set clock and seeded randomness. A verification waits for its lease, however
/// slow the machine is.
pub fn builder(clock: &Arc<ManualClock>, seed: u64) -> StoreBuilder {
    Store::builder(catalogue(), [prefix("acme"), prefix("acme_test")])
        .quota_wait(HOUR)
        .clock(Arc::<ManualClock>::clone(clock))
        .random(ChaCha20Rng::seed_from_u64(seed))
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(START).unwrap()))
}

impl World {
    pub fn new() -> Self {
        Self::with(|builder| builder, Memory::new())
    }

    pub fn with(
        configure: impl FnOnce(StoreBuilder) -> StoreBuilder,
        backend: impl Backend,
    ) -> Self {
        let clock = clock();
        let store = configure(builder(&clock, 1)).open(backend).unwrap();
        Self::of(Arc::new(store), clock)
    }

    pub fn of(store: Arc<dyn KeyStore>, clock: Arc<ManualClock>) -> Self {
        let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
        let verifier = Verifier::new(Arc::clone(&store));
        Self { store, clock, admin, verifier }
    }

    /// Creates an owner with a first key of full access.
    pub fn owner(&self, id: &str) -> (OwnerKeys, Issued) {
        self.owner_with(id, CreateOwner::with_key(CreateKey::new(Access::Full)))
    }

    pub fn owner_with(&self, id: &str, request: CreateOwner) -> (OwnerKeys, Issued) {
        let created = self.admin.create_owner(&owner(id), request).unwrap();
        let keys = OwnerKeys::new(Arc::clone(&self.store), owner(id), "alice").unwrap();
        (keys, created.first_key.unwrap())
    }

    pub fn now(&self) -> Timestamp {
        use keyhasp::Clock;
        self.clock.now()
    }

    pub fn after(&self, duration: Duration) -> Timestamp {
        self.now().saturating_add(duration)
    }
}
