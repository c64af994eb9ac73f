//! Stores in memory, whose time the test sets.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::{Backend, Memory};
use keyhasp::store::{StoreBuilder, UsageSettings};
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, Issued, ManualClock, OwnerId, Peppers,
    Prefix, SetLimits, Store, Timestamp, Verifier,
};

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
/// The prefixes of the stores, of one length.
pub(crate) const PREFIXES: [&str; 2] = ["acme_live", "acme_test"];

/// An open store and its backend.
pub(crate) struct World {
    pub(crate) store: Arc<Store>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) admin: AdminKeys,
    pub(crate) verifier: Verifier,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(Memory::new()), one_pepper())
    }

    /// Opens a store that records usage.
    pub(crate) fn noting(settings: UsageSettings) -> Self {
        let usage = |builder: StoreBuilder| builder.usage(settings);
        Self::with(Arc::new(Memory::new()), one_pepper(), usage)
    }

    pub(crate) fn on(backend: Arc<dyn Backend>, peppers: Peppers) -> Self {
        Self::with(backend, peppers, |builder| builder)
    }

    fn with(
        backend: Arc<dyn Backend>,
        peppers: Peppers,
        configure: impl FnOnce(StoreBuilder) -> StoreBuilder,
    ) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_767_225_600_000).unwrap()));
        let catalogue = Catalogue::builder().read("links:read").write("links:write");
        let prefixes = PREFIXES.map(|text| Prefix::new(text).unwrap());
        let builder = Store::builder(catalogue.build().unwrap(), prefixes)
            .clock(Arc::<ManualClock>::clone(&clock))
            .peppers(peppers);
        let store = Arc::new(configure(builder).open_on(Arc::clone(&backend)).unwrap());
        let admin = AdminKeys::new(Arc::<Store>::clone(&store), "root").unwrap();
        let verifier = Verifier::new(Arc::<Store>::clone(&store));
        Self { store, backend, clock, admin, verifier }
    }

    /// Creates an owner with a first key. The index keeps ids of more than 16 bytes in another
    /// place.
    pub(crate) fn key(&self, owner: &str) -> Issued {
        self.limited_key(owner, SetLimits::new(), SetLimits::new())
    }

    /// Does the same with limits of the key and of the owner.
    pub(crate) fn limited_key(&self, owner: &str, own: SetLimits, all: SetLimits) -> Issued {
        let key = CreateKey::new(Access::Full).limits(own);
        let request = CreateOwner::with_key(key).limits(all);
        self.admin.create_owner(&id(owner), request).unwrap().first_key.unwrap()
    }
}

pub(crate) fn id(owner: &str) -> OwnerId {
    OwnerId::new(owner).unwrap()
}

pub(crate) fn one_pepper() -> Peppers {
    Peppers::new(1, [1; 32]).unwrap()
}

pub(crate) fn two_peppers() -> Peppers {
    Peppers::new(2, [2; 32]).unwrap().and(1, [1; 32]).unwrap()
}
