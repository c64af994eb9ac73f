//! The keys of the cases, and a store whose digests are secret.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyhasp::backend::{Backend, Memory, Scanned, ScannedKey};
use keyhasp::key::{Digest, IssueEpochs, PepperNumber, PrefixNumber, Scheme, TokenRecord};
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, Generation, Issued, KeyId, Kind, OwnerId,
    Peppers, Prefix, Rotate, Store, Timestamp, Token, Verifier,
};
use keyhasp_altered::{Alter, Intercepted};

use crate::memcheck;

/// The prefixes of the store, of one length.
pub const PREFIXES: [&str; 2] = ["acme_live", "acme_test"];
/// The keys that are loaded beside those of the cases: so many that the index grows, copies slots
/// and splits slot groups.
const MORE_KEYS: u64 = 20_000;

/// The tokens of the cases.
pub struct World {
    /// A key with one token.
    pub single: Token,
    /// Its key, blocked.
    pub blocked: Token,
    /// A key with the most tokens it can have, oldest first.
    pub rotated: Vec<Token>,
    /// A key whose previous token lies under another pepper than its current one.
    pub two_peppers: [Token; 2],
    /// A token of another store.
    pub unknown: Token,
    /// A verifier whose digests are not secret.
    pub plain: Verifier,
    backend: Arc<dyn Backend>,
    /// Kept, since a store closes its backend when it is dropped.
    _stores: Vec<Arc<Store>>,
}

impl World {
    pub fn new() -> Self {
        let backend: Arc<dyn Backend> = Arc::new(Memory::new());
        let old = open(Arc::clone(&backend), one_pepper());
        let previous = create(&old, "two-peppers");

        let store = open(Arc::clone(&backend), two_peppers());
        let admin = admin(&store);
        let rotate = |id| admin.rotate(id, Rotate::new()).unwrap().token;
        let current = rotate(previous.key.id);
        let first = create(&store, "rotated");
        let mut rotated = vec![first.token];
        rotated.extend((0..5).map(|_| rotate(first.key.id)));
        let blocked = create(&store, "blocked");
        admin.block(blocked.key.id).unwrap();
        let single = create(&store, "single").token;

        let elsewhere = open(Arc::new(Memory::new()), two_peppers());
        let unknown = create(&elsewhere, "elsewhere").token;
        let plain = Verifier::new(Arc::<Store>::clone(&store));
        Self {
            single,
            blocked: blocked.token,
            rotated,
            two_peppers: [previous.token, current],
            unknown,
            plain,
            backend,
            _stores: vec![old, store, elsewhere],
        }
    }

    /// Opens a store whose digests are secret as soon as they leave the backend; returns also their
    /// number.
    pub fn secretive(&self) -> (Verifier, usize) {
        let marked = Arc::new(AtomicUsize::new(0));
        let marking = Marking { marked: Arc::clone(&marked) };
        let backend = Intercepted::new(Arc::clone(&self.backend), marking);
        let store = open(Arc::new(backend), two_peppers());
        (Verifier::new(store), marked.load(Ordering::Relaxed))
    }
}

/// Makes each digest secret on its way from the backend into the index.
#[derive(Debug)]
struct Marking {
    marked: Arc<AtomicUsize>,
}

impl Marking {
    fn mark(&self, token: &TokenRecord) {
        memcheck::make_secret(token.digest.expose());
        self.marked.fetch_add(1, Ordering::Relaxed);
    }
}

impl Alter for Marking {
    fn scanned(&self, scanned: Scanned) -> Scanned {
        if let Scanned::Key(key) = &scanned {
            key.previous.iter().for_each(|previous| self.mark(&previous.token));
            self.mark(&key.current);
        }
        // Otherwise the compiler could use values from before the marking.
        black_box(scanned)
    }

    fn scanned_more(&self, visit: &mut dyn FnMut(Scanned)) {
        for number in 1..=MORE_KEYS {
            visit(self.scanned(Scanned::Key(made_up(number))));
        }
    }
}

/// Makes a key of an owner, with a made-up digest.
fn made_up(number: u64) -> ScannedKey {
    let digest = Digest::new(
        [number.to_be_bytes(); 4].concat().try_into().unwrap(),
        Scheme::Blake3Keyed64,
        PepperNumber::new(2),
        PrefixNumber::new(0).unwrap(),
    );
    ScannedKey {
        // The index spreads ids, so any distinct numbers serve.
        id: KeyId::from_u128(7 << 76 | u128::from(number)),
        owner: owner("single"),
        kind: Kind::Standard,
        access: Access::Full,
        limits: None,
        expires_at: None,
        deactivated: false,
        blocked: false,
        revoked: false,
        lapsed: false,
        current: TokenRecord {
            generation: Generation::FIRST,
            digest,
            issued_at: Timestamp::MIN,
            epochs: IssueEpochs::default(),
        },
        previous: Vec::new(),
    }
}

fn open(backend: Arc<dyn Backend>, peppers: Peppers) -> Arc<Store> {
    let catalogue = Catalogue::builder().read("links:read").write("links:write").build().unwrap();
    let prefixes = PREFIXES.map(|text| Prefix::new(text).unwrap());
    Arc::new(Store::builder(catalogue, prefixes).peppers(peppers).open_on(backend).unwrap())
}

fn admin(store: &Arc<Store>) -> AdminKeys {
    AdminKeys::new(Arc::<Store>::clone(store), "root").unwrap()
}

fn create(store: &Arc<Store>, owner: &str) -> Issued {
    let request = CreateOwner::with_key(CreateKey::new(Access::Full));
    let created = admin(store).create_owner(&self::owner(owner), request).unwrap();
    created.first_key.unwrap()
}

fn owner(name: &str) -> OwnerId {
    OwnerId::new(name).unwrap()
}

fn one_pepper() -> Peppers {
    Peppers::new(1, [1; 32]).unwrap()
}

fn two_peppers() -> Peppers {
    Peppers::new(2, [2; 32]).unwrap().and(1, [1; 32]).unwrap()
}
