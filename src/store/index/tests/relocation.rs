//! Relocation of limit records in a whole index.

use std::collections::BTreeSet;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::super::hash_table::slot::hash_of;
use super::super::{Entry, Index, LeaseWord, LeftWord, Limited, Made};
use super::fixtures::{self, by_admin, count, index, owner, token};
use crate::backend::ScannedKey;
use crate::clock::Timestamp;
use crate::id::{KeyId, Version};
use crate::key::{Limits, PreviousToken, Quota, Rate, VersionedQuota};
use crate::store::types::reserved::Whose;

/// Makes an index with the owner of all keys.
fn index_of_org() -> Index {
    let index = index();
    index.change_owner(&owner("org"), Made::Here).unwrap();
    index
}

fn id(number: u32) -> KeyId {
    let mut random = ChaCha8Rng::seed_from_u64(number.into());
    KeyId::from_u128(7 << 76 | u128::from(random.next_u64() >> 2))
}

/// Makes a key with so many tokens, limited to a rate of so many uses, or not.
fn key(number: u32, tokens: u32, rate: Option<u32>) -> ScannedKey {
    let token = |generation: u32| {
        let mut digest = [7; 32];
        digest[..4].copy_from_slice(&number.to_ne_bytes());
        digest[4..8].copy_from_slice(&generation.to_ne_bytes());
        token(generation, digest)
    };
    let limits = rate.map(|count| {
        let quota = Quota::one_time(u64::from(count)).unwrap();
        let since = Version::new(count.into());
        Box::new(Limits {
            rate: by_admin(Rate::new(count, Duration::from_secs(1)).unwrap()),
            quota: by_admin(VersionedQuota { quota, quota_version: since }),
            ..Limits::default()
        })
    });
    ScannedKey {
        limits,
        expires_at: Some(Timestamp::MAX),
        current: token(tokens),
        previous: (1..tokens)
            .map(|generation| PreviousToken {
                token: token(generation),
                since: Timestamp::MIN,
                ends_at: Timestamp::MAX,
            })
            .collect(),
        ..fixtures::key(id(number), "org")
    }
}

/// Returns all that the index says of a key, and the records that its tokens name.
fn shown(index: &Index, number: u32) -> (Vec<Entry>, BTreeSet<Option<u32>>) {
    let contents = index.table.contents(hash_of(id(number).as_u128()));
    let mut entries: Vec<Entry> = contents.iter().map(Entry::unpack).collect();
    let records = entries.iter().map(|entry| entry.limited?.record).collect();
    for entry in &mut entries {
        entry.limited = entry.limited.map(|limited| Limited { record: None, ..limited });
    }
    entries.sort_unstable_by_key(|entry| entry.generation);
    (entries, records)
}

/// Counts the keys whose record lies in their bucket.
fn in_buckets(index: &Index, numbers: impl Iterator<Item = u32>) -> usize {
    let is_there = |number: &u32| {
        let record = index.key_record(id(*number), None).unwrap();
        index.limits.is_in_bucket(hash_of(id(*number).as_u128()), record)
    };
    numbers.filter(is_there).count()
}

/// Relocates where all keys are limited, some, and few. Some have several tokens, and some were put
/// twice.
#[test]
fn relocation_changes_nothing_but_numbers() {
    let all = 20_000;
    for share in [1, 7, 5_000] {
        let mut index = index_of_org();
        let is_limited = |number: u32| number.is_multiple_of(share);
        let rate = |number: u32| is_limited(number).then_some(number % 1_000 + 2);
        for number in 0..all {
            let tokens = number % 3 + 1;
            if number % 5 == 0 {
                index.put_key(&key(number, tokens, Some(1_500))).unwrap();
            }
            index.put_key(&key(number, tokens, rate(number))).unwrap();
        }
        let limited: Vec<u32> = (0..all).filter(|number| is_limited(*number)).collect();
        // The use of each tells it from others.
        let now = index.clock.now();
        let limiter = |index: &Index, number: u32| {
            let entry = index.search(id(number)).find(|packed| packed.judged_at(now));
            let limiter = index.limiter(entry.unwrap().limited.unwrap()).unwrap();
            let rate = limiter.gcra().unwrap();
            (limiter.judge(rate, now, 0), limiter.spec, limiter.lease().held())
        };
        for number in &limited {
            let whose = Whose::Key(id(*number), None);
            let found = index.search(id(*number)).find(|packed| packed.judged_at(now));
            let since = index.limiter(found.unwrap().limited.unwrap()).unwrap().since();
            let lease = LeaseWord::new(None, u64::from(*number) + 1);
            assert!(index.put_lease(whose, since, lease, LeftWord::UNKNOWN));
        }
        let state = |index: &Index| -> Vec<_> {
            limited.iter().map(|number| limiter(index, *number)).collect()
        };
        let before: Vec<_> = (0..all).map(|number| shown(&index, number)).collect();
        let states = state(&index);
        index.relocate_limits();
        assert_eq!(state(&index), states);
        let mut taken = BTreeSet::new();
        for (number, (entries, records)) in (0..all).zip(before) {
            let (now, now_named) = shown(&index, number);
            assert!(now == entries && entries.len() == number as usize % 3 + 1);
            assert_eq!((records.len(), now_named.len()), (1, 1));
            if let Some(record) = now_named.first().unwrap() {
                assert!(taken.insert(*record), "named twice");
            }
            assert_eq!(now_named.first().unwrap().is_some(), is_limited(number));
        }
        let ([used, ..], [records, ..]) = count(&index);
        assert_eq!((used, taken.len()), (limited.len(), limited.len()));
        let at_once = in_buckets(&index, limited.iter().copied());
        assert!(at_once * 100 >= used * 90, "{at_once} of {used}");
        // A key that loses its limits releases its record.
        for number in &limited {
            index.put_key(&key(*number, 2, None)).unwrap();
        }
        assert_eq!(count(&index), ([0; 3], [records, 0, 0]));
    }
}

#[test]
fn without_limits_there_is_nothing_to_look_at() {
    let mut index = index_of_org();
    (0..1_000).for_each(|number| index.put_key(&key(number, 1, None)).unwrap());
    index.relocate_limits();
    assert_eq!(count(&index).1, [0; 3]);
    // A key that is limited later has a record, in no bucket.
    index.put_key(&key(1, 1, Some(9))).unwrap();
    assert_eq!((count(&index).0, in_buckets(&index, 1..2)), ([1, 0, 0], 0));
}

/// The share of records in their buckets sinks as more keys are limited. There is one record for
/// each, and a third more at first.
#[test]
fn a_store_that_grows_finds_fewer_in_buckets() {
    let mut index = index_of_org();
    let first = 20_000;
    (0..first).for_each(|number| index.put_key(&key(number, 1, Some(9))).unwrap());
    index.relocate_limits();
    let records = count(&index).1[0];
    assert!(records * 100 <= first as usize * 135, "{records}");
    let mut put = first;
    for (percent, least) in [(100, 91), (125, 78), (150, 65), (200, 48), (400, 24)] {
        let keys = first * percent / 100;
        (put..keys).for_each(|number| index.put_key(&key(number, 1, Some(9))).unwrap());
        put = keys;
        let right = in_buckets(&index, 0..keys) * 100 / keys as usize;
        assert!(right >= least, "{right} % of {keys}");
        assert_eq!(count(&index).1[0], records.max(keys as usize));
    }
}
