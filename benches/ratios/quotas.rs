//! Quotas in use: what a verification costs, and how long others wait, on SQLite.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::store::Unavailable;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, ManualClock, OwnerId, Period, Quota, SetLimits,
    Store, Timestamp, Verifier, VerifyError, VerifyRequest,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::measure::{Longest, figure, ratio_of, time};
use crate::synthetic::builder;

/// Number of keys in use.
const HOT: usize = 1_000;
/// Rounds of one use of each key: a quota of 100 has 32 uses left after all of them.
const ROUNDS: usize = 41;
const PACED: usize = 20;
/// Number of keys in use over midnight.
const MANY: usize = 100_000;
/// 2026-01-01T22:59:00Z, and the milliseconds until a use in the day's last hour, and until midnight.
const START: u64 = 1_767_308_340_000;
const LAST_HOUR: u64 = 30 * 60 * 1_000;
const MIDNIGHT: u64 = 61 * 60 * 1_000;
/// Time for which another process holds the write lock.
const HELD: Duration = Duration::from_secs(3);

pub fn run(wanted: &dyn Fn(&str) -> bool) {
    if wanted("verify_quota_hot") {
        hot();
    }
    if wanted("quota_midnight_100k") {
        over_midnight();
    }
    if wanted("quota_locked") {
        locked();
    }
    #[cfg(feature = "axum")]
    if wanted("timer_delay") {
        timers::run();
    }
}

fn day(uses: u64) -> Option<Quota> {
    Some(Quota::each(uses, Period::Day).unwrap())
}

/// Quotas from 100 to 10,000 a day, each decade as often.
fn realistic(at: usize) -> Option<Quota> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    day((100.0 * 100_f64.powf(at as f64 / HOT as f64)) as u64)
}

fn backend(path: &Path) -> Sqlite {
    Sqlite::open_or_create(path, SqliteOptions::exclusive()).unwrap().0
}

/// Makes keys, each with its own quota or none.
fn keys(
    store: &Arc<Store>,
    count: usize,
    quota: impl Fn(usize) -> Option<Quota> + Sync,
) -> Vec<String> {
    let admin = AdminKeys::new(Arc::<Store>::clone(store), "bench").unwrap();
    let owner = OwnerId::new("org").unwrap();
    let request = CreateOwner::without_key().max_keys(u32::MAX);
    admin.create_owner(&owner, request).unwrap();
    let make = |at: usize| {
        let limits = quota(at).map_or_else(SetLimits::new, |quota| SetLimits::new().quota(quota));
        let issued = admin.create(&owner, CreateKey::new(Access::Full).limits(limits)).unwrap();
        issued.token.expose().to_owned()
    };
    // Several callers, whose commits are joined.
    let next = AtomicU64::new(0);
    let made = std::thread::scope(|scope| {
        let make_some = || {
            let mut made = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                if at >= count {
                    return made;
                }
                made.push((at, make(at)));
            }
        };
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(make_some)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut tokens = vec![String::new(); count];
    made.into_iter().for_each(|(at, token)| tokens[at] = token);
    tokens
}

/// One use of each key in a round, and time for the next leases between two rounds: the cost in plain
/// hits, and how many uses wait.
fn hot() {
    let dir = TempDir::new().unwrap();
    // On a busy machine a first lease may take longer than a request would wait.
    let patient = builder().quota_wait(Duration::from_secs(60));
    let store = Arc::new(patient.open(backend(&dir.path().join("hot.db"))).unwrap());
    let limited = keys(&store, HOT, realistic);
    let unlimited = Arc::new(builder().open(backend(&dir.path().join("plain.db"))).unwrap());
    let tokens = keys(&unlimited, HOT, |_| None);
    let verifier = |store: &Arc<Store>| Verifier::new(Arc::clone(store));
    let (on_limited, on_plain) = (verifier(&store), verifier(&unlimited));
    // The first use in a period may wait.
    limited.iter().for_each(|token| assert!(on_limited.verify(token).is_ok()));
    let round = |verifier: &Verifier, tokens: &[String]| {
        tokens.iter().for_each(|token| assert!(verifier.verify(token).is_ok()));
    };
    // Hot keys are in the processor's cache: writing leases on this thread has put them out of it. A
    // look takes no use.
    let look = |verifier: &Verifier, tokens: &[String]| {
        for token in tokens {
            let request = VerifyRequest::new(token.as_bytes()).cost(0);
            assert!(verifier.verify_request(&request).is_ok());
        }
    };
    let hot = || {
        store.fetch_leases().unwrap();
        look(&on_limited, &limited);
        time(|| round(&on_limited, &limited))
    };
    let plain = || {
        look(&on_plain, &tokens);
        time(|| round(&on_plain, &tokens))
    };
    figure("verify_quota_hot", ratio_of(ROUNDS, hot, plain), "x_hit");
    let mut waits = 0_u32;
    for _ in 0..PACED {
        store.fetch_leases().unwrap();
        for token in &limited {
            let request = VerifyRequest::new(token.as_bytes());
            let mut context = Context::from_waker(Waker::noop());
            waits +=
                u32::from(on_limited.poll_verify(&request, &mut None, &mut context).is_pending());
        }
    }
    figure("verify_quota_hot_waits", waits.into(), "uses");
}

/// Many keys that were in use until midnight, and go on: how many uses are refused as unavailable, and
/// the longest wait.
fn over_midnight() {
    let dir = TempDir::new().unwrap();
    let at = |millis| Timestamp::from_millis(START + millis).unwrap();
    let clock = Arc::new(ManualClock::new(at(0)));
    let builder = builder().clock(Arc::<ManualClock>::clone(&clock));
    let store = Arc::new(builder.open(backend(&dir.path().join("many.db"))).unwrap());
    let tokens = keys(&store, MANY, |_| day(1_000));
    clock.set(at(LAST_HOUR));
    let verifier = Verifier::new(Arc::clone(&store));
    // All ask at once, and find their leases later.
    let mut waits: Vec<_> = tokens.iter().map(|_| None).collect();
    for (token, wait) in tokens.iter().zip(&mut waits) {
        let request = VerifyRequest::new(token.as_bytes());
        let mut context = Context::from_waker(Waker::noop());
        assert!(verifier.poll_verify(&request, wait, &mut context).is_pending());
    }
    store.fetch_leases().unwrap();
    drop(waits);
    tokens.iter().for_each(|token| assert!(verifier.verify(token).is_ok()));
    store.fetch_leases().unwrap();
    clock.set(at(MIDNIGHT));
    let ask = |seed: u64| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (mut refused, mut longest) = (0_u32, Longest::default());
        for _ in 0..2 * MANY {
            let token = &tokens[(random.next_u64() % MANY as u64) as usize];
            longest.time(|| refused += u32::from(verifier.verify(token).is_err()));
        }
        (refused, longest.longest())
    };
    let asked = std::thread::scope(|scope| {
        [1, 2].map(|seed| scope.spawn(move || ask(seed))).map(|thread| thread.join().unwrap())
    });
    figure(
        "quota_midnight_100k_refused",
        asked.iter().map(|(refused, _)| f64::from(*refused)).sum(),
        "uses",
    );
    figure(
        "quota_midnight_100k_longest",
        asked.iter().map(|(_, us)| us / 1e3).fold(0.0, f64::max),
        "ms",
    );
}

/// Eight keys without a lease, while another process holds the write lock: the longest answer. Each
/// caller tries again when it was told to.
fn locked() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("locked.db");
    let shared = SqliteOptions::shared(SqliteOptions::DEFAULT_STALENESS).unwrap();
    let backend = Sqlite::open_or_create(&path, shared).unwrap().0;
    let store = Arc::new(builder().open(backend).unwrap());
    let tokens = keys(&store, 8, |_| day(100));
    let verifier = Verifier::new(Arc::clone(&store));
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let until = Instant::now() + HELD;
    let longest = std::thread::scope(|scope| {
        let ask = |token| {
            let mut longest = Longest::default();
            while Instant::now() < until {
                let mut answer = None;
                longest.time(|| answer = verifier.verify(token).err());
                let told = match answer {
                    Some(VerifyError::Unavailable(Unavailable::Quota { retry_after })) => {
                        Some(retry_after)
                    }
                    _ => None,
                };
                std::thread::sleep(told.unwrap());
            }
            longest.longest()
        };
        let threads: Vec<_> = tokens.iter().map(|token| scope.spawn(move || ask(token))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(0.0, f64::max)
    });
    other.execute_batch("ROLLBACK").unwrap();
    figure("quota_locked_longest", longest / 1e3, "ms");
}

/// The longest delay of a timer on a runtime of two workers, while requests go through the layer.
#[cfg(feature = "axum")]
mod timers {
    use std::sync::atomic::AtomicBool;

    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http::Request;
    use http::header::AUTHORIZATION;
    use keyhasp::KeyLayer;
    use tokio::task::JoinSet;
    use tower::ServiceExt;

    use super::*;

    /// Requests of each key, one after the other; those of all keys run at once.
    const REQUESTS: usize = 60;

    pub(super) fn run() {
        let plain = delay(|_| None, false);
        figure("timer_delay_plain", plain, "ms");
        figure("timer_delay_quotas", delay(|_| day(100), false), "ms");
        figure("timer_delay_locked", delay(|_| day(100), true), "ms");
    }

    fn delay(quota: impl Fn(usize) -> Option<Quota> + Sync, is_locked: bool) -> f64 {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("keys.db");
        let shared = SqliteOptions::shared(SqliteOptions::DEFAULT_STALENESS).unwrap();
        let store =
            Arc::new(builder().open(Sqlite::open_or_create(&path, shared).unwrap().0).unwrap());
        let tokens = keys(&store, HOT, quota);
        let verifier = Verifier::new(Arc::clone(&store));
        let site =
            Router::<()>::new().route("/", get(async || "ok")).layer(KeyLayer::new(verifier));
        let other = rusqlite::Connection::open(&path).unwrap();
        if is_locked {
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        runtime.block_on(async move {
            let ends = Arc::clone(&is_over);
            let timer = tokio::spawn(async move {
                let (step, mut longest) = (Duration::from_millis(1), Duration::ZERO);
                while !ends.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    tokio::time::sleep(step).await;
                    longest = longest.max(began.elapsed().saturating_sub(step));
                }
                longest
            });
            let mut all = JoinSet::new();
            for token in tokens {
                let site = site.clone();
                all.spawn(async move {
                    for _ in 0..REQUESTS {
                        let request =
                            Request::get("/").header(AUTHORIZATION, format!("Bearer {token}"));
                        let request = request.body(Body::empty()).unwrap();
                        let _ = site.clone().oneshot(request).await.unwrap();
                    }
                });
            }
            all.join_all().await;
            is_over.store(true, Ordering::Relaxed);
            timer.await.unwrap().as_secs_f64() * 1e3
        })
    }
}
