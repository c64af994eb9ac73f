//! Neither a verification, whatever its answer, nor a permission check calls the allocator. The
//! first call counts too: nothing is made lazily.

mod counting;
mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use counting::calls_of;
use keyhasp::backend::{Backend, BackendError, BackendErrorKind, CommitOutcome, Memory, Sharing};
use keyhasp::key::LimitHolder;
use keyhasp::store::{Unavailable, UsageSettings};
use keyhasp::{
    Catalogue, ChangeRules, Clock, Expiry, KeyStore, Prefix, Quota, Rate, RejectReason, Rotate,
    SetLimits, Store, StoreRules, SystemClock, Timestamp, UpdateKey, VerifiedKey, Verifier,
    VerifyError, VerifyRequest,
};
use keyhasp_altered::{Alter, Intercepted};
use world::{HOUR, PREFIXES, World, id, one_pepper, two_peppers};

/// Verifies a few times, and counts calls of the allocator from the first on.
fn verify(verifier: &Verifier, token: impl AsRef<[u8]>) -> Result<VerifiedKey, VerifyError> {
    let token = token.as_ref();
    let (answers, calls) = calls_of(|| [(); 3].map(|()| verifier.verify(black_box(token))));
    assert_eq!(calls, 0, "calls of the allocator, answering {:?}", answers[0]);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    answers[0]
}

fn refused(verifier: &Verifier, token: impl AsRef<[u8]>, expected: VerifyError) {
    assert_eq!(verify(verifier, token), Err(expected));
}

/// Changes one byte of a token.
fn changed(token: &str, at: usize) -> Vec<u8> {
    let mut bytes = token.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    bytes
}

#[test]
fn hits() {
    let world = World::new();
    for owner in ["org", "an-owner-whose-id-is-longer-than-16-bytes"] {
        let first = world.key(owner);
        let second = world.admin.rotate(first.key.id, Rotate::new()).unwrap();
        for (issued, is_current) in [(&first, false), (&second, true)] {
            let verified = verify(&world.verifier, issued.token.expose()).unwrap();
            assert_eq!((verified.owner_id(), verified.is_current()), (&id(owner), is_current));
        }
    }
}

/// Noting a use takes no memory either: not the first time, and not when a thread's log is full.
#[test]
fn hits_that_are_noted() {
    for settings in [UsageSettings::new(), UsageSettings::new().counts().addresses(HOUR)] {
        let world = World::noting(settings);
        let issued = [world.key("org"), world.key("other")];
        for _ in 0..1_000 {
            for issued in &issued {
                assert!(verify(&world.verifier, issued.token.expose()).is_ok());
            }
        }
        world.admin.block(issued[0].key.id).unwrap();
        refused(
            &world.verifier,
            issued[0].token.expose(),
            VerifyError::Rejected(RejectReason::Blocked),
        );
    }
}

/// Uses the clock that services have.
#[test]
fn hits_by_the_system_clock() {
    let world = World::new();
    let issued = world.key("org");
    let builder = Store::builder(
        Catalogue::builder().read("links:read").build().unwrap(),
        PREFIXES.map(|text| Prefix::new(text).unwrap()),
    );
    let builder = builder.clock(Arc::new(SystemClock::new())).peppers(one_pepper());
    let store = builder.open_on(Arc::clone(&world.backend)).unwrap();
    assert!(verify(&Verifier::new(Arc::new(store)), issued.token.expose()).is_ok());
}

#[test]
fn a_key_under_two_peppers() {
    let before = World::new();
    let first = before.key("org");
    let world = World::on(Arc::clone(&before.backend), two_peppers());
    let second = world.admin.rotate(first.key.id, Rotate::new()).unwrap();
    for issued in [&first, &second] {
        assert!(verify(&world.verifier, issued.token.expose()).is_ok());
    }
    let wrong = changed(second.token.expose(), 40);
    refused(&world.verifier, wrong, VerifyError::Unrecognized);
}

/// Presents tokens without the right secret.
#[test]
fn unrecognized() {
    let world = World::new();
    let issued = world.key("org");
    let token = issued.token.expose();
    let unknown = changed(token, PREFIXES[0].len() + 20);
    let not_ours = token.replacen("acme", "mine", 1);
    let swapped = token.replacen(PREFIXES[0], PREFIXES[1], 1);
    let no_separator = token.replacen("live_", "live-", 1);
    let [first, last] = [PREFIXES[0].len() + 1 + 22, token.len() - 1];
    let secrets = [first, 50, last].map(|at| changed(token, at));
    let mut no_base62 = token.as_bytes().to_vec();
    no_base62[40] = 0xff;
    let texts: [&[u8]; 12] = [
        b"",
        b"_",
        &token.as_bytes()[1..],
        &token.as_bytes()[..token.len() - 1],
        &[b'a'; 10_000],
        &unknown,
        not_ours.as_bytes(),
        swapped.as_bytes(),
        no_separator.as_bytes(),
        &secrets[0],
        &secrets[1],
        &no_base62,
    ];
    for text in texts {
        refused(&world.verifier, text, VerifyError::Unrecognized);
    }
    refused(&world.verifier, &secrets[2], VerifyError::Unrecognized);
    assert!(verify(&world.verifier, token).is_ok());
}

/// Presents the right secret of keys that aren't accepted.
#[test]
fn rejected_for() {
    let world = World::new();
    let keys: Vec<_> = (0..6).map(|n| world.key(&format!("org-{n}"))).collect();
    let key = |n: usize| keys[n].key.id;
    world.admin.suspend_owner(&id("org-0")).unwrap();
    world.admin.revoke(key(1)).unwrap();
    world.admin.block(key(2)).unwrap();
    world.admin.deactivate(key(3)).unwrap();
    let soon = world.clock.now().saturating_add(HOUR);
    let narrowed = UpdateKey::new().expires(Expiry::At(soon));
    world.admin.update(key(4), narrowed).unwrap();
    world.admin.rotate(key(5), Rotate::with_grace(HOUR)).unwrap();
    world.clock.advance(HOUR);
    let reasons = [
        RejectReason::Suspended,
        RejectReason::Revoked,
        RejectReason::Blocked,
        RejectReason::Deactivated,
        RejectReason::Expired,
        RejectReason::Superseded,
    ];
    for (issued, reason) in keys.iter().zip(reasons) {
        refused(&world.verifier, issued.token.expose(), VerifyError::Rejected(reason));
    }
}

#[test]
fn closed() {
    let world = World::new();
    let issued = world.key("org");
    world.store.close().unwrap();
    refused(&world.verifier, issued.token.expose(), unavailable(Unavailable::Closed));
}

/// Reports the database as shared with other processes.
#[test]
fn stale_and_of_other_rules() {
    #[derive(Debug)]
    struct Shared;
    impl Alter for Shared {
        fn sharing(&self, _: Sharing) -> Sharing {
            // The store polls after a quarter of an hour, so not during this test.
            Sharing::Shared { max_staleness: HOUR }
        }
    }
    let other = World::new();
    let issued = other.key("org");
    let token = issued.token.expose();
    let world =
        World::on(Arc::new(Intercepted::new(Arc::clone(&other.backend), Shared)), one_pepper());
    assert!(verify(&world.verifier, token).is_ok());
    world.clock.advance(HOUR + Duration::from_millis(1));
    refused(&world.verifier, token, unavailable(Unavailable::Stale));
    let rules = StoreRules { unique_names: true, ..StoreRules::default() };
    other.admin.change_rules(ChangeRules::new().rules(rules)).unwrap();
    assert!(world.store.refresh().is_err());
    refused(&world.verifier, token, unavailable(Unavailable::RulesChanged));
}

/// Reports the outcome of a commit as unknown for good.
#[test]
fn recovering() {
    #[derive(Debug)]
    struct Indeterminate(Arc<AtomicBool>);
    impl Indeterminate {
        fn check(&self) -> Result<(), BackendError> {
            let unknown = BackendErrorKind::OutcomeUnknown;
            let unsettled = self.0.load(Ordering::SeqCst);
            if unsettled { Err(BackendError::new(unknown, "altered", "commit")) } else { Ok(()) }
        }
    }
    impl Alter for Indeterminate {
        fn committed(&self, outcome: CommitOutcome) -> Result<CommitOutcome, BackendError> {
            self.check().map(|()| outcome)
        }
        fn recover(&self) -> Result<(), BackendError> {
            self.check()
        }
    }
    for whole_owner in [false, true] {
        let unsettled = Arc::new(AtomicBool::new(false));
        let inner: Arc<dyn Backend> = Arc::new(Memory::new());
        let backend = Intercepted::new(inner, Indeterminate(Arc::clone(&unsettled)));
        let world = World::on(Arc::new(backend), one_pepper());
        let issued = world.key("org");
        unsettled.store(true, Ordering::SeqCst);
        if whole_owner {
            assert!(world.admin.suspend_owner(&id("org")).is_err());
        } else {
            assert!(world.admin.block(issued.key.id).is_err());
        }
        refused(&world.verifier, issued.token.expose(), unavailable(Unavailable::Recovering));
    }
}

/// Sets each limit, on the key and on the owner; the quota is leased already.
#[test]
fn limited() {
    let world = World::new();
    let networks = |text: &str| SetLimits::new().networks([text.parse().unwrap()]);
    let often = Rate::new(1_000, HOUR).unwrap();
    let soon = world.clock.now().saturating_add(HOUR);
    let spent = SetLimits::new().rate(Rate::new(1, HOUR).unwrap());
    let inside = "2001:db8::1".parse().unwrap();
    let exhausted = |holder| {
        let refilled_at = None;
        VerifyError::Rejected(RejectReason::QuotaExhausted { holder, refilled_at })
    };
    let cases: [(SetLimits, Option<VerifyError>); 7] = [
        (SetLimits::new().rate(often), None),
        (networks("2001:db8::/32"), None),
        (networks("10.0.0.0/8"), Some(VerifyError::Rejected(RejectReason::AddressRejected))),
        (SetLimits::new().quota(Quota::one_time(1_000).unwrap()), None),
        (SetLimits::new().quota(Quota::one_time(0).unwrap()), Some(exhausted(LimitHolder::Key))),
        (
            SetLimits::new().not_before(soon),
            Some(VerifyError::Rejected(RejectReason::NotYet(soon))),
        ),
        (spent, None),
    ];
    for (at, (limits, expected)) in (0..).zip(&cases) {
        for of_owner in [false, true] {
            let of_key = *expected == Some(exhausted(LimitHolder::Key));
            let expected =
                if of_owner && of_key { Some(exhausted(LimitHolder::Owner)) } else { *expected };
            for id in
                [format!("org-{at}-{of_owner}"), format!("an-owner-of-a-long-id-{at}-{of_owner}")]
            {
                let (own, all) = if of_owner {
                    (SetLimits::new(), limits)
                } else {
                    (limits.clone(), &SetLimits::new())
                };
                let issued = world.limited_key(&id, own, all.clone());
                let request = VerifyRequest::new(issued.token.expose().as_bytes()).address(inside);
                let first = world.store.verify_request(&request);
                assert_eq!(first.err(), expected, "{limits:?}");
                let (answers, calls) =
                    calls_of(|| [(); 3].map(|()| world.store.verify_request(black_box(&request))));
                assert_eq!(calls, 0, "calls of the allocator, answering {:?}", answers[0]);
                match answers[0] {
                    Err(VerifyError::Rejected(RejectReason::RateLimited(limited))) => {
                        assert_eq!((limited.status.remaining, at), (0, 6));
                    }
                    answer => assert_eq!((answer.err(), at == 6), (expected, false)),
                }
            }
        }
    }
}

#[test]
fn permission_checks() {
    let world = World::new();
    let issued = world.key("org");
    let write = world.verifier.permission("links:write").unwrap();
    let verified = verify(&world.verifier, issued.token.expose()).unwrap();
    let (allowed, calls) = calls_of(|| {
        let (verified, write) = (black_box(&verified), black_box(write));
        let permissions = verified.permissions();
        verified.allows(write)
            && permissions.contains(write)
            && permissions.is_superset(permissions)
    });
    assert_eq!((allowed, calls), (true, 0));
}

/// Counts injected calls of the allocator.
#[test]
fn injected_allocations_are_counted() {
    let (kept, calls) = calls_of(|| black_box(Box::new(1)));
    assert_eq!(calls, 1);
    assert_eq!(calls_of(|| drop(kept)).1, 1);
    let grown = calls_of(|| {
        let mut grown = Vec::with_capacity(1);
        grown.extend_from_slice(black_box(&[0_u8; 100]));
        black_box(&grown);
    });
    assert_eq!(grown.1, 3, "allocated, reallocated and freed");
    assert_eq!(calls_of(|| black_box(vec![0_u8; 10])).1, 1, "zeroed");
    let elsewhere = calls_of(|| std::thread::spawn(|| drop(black_box(Box::new(1)))).join().is_ok());
    assert!(elsewhere.0 && elsewhere.1 > 0, "starting a thread allocates");
}

/// Counts calls that a clock makes on the path of a verification.
#[test]
fn an_allocation_inside_a_verification_is_counted() {
    #[derive(Debug)]
    struct Allocating;
    impl Clock for Allocating {
        fn now(&self) -> Timestamp {
            *black_box(Box::new(Timestamp::MIN))
        }
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }
    let world = World::new();
    let issued = world.key("org");
    let store = Store::builder(
        Catalogue::builder().read("links:read").build().unwrap(),
        PREFIXES.map(|text| Prefix::new(text).unwrap()),
    );
    let store = store.clock(Arc::new(Allocating)).peppers(one_pepper());
    let verifier = Verifier::new(Arc::new(store.open_on(Arc::clone(&world.backend)).unwrap()));
    let (answer, calls) = calls_of(|| verifier.verify(issued.token.expose()));
    assert_eq!((answer.is_ok(), calls), (true, 2));
}

fn unavailable(reason: Unavailable) -> VerifyError {
    VerifyError::Unavailable(reason)
}
