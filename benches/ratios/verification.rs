//! The cost of a verification, in keyed BLAKE3 hashes of 64 bytes, in floors and in plain hits.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::{Backend, BackendError, BackendLayer, Memory, Sharing};
use keyhasp::key::Limits;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, OwnerId, SetLimits, Store, Verifier, VerifyError,
};
use memmap2::MmapMut;
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
            let (verifier, drawn) = (open(keys, false, Sharing::Exclusive), Drawn::new(keys, 1));
            {
                let floor = Floor::new(keys, suffix);
                figure(
                    &format!("floor_{suffix}"),
                    ratio(floor.batches(&drawn), hashes()),
                    "x_blake3",
                );
                hits(&name, &verifier, &drawn.tokens, 1, floor.batches(&drawn), "x_floor");
            }
            hits(&name, &verifier, &drawn.tokens, 1, hashes(), "x_blake3");
            if keys == 1_000_000 {
                refusals(&verifier, keys);
            }
        }
    }
    let keys = 1_000_000;
    if wanted("verify_previous_1m") {
        let plain = open(keys, false, Sharing::Exclusive);
        let (verifier, drawn) = (open(keys, true, Sharing::Exclusive), tokens(keys, 1));
        let hit = batches(&drawn, |token| assert!(plain.verify(token).is_ok()));
        hits("verify_previous_1m", &verifier, &drawn, 1, hit, "x_hit");
    }
    if wanted("verify_hit_max_access_1m") {
        let plain = open(keys, false, Sharing::Exclusive);
        let max_access = Access::limited(["links:*"]).unwrap();
        let synthetic = Synthetic { max_access, ..Synthetic::new(keys) };
        let (verifier, drawn) = (opened(synthetic), tokens(keys, 1));
        let hit = batches(&drawn, |token| assert!(plain.verify(token).is_ok()));
        hits("verify_hit_max_access_1m", &verifier, &drawn, 1, hit, "x_hit");
    }
    if wanted("recheck_1m") {
        recheck(&open(keys, false, Sharing::Exclusive), &tokens(keys, 1));
    }
    if wanted("verify_two_threads") {
        let verifier = open(keys, false, Sharing::Exclusive);
        let drawn = tokens(keys, 1);
        let same = vec![drawn[0].clone(); BATCH];
        figure("verify_two_threads_same_key", two_threads(&verifier, &same, &same), "x_one_thread");
        let (one, other) = drawn.split_at(DRAWN / 2);
        figure("verify_two_threads_spread", two_threads(&verifier, one, other), "x_one_thread");
    }
    limited(wanted);
    if wanted("verify_rate_limited_half_added_1m") {
        half_added();
    }
    if wanted("verify_shared_1m") {
        let shared = Sharing::Shared { max_staleness: Duration::from_secs(1) };
        let verifier = open(keys, false, shared);
        hits("verify_shared_1m", &verifier, &tokens(keys, 1), 1, hashes(), "x_blake3");
    }
}

/// Measures the cost of judging a verified key again, in hits of the same keys.
fn recheck(verifier: &Verifier, tokens: &[String]) {
    let verified: Vec<_> = tokens.iter().map(|token| verifier.verify(token).unwrap()).collect();
    let mut at = 0;
    let rechecks = || {
        for verified in &verified[at..at + BATCH] {
            assert!(verifier.recheck(verified).is_ok());
        }
        at = (at + BATCH) % (verified.len() - verified.len() % BATCH);
    };
    let hits = batches(tokens, |token| assert!(verifier.verify(token).is_ok()));
    figure("recheck_1m", ratio(rechecks, hits), "x_hit");
}

/// Measures the cost of limits, in plain hits; each key has them.
fn limited(wanted: &dyn Fn(&str) -> bool) {
    let keys = 1_000_000;
    let cases = [("verify_rate_limited", rate()), ("verify_quota", quota())];
    for (name, limits) in cases.into_iter().filter(|(name, _)| wanted(name)) {
        let drawn = tokens(keys, 1);
        let plain = open(keys, false, Sharing::Exclusive);
        let limited = open_with(keys, false, Sharing::Exclusive, Some(limits));
        // The first use of a quota asks for a lease, which may not be there yet when its wait ends.
        drawn.iter().for_each(|token| while limited.verify(token).is_err() {});
        let verify = |verifier: &Verifier, token: &str| assert!(verifier.verify(token).is_ok());
        let limited_hits = batches(&drawn, |token| verify(&limited, token));
        let plain_hits = batches(&drawn, |token| verify(&plain, token));
        figure(&format!("{name}_1m"), ratio(limited_hits, plain_hits), "x_hit");
        let same = vec![drawn[0].clone(); BATCH];
        let name = format!("{name}_two_threads_same_key");
        figure(&name, two_threads(&limited, &same, &same), "x_one_thread");
    }
}

/// A backend that outlives the store that is opened on it.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Memory>);

impl BackendLayer for Kept {
    fn inner(&self) -> &dyn Backend {
        &*self.0
    }

    fn close(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Measures the cost of a rate on each of a million keys, half of which were added after opening: the
/// records of their limits lie where there was room.
fn half_added() {
    const HALF: usize = 500_000;
    const PER_OWNER: usize = 1_000;
    let kept = Kept::default();
    let open_kept = || Arc::new(builder().open(kept.clone()).unwrap());
    let add = |store: &Arc<Store>, half: usize| -> Vec<String> {
        let admin = AdminKeys::new(Arc::<Store>::clone(store), "bench").unwrap();
        let rate = rate().rate.unwrap().value;
        let create = |at: usize| {
            let owner = OwnerId::new(format!("org-{half}-{}", at / PER_OWNER)).unwrap();
            if at.is_multiple_of(PER_OWNER) {
                admin.create_owner(&owner, CreateOwner::without_key()).unwrap();
            }
            let request = CreateKey::new(Access::Full).limits(SetLimits::new().rate(rate));
            admin.create(&owner, request).unwrap().token.expose().to_owned()
        };
        (0..HALF).map(create).collect()
    };
    let first = open_kept();
    let mut tokens = add(&first, 0);
    drop(first);
    let store = open_kept();
    tokens.extend(add(&store, 1));
    let drawn = Drawn::new(2 * HALF as u64, 1);
    let limited: Vec<String> = drawn.keys.iter().map(|key| tokens[*key as usize].clone()).collect();
    let (verifier, plain) =
        (Verifier::new(store), open(2 * HALF as u64, false, Sharing::Exclusive));
    let verify = |verifier: &Verifier, token: &str| assert!(verifier.verify(token).is_ok());
    let limited_hits = batches(&limited, |token| verify(&verifier, token));
    let plain_hits = batches(&drawn.tokens, |token| verify(&plain, token));
    figure("verify_rate_limited_half_added_1m", ratio(limited_hits, plain_hits), "x_hit");
}

pub fn open(keys: u64, rotated: bool, sharing: Sharing) -> Verifier {
    open_with(keys, rotated, sharing, None)
}

fn open_with(keys: u64, rotated: bool, sharing: Sharing, limits: Option<Limits>) -> Verifier {
    opened(Synthetic { rotated, sharing, limits, ..Synthetic::new(keys) })
}

fn opened(backend: Synthetic) -> Verifier {
    Verifier::new(Arc::new(builder().open(backend).unwrap()))
}

/// Keys drawn at random, and their tokens.
struct Drawn {
    keys: Vec<u64>,
    tokens: Vec<String>,
}

impl Drawn {
    fn new(keys: u64, generation: u32) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<u64> = (0..DRAWN).map(|_| random.next_u64() % keys).collect();
        let tokens = drawn.iter().map(|key| token(*key, generation)).collect();
        Self { keys: drawn, tokens }
    }
}

/// Tokens of keys drawn at random.
pub fn tokens(keys: u64, generation: u32) -> Vec<String> {
    Drawn::new(keys, generation).tokens
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

fn hits(
    name: &str,
    verifier: &Verifier,
    tokens: &[String],
    generation: u32,
    unit: impl FnMut(),
    unit_name: &str,
) {
    let permission = verifier.permission("links:write").unwrap();
    let verify = batches(tokens, |token| {
        let verified = verifier.verify(token).unwrap();
        assert!(verified.allows(permission) && verified.generation().get() == generation);
    });
    figure(name, ratio(verify, unit), unit_name);
}

/// The least that any store of digests in memory does: it reads the token's text, hashes it, and
/// reads one line out of as many as there are keys, which it has asked for before the hash. The same
/// tokens as those that are verified, and the same advice to the kernel as the index gives.
struct Floor {
    lines: MmapMut,
}

const LINE: usize = 64;

impl Floor {
    fn new(keys: u64, suffix: &str) -> Self {
        let mut lines = MmapMut::map_anon(usize::try_from(keys).unwrap() * LINE).unwrap();
        #[cfg(target_os = "linux")]
        lines.advise(memmap2::Advice::HugePage).unwrap();
        let before = huge_pages();
        // Written once, so that each line lies in a page of its own.
        lines.fill(1);
        figure(&format!("floor_{suffix}_huge_pages"), huge_pages() - before, "MiB");
        Self { lines }
    }

    fn batches<'a>(&'a self, drawn: &'a Drawn) -> impl FnMut() + 'a {
        let mut at = 0;
        move || {
            for n in at..at + BATCH {
                let line = &self.lines[drawn.keys[n] as usize * LINE..][..LINE];
                prefetch(line);
                let text = drawn.tokens[n].as_bytes();
                let hash = blake3::keyed_hash(&PEPPER, &text[text.len() - 64..]);
                black_box(line[usize::from(hash.as_bytes()[0]) % LINE]);
            }
            at = (at + BATCH) % (DRAWN - DRAWN % BATCH);
        }
    }
}

/// Asks for a cache line, as the index does.
#[allow(unsafe_code)]
fn prefetch(line: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the pointer comes from a reference, and a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    black_box(line[0]);
}

/// Huge pages of this process, in MiB, if the kernel tells.
fn huge_pages() -> f64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok())
        .unwrap_or_default()
        / 1024.0
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
