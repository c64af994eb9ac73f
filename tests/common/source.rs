//! Randomness for a store: seeded, and made to fail by a test.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};

/// A generator that can be made to fail.
#[derive(Debug)]
pub(crate) struct Source {
    random: ChaCha8Rng,
    fails: Arc<AtomicBool>,
}

/// The failure that a test has asked for.
#[derive(Debug)]
pub(crate) struct Failed;

impl Source {
    pub(crate) fn new(seed: u64, fails: Arc<AtomicBool>) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), fails }
    }

    fn draw<T>(&mut self, draw: impl FnOnce(&mut ChaCha8Rng) -> T) -> Result<T, Failed> {
        if self.fails.load(Ordering::SeqCst) { Err(Failed) } else { Ok(draw(&mut self.random)) }
    }
}

impl TryRng for Source {
    type Error = Failed;

    fn try_next_u32(&mut self) -> Result<u32, Failed> {
        self.draw(Rng::next_u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Failed> {
        self.draw(Rng::next_u64)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Failed> {
        self.draw(|random| random.fill_bytes(bytes))
    }
}

impl TryCryptoRng for Source {}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("injected: no entropy")
    }
}

impl std::error::Error for Failed {}
