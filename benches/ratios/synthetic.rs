//! Stores of any size, made up while they are loaded, with tokens that can be recomputed.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use keyhasp::backend::{
    Applied, Backend, BackendError, BackendErrorKind, Change, CommitOutcome, EventPage, EventQuery,
    Finding, KeyFilter, KeyPage, KeyPageQuery, OwnerPage, OwnerPageQuery, Scanned, ScannedKey,
    ScannedOwner, Sharing, UsageChange, UsageOutcome, UsageSubject, Write,
};
use keyhasp::key::{
    Digest, IssueEpochs, KeyRecord, Lease, Limit, Limits, Networks, OwnerRecord, PepperNumber,
    PrefixNumber, PreviousToken, Quarantine, RequestId, RequestRecord, Scheme, SetBy,
    StoreMetadata, TokenRecord, Usage, VersionedQuota,
};
use keyhasp::store::StoreBuilder;
use keyhasp::{
    Access, Catalogue, Generation, KeyId, Kind, NumericId, OwnerId, Peppers, Prefix, Quota, Rate,
    Store, Timestamp, Version,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub const PEPPER: [u8; 32] = [0x5a; 32];
pub const PREFIX: &str = "acme_live";
/// Number of keys of an owner, unless a benchmark is about that.
const KEYS_PER_OWNER: u64 = 10;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A backend of so many keys that stores nothing: each key is computed from its number.
#[derive(Debug)]
pub struct Synthetic {
    pub keys: u64,
    pub keys_per_owner: u64,
    /// Whether each key has a token in its grace.
    pub rotated: bool,
    pub sharing: Sharing,
    pub metadata: OnceLock<StoreMetadata>,
    /// Where resident memory is noted while the keys are shown.
    pub resident: Option<Arc<Resident>>,
    /// The limits of each key.
    pub limits: Option<Limits>,
    /// The most that the keys of each owner may do.
    pub max_access: Access,
}

/// A builder of stores, all alike.
pub fn builder() -> StoreBuilder {
    let catalogue = Catalogue::builder().read("links:read").write("links:write").build().unwrap();
    Store::builder(catalogue, [Prefix::new(PREFIX).unwrap()])
        .peppers(Peppers::new(1, PEPPER).unwrap())
}

fn limit<T>(value: T) -> Option<Limit<T>> {
    Some(Limit { value, by: SetBy::Administrator })
}

/// A rate that no benchmark uses up.
pub fn rate() -> Limits {
    let rate = Rate::new(1_000_000, Duration::from_millis(1)).unwrap();
    Limits { rate: limit(rate), ..Limits::default() }
}

/// A quota that no benchmark uses up.
pub fn quota() -> Limits {
    let quota = Quota::one_time(Quota::MAX_USES).unwrap();
    Limits {
        quota: limit(VersionedQuota { quota, quota_version: Version::FIRST }),
        ..Limits::default()
    }
}

/// One of each.
pub fn every_limit() -> Limits {
    let networks = Networks::new(["10.0.0.0/8".parse().unwrap()]).unwrap();
    let (rate, quota) = (rate().rate, quota().quota);
    Limits { rate, quota, networks: limit(networks), not_before: limit(Timestamp::MIN) }
}

/// Growth of the resident memory of this process while a store is loaded.
#[derive(Debug, Default)]
pub struct Resident(Mutex<Grown>);

#[derive(Clone, Copy, Debug, Default)]
pub struct Grown {
    /// For each of all the keys, by what is kept of their owners.
    pub owners: f64,
    /// For each key there is, by what is kept of the keys, at the worst moment after the first
    /// million.
    pub keys: f64,
    /// For each of all the keys, by everything, at the worst moment.
    pub peak: f64,
}

impl Resident {
    fn note_owners(&self, all: u64, before: f64) {
        self.0.lock().unwrap().owners = (resident_bytes() - before) / all as f64;
    }

    fn note_keys(&self, keys: u64, all: u64, before: f64) {
        let mut grown = self.0.lock().unwrap();
        let bytes = resident_bytes() - before;
        if keys >= 1_000_000 {
            grown.keys = grown.keys.max((bytes - grown.owners * all as f64) / keys as f64);
        }
        grown.peak = grown.peak.max(bytes / all as f64);
    }

    pub fn read(&self) -> Grown {
        *self.0.lock().unwrap()
    }
}

/// Resident memory of this process, from the kernel.
fn resident_bytes() -> f64 {
    status("VmRSS:")
}

/// Measures by how much the resident memory of this process grows at most during some work.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, f64) {
    // Forgets the peak until now.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = resident_bytes();
    let done = work();
    (done, status("VmHWM:") - before)
}

fn status(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0
}

/// The id, and the part of the token that is hashed as it is.
fn key(number: u64, generation: u32) -> (KeyId, [u8; 48]) {
    let mut random = ChaCha8Rng::seed_from_u64(number);
    let millis = u128::from(1_767_225_600_000 + number / 1_000);
    let low = random.next_u64() >> 2 | 1 << 63;
    let id = millis << 80 | 7 << 76 | u128::from(number % 1_000) << 64 | u128::from(low);
    let id = KeyId::from_u128(id);
    let mut random = ChaCha8Rng::seed_from_u64(number << 8 | u64::from(generation));
    let mut tail = [0; 48];
    for character in &mut tail[..42] {
        *character = ALPHABET[(random.next_u32() % 62) as usize];
    }
    let covered = head(id) + std::str::from_utf8(&tail[..42]).unwrap();
    base62(crc32(covered.as_bytes()).into(), &mut tail[42..]);
    (id, tail)
}

fn head(id: KeyId) -> String {
    let mut digits = [0; 22];
    base62(id.as_u128(), &mut digits);
    format!("{PREFIX}_{}", std::str::from_utf8(&digits).unwrap())
}

fn base62(mut value: u128, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(value % 62) as usize];
        value /= 62;
    }
}

/// CRC-32 (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ (if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
        })
    })
}

/// The token of a key's generation.
pub fn token(number: u64, generation: u32) -> String {
    let (id, tail) = key(number, generation);
    head(id) + std::str::from_utf8(&tail).unwrap()
}

pub fn owner(number: u64) -> OwnerId {
    OwnerId::new(format!("org-{number:012}")).unwrap()
}

impl Synthetic {
    /// Keys with one token and without limits, of an exclusive database.
    pub fn new(keys: u64) -> Self {
        Self {
            keys,
            keys_per_owner: KEYS_PER_OWNER,
            rotated: false,
            sharing: Sharing::Exclusive,
            metadata: OnceLock::new(),
            resident: None,
            limits: None,
            max_access: Access::Full,
        }
    }

    pub fn scanned(number: u64, rotated: bool) -> ScannedKey {
        let record = |generation: u32| {
            let (id, tail) = key(number, generation);
            let mut input = [0; 64];
            input[..16].copy_from_slice(&id.to_bytes());
            input[16..].copy_from_slice(&tail);
            let bytes = *blake3::keyed_hash(&PEPPER, &input).as_bytes();
            let digest = Digest::new(
                bytes,
                Scheme::Blake3Keyed64,
                PepperNumber::new(1),
                PrefixNumber::new(0).unwrap(),
            );
            let generation = Generation::new(generation).unwrap();
            TokenRecord {
                generation,
                digest,
                issued_at: Timestamp::MIN,
                epochs: IssueEpochs::default(),
            }
        };
        let previous = rotated.then(|| PreviousToken {
            token: record(1),
            since: Timestamp::MIN,
            ends_at: Timestamp::MAX,
        });
        ScannedKey {
            id: key(number, 1).0,
            owner: owner(number / KEYS_PER_OWNER),
            kind: Kind::Standard,
            access: Access::Full,
            limits: None,
            expires_at: Some(Timestamp::MAX),
            deactivated: false,
            blocked: false,
            revoked: false,
            lapsed: false,
            current: record(if rotated { 2 } else { 1 }),
            previous: previous.into_iter().collect(),
        }
    }

    fn unsupported<T>(operation: &'static str) -> Result<T, BackendError> {
        Err(BackendError::new(BackendErrorKind::Io, "synthetic", operation))
    }
}

impl Backend for Synthetic {
    fn name(&self) -> &'static str {
        "synthetic"
    }

    fn sharing(&self) -> Sharing {
        self.sharing
    }

    fn metadata(&self) -> Result<Option<StoreMetadata>, BackendError> {
        Ok(self.metadata.get().cloned())
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        // Owners cost too.
        let before = resident_bytes();
        for number in 0..self.keys.div_ceil(self.keys_per_owner) {
            visit(Scanned::Owner(ScannedOwner {
                sweeps: None,
                id: owner(number),
                suspended: false,
                max_access: self.max_access.clone(),
                limits: Limits::default(),
                tokens_valid_from: None,
            }));
        }
        if let Some(resident) = &self.resident {
            resident.note_owners(self.keys, before);
        }
        for number in 0..self.keys {
            let limits = self.limits.clone().map(Box::new);
            let owner = owner(number / self.keys_per_owner);
            let scanned = Self::scanned(number, self.rotated);
            visit(Scanned::Key(ScannedKey { owner, limits, ..scanned }));
            if let Some(resident) = self.resident.as_ref().filter(|_| number % 50_000 == 0) {
                resident.note_keys(number, self.keys, before);
            }
        }
        Ok(0)
    }

    fn scan_owner(&self, _: &OwnerId, _: &mut dyn FnMut(Scanned)) -> Result<(), BackendError> {
        Self::unsupported("scan owner")
    }

    fn owner(&self, _: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        Self::unsupported("owner")
    }

    fn key(&self, _: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        Self::unsupported("key")
    }

    fn quarantine(&self, _: KeyId) -> Result<Option<Quarantine>, BackendError> {
        Ok(None)
    }

    fn request(&self, _: &RequestId) -> Result<Option<RequestRecord>, BackendError> {
        Ok(None)
    }

    fn key_by_numeric_id(&self, _: NumericId) -> Result<Option<KeyRecord>, BackendError> {
        Self::unsupported("key")
    }

    fn check(&self) -> Result<Vec<Finding>, BackendError> {
        Self::unsupported("check")
    }

    /// Takes the creation of a store, and nothing else.
    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        match batch.first().and_then(|change| Some(&change.operations.first()?.write)) {
            Some(Write::CreateMetadata(metadata)) => {
                self.metadata.get_or_init(|| (**metadata).clone());
                Ok(vec![Ok(Applied { first_event: 1, last_event: 1, ..Applied::default() })])
            }
            _ => Self::unsupported("commit"),
        }
    }

    fn page_keys(&self, _: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        Self::unsupported("page")
    }

    fn count_keys(&self, _: &KeyFilter) -> Result<u64, BackendError> {
        Self::unsupported("count")
    }

    fn page_owners(&self, _: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        Self::unsupported("page")
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, BackendError> {
        let _ = query;
        Ok(EventPage::default())
    }

    fn last_event(&self) -> Result<u64, BackendError> {
        Ok(0)
    }

    fn prune_events(&self, _: Timestamp, _: usize) -> Result<u64, BackendError> {
        Ok(0)
    }

    fn wait(&self, _: u64, _: Duration) -> Result<u64, BackendError> {
        Ok(0)
    }

    /// Takes it, and keeps nothing.
    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        let units = 1 << 30;
        let since = Version::FIRST;
        let lease = Lease { quota_version: since, turn: 0, units, left: units, void_from: None };
        Ok(vec![Some(lease); batch.len()])
    }

    fn usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError> {
        Ok(vec![Usage::default(); of.len()])
    }

    fn recover(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn close(&self) -> Result<(), BackendError> {
        Ok(())
    }
}
