//! Tokens, peppers and recovery keys are wiped before their memory is freed. The allocator searches
//! each block on the heap when it is freed. Copies on the stack and in registers aren't seen.

mod searching;

use std::hint::black_box;
use std::sync::Arc;

use keyhasp::backend::Memory;
use keyhasp::secret::Secret;
use keyhasp::store::StoreBuilder;
use keyhasp::token::{RandomError, RandomSource};
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, KeyStore, OwnerId, Peppers, Prefix,
    RecoveryKeys, Rotate, Store, StoreRules, Verifier,
};
use searching::leaks_of;

const PEPPER: [u8; 32] = *b"pepper canary: 7f3a9c51e0b24d68.";
const RECOVERY_KEY: [u8; 32] = *b"sealing canary: c2d41b7e95f0a386";

/// A source of the same numbers for each store, so that the test knows its tokens beforehand.
struct Numbers(u64);

impl RandomSource for Numbers {
    fn try_fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
        Ok(())
    }
}

fn builder() -> StoreBuilder {
    let catalogue = Catalogue::builder().read("links:read").build().unwrap();
    Store::builder(catalogue, [Prefix::new("acme").unwrap()])
        .rules(StoreRules { recoverable_tokens: true, ..StoreRules::default() })
        .peppers(Peppers::new(1, PEPPER).unwrap())
        .recovery_keys(RecoveryKeys::new(1, RECOVERY_KEY).unwrap())
        .random(Numbers(1))
}

/// Creates a key, verifies, reveals, rotates and closes; returns the tokens if `keep`.
fn life(keep: bool) -> Vec<String> {
    let store: Arc<dyn KeyStore> = Arc::new(builder().open(Memory::new()).unwrap());
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    let request = CreateOwner::with_key(CreateKey::new(Access::Full).recoverable());
    let owner = OwnerId::new("org").unwrap();
    let first = admin.create_owner(&owner, request).unwrap().first_key.unwrap();
    let verifier = Verifier::new(Arc::clone(&store));
    assert!(verifier.verify(first.token.expose()).is_ok());
    let shown = admin.reveal_token(first.key.id).unwrap();
    assert_eq!(shown.expose(), first.token.expose());
    let second = admin.rotate(first.key.id, Rotate::new()).unwrap();
    assert!(verifier.verify(&second.token.expose()[1..]).is_err());
    drop(format!("{first:?} {second:?} {shown:?} {store:?} {admin:?}"));
    store.close().unwrap();
    if keep {
        return [first, second].iter().map(|issued| issued.token.expose().to_owned()).collect();
    }
    Vec::new()
}

/// Returns a secret that differs in its last byte alone, so that the search finds it too.
fn another(mut secret: [u8; 32], number: u16) -> [u8; 32] {
    secret[31] = u8::try_from(number).unwrap();
    secret
}

/// Returns the secret part of a token: 42 characters before the 6 of its checksum.
fn secret_of(token: &str) -> &[u8] {
    &token.as_bytes()[token.len() - 48..token.len() - 6]
}

#[test]
fn tokens() {
    let tokens = life(true);
    assert_eq!(tokens.len(), 2);
    for token in &tokens {
        let ((), leaks) = leaks_of(secret_of(token), || drop(life(false)));
        assert_eq!(leaks, 0, "blocks with a token's secret in them");
    }
}

#[test]
fn peppers_and_recovery_keys() {
    for secret in [PEPPER, RECOVERY_KEY] {
        let ((), leaks) = leaks_of(&secret, || drop(life(false)));
        assert_eq!(leaks, 0, "blocks with a key in them");
    }
    // The most peppers that there can be, and refused ones.
    let ((), leaks) = leaks_of(&PEPPER, || {
        let peppers = (2..=4).fold(Peppers::new(1, PEPPER), |peppers, number| {
            peppers.unwrap().and(number, another(PEPPER, number))
        });
        assert!(peppers.unwrap().and(5, another(PEPPER, 5)).is_err());
        assert!(Peppers::new(1, PEPPER).unwrap().and(2, PEPPER).is_err());
        assert!(Peppers::new(0, PEPPER).is_err());
    });
    assert_eq!(leaks, 0);
    let ((), leaks) = leaks_of(&RECOVERY_KEY, || {
        let keys = (2..=16).fold(RecoveryKeys::new(1, RECOVERY_KEY), |keys, number| {
            keys.unwrap().and(number, another(RECOVERY_KEY, number))
        });
        assert!(keys.unwrap().and(17, another(RECOVERY_KEY, 17)).is_err());
        assert!(RecoveryKeys::new(1, RECOVERY_KEY).unwrap().and(2, RECOVERY_KEY).is_err());
    });
    assert_eq!(leaks, 0);
}

#[test]
fn the_secret_type() {
    let ((), leaks) = leaks_of(&PEPPER, || drop(black_box(Box::new(Secret::new(PEPPER)))));
    assert_eq!(leaks, 0);
    let ((), leaks) = leaks_of(&PEPPER, || {
        let mut secrets = Vec::with_capacity(3);
        secrets.extend([Secret::new(PEPPER), Secret::new(PEPPER), Secret::new(PEPPER)]);
        // In place, since moving a value out of a block leaves a copy there.
        black_box(&mut secrets).truncate(1);
    });
    assert_eq!(leaks, 0);
}

/// Catches injected leaks, at any place in a block, and where a block grows.
#[test]
fn injected_leaks_are_caught() {
    let tokens = life(true);
    let secret = secret_of(&tokens[0]);
    let ((), leaks) = leaks_of(secret, || drop(black_box(tokens[0].clone())));
    assert_eq!(leaks, 1);
    let ((), leaks) = leaks_of(secret, || drop(black_box(secret[7..].to_vec())));
    assert_eq!(leaks, 1);
    let ((), leaks) = leaks_of(&PEPPER, || drop(black_box(Box::new(PEPPER))));
    assert_eq!(leaks, 1);
    let ((), leaks) = leaks_of(&PEPPER, || {
        let mut grown = Vec::with_capacity(1);
        grown.push(Secret::new(PEPPER));
        black_box(&mut grown).reserve_exact(10);
    });
    assert_eq!(leaks, 1, "a copy stays behind where a vector grows");
}
