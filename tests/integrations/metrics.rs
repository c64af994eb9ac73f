//! Metrics of a measured store and a measured backend.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{HOUR, World, builder, clock, owner};
use keyhasp::backend::Memory;
use keyhasp::integrations::metrics::{Measured, MeasuredBackend};
use keyhasp::{
    Access, Clock, CreateKey, CreateOwner, Expiry, KeyId, Quota, Rate, Rotate, SetLimits,
    Timestamp, UpdateKey, VerifyRequest,
};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// A recorder that keeps sums of counters, values of gauges, and all values of histograms.
#[derive(Clone, Debug, Default)]
struct Book {
    values: Arc<Mutex<BTreeMap<String, Vec<f64>>>>,
    described: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
struct Place(Book, String);

impl Place {
    fn change(&self, change: impl FnOnce(&mut Vec<f64>)) {
        change(self.0.values.lock().unwrap().entry(self.1.clone()).or_default());
    }
}

impl CounterFn for Place {
    #[allow(clippy::cast_precision_loss)]
    fn increment(&self, value: u64) {
        self.change(|values| match values.first_mut() {
            Some(sum) => *sum += value as f64,
            None => values.push(value as f64),
        });
    }

    fn absolute(&self, _: u64) {
        panic!("counters only count");
    }
}

impl GaugeFn for Place {
    fn increment(&self, _: f64) {
        panic!("gauges are set");
    }

    fn decrement(&self, _: f64) {
        panic!("gauges are set");
    }

    fn set(&self, value: f64) {
        self.change(|values| *values = vec![value]);
    }
}

impl HistogramFn for Place {
    fn record(&self, value: f64) {
        self.change(|values| values.push(value));
    }
}

impl Book {
    fn place(&self, key: &Key) -> Arc<Place> {
        let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
        let labels: Vec<String> = labels.collect();
        Arc::new(Place(self.clone(), format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    fn of(&self, name: &str) -> Vec<f64> {
        self.values.lock().unwrap().get(name).cloned().unwrap_or_default()
    }

    fn describe(&self, name: &KeyName) {
        self.described.lock().unwrap().push(name.as_str().to_owned());
    }
}

impl Recorder for Book {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.place(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.place(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.place(key))
    }
}

/// A clock whose monotonic time moves by a quarter of a second each time it is read, so that every
/// call that is measured takes that long.
#[derive(Debug, Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::MIN
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(250 * self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// A measured store on a measured backend, and their recorder.
fn measured() -> (World, Arc<Measured<keyhasp::Store>>, Book) {
    let (clock, book) = (clock(), Book::default());
    let store = metrics::with_local_recorder(&book, || {
        let backend = MeasuredBackend::with_clock(Memory::new(), Arc::new(Ticking::default()));
        let store = builder(&clock, 1).open(backend).unwrap();
        Arc::new(Measured::with_clock(store, Arc::new(Ticking::default())))
    });
    (World::of(store.clone(), clock), store, book)
}

#[test]
fn verifications_by_outcome() {
    let (world, _, book) = measured();
    let count = |outcome: &str| {
        book.of(&format!("keyhasp_verifications_total{{outcome={outcome}}}")).first().copied()
    };
    let mut seen = Vec::new();
    let mut once_from = |address: Option<[u8; 4]>, outcome: &'static str, token: &str| {
        assert_eq!(count(outcome), None, "{outcome}");
        let request = VerifyRequest::new(token.as_bytes());
        let address = address.map(Into::into);
        let request = address.map_or(request, |address| request.address(address));
        let _ = world.verifier.verify_request(&request);
        assert_eq!(count(outcome), Some(1.0), "{outcome}");
        seen.push(outcome);
    };
    let limited = |name: &str, limits: SetLimits| {
        let key = CreateKey::new(Access::Full).limits(limits);
        world.owner_with(name, CreateOwner::with_key(key)).1.token
    };
    let later = limited("later", SetLimits::new().not_before(world.after(HOUR)));
    once_from(None, "not_yet", later.expose());
    let listed = SetLimits::new().networks(["192.0.2.0/24".parse().unwrap()]);
    let listed = limited("listed", listed);
    once_from(None, "address_missing", listed.expose());
    once_from(Some([192, 0, 3, 1]), "address_rejected", listed.expose());
    let hourly = limited("hourly", SetLimits::new().rate(Rate::new(1, HOUR).unwrap()));
    once_from(None, "accepted", hourly.expose());
    once_from(None, "rate_limited", hourly.expose());
    let spent = limited("spent", SetLimits::new().quota(Quota::one_time(0).unwrap()));
    once_from(None, "quota_exhausted", spent.expose());
    let mut once = |outcome, token: &str| once_from(None, outcome, token);
    once("unrecognized", "letmein");
    let (keys, first) = world.owner("org");
    let (id, token) = (first.key.id, first.token.expose());
    keys.rotate(id, Rotate::with_grace(HOUR)).unwrap();
    world.clock.advance(HOUR);
    once("superseded", token);
    let (keys, second) = world.owner("other");
    let (id, token) = (second.key.id, second.token.expose());
    keys.update(id, UpdateKey::new().expires(Expiry::At(world.after(HOUR)))).unwrap();
    world.clock.advance(HOUR);
    once("expired", token);
    keys.deactivate(id).unwrap();
    once("deactivated", token);
    world.admin.block(id).unwrap();
    once("blocked", token);
    keys.revoke(id).unwrap();
    once("revoked", token);
    world.admin.suspend_owner(&owner("other")).unwrap();
    once("suspended", token);
    world.store.close().unwrap();
    once("unavailable", token);
    assert_eq!(seen.len(), 14);
}

#[test]
fn management_calls_by_name_and_outcome() {
    let (world, _, book) = measured();
    metrics::with_local_recorder(&book, || {
        world.owner("org");
        let again = world.admin.create_owner(&owner("org"), CreateOwner::without_key());
        assert!(again.is_err() && world.admin.get(KeyId::from_u128(7)).is_err());
    });
    for (call, outcome) in
        [("create_owner", "ok"), ("create_owner", "owner_exists"), ("key", "not_found")]
    {
        let name = format!("keyhasp_calls_total{{call={call},outcome={outcome}}}");
        assert_eq!(book.of(&name), [1.0], "{name}");
    }
    assert_eq!(book.of("keyhasp_call_duration_seconds{call=create_owner}"), [0.25, 0.25]);
    assert_eq!(book.of("keyhasp_call_duration_seconds{call=key}"), [0.25]);
}

#[test]
fn commits_and_what_they_joined() {
    // One commit created the store.
    let (world, _, book) = measured();
    world.owner("org");
    world.owner("other");
    assert_eq!(book.of("keyhasp_commits_total{outcome=ok}"), [3.0]);
    assert_eq!(book.of("keyhasp_commit_duration_seconds{}"), [0.25; 3]);
    assert_eq!(book.of("keyhasp_commit_changes{}"), [1.0; 3]);
}

#[cfg(feature = "testing")]
#[test]
fn a_step_of_several_and_steps_that_fail() {
    use keyhasp::backend::{Backend, BackendErrorKind};
    use keyhasp::testing::{Failing, Fault, Moment, Target, sample};

    let book = Book::default();
    let backend = metrics::with_local_recorder(&book, || {
        let failing = Failing::new(Memory::new());
        for (nth, moment) in [(3, Moment::Before(BackendErrorKind::Full)), (4, Moment::After)] {
            failing.inject(Fault { target: Target::Commits, nth, moment, lasting: false });
        }
        MeasuredBackend::new(failing)
    });
    backend.commit(&[sample::create_metadata(&sample::metadata().unwrap()).unwrap()]).unwrap();
    let create = |id| sample::create_owner(&sample::owner(id).unwrap()).unwrap();
    backend.commit(&[create("a"), create("b"), create("c")]).unwrap();
    assert!(backend.commit(&[create("d")]).is_err());
    assert!(backend.commit(&[create("e"), create("f")]).is_err());
    assert_eq!(book.of("keyhasp_commit_changes{}"), [1.0, 3.0, 1.0, 2.0]);
    for (outcome, commits) in [("ok", 2.0), ("failed", 1.0), ("outcome_unknown", 1.0)] {
        assert_eq!(book.of(&format!("keyhasp_commits_total{{outcome={outcome}}}")), [commits]);
    }
}

/// Measuring a backend changes none of its answers.
#[cfg(feature = "testing")]
#[test]
fn a_measured_backend_conforms() {
    use keyhasp::backend::{Backend, BackendError};
    use keyhasp::testing::conformance::{self, Failure, Subject};

    struct InMemory;
    impl Subject for InMemory {
        type Place = ();

        fn place(&self) -> Result<(), Failure> {
            Ok(())
        }

        fn open(&self, (): &()) -> Result<Box<dyn Backend>, BackendError> {
            Ok(Box::new(MeasuredBackend::new(Memory::new())))
        }

        fn is_durable(&self) -> bool {
            false
        }
    }
    conformance::assert_conforms(&InMemory);
}

#[test]
fn gauges_say_how_the_store_is() {
    let (world, measured, book) = measured();
    let gauges = || {
        ["index_tokens", "ready", "staleness_seconds"]
            .map(|name| book.of(&format!("keyhasp_{name}{{}}")))
    };
    assert_eq!(gauges(), [vec![0.0], vec![1.0], vec![]]);
    let (keys, issued) = world.owner("org");
    keys.rotate(issued.key.id, Rotate::new()).unwrap();
    assert_eq!(gauges()[0], [0.0]);
    let record = || metrics::with_local_recorder(&book, || measured.record_health());
    record();
    assert_eq!(gauges(), [vec![2.0], vec![1.0], vec![]]);
    let of = |name: &str| book.of(&format!("keyhasp_{name}"));
    assert_eq!(of("problems{}"), [0.0]);
    assert_eq!(of("thread_failing{thread=keyhasp-recover}"), [0.0]);
    #[allow(clippy::cast_precision_loss)]
    let start = crate::common::START as f64 / 1_000.0;
    assert_eq!(
        (of("last_event{}"), of("last_write_timestamp_seconds{}")),
        (vec![4.0], vec![start])
    );
    // Nothing lies in a file.
    for name in ["file_bytes{}", "log_bytes{}", "free_bytes{}"] {
        assert!(of(name).is_empty(), "{name}");
    }
    world.store.close().unwrap();
    record();
    assert_eq!((gauges()[1].clone(), of("problems{}")), (vec![0.0], vec![1.0]));
}

#[cfg(feature = "sqlite")]
#[test]
fn gauges_say_how_large_the_files_are() {
    use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let (clock, book) = (clock(), Book::default());
    let backend = Sqlite::create(&path, SqliteOptions::exclusive()).unwrap();
    let store = builder(&clock, 1).open(backend).unwrap();
    // Measured from the start on, after the opening's commits.
    let _measured = metrics::with_local_recorder(&book, || Measured::new(store));
    let length = |suffix: &str| {
        let path = format!("{}{suffix}", path.display());
        #[allow(clippy::cast_precision_loss)]
        let length = std::fs::metadata(path).unwrap().len() as f64;
        vec![length]
    };
    assert_eq!(book.of("keyhasp_file_bytes{}"), length(""));
    assert_eq!(book.of("keyhasp_log_bytes{}"), length("-wal"));
    if cfg!(target_os = "linux") {
        assert!(book.of("keyhasp_free_bytes{}")[0] > 0.0);
    }
}

/// Requests by what became of them, at the layer and at its guards.
#[cfg(feature = "axum")]
#[test]
fn requests_by_outcome() {
    use crate::http::site::{fetch, routes, with_token};
    use keyhasp::KeyLayer;
    use keyhasp::integrations::metrics::count_requests;

    let (world, book) = (World::new(), Book::default());
    let reads = CreateOwner::with_key(CreateKey::new(Access::ReadOnly));
    let (_, reads) = world.owner_with("reads", reads);
    let (_, blocked) = world.owner("blocked");
    world.admin.block(blocked.key.id).unwrap();
    let keys = metrics::with_local_recorder(&book, || {
        count_requests(KeyLayer::new(world.verifier.clone()))
    });
    let site = routes(&world).layer(keys);
    with_token(&site, "/", reads.token.expose());
    with_token(&site, "/write", reads.token.expose());
    with_token(&site, "/", blocked.token.expose());
    with_token(&site, "/", "letmein");
    fetch(&site, "/", &[]);
    let twice: [(&str, &[u8]); 2] = [("authorization", b"Bearer t"); 2];
    fetch(&site, "/", &twice);
    for (outcome, requests) in [
        ("accepted", 2.0),
        ("forbidden", 1.0),
        ("blocked", 1.0),
        ("unrecognized", 1.0),
        ("missing", 1.0),
        ("multiple", 1.0),
    ] {
        let name = format!("keyhasp_requests_total{{outcome={outcome}}}");
        assert_eq!(book.of(&name), [requests], "{outcome}");
    }
    assert!(book.of("keyhasp_requests_total{outcome=defect}").is_empty());
}

/// Usage figures and leases of quotas are written apart from commits.
#[test]
fn writes_of_usage_and_leases() {
    use keyhasp::store::UsageSettings;
    let (clock, book) = (clock(), Book::default());
    let store = metrics::with_local_recorder(&book, || {
        let store = builder(&clock, 1).usage(UsageSettings::new().counts());
        Arc::new(store.open(MeasuredBackend::new(Memory::new())).unwrap())
    });
    let world = World::of(Arc::<keyhasp::Store>::clone(&store), clock);
    let limits = SetLimits::new().quota(Quota::one_time(5).unwrap());
    let key = CreateKey::new(Access::Full).limits(limits);
    let (_, issued) = world.owner_with("org", CreateOwner::with_key(key));
    let written = |of: &str| book.of(&format!("keyhasp_{of}_writes_total{{outcome=ok}}"));
    assert!(written("usage").is_empty() && written("lease").is_empty());
    world.verifier.verify(issued.token.expose()).unwrap();
    assert!(written("usage").is_empty() && !written("lease").is_empty());
    store.flush_usage().unwrap();
    assert_eq!(written("usage"), [1.0]);
}

#[cfg(feature = "testing")]
#[test]
fn writes_of_usage_that_fail() {
    use keyhasp::backend::{Backend, BackendErrorKind, UsageChange};
    use keyhasp::testing::{Failing, Fault, Moment, Target};

    let book = Book::default();
    let backend = metrics::with_local_recorder(&book, || {
        let failing = Failing::new(Memory::new());
        let moment = Moment::Before(BackendErrorKind::Full);
        failing.inject(Fault { target: Target::Usage, nth: 1, moment, lasting: false });
        MeasuredBackend::new(failing)
    });
    let (of, now) = (KeyId::from_u128(7), Timestamp::MIN);
    let settle = UsageChange::Settle { of, now, forget_before: now };
    assert!(backend.record_usage(&[settle]).is_err());
    assert_eq!(book.of("keyhasp_usage_writes_total{outcome=failed}"), [1.0]);
    assert!(book.of("keyhasp_lease_writes_total{outcome=failed}").is_empty());
}

/// The page of metrics lists each name, and no other.
#[cfg(feature = "tower")]
#[test]
fn every_name_is_documented() {
    let (world, _, book) = measured();
    metrics::with_local_recorder(&book, || {
        use keyhasp::integrations::metrics::count_requests;
        let _ = count_requests(keyhasp::KeyLayer::new(world.verifier));
    });
    let page = include_str!("../../docs/metrics.md");
    let mut described = book.described.lock().unwrap().clone();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut documented: Vec<&str> = rows.filter(|name| name.starts_with("keyhasp_")).collect();
    described.sort_unstable();
    documented.sort_unstable();
    assert_eq!(described, documented);
}
