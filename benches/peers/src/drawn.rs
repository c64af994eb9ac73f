//! Secrets and the order of the tokens, the same in each run.

use std::fmt::Write;
use std::time::SystemTime;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Number of tokens that are drawn.
pub const DRAWN: usize = 400_000;
/// A good key's expiry in seconds since 1970: the year 2100.
pub const LATER: i64 = 4_102_444_800;
/// An expired key's: the year 2001.
pub const PREVIOUS: i64 = 1_000_000_000;

/// The numbers of keys, drawn at random with repetition.
pub fn numbers(keys: usize) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    (0..DRAWN).map(|_| (random.next_u64() % keys as u64) as usize).collect()
}

/// The random part of a key's token: 256 bits as 64 characters.
pub fn secret(number: usize) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(number as u64);
    (0..4).fold(String::new(), |mut text, _| {
        write!(text, "{:016x}", random.next_u64()).expect("text takes all");
        text
    })
}

/// Seconds since 1970, as code written by hand asks for them.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    since.as_secs() as i64
}
