//! A store for a service's own tests.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use super::sample;
use crate::backend::Memory;
use crate::clock::ManualClock;
use crate::id::{KeyId, OwnerId};
use crate::key::Prefix;
use crate::permission::{Access, Catalogue, CatalogueBuilder};
use crate::store::{AdminKeys, CreateKey, CreateOwner, Issued, Store, StoreBuilder, Verifier};
use crate::token::{RandomError, RandomSource};

/// The longest wait for the lease of a quota: a test waits for it, however slow the machine is.
const QUOTA_WAIT: Duration = Duration::from_secs(60 * 60);

/// A store in memory for a service's own tests, with keys by name.
///
/// Nothing in it is left to chance. Its clock begins at 2030-01-01T00:00:00Z and moves only when the
/// test moves it. Its randomness is fixed: the same keys, created in the same order and at the same
/// times, have the same tokens in every run.
///
/// ```
/// use keyhasp::testing::TestStore;
/// use keyhasp::{Access, Catalogue, Verifier, VerifyError};
///
/// /// A handler of the service: the status with which it answers.
/// fn delete_link(verifier: &Verifier, authorization: Option<&str>) -> u16 {
///     let token = authorization.and_then(|header| header.strip_prefix("Bearer "));
///     match verifier.verify(token.unwrap_or_default()) {
///         Ok(key) if verifier.permission("links:write").is_some_and(|it| key.allows(it)) => 204,
///         Ok(_) => 403,
///         Err(VerifyError::Unavailable(_)) => 503,
///         Err(_) => 401,
///     }
/// }
///
/// # // In a test of the service:
/// let test = TestStore::new(Catalogue::builder().read("links:read").write("links:write"))
///     .key("reader", Access::ReadOnly)
///     .key("writer", Access::Full);
/// let status = |token: &str| delete_link(&test.verifier(), Some(&format!("Bearer {token}")));
/// assert_eq!(delete_link(&test.verifier(), None), 401);
/// assert_eq!(status(test.token("reader")), 403);
/// assert_eq!(status(test.token("writer")), 204);
///
/// // A revocation holds for the very next request.
/// let _ = test.admin().revoke(test.id("writer"))?;
/// assert_eq!(status(test.token("writer")), 401);
/// # Ok::<(), keyhasp::Error>(())
/// ```
///
/// # Panics
/// Its methods panic if a test is wrong about it, for instance with a catalogue or a key that the store
/// refuses.
pub struct TestStore {
    store: Arc<Store>,
    clock: Arc<ManualClock>,
    keys: BTreeMap<String, Issued>,
}

impl TestStore {
    /// The owner of the keys of [`key`](Self::key).
    pub const OWNER: &'static str = "test-owner";
    /// The prefix of the tokens.
    pub const PREFIX: &'static str = "test";

    /// Opens a store with this catalogue.
    ///
    /// # Panics
    /// If the catalogue is invalid.
    #[track_caller]
    #[must_use]
    pub fn new(catalogue: CatalogueBuilder) -> Self {
        Self::configured(catalogue, |builder| builder)
    }

    /// Opens a store with this catalogue, and with what `configure` sets besides: usage, alerts,
    /// recovery keys, rules. A pepper of its own gives other tokens.
    ///
    /// # Panics
    /// If the catalogue is invalid, and if the store doesn't open.
    #[track_caller]
    #[must_use]
    pub fn configured(
        catalogue: CatalogueBuilder,
        configure: impl FnOnce(StoreBuilder) -> StoreBuilder,
    ) -> Self {
        let catalogue: Catalogue = must("the catalogue", catalogue.build());
        let prefix = must("the prefix", Prefix::new(Self::PREFIX));
        let clock = Arc::new(ManualClock::new(sample::at(0)));
        let builder = Store::builder(catalogue, [prefix])
            .quota_wait(QUOTA_WAIT)
            .clock(Arc::<ManualClock>::clone(&clock))
            .random(FixedRandom::new());
        let store = Arc::new(must("the store", configure(builder).open(Memory::new())));
        Self { store, clock, keys: BTreeMap::new() }
    }

    /// Adds a key of this name and access, of the owner [`OWNER`](Self::OWNER).
    ///
    /// # Panics
    /// If there is a key of this name, and if the store refuses it.
    #[track_caller]
    #[must_use]
    pub fn key(self, name: &str, access: Access) -> Self {
        self.key_of(Self::OWNER, name, CreateKey::new(access))
    }

    /// Adds a key of this name and of any owner, who is created if it isn't there. The name in the
    /// request gives way.
    ///
    /// # Panics
    /// If there is a key of this name, and if the store refuses it.
    #[track_caller]
    #[must_use]
    pub fn key_of(mut self, owner: &str, name: &str, request: CreateKey) -> Self {
        assert!(!self.keys.contains_key(name), "there are two test keys of the name {name:?}");
        let owner = must("the owner", OwnerId::new(owner));
        let request = request.name(name).or_create_owner(CreateOwner::without_key());
        let issued = must(name, self.admin().create(&owner, request));
        self.keys.insert(name.to_owned(), issued);
        self
    }

    /// Returns the token of a key, as it was issued.
    ///
    /// # Panics
    /// If there is no key of this name.
    #[track_caller]
    #[must_use]
    pub fn token(&self, name: &str) -> &str {
        self.issued(name).token.expose()
    }

    /// Returns the id of a key.
    ///
    /// # Panics
    /// If there is no key of this name.
    #[track_caller]
    #[must_use]
    pub fn id(&self, name: &str) -> KeyId {
        self.issued(name).key.id
    }

    /// Returns the store itself.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// Returns the clock of the store, which a test moves on.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Returns a verifier, as the service holds one.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier::new(self.store())
    }

    /// Returns an administrator's handle.
    ///
    /// # Panics
    /// Never: the name is valid.
    #[must_use]
    pub fn admin(&self) -> AdminKeys {
        must("the administrator", AdminKeys::new(self.store(), "test"))
    }

    #[track_caller]
    fn issued(&self, name: &str) -> &Issued {
        let names = self.keys.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        must(
            name,
            self.keys.get(name).ok_or(format!("no test key has this name; there are {names}")),
        )
    }
}

impl fmt::Debug for TestStore {
    /// Shows the names of the keys, and no token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.keys.keys().collect();
        f.debug_struct("TestStore").field("keys", &keys).finish_non_exhaustive()
    }
}

/// Returns what a test needs, or ends the test.
#[track_caller]
#[allow(clippy::panic)] // A panic is how a test fails.
fn must<T, E: Display>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Randomness that is the same in every run.
struct FixedRandom(blake3::OutputReader);

impl FixedRandom {
    fn new() -> Self {
        Self(blake3::Hasher::new_derive_key("keyhasp fixed randomness for tests").finalize_xof())
    }
}

impl RandomSource for FixedRandom {
    fn try_fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.0.fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Expiry;
    use crate::store::UsageSettings;

    fn with_keys() -> TestStore {
        TestStore::new(Catalogue::builder().read("links:read")).key("one", Access::Full).key_of(
            "acme",
            "two",
            CreateKey::new(Access::ReadOnly).expires(in_an_hour()),
        )
    }

    fn in_an_hour() -> Expiry {
        Expiry::At(sample::at(3_600))
    }

    #[test]
    fn the_same_keys_have_the_same_tokens() {
        let (test, other) = (with_keys(), with_keys());
        for name in ["one", "two"] {
            assert_eq!(test.token(name), other.token(name));
            assert_eq!(test.id(name), other.id(name));
        }
        assert_ne!(test.token("one"), test.token("two"));
        assert!(test.token("one").starts_with("test_"));
    }

    #[test]
    fn keys_belong_to_their_owners_and_time_is_the_tests_own() {
        let test = with_keys();
        let owner = |name| test.verifier().verify(test.token(name)).map(|key| *key.owner_id());
        assert_eq!(owner("one"), Ok(OwnerId::new(TestStore::OWNER).unwrap()));
        assert_eq!(owner("two"), Ok(OwnerId::new("acme").unwrap()));
        let key = test.admin().get(test.id("two")).unwrap();
        assert_eq!(key.name.unwrap().as_str(), "two");
        test.clock().advance(Duration::from_secs(3_599));
        assert!(owner("two").is_ok());
        test.clock().advance(Duration::from_secs(1));
        assert!(owner("two").is_err());
    }

    #[test]
    fn what_a_service_sets_holds() {
        let configure = |builder: StoreBuilder| builder.usage(UsageSettings::new().counts());
        let test = TestStore::configured(Catalogue::builder(), configure).key("k", Access::Full);
        test.verifier().verify(test.token("k")).unwrap();
        test.store().flush_usage().unwrap();
        let usage = test.admin().get(test.id("k")).unwrap().usage.unwrap();
        assert_eq!(usage.accepted, Some(1));
    }

    #[test]
    fn debug_shows_no_token() {
        let test = with_keys();
        let shown = format!("{test:?}");
        assert!(shown.contains("one") && !shown.contains(test.token("one")), "{shown}");
    }

    #[test]
    #[should_panic(expected = "three: no test key has this name; there are one, two")]
    fn a_name_that_no_key_has_ends_the_test() {
        let _ = with_keys().token("three");
    }

    #[test]
    #[should_panic(expected = "there are two test keys of the name \"one\"")]
    fn a_name_that_a_key_has_ends_the_test() {
        let _ = with_keys().key("one", Access::Full);
    }
}
