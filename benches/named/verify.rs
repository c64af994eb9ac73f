//! `verify/CASE/SIZE`: one verification in a store of that many keys, drawn at random.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Bencher, Criterion};
use keyhasp::backend::Sharing;
use keyhasp::{Catalogue, KeyStore, Peppers, Prefix, Store, VerifiedKey, Verifier, VerifyError};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::synthetic::{PEPPER, PREFIX, Synthetic, token};

/// Number of different tokens that are presented.
const DRAWN: u64 = 100_000;
/// A generation that no key has.
const NO_GENERATION: u32 = 9;

type Answer = Result<VerifiedKey, VerifyError>;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    for (size, keys) in [("1k", 1_000), ("1m", 1_000_000), ("10m", 10_000_000)] {
        group.bench_function(format!("hit/{size}"), |b| hits(b, &open(keys, false), keys, 1));
    }
    let keys = 1_000_000;
    group.bench_function("previous/1m", |b| hits(b, &open(keys, true), keys, 1));
    group.bench_function("shared/1m", |b| {
        let sharing = Sharing::Shared { max_staleness: Duration::from_secs(1) };
        hits(b, &open_as(keys, false, sharing), keys, 1);
    });
    group.bench_function("wrong_secret/1m", |b| {
        let tokens = drawn(|number| token(number % keys, NO_GENERATION));
        each(b, &open(keys, false), &tokens, is_refused);
    });
    group.bench_function("unknown/1m", |b| {
        let tokens = drawn(|number| token(keys + number % keys, 1));
        each(b, &open(keys, false), &tokens, is_refused);
    });
    group.bench_function("malformed", |b| {
        let tokens = drawn(|number| token(number % keys, 1).replace('_', "-"));
        each(b, &open(1_000, false), &tokens, is_refused);
    });
}

fn open(keys: u64, rotated: bool) -> Verifier {
    open_as(keys, rotated, Sharing::Exclusive)
}

fn open_as(keys: u64, rotated: bool, sharing: Sharing) -> Verifier {
    let catalogue = Catalogue::builder().read("links:read").write("links:write").build().unwrap();
    let backend = Synthetic { rotated, sharing, ..Synthetic::new(keys) };
    let store = Store::builder(catalogue, [Prefix::new(PREFIX).unwrap()])
        .peppers(Peppers::new(1, PEPPER).unwrap())
        .open(backend)
        .unwrap();
    Verifier::new(Arc::new(store) as Arc<dyn KeyStore>)
}

fn drawn(token: impl Fn(u64) -> String) -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    (0..DRAWN).map(|_| token(random.next_u64())).collect()
}

fn hits(bencher: &mut Bencher<'_>, verifier: &Verifier, keys: u64, generation: u32) {
    let permission = verifier.permission("links:write").unwrap();
    let tokens = drawn(|number| token(number % keys, generation));
    each(bencher, verifier, &tokens, |answer| {
        answer.is_ok_and(|verified| {
            verified.allows(permission) && verified.generation().get() == generation
        })
    });
}

fn is_refused(answer: Answer) -> bool {
    answer == Err(VerifyError::Unrecognized)
}

fn each(
    bencher: &mut Bencher<'_>,
    verifier: &Verifier,
    tokens: &[String],
    is_right: impl Fn(Answer) -> bool,
) {
    let mut tokens = tokens.iter().cycle();
    bencher.iter(|| assert!(is_right(verifier.verify(tokens.next().unwrap()))));
}
