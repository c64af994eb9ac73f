//! The cost of a verification, in units of one keyed BLAKE3 of 64 bytes.

use std::hint::black_box;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyhasp::backend::Sharing;
use keyhasp::key::Limits;
use keyhasp::{Verifier, VerifyError};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::measure::{figure, ratio};
use crate::synthetic::{PEPPER, Synthetic, builder, quota, rate, token};

/// Number of verifications in one measurement.
const BATCH: usize = 20_000;
/// Number of different tokens to draw from.
const DRAWN: usize = 400_000;

pub fn run(wanted: &dyn Fn(&str) -> bool) {
    for (keys, suffix) in [(1_000, "1k"), (1_000_000, "1m"), (10_000_000, "10m")] {
        let name = format!("verify_hit_{suffix}");
        if wanted(&name) {
            let verifier = open(keys, false, Sharing::Exclusive);
            hits(&name, &verifier, &tokens(keys, 1), 1);
            if keys == 1_000_000 {
                refusals(&verifier, keys);
            }
            drop(verifier);
            bare(&format!("bare_line_and_hash_{suffix}"), keys);
        }
    }
    if wanted("verify_previous_1m") {
        let keys = 1_000_000;
        let verifier = open(keys, true, Sharing::Exclusive);
        hits("verify_previous_1m", &verifier, &tokens(keys, 1), 1);
    }
    if wanted("verify_two_threads") {
        let keys = 1_000_000;
        let verifier = open(keys, false, Sharing::Exclusive);
        let drawn = tokens(keys, 1);
        let same = vec![drawn[0].clone(); BATCH];
        figure("verify_two_threads_same_key", two_threads(&verifier, &same, &same), "x_one_thread");
        let (one, other) = drawn.split_at(DRAWN / 2);
        figure("verify_two_threads_spread", two_threads(&verifier, one, other), "x_one_thread");
    }
    limited(wanted);
    if wanted("verify_shared_1m") {
        let keys = 1_000_000;
        let shared = Sharing::Shared { max_staleness: Duration::from_secs(1) };
        let verifier = open(keys, false, shared);
        hits("verify_shared_1m", &verifier, &tokens(keys, 1), 1);
    }
}

/// Measures the cost of limits, in plain hits; each key has them.
fn limited(wanted: &dyn Fn(&str) -> bool) {
    let keys = 1_000_000;
    let cases = [("verify_rate_limited", rate()), ("verify_quota", quota())];
    for (name, limits) in cases.into_iter().filter(|(name, _)| wanted(name)) {
        let drawn = tokens(keys, 1);
        let plain = open(keys, false, Sharing::Exclusive);
        let limited = open_with(keys, false, Sharing::Exclusive, Some(limits));
        // The first use of a quota asks for a lease.
        drawn.iter().for_each(|token| assert!(limited.verify(token).is_ok()));
        let verify = |verifier: &Verifier, token: &str| assert!(verifier.verify(token).is_ok());
        let limited_hits = batches(&drawn, |token| verify(&limited, token));
        let plain_hits = batches(&drawn, |token| verify(&plain, token));
        figure(&format!("{name}_1m"), ratio(limited_hits, plain_hits), "x_hit");
        let same = vec![drawn[0].clone(); BATCH];
        let name = format!("{name}_two_threads_same_key");
        figure(&name, two_threads(&limited, &same, &same), "x_one_thread");
    }
}

pub fn open(keys: u64, rotated: bool, sharing: Sharing) -> Verifier {
    open_with(keys, rotated, sharing, None)
}

fn open_with(keys: u64, rotated: bool, sharing: Sharing, limits: Option<Limits>) -> Verifier {
    let (metadata, resident) = (OnceLock::new(), None);
    let backend = Synthetic { keys, rotated, sharing, metadata, resident, limits };
    Verifier::new(Arc::new(builder().open(backend).unwrap()))
}

/// Tokens of keys drawn at random.
pub fn tokens(keys: u64, generation: u32) -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    (0..DRAWN).map(|_| token(random.next_u64() % keys, generation)).collect()
}

/// Works through the drawn tokens, a batch at each call.
pub fn batches<'a>(tokens: &'a [String], mut verify: impl FnMut(&str) + 'a) -> impl FnMut() + 'a {
    let mut at = 0;
    move || {
        for token in &tokens[at..at + BATCH] {
            verify(token);
        }
        at = (at + BATCH) % (tokens.len() - tokens.len() % BATCH);
    }
}

fn hits(name: &str, verifier: &Verifier, tokens: &[String], generation: u32) {
    let permission = verifier.permission("links:write").unwrap();
    let verify = batches(tokens, |token| {
        let verified = verifier.verify(token).unwrap();
        assert!(verified.allows(permission) && verified.generation().get() == generation);
    });
    figure(name, ratio(verify, hashes()), "x_blake3");
}

/// One hash, and one line of memory out of as many as there are keys, asked for before the hash and
/// read after it, each at a place that the one before decides: what memory alone costs on this
/// machine, at this hour.
fn bare(name: &str, keys: u64) {
    let lines: Vec<[u64; 8]> = (0..keys).map(|n| [n; 8]).collect();
    let mut input = [0x61_u8; 64];
    let mut at = 1_u64;
    let read = || {
        for n in 0..BATCH {
            input[..8].copy_from_slice(&n.to_ne_bytes());
            let line = black_box(&lines[(((at >> 32) * keys) >> 32) as usize])[3];
            let hash = blake3::keyed_hash(&PEPPER, black_box(&input));
            let next = at ^ line ^ u64::from(hash.as_bytes()[0]);
            at = next.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        }
    };
    figure(name, ratio(read, hashes()), "x_blake3");
}

/// Measures how many times as many verifications two threads do in the time that one takes.
pub fn two_threads(verifier: &Verifier, one: &[String], other: &[String]) -> f64 {
    let verify = |tokens: &[String]| {
        for token in tokens.iter().cycle().take(10 * BATCH) {
            black_box(verifier.verify(token)).unwrap();
        }
    };
    2.0 / ratio(
        || {
            std::thread::scope(|scope| {
                scope.spawn(|| verify(one));
                verify(other);
            });
        },
        || verify(one),
    )
}

fn refusals(verifier: &Verifier, keys: u64) {
    let refused = |token: &str| {
        assert_eq!(black_box(verifier.verify(token)), Err(VerifyError::Unrecognized));
    };
    let good = tokens(keys, 1);
    let unknown: Vec<String> = (0..DRAWN as u64).map(|n| token(keys + n, 1)).collect();
    let wrong = tokens(keys, 9);
    let malformed: Vec<String> = good.iter().map(|token| token.replacen('_', "-", 9)).collect();
    for (name, tokens) in [
        ("verify_unknown_1m", unknown),
        ("verify_wrong_secret_1m", wrong),
        ("verify_malformed", malformed),
    ] {
        figure(name, ratio(batches(&tokens, refused), hashes()), "x_blake3");
    }
}

/// The unit: one keyed hash of 64 bytes, as often as a batch verifies.
fn hashes() -> impl FnMut() {
    let mut input = [0x61_u8; 64];
    move || {
        for n in 0..BATCH {
            input[..8].copy_from_slice(&n.to_ne_bytes());
            black_box(blake3::keyed_hash(&PEPPER, black_box(&input)));
        }
    }
}
