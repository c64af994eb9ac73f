use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::slot::hash_of;
use super::*;

/// Returns the number of slots, those of free units included.
fn slots(writer: &Writer) -> usize {
    writer.units as usize * UNIT_SLOTS
}

fn words(value: u64) -> Words {
    Words { near: [value; 7], far: value }
}

fn put(table: &Table, writer: &mut Writer, hash: u64, values: &[u64]) {
    let new: Vec<Words> = values.iter().map(|value| words(*value)).collect();
    table.replace(writer, hash, &new, |_| true).unwrap();
}

fn values(table: &Table, hash: u64) -> Vec<u64> {
    let mut found = Vec::new();
    table.probe(hash).unwrap().find(|seen| {
        found.push(seen.near[0]);
        None::<()>
    });
    found.sort_unstable();
    found
}

proptest! {
    /// Compares the table with a map: each hash has the contents that were put last.
    #[test]
    fn it_is_a_map(steps in prop::collection::vec((0..2_000_u128, 0..7_usize), 1..3_000)) {
        let mut writer = Writer::default();
        let table = Table::new(&mut writer);
        let mut map: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (i, (id, count)) in steps.into_iter().enumerate() {
            let hash = hash_of(id.wrapping_mul(0x1234_5678_9abc_def1_2345));
            let new: Vec<u64> = (0..count as u64).map(|n| i as u64 * 10 + n).collect();
            put(&table, &mut writer, hash, &new);
            map.insert(hash, new);
        }
        for (hash, expected) in map {
            prop_assert_eq!(values(&table, hash), expected);
        }
    }
}

#[test]
fn what_is_added_finds_nothing_in_its_place() {
    let mut writer = Writer::default();
    let table = Table::new(&mut writer);
    let hash = |i: u64| hash_of(u128::from(i) * 0xdead_beef_cafe_f00d);
    for i in 0..20_000 {
        assert!(table.add(&mut writer, hash(i), &[words(i), words(i + 1)]).unwrap());
    }
    for i in 0..20_000 {
        assert!(!table.add(&mut writer, hash(i), &[words(9)]).unwrap());
        assert_eq!(values(&table, hash(i)), [i, i + 1]);
        if i % 3 == 0 {
            put(&table, &mut writer, hash(i), &[]);
            assert!(table.add(&mut writer, hash(i), &[words(i)]).unwrap());
            assert_eq!(values(&table, hash(i)), [i]);
        }
    }
}

#[test]
fn where_room_was_made_no_group_is_rebuilt() {
    let hash = |i: u64| hash_of(u128::from(i) * 0xdead_beef_cafe_f00d);
    for keys in [0, 1, 300, 5_000, 100_000, 300_000] {
        let mut writer = Writer::default();
        let table = Table::new(&mut writer);
        table.make_room(&mut writer, keys).unwrap();
        let groups = |writer: &Writer| (writer.groups.len(), writer.units, table.directory.depth());
        let before = groups(&writer);
        for i in 0..keys {
            assert!(table.add(&mut writer, hash(i), &[words(i)]).unwrap());
        }
        assert_eq!(groups(&writer), before, "{keys}");
        assert!((0..keys).all(|i| values(&table, hash(i)) == [i]));
        let most = keys as f64 * 1.6 + 3.0 * UNIT_SLOTS as f64;
        assert!((slots(&writer) as f64) < most, "{keys}: {} slots", slots(&writer));
        // A table that was used is left as it is.
        table.make_room(&mut writer, keys * 2).unwrap();
        assert!(keys == 0 || groups(&writer) == before);
    }
    let mut writer = Writer::default();
    let table = Table::new(&mut writer);
    assert!(table.make_room(&mut writer, u64::MAX).is_err());
    assert_eq!(writer.units, 1);
}

#[test]
fn it_grows_by_parts_and_keeps_everything() {
    let mut writer = Writer::default();
    let table = Table::new(&mut writer);
    let hash = |i: u64| hash_of(u128::from(i) * 0xdead_beef_cafe_f00d);
    let keys = 100_000;
    let mut worst = 0.0_f64;
    for i in 0..keys {
        put(&table, &mut writer, hash(i), &[i]);
        if i > 60_000 {
            worst = worst.max(slots(&writer) as f64 / (i + 1) as f64);
        }
    }
    for i in 0..keys {
        assert_eq!(values(&table, hash(i)), [i]);
    }
    assert!(worst < 1.75, "{worst} slots for each key");
    let mut rewrite = |round| {
        for i in 0..keys {
            put(&table, &mut writer, hash(i), &[i + round]);
        }
        slots(&writer)
    };
    // Rewriting everything again and again takes no more room: retired slots are used again.
    let once = rewrite(1);
    let often = (2..6).map(rewrite).max().unwrap();
    assert!(often <= once + once / 8, "{once} {often}");
}

#[test]
fn only_what_is_old_goes() {
    let mut writer = Writer::default();
    let table = Table::new(&mut writer);
    put(&table, &mut writer, 9, &[1, 2]);
    table.replace(&mut writer, 9, &[words(3)], |old| old.near[0] == 1).unwrap();
    assert_eq!(values(&table, 9), [2, 3]);
    put(&table, &mut writer, 10, &[4]);
    let mut gone = Vec::new();
    table.retain(&writer, |hash, _| hash == 10, |words| gone.push(words.near[0]));
    gone.sort_unstable();
    assert_eq!(gone, [2, 3]);
    assert_eq!((values(&table, 9), values(&table, 10)), (vec![], vec![4]));
}

/// Finds a key that lives throughout while its group is rewritten and split.
#[test]
fn readers_never_miss_what_lives() {
    let mut writer = Writer::default();
    let table = Table::new(&mut writer);
    let hash = |i: u64| hash_of(u128::from(i) * 0x9e37_79b9_0000_0001);
    for i in 0..100 {
        put(&table, &mut writer, hash(i), &[i]);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..2_u64 {
            let (stop, table) = (&stop, &table);
            scope.spawn(move || {
                let mut i = reader;
                while !stop.load(Ordering::Relaxed) {
                    i = (i + 1) % 100;
                    let found = table.probe(hash(i)).unwrap().find(|seen| {
                        assert_eq!(seen.near, words(seen.near[0]).near);
                        (seen.near[0] % 1_000_000 == i).then_some(())
                    });
                    assert!(found.is_some(), "missed {i}");
                }
            });
        }
        for i in 0..20_000_u64 {
            let old = i % 100;
            put(&table, &mut writer, hash(old), &[old + i * 1_000_000]);
            put(&table, &mut writer, hash(1_000 + i), &[u64::MAX - 1]);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
