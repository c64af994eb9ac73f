//! Limits of keys and owners in the index.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::limits::limit_table::LimitTable;
use super::super::{Index, LeaseWord, LeftWord, Limiter, Made, Spent};
use super::fixtures::{self, by_admin, count, index};
use crate::backend::{ScannedKey, ScannedOwner, UsageSubject};
use crate::clock::Timestamp;
use crate::id::Version;
use crate::key::{
    Digest, Limits, Network, Networks, PepperNumber, PrefixNumber, PreviousToken, Quota, Rate,
    Scheme, TokenRecord, Verdict, VersionedQuota,
};
use crate::store::types::reserved::Whose;

/// Makes an index whose records are used again after one change, as if a reader were interrupted
/// for a thousand.
fn restless() -> Index {
    let index = index();
    LimitTable::set_quarantine(&mut index.lock().limits, 1);
    index
}

/// Makes limits whose numbers are all this one, and a list of networks that begins with it.
fn limits(number: u32) -> Limits {
    let rate = Rate::new(number, Duration::from_millis(number.into())).unwrap();
    let network = |n: u32| Network::new(std::net::Ipv4Addr::from(n).into(), 32).unwrap();
    let since = Version::new(number.into());
    Limits {
        not_before: None,
        rate: by_admin(rate),
        networks: by_admin(Networks::new((number..number + 5).map(network)).unwrap()),
        quota: by_admin(VersionedQuota {
            quota: Quota::one_time(number.into()).unwrap(),
            quota_version: since,
        }),
    }
}

fn owner(id: &str, limits: Limits) -> ScannedOwner {
    ScannedOwner { limits, ..fixtures::owner(id) }
}

fn key(number: u64, owner: &str, limits: Option<Limits>) -> ScannedKey {
    let id = fixtures::id(number);
    ScannedKey { limits: limits.map(Box::new), ..fixtures::key(id, owner) }
}

/// Puts, changes and removes limits often: there are as many records as are needed at once.
#[test]
fn records_are_used_again() {
    let index = index();
    let mut most = [0; 3];
    for round in 0..3_000_u32 {
        let id = format!("org-{}", round % 7);
        index.change_owner(&owner(&id, limits(round % 11 + 1)), Made::Here).unwrap();
        for n in 0..4 {
            index.put_key(&key(n, &id, Some(limits(round % 5 + 1 + n as u32)))).unwrap();
        }
        assert_eq!(count(&index).0[..2], [4, 1], "{round}");
        let unlimited = key(0, &id, None);
        index.put_key(&unlimited).unwrap();
        index.put_key(&ScannedKey { revoked: true, ..key(1, &id, Some(limits(1))) }).unwrap();
        assert_eq!(count(&index).0[..2], [2, 1], "{round}");
        if round % 2 == 0 {
            for n in 0..4 {
                index.remove_key(key(n, &id, None).id, &unlimited.owner).unwrap();
            }
            index.remove_owner(&unlimited.owner);
        } else {
            index.retain(&BTreeSet::new(), &BTreeSet::new());
        }
        let (used, all) = count(&index);
        assert_eq!(used, [0; 3], "{round}");
        // The quarantine is full by then.
        if round == 1_500 {
            most = all;
        }
    }
    assert_eq!(count(&index).1, most);
}

#[test]
fn a_record_that_no_token_names_is_free_again() {
    let index = index();
    index.change_owner(&owner("org", Limits::default()), Made::Here).unwrap();
    let key = key(1, "org", Some(limits(3)));
    let (pepper, prefix) = (PepperNumber::new(2), PrefixNumber::new(0).unwrap());
    let digest = Digest::new([7; 32], Scheme::Blake3Keyed64, pepper, prefix);
    let token = TokenRecord { digest, ..key.current };
    let previous = |token: &TokenRecord| {
        let token = token.clone();
        PreviousToken { token, since: Timestamp::MIN, ends_at: Timestamp::MAX }
    };
    let second = vec![previous(&key.current), previous(&token)];
    let first = ScannedKey { current: token, ..key.clone() };
    for key in [first, ScannedKey { previous: second, ..key }] {
        assert!(index.put_key(&key).is_err(), "a pepper isn't open");
        assert_eq!(count(&index).0, [0; 3]);
    }
}

#[test]
fn the_same_limits_keep_their_record() {
    let index = index();
    index.change_owner(&owner("org", limits(2)), Made::Here).unwrap();
    let mut key = key(1, "org", Some(limits(3)));
    index.put_key(&key).unwrap();
    let before = index.key_record(key.id, None);
    let id = key.owner;
    index.change_owner(&owner("org", limits(2)), Made::Here).unwrap();
    key.deactivated = true;
    index.put_key(&key).unwrap();
    index.mark_key_indeterminate(key.id, &id);
    assert!(before.is_some());
    assert_eq!((index.key_record(key.id, None), count(&index).0), (before, [1, 1, 2]));
    key.limits = Some(Box::new(limits(2)));
    index.put_key(&key).unwrap();
    assert_eq!(count(&index).0, [1, 1, 1]);
}

/// Reads limits of a key and of an owner while they are replaced: all that a reader takes for
/// limits was put together.
#[test]
fn limits_are_never_torn() {
    let index = restless();
    index.change_owner(&owner("org", limits(1)), Made::Here).unwrap();
    index.put_key(&key(1, "org", Some(limits(1)))).unwrap();
    let id = key(1, "org", None).id;
    let stop = AtomicBool::new(false);
    let whole = |limiter: &Limiter<'_>| {
        let rate = limiter.gcra()?;
        let (number, per) = (rate.rate().count(), rate.rate().per().as_millis());
        let same = rate.rate().burst() == number
            && per == number.into()
            && limiter.since().get() == u64::from(number);
        let first = std::net::Ipv4Addr::from(number).into();
        let last = std::net::Ipv4Addr::from(number + 4).into();
        let before = std::net::Ipv4Addr::from(number - 1).into();
        let contain = |address| index.contain(limiter, Some(address)) == Some(true);
        Some(same && contain(first) && contain(last) && !contain(before))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seen = [0_u32; 2];
            while !stop.load(Ordering::Relaxed) || seen.contains(&0) {
                index.search(id).find(|packed| {
                    let entry = packed.judged_at(Timestamp::MIN)?;
                    let limiter = index.limiter(entry.limited?)?;
                    let is_whole = whole(&limiter);
                    if packed.seen().validate() {
                        assert_eq!(is_whole, Some(true));
                        seen[0] += 1;
                    }
                    None::<()>
                });
                let Some(found) = index.owner_limiter(0) else { continue };
                let is_whole = whole(&found.limiter);
                if index.validate(&found) {
                    assert_eq!(is_whole, Some(true));
                    seen[1] += 1;
                }
            }
        });
        for round in 0..20_000_u32 {
            index.put_key(&key(1, "org", Some(limits(round % 97 * 10 + 1)))).unwrap();
            index.change_owner(&owner("org", limits(round % 89 * 10 + 1)), Made::Here).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// No use of a lease counts twice while it moves from record to record, and none is missing.
#[test]
fn a_lease_moves_whole() {
    let index = restless();
    index.change_owner(&owner("org", Limits::default()), Made::Here).unwrap();
    let quota = |count: u32| Limits { rate: limits(count).rate, ..limits(1_000) };
    index.put_key(&key(1, "org", Some(quota(1)))).unwrap();
    let id = key(1, "org", None).id;
    let now = Timestamp::MIN;
    let whose = Whose::Key(id, None);
    let all = LeaseWord::new(None, 50_000);
    assert!(index.put_lease(whose, Version::new(1_000), all, LeftWord::new(0, now)));
    let is_over = AtomicBool::new(false);
    let (spent, forfeited) = std::thread::scope(|scope| {
        let spending = scope.spawn(|| {
            let (mut spent, mut forfeited) = (0, 0);
            // A writer that the system suspends within a change lets no use through meanwhile.
            while spent < 40_000 {
                let was_over = is_over.load(Ordering::SeqCst);
                let found = index.search(id).find(|packed| {
                    let entry = packed.judged_at(now)?;
                    let limiter = index.limiter(entry.limited?)?;
                    if !packed.seen().validate() {
                        return None;
                    }
                    let Some(Spent { lease, .. }) = limiter.spend(now, 1) else {
                        let lacks = limiter.lacks(now, 1, None);
                        assert!(!lacks || !packed.seen().validate(), "there is enough");
                        return None;
                    };
                    if !packed.seen().validate() {
                        let (whose, since) = (Whose::Key(id, None), limiter.since());
                        let is_back = index.give_back(whose, since, lease.with_units(1));
                        forfeited += u64::from(is_back.is_none());
                        return None;
                    }
                    Some(())
                });
                assert!(found.is_some() || !was_over, "nothing moves any more");
                spent += u64::from(found.is_some());
            }
            (spent, forfeited)
        });
        for round in 0..2_000 {
            index.put_key(&key(1, "org", Some(quota(1 + round % 50)))).unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        spending.join().unwrap()
    });
    let (left, _) = index.take_lease(Whose::Key(id, None)).unwrap();
    assert_eq!(left.held() + spent + forfeited, 50_000);
    // Only if the writer is suspended within a change.
    assert!(forfeited < 1_000, "{forfeited}");
}

/// No use is missing while uses go into the lease from the rest beside it.
#[test]
fn what_is_leased_is_never_missing() {
    const ALL: u32 = 100_000;
    let index = index();
    index.change_owner(&owner("org", Limits::default()), Made::Here).unwrap();
    index.put_key(&key(1, "org", Some(limits(1_000)))).unwrap();
    let (id, now) = (key(1, "org", None).id, Timestamp::MIN);
    let whose = Whose::Key(id, None);
    let quota = Version::new(1_000);
    let found = index.search(id).find(|packed| packed.judged_at(now)).unwrap();
    let limiter = index.limiter(found.limited.unwrap()).unwrap();
    let lease = |left: u32| {
        let left = LeftWord::new(left.into(), now);
        assert!(index.put_lease(whose, quota, LeaseWord::new(None, 1), left));
    };
    lease(ALL - 1);
    assert!(limiter.lacks(now, ALL + 1, None), "one more than there is");
    std::thread::scope(|scope| {
        let leasing = scope.spawn(|| (0..ALL - 1).rev().for_each(lease));
        while !leasing.is_finished() {
            assert!(!limiter.lacks(now, ALL, None));
        }
    });
    assert_eq!(limiter.lease().held(), u64::from(ALL));
}

/// A lease of a quota before it was set again isn't added to the new one. The old one's rest waits
/// to be given back.
#[test]
fn a_lease_of_another_quota_is_not_put() {
    let index = index();
    index.change_owner(&owner("org", Limits::default()), Made::Here).unwrap();
    let quota = |uses| {
        let since = Version::new(uses);
        let quota = VersionedQuota { quota: Quota::one_time(uses).unwrap(), quota_version: since };
        Limits { quota: by_admin(quota), ..Limits::default() }
    };
    let key = |uses| key(1, "org", Some(quota(uses)));
    index.put_key(&key(1_000)).unwrap();
    let whose = Whose::Key(key(0).id, None);
    let before = Version::new(1_000);
    let lease = LeaseWord::new(None, 62);
    assert!(index.put_lease(whose, before, lease, LeftWord::UNKNOWN));
    let search = || index.search(key(0).id).find(|packed| packed.judged_at(Timestamp::MIN));
    let limiter = || index.limiter(search().unwrap().limited.unwrap()).unwrap();
    let from = limiter();
    assert!(from.spend(Timestamp::MIN, 5).is_some());
    index.put_key(&key(10)).unwrap();
    assert!(!index.put_lease(whose, before, lease, LeftWord::UNKNOWN));
    assert!(index.give_back(whose, from.since(), lease.with_units(5)).is_none());
    assert_eq!(limiter().lease().held(), 0);
    let dropped = index.take_dropped_leases();
    let [(of, rest)] = dropped[..] else { panic!("{dropped:?}") };
    assert_eq!(
        (of, rest.since, rest.units),
        (UsageSubject::Key(key(0).id), Version::new(1_000), 57)
    );
    assert!(index.take_dropped_leases().is_empty());
    let now = Version::new(10);
    assert!(index.put_lease(whose, now, lease.with_units(1), LeftWord::UNKNOWN));
    assert!(index.give_back(whose, limiter().since(), lease.with_units(1)).is_some());
    assert_eq!(limiter().lease().held(), 2);
    // Another settlement has taken all of it.
    assert_eq!(index.take_lease(whose).unwrap().0.held(), 2);
    assert!(index.give_back(whose, limiter().since(), lease.with_units(1)).is_some());
    assert_eq!(limiter().lease().held(), 1);
}

/// A rate's use is carried over to the last unit when its numbers change.
#[test]
fn a_used_rate_is_carried_over() {
    let index = index();
    index.change_owner(&owner("org", limits(9)), Made::Here).unwrap();
    let now = index.clock.now();
    for (count, left) in [(9, 4), (20, 15), (5, 0), (7, 2)] {
        let with = Limits { networks: None, quota: None, ..limits(count) };
        index.change_owner(&owner("org", with), Made::Here).unwrap();
        let limiter = index.owner_limiter(0).unwrap().limiter;
        let rate = limiter.gcra().unwrap();
        if count == 9 {
            assert!(matches!(limiter.take(rate, now, 5), Verdict::Allowed { .. }));
        }
        let Verdict::Allowed { used, .. } = limiter.judge(rate, now, 0) else { panic!("used") };
        assert_eq!(rate.remaining(used), left, "{count}");
    }
}
