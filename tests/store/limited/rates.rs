//! Rates.

use keyhasp::RejectReason;
use std::time::Duration;

use keyhasp::key::{LimitHolder, RateLimited, RateStatus};
use keyhasp::{Access, CreateKey, Expiry, Rotate, SetLimits, UpdateKey, VerifiedKey, VerifyError};

use crate::common::{HOUR, World, owner};
use crate::limited::place::{OWNERS, SECOND, allowed, ask, ask_for, key, limit, limit_owner, rate};

fn limited(answer: Result<VerifiedKey, VerifyError>) -> RateLimited {
    match answer {
        Err(VerifyError::Rejected(RejectReason::RateLimited(limited))) => limited,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_numbers_told_are_exact() {
    let world = World::new();
    // A use comes back in 300 ms.
    let ours = rate(10, SECOND * 3).with_burst(4).unwrap();
    let issued = key(&world, "org", SetLimits::new().rate(ours), SetLimits::new());
    let status = |remaining, millis| RateStatus {
        holder: LimitHolder::Key,
        rate: ours,
        remaining,
        reset_after: Duration::from_millis(millis),
    };
    for (remaining, millis) in [(3, 300), (2, 600), (1, 900), (0, 1_200)] {
        assert_eq!(ask(&world, &issued).unwrap().rate(), Some(status(remaining, millis)));
    }
    let refused = limited(ask(&world, &issued));
    assert_eq!(refused.status, status(0, 1_200));
    assert_eq!(refused.retry_after, Some(Duration::from_millis(300)));
    world.clock.advance(Duration::from_millis(299));
    let refused = limited(ask(&world, &issued));
    assert_eq!(refused.retry_after, Some(Duration::from_millis(1)));
    assert_eq!(refused.status, status(0, 901));
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(ask(&world, &issued).unwrap().rate(), Some(status(0, 1_200)));
    // What a use costs.
    world.clock.advance(Duration::from_millis(900));
    assert_eq!(limited(ask_for(&world, &issued, 4)).retry_after, Some(Duration::from_millis(300)));
    assert_eq!(ask_for(&world, &issued, 3).unwrap().rate(), Some(status(0, 1_200)));
    let refused = limited(ask_for(&world, &issued, 5));
    assert_eq!((refused.retry_after, refused.status), (None, status(0, 1_200)));
    // A use that costs nothing is refused as one that costs 1, and uses nothing up.
    let refused = limited(ask_for(&world, &issued, 0));
    let wait = Some(Duration::from_millis(300));
    assert_eq!((refused.retry_after, refused.status), (wait, status(0, 1_200)));
    world.clock.advance(HOUR);
    assert_eq!(ask_for(&world, &issued, 0).unwrap().rate(), Some(status(4, 0)));
    assert_eq!(limited(ask_for(&world, &issued, u32::MAX)).retry_after, None);
    assert_eq!(allowed(&world, &issued, 9), 4);
}

/// The answer shows the rate that leaves less of the two, and both count.
#[test]
fn key_and_owner_together() {
    let world = World::new();
    for id in OWNERS {
        let (own, all) = (rate(3, SECOND), rate(5, SECOND * 10));
        let first = key(&world, id, SetLimits::new().rate(own), SetLimits::new().rate(all));
        let second = world.admin.create(&owner(id), CreateKey::new(Access::Full));
        let second = second.unwrap();
        let told = |answer: Result<VerifiedKey, _>| {
            let status = answer.unwrap().rate().unwrap();
            let count = match status.holder {
                LimitHolder::Key => 3,
                LimitHolder::Owner => 5,
            };
            assert_eq!(status.rate.count(), count, "whose rate it is");
            (count, status.remaining)
        };
        assert_eq!(told(ask(&world, &first)), (3, 2));
        assert_eq!(told(ask(&world, &first)), (3, 1));
        assert_eq!(told(ask(&world, &second)), (5, 2));
        assert_eq!(told(ask(&world, &first)), (3, 0));
        // By its own rate; the owner's is spared.
        let refused = limited(ask(&world, &first)).status;
        assert_eq!((refused.holder, refused.rate), (LimitHolder::Key, own));
        assert_eq!(told(ask(&world, &second)), (5, 0));
        let by_owner = |answer| {
            let refused = limited(answer);
            let RateStatus { holder, rate, .. } = refused.status;
            assert_eq!((holder, rate), (LimitHolder::Owner, all));
            assert_eq!(refused.retry_after, Some(SECOND * 2));
        };
        by_owner(ask(&world, &second));
        // Both reject: the longer wait is the exact one.
        by_owner(ask(&world, &first));
        // A use that the owner's rate rejects spends nothing of the key's.
        world.clock.advance(SECOND);
        assert_eq!(allowed(&world, &first, 10), 0);
        world.clock.advance(SECOND * 9);
        assert_eq!(allowed(&world, &first, 10), 3);
        assert_eq!(allowed(&world, &second, 10), 2);
    }
}

/// Spent uses stay spent, whatever else of the key changes; all its tokens count together.
#[test]
fn a_rewrite_keeps_what_was_used() {
    let world = World::new();
    for id in OWNERS {
        let issued = key(&world, id, SetLimits::new().rate(rate(10, HOUR)), SetLimits::new());
        assert!(ask_for(&world, &issued, 3).is_ok());
        let expiry = UpdateKey::new().expires(Expiry::At(world.after(HOUR * 100)));
        world.admin.update(issued.key.id, expiry).unwrap();
        assert_eq!(ask(&world, &issued).unwrap().rate().unwrap().remaining, 6);
        let rotated = world.admin.rotate(issued.key.id, Rotate::new()).unwrap();
        assert_eq!(ask(&world, &rotated).unwrap().rate().unwrap().remaining, 5);
        assert_eq!(ask(&world, &issued).unwrap().rate().unwrap().remaining, 4);
        world.admin.block(issued.key.id).unwrap();
        world.admin.unblock(issued.key.id).unwrap();
        limit_owner(&world, id, SetLimits::new().rate(rate(100, HOUR)));
        assert_eq!(ask(&world, &rotated).unwrap().rate().unwrap().remaining, 3);
        // Another rate: as many uses are used up, if its burst holds as many.
        limit(&world, &issued, SetLimits::new().rate(rate(20, HOUR)));
        assert_eq!(ask(&world, &rotated).unwrap().rate().unwrap().remaining, 12);
        limit(&world, &issued, SetLimits::new().rate(rate(5, HOUR)));
        assert_eq!(limited(ask(&world, &rotated)).retry_after, Some(HOUR / 5));
        limit(&world, &issued, SetLimits::new().clear_rate());
        assert_eq!(ask(&world, &rotated).unwrap().rate().unwrap().rate, rate(100, HOUR));
    }
}

/// A clock that steps back makes no caller wait longer than for a burst. A step forth gives one
/// burst more.
#[test]
fn a_clock_that_steps_back() {
    let world = World::new();
    let issued = key(&world, "org", SetLimits::new().rate(rate(5, SECOND)), SetLimits::new());
    world.clock.advance(HOUR);
    assert_eq!(allowed(&world, &issued, 10), 5);
    let start = world.now();
    world.clock.set(start.saturating_sub(HOUR));
    let refused = limited(ask(&world, &issued));
    assert_eq!((refused.status.remaining, refused.retry_after), (0, Some(SECOND / 5)));
    world.clock.advance(SECOND);
    assert_eq!(allowed(&world, &issued, 10), 5);
    world.clock.set(start);
    assert_eq!(allowed(&world, &issued, 10), 5);
    world.clock.set(start.saturating_sub(HOUR));
    assert_eq!(allowed(&world, &issued, 10), 0);
    world.clock.set(start);
    assert_eq!(allowed(&world, &issued, 10), 5, "one burst more for the step forth");
    assert_eq!(allowed(&world, &issued, 10), 0);
}

/// Under threads exactly what the rule allows is allowed, to the key, and to the owner in all.
#[test]
fn exact_under_threads() {
    let world = World::new();
    let burst = 20_000;
    let own = rate(1, HOUR).with_burst(burst).unwrap();
    let all = rate(1, HOUR).with_burst(burst + burst / 2).unwrap();
    let first = key(&world, "org", SetLimits::new().rate(own), SetLimits::new().rate(all));
    let request = CreateKey::new(Access::Full).limits(SetLimits::new().rate(own));
    let second = world.admin.create(&owner("org"), request).unwrap();
    let tries = burst as usize * 3 / 4;
    let counts = std::thread::scope(|scope| {
        let each = [&first, &first, &second, &second];
        let each = each.map(|issued| scope.spawn(|| allowed(&world, issued, tries)));
        each.map(|thread| thread.join().unwrap())
    });
    let [a, b, c, d] = counts;
    assert_eq!(a + b + c + d, (burst + burst / 2) as usize, "{counts:?}");
    assert!(a + b <= burst as usize && c + d <= burst as usize, "{counts:?}");
    // One key alone, the owner's rate lifted.
    limit_owner(&world, "org", SetLimits::new().clear_rate());
    world.clock.advance(HOUR * burst);
    let counts = std::thread::scope(|scope| {
        let each = [(); 2].map(|()| scope.spawn(|| allowed(&world, &first, tries)));
        each.map(|thread| thread.join().unwrap())
    });
    assert_eq!(counts.iter().sum::<usize>(), burst as usize);
}
