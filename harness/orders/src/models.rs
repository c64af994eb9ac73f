// Taken into a module beside the sources, once for each way in which they are changed.

use std::sync::atomic::{AtomicUsize as Count, Ordering as StdOrdering};

use keyhasp::backend::{Applied, Change, Precondition};
use keyhasp::clock::Timestamp;
use keyhasp::id::{OwnerId, Version};
use keyhasp::store::Unavailable;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use loom::thread;

use crate::sync::be_writer;

use super::cells::{Cells, Numbers};
use super::commit::Committer;
use super::interned::{OwnerNumbers, Owners};
use super::slot::{Seen, Slot, Unit, Words};
use super::table::{Table, Writer};

/// What a slot or a table is filled with.
fn words(value: u64) -> Words {
    Words { near: [value; 2], far: value }
}

/// Contents are seen whole, and the word apart belongs to them or isn't told.
pub fn contents_are_whole() {
    let unit = Arc::new(Unit::<1>::empty());
    unit.slot(0).fill(5, &words(1));
    let writer = {
        let unit = Arc::clone(&unit);
        thread::spawn(move || {
            be_writer();
            let slot = unit.slot(0);
            slot.retire();
            slot.reach_to(2);
            slot.fill(5, &words(2));
        })
    };
    if let Seen::Match(found) = unit.slot(0).read(5) {
        assert_eq!(found.near, words(found.near[0]).near);
        assert!(found.far().is_none_or(|far| far == found.near[0]));
    }
    writer.join().unwrap();
}

/// A table with one writer and a reader beside it.
struct Beside {
    table: Table,
    acknowledged: AtomicUsize,
}

/// Runs changes one by one, each acknowledged when it is made, beside one search that shows what
/// was acknowledged before it began, and what it found.
fn beside(
    set_up: &[(u64, &'static [u64])],
    changes: &'static [(u64, &'static [u64])],
    sought: u64,
    check: impl Fn(usize, &[u64]),
) {
    let mut writer = Writer::default();
    let table = Table::new(&mut writer);
    for (tag, values) in set_up {
        put(&table, &mut writer, *tag, values);
    }
    let shared = Arc::new(Beside { table, acknowledged: AtomicUsize::new(0) });
    let changing = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            be_writer();
            for (at, (tag, values)) in changes.iter().enumerate() {
                put(&shared.table, &mut writer, *tag, values);
                shared.acknowledged.store(at + 1, Ordering::Release);
            }
        })
    };
    let acknowledged = shared.acknowledged.load(Ordering::Acquire);
    check(acknowledged, &found(&shared.table, sought));
    changing.join().unwrap();
    // When all is quiet, exactly what was put last is there.
    let last = |sought: u64| {
        let put = set_up.iter().chain(changes).filter(|(tag, _)| *tag == sought).last();
        put.map_or(&[][..], |(_, values)| *values)
    };
    let mut quiet = found(&shared.table, sought);
    quiet.sort_unstable();
    assert_eq!(quiet, last(sought));
}

fn put(table: &Table, writer: &mut Writer, tag: u64, values: &[u64]) {
    let new: Vec<Words> = values.iter().map(|value| words(*value)).collect();
    table.replace(writer, tag, &new, |_| true).unwrap();
}

/// All that a search shows, until one is current: its far word, too, is of the same filling.
fn found(table: &Table, tag: u64) -> Vec<u64> {
    let mut found = Vec::new();
    table.probe(tag).expect("a group").find(|seen| {
        assert_eq!(seen.near, words(seen.near[0]).near, "torn");
        // As a verification does: what is being replaced is looked for again.
        let far = seen.far()?;
        assert_eq!(far, seen.near[0], "another filling's word");
        found.push(seen.near[0]);
        None::<()>
    });
    found.dedup();
    found
}

const A: u64 = 1 << 24;
const B: u64 = 2 << 24;

/// A key that lives throughout is found throughout, and nothing of it outlives its
/// acknowledged end.
pub fn a_rewrite_is_never_missed() {
    beside(&[(A, &[1])], &[(A, &[2])], A, |acknowledged, found| {
        assert!(!found.is_empty(), "missed");
        assert!(acknowledged < 1 || found == [2], "{found:?} after the acknowledgement");
    });
}

/// The same, where the second rewrite fills the slot that the first one left.
pub fn a_slot_is_used_again() {
    beside(&[(A, &[1])], &[(A, &[2]), (A, &[3])], A, |acknowledged, found| {
        assert!(!found.is_empty(), "missed");
        let last = 1 + acknowledged as u64;
        assert!(found.iter().all(|value| *value >= last), "{found:?} after {last}");
    });
}

/// What is taken away isn't found after the acknowledgement.
pub fn what_is_taken_away_is_gone() {
    beside(&[(A, &[1]), (B, &[7])], &[(A, &[])], A, |acknowledged, found| {
        assert!(acknowledged < 1 || found.is_empty(), "{found:?} after it was taken away");
    });
}

/// A key whose search begins where another lies is found as soon as it is acknowledged, and the
/// other all the time.
pub fn a_reach_grows_before_it_is_needed() {
    beside(&[(A, &[1])], &[(B, &[2])], B, |acknowledged, found| {
        assert!(acknowledged < 1 || found == [2], "not found");
    });
}

/// A key that lives is found while its group is made anew, larger, beside the search.
pub fn a_group_is_made_anew() {
    const OTHERS: &[u64] = &[10, 11, 12, 13, 14];
    beside(&[(A, &[1]), (B, OTHERS)], &[(3 << 24, &[20])], A, |_, found| {
        assert_eq!(found, [1], "missed");
    });
}

/// The same while the group splits and the directory doubles. One half is then made anew with what
/// the whole left behind, which a reader may still be looking at.
pub fn a_group_is_split() {
    const FIVE: &[u64] = &[10, 11, 12, 13, 14];
    const FOUR: &[u64] = &[30, 31, 32, 33];
    const OTHER: u64 = 1 << 44 | 1 << 24;
    let set_up: &[(u64, &[u64])] = &[(A, &[1]), (B, FIVE), (OTHER, FOUR)];
    beside(set_up, &[(OTHER | 1 << 25, &[40, 41, 42])], A, |_, found| {
        assert_eq!(found, [1], "missed");
    });
}

/// What is read of the line that a slot names is what was put for that slot, if the slot is still
/// the same afterwards: also where another key has the line by then.
pub fn a_line_belongs_to_its_slot() {
    let cells = Cells::new();
    let mut numbers = Numbers::default();
    let (first, cell) = numbers.take(&cells).unwrap();
    cell.fill([1; 2]);
    let shared = Arc::new((cells, Unit::<1>::empty()));
    shared.1.slot(0).fill(5, &words(first.into()));
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            be_writer();
            shared.1.slot(0).retire();
            numbers.refund(first);
            let (again, cell) = numbers.take(&shared.0).unwrap();
            assert_eq!(again, first);
            cell.fill([2; 2]);
            shared.1.slot(1).fill(6, &words(again.into()));
        })
    };
    for (slot, tag) in [(0, 5), (1, 6)] {
        if let Seen::Match(found) = shared.1.slot(slot).read(tag) {
            let cell = shared.0.get(found.near[0] as u32).unwrap();
            let read = [cell.read(0), cell.read(1)];
            if found.seen.is_still() {
                assert_eq!(read, [slot as u64 + 1; 2], "another key's line");
            }
        }
    }
    writer.join().unwrap();
}

/// Whoever was told that an owner is suspended sees it; before that, nobody sees what never was.
pub fn a_suspension_is_seen() {
    let id = OwnerId::new("org").unwrap();
    let owners = Owners::new();
    let mut numbers = OwnerNumbers::default();
    let number = numbers.put(&owners, id, 0, None, 0).unwrap().number;
    let shared = Arc::new((owners, AtomicBool::new(false)));
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            be_writer();
            shared.0.set_flags(number, 1).unwrap();
            // By another way than the flags' own.
            shared.1.store(true, Ordering::Release);
        })
    };
    let told = shared.1.load(Ordering::Acquire);
    let flags = shared.0.word(number).unwrap();
    assert!(flags == 1 || !told && flags == 0, "{flags} told: {told}");
    writer.join().unwrap();
}

/// A key that is put after its owner was suspended is never seen with the owner unsuspended.
pub fn a_suspension_comes_before_its_keys() {
    let id = OwnerId::new("org").unwrap();
    let owners = Owners::new();
    let mut numbers = OwnerNumbers::default();
    let number = numbers.put(&owners, id, 0, None, 0).unwrap().number;
    let shared = Arc::new((owners, Unit::<1>::empty()));
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            be_writer();
            shared.0.set_flags(number, 1).unwrap();
            shared.1.slot(0).fill(5, &words(1));
        })
    };
    if let Seen::Match(_) = shared.1.slot(0).read(5) {
        assert_eq!(shared.0.word(number), Some(1));
    }
    writer.join().unwrap();
}

/// What the steps of joined commits do beside.
struct Joined {
    committer: Committer,
    inside: AtomicUsize,
    /// How often each change was committed.
    committed: [AtomicUsize; 3],
    fails: bool,
}

fn change(number: u64) -> Change {
    Change::default().requiring(Precondition::StoreMetadata(Version::new(number)))
}

fn number(change: &Change) -> u64 {
    match change.preconditions[0] {
        Precondition::StoreMetadata(version) => version.get(),
        _ => unreachable!("only such are made"),
    }
}

impl Joined {
    fn new(fails: bool) -> Arc<Self> {
        Arc::new(Self {
            committer: Committer::default(),
            inside: AtomicUsize::new(0),
            committed: std::array::from_fn(|_| AtomicUsize::new(0)),
            fails,
        })
    }

    fn enter(&self) {
        assert_eq!(self.inside.fetch_add(1, Ordering::Relaxed), 0, "two at once");
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::Relaxed);
    }

    /// One caller's change; it must hear of its own.
    fn commit(&self, own: u64) {
        let told = self.committer.commit(change(own), |_, batch| {
            self.enter();
            let applied = |change: &Change| {
                let n = number(change);
                self.committed[n as usize].fetch_add(1, Ordering::Relaxed);
                Ok(Applied { first_event: n, last_event: n, numeric_ids: Vec::new() })
            };
            let outcomes: Vec<_> = batch.iter().map(applied).collect();
            self.leave();
            if self.fails {
                return Err(keyhasp::Error::Unavailable(Unavailable::Closed));
            }
            Ok(outcomes)
        });
        match told {
            Ok(applied) => assert_eq!((applied.unwrap().first_event, self.fails), (own, false)),
            Err(keyhasp::Error::Unavailable(Unavailable::Closed)) => assert!(self.fails),
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(self.committed[own as usize].load(Ordering::Relaxed), 1, "lost or done twice");
    }
}

fn join(fails: bool) {
    let joined = Joined::new(fails);
    let callers: Vec<_> = (1..3)
        .map(|own| {
            let joined = Arc::clone(&joined);
            thread::spawn(move || joined.commit(own))
        })
        .collect();
    joined.commit(0);
    callers.into_iter().for_each(|caller| caller.join().unwrap());
}

/// Of three who commit at once, each hears of its own change, which was made once.
pub fn everybody_gets_an_answer() {
    join(false);
}

/// An error reaches all whom it concerns.
pub fn an_error_reaches_everybody() {
    join(true);
}

/// Whoever needs the store for itself gets it, and nobody commits meanwhile; of all who wait until
/// it is free again, nobody is forgotten.
pub fn a_pause_is_alone() {
    let joined = Joined::new(false);
    let callers = [0, 1, 2].map(|own| {
        let joined = Arc::clone(&joined);
        thread::spawn(move || joined.commit(own))
    });
    let lead = joined.committer.pause();
    joined.enter();
    joined.leave();
    drop(lead);
    callers.into_iter().for_each(|caller| caller.join().unwrap());
}

/// All models, by name; those that take long come last.
pub const ALL: &[(&str, fn())] = &[
    ("contents_are_whole", contents_are_whole),
    ("a_rewrite_is_never_missed", a_rewrite_is_never_missed),
    ("what_is_taken_away_is_gone", what_is_taken_away_is_gone),
    ("a_reach_grows_before_it_is_needed", a_reach_grows_before_it_is_needed),
    ("a_line_belongs_to_its_slot", a_line_belongs_to_its_slot),
    ("a_suspension_is_seen", a_suspension_is_seen),
    ("a_suspension_comes_before_its_keys", a_suspension_comes_before_its_keys),
    ("everybody_gets_an_answer", everybody_gets_an_answer),
    ("an_error_reaches_everybody", an_error_reaches_everybody),
    ("a_pause_is_alone", a_pause_is_alone),
    ("a_group_is_made_anew", a_group_is_made_anew),
    ("a_slot_is_used_again", a_slot_is_used_again),
    ("a_group_is_split", a_group_is_split),
];
