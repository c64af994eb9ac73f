//! What the index costs in memory, and what its growth costs those who verify meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyhasp::backend::{Backend, Memory};
use keyhasp::key::Limits;
use keyhasp::{Access, AdminKeys, CreateKey, CreateOwner, KeyStore, OwnerId, OwnerKeys, Verifier};

use crate::measure::{Longest, figure};
use crate::synthetic::{Resident, Synthetic, builder, every_limit, peak_of};

pub fn run(wanted: &dyn Fn(&str) -> bool) {
    // First, and all kept until the last is measured: memory that others gave back would be used
    // again unseen.
    let mut kept = Vec::new();
    if wanted("index_bytes_per_key_10m") || wanted("index_peak_bytes_per_key_10m") {
        kept.push(memory());
    }
    if wanted("index_bytes_more_per_limited_key") {
        kept.extend(limited());
    }
    if wanted("index_bytes_per_key_of_own_owner") {
        kept.push(own_owners());
    }
    if wanted("index_bytes_more_per_key_with_details") {
        kept.extend(details());
    }
    drop(kept);
    if wanted("verify_longest_while_growing") {
        longest();
    }
}

fn open(backend: impl Backend) -> Arc<dyn KeyStore> {
    Arc::new(builder().open(backend).unwrap())
}

/// Resident memory for each key at the worst moment between 1 and 10 million, and the greatest
/// resident memory for each of the 10 million. The backend doesn't say how many to expect, so that
/// the index grows all the way.
fn memory() -> Arc<dyn KeyStore> {
    let keys = 10_000_000;
    let resident = Arc::new(Resident::default());
    let backend = Synthetic { resident: Some(Arc::clone(&resident)), ..Synthetic::new(keys) };
    let store = open(backend);
    let grown = resident.read();
    figure("index_bytes_per_key_10m", grown.owners + grown.keys, "bytes");
    figure("index_peak_bytes_per_key_10m", grown.peak, "bytes");
    store
}

/// How much more resident memory a key takes for its limits, of 2 million, at the worst moment
/// while the store is opened; a list of networks is one for all.
fn limited() -> [Arc<dyn KeyStore>; 2] {
    let keys = 2_000_000;
    let open =
        |limits: Option<Limits>| peak_of(|| open(Synthetic { limits, ..Synthetic::new(keys) }));
    let (plain, bytes) = open(None);
    let (limited, more) = open(Some(every_limit()));
    figure("index_bytes_more_per_limited_key", (more - bytes) / keys as f64, "bytes");
    [plain, limited]
}

/// Resident memory for each of 2 million keys, at the worst moment while the store is opened, if each key
/// has an owner of its own.
fn own_owners() -> Arc<dyn KeyStore> {
    let keys = 2_000_000;
    let (store, bytes) = peak_of(|| open(Synthetic { keys_per_owner: 1, ..Synthetic::new(keys) }));
    figure("index_bytes_per_key_of_own_owner", bytes / keys as f64, "bytes");
    store
}

/// How much more resident memory a key with a name takes, of 200,000, where its details are kept in
/// memory; they have a setting of its owner.
fn details() -> [Arc<dyn KeyStore>; 2] {
    let keys: u32 = 200_000;
    let backend = Arc::new(Memory::new());
    let filled = builder().open_on(Arc::<Memory>::clone(&backend)).unwrap();
    let filled: Arc<dyn KeyStore> = Arc::new(filled);
    let admin = AdminKeys::new(Arc::clone(&filled), "bench").unwrap();
    let owner = OwnerId::new("org").unwrap();
    let request = CreateOwner::without_key()
        .max_keys(u32::MAX)
        .defaults(serde_json::json!({ "plan": "team" }));
    admin.create_owner(&owner, request).unwrap();
    for n in 0..keys {
        let request = CreateKey::new(Access::Full).name(format!("build server {n}"));
        admin.create(&owner, request).unwrap();
    }
    let open = |builder: keyhasp::StoreBuilder| {
        let backend = Arc::<Memory>::clone(&backend);
        peak_of(move || -> Arc<dyn KeyStore> { Arc::new(builder.open_on(backend).unwrap()) })
    };
    let (plain, bytes) = open(builder());
    let (detailed, more) = open(builder().key_details(["plan"]));
    let per_key = (more - bytes) / f64::from(keys);
    figure("index_bytes_more_per_key_with_details", per_key, "bytes");
    [plain, detailed]
}

/// The longest of the verifications of one thread while another adds a million keys.
fn longest() {
    let keys: u32 = 1_000_000;
    let store = open(Memory::new());
    let admin = AdminKeys::new(Arc::clone(&store), "bench").unwrap();
    let owner = OwnerId::new("org").unwrap();
    let request = CreateOwner::with_key(CreateKey::new(Access::Full)).max_keys(u32::MAX);
    let first = admin.create_owner(&owner, request).unwrap().first_key.unwrap();
    let verifier = Verifier::new(Arc::clone(&store));
    let done = AtomicBool::new(false);
    // The scheduler takes a core away for longer than any verification takes: the longest pause of
    // a loop that does nothing, measured in turns with it, says how much of the figure that is.
    let (verifications, pauses) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..keys.div_ceil(1_000) {
                let owner = OwnerId::new(format!("org-{n}")).unwrap();
                admin.create_owner(&owner, CreateOwner::without_key()).unwrap();
                let keys = OwnerKeys::new(Arc::clone(&store), owner, "bench").unwrap();
                for _ in 0..1_000 {
                    keys.create(CreateKey::new(Access::Full)).unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut verifications = Longest::default();
        let mut pauses = Longest::default();
        while !done.load(Ordering::Relaxed) {
            for _ in 0..1_000 {
                verifications.time(|| assert!(verifier.verify(first.token.expose()).is_ok()));
            }
            for _ in 0..1_000 {
                pauses.time(|| std::hint::black_box(()));
            }
        }
        (verifications, pauses)
    });
    figure("verify_longest_while_growing", verifications.longest(), "us");
    figure("nothing_longest_while_growing", pauses.longest(), "us");
}
