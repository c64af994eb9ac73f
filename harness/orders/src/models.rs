// Included into a module beside the sources, once for each way in which they are changed.

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicUsize as Count, Ordering as StdOrdering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use keyhasp::backend::{Applied, Change, Precondition};
use keyhasp::clock::Timestamp;
use keyhasp::id::{KeyId, OwnerId, Version};
use keyhasp::store::Unavailable;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use loom::thread;

use crate::stand_ins::engine::Signal;
use crate::stand_ins::id::OwnerId as Interned;
use crate::stand_ins::reserved::Whose;
use crate::sync::be_writer;

use super::group_commit::GroupCommit;
use super::hash_table::slot::{Seen, Slot, Unit, Words};
use super::hash_table::table::{Table, Writer};
use super::interned::Owners;
use super::owner_numbers::{OwnerNumbers, OwnerRules};
use super::stale::{StaleRule, StaleRules};
use super::lease_queue::{Account, Due, Need};
use super::lease_waits::{LeaseWaits, Outcome};
use super::limits::lease::{Ends, LeaseWord};
use super::limits::lease_cell::LeaseCell;
use super::memory::slab::{Slab, SlabNumbers};

/// Makes the contents of a slot.
fn words(value: u64) -> Words {
    Words { near: [value; 2], far: value }
}

/// Contents are seen whole. The far word belongs to them, or is none.
pub fn contents_are_whole() {
    let unit = Arc::new(Unit::<1>::empty());
    unit.slot(0).fill(5, &words(1));
    let writer = {
        let unit = Arc::clone(&unit);
        thread::spawn(move || {
            be_writer();
            let slot = unit.slot(0);
            slot.retire();
            slot.extend_probe_len(2);
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

/// Runs changes one by one, each acknowledged when it is made, beside one search. The check gets
/// the number of changes that were acknowledged before the search began, and the values that it
/// found.
fn beside(
    set_up: &[(u64, &'static [u64])],
    changes: &'static [(u64, &'static [u64])],
    sought: u64,
    check: impl Fn(usize, &[u64]),
) {
    let mut writer = Writer::default();
    let table = Table::new(&mut writer);
    for (hash, values) in set_up {
        put(&table, &mut writer, *hash, values);
    }
    let shared = Arc::new(Beside { table, acknowledged: AtomicUsize::new(0) });
    let changing = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            be_writer();
            for (at, (hash, values)) in changes.iter().enumerate() {
                put(&shared.table, &mut writer, *hash, values);
                shared.acknowledged.store(at + 1, Ordering::Release);
            }
        })
    };
    let acknowledged = shared.acknowledged.load(Ordering::Acquire);
    check(acknowledged, &found(&shared.table, sought));
    changing.join().unwrap();
    // After all changes, exactly the values that were put last are there.
    let last = |sought: u64| {
        let put = set_up.iter().chain(changes).filter(|(hash, _)| *hash == sought).last();
        put.map_or(&[][..], |(_, values)| *values)
    };
    let mut quiet = found(&shared.table, sought);
    quiet.sort_unstable();
    assert_eq!(quiet, last(sought));
}

fn put(table: &Table, writer: &mut Writer, hash: u64, values: &[u64]) {
    let new: Vec<Words> = values.iter().map(|value| words(*value)).collect();
    table.replace(writer, hash, &new, |_| true).unwrap();
}

/// Returns all values of a search that are current. Their far words are of the same filling.
fn found(table: &Table, hash: u64) -> Vec<u64> {
    let mut found = Vec::new();
    table.probe(hash).expect("a group").find(|seen| {
        assert_eq!(seen.near, words(seen.near[0]).near, "torn");
        // As a verification does: a value that is being replaced is searched for again.
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

/// A key that lives throughout is found throughout. No value outlives its acknowledged end.
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

/// A removed key isn't found after the acknowledgement.
pub fn a_removed_key_is_gone() {
    beside(&[(A, &[1]), (B, &[7])], &[(A, &[])], A, |acknowledged, found| {
        assert!(acknowledged < 1 || found.is_empty(), "{found:?} after it was removed");
    });
}

/// A key whose search begins at another key's slot is found as soon as it is acknowledged.
pub fn a_probe_length_grows_before_it_is_needed() {
    beside(&[(A, &[1])], &[(B, &[2])], B, |acknowledged, found| {
        assert!(acknowledged < 1 || found == [2], "not found");
    });
}

/// A key that lives is found while its group is rebuilt, larger, beside the search.
pub fn a_group_is_rebuilt() {
    const OTHERS: &[u64] = &[10, 11, 12, 13, 14];
    beside(&[(A, &[1]), (B, OTHERS)], &[(3 << 24, &[20])], A, |_, found| {
        assert_eq!(found, [1], "missed");
    });
}

/// The same while the group splits and the directory doubles. Then one half is rebuilt with the
/// units that the whole left behind, at which a reader may still look.
pub fn a_group_is_split() {
    const FIVE: &[u64] = &[10, 11, 12, 13, 14];
    const FOUR: &[u64] = &[30, 31, 32, 33];
    const OTHER: u64 = 1 << 44 | 1 << 24;
    let set_up: &[(u64, &[u64])] = &[(A, &[1]), (B, FIVE), (OTHER, FOUR)];
    beside(set_up, &[(OTHER | 1 << 25, &[40, 41, 42])], A, |_, found| {
        assert_eq!(found, [1], "missed");
    });
}

/// A limit record holds the words that were put for the slot that names it, if the slot is still
/// the same afterwards, even if another key has the record by then.
pub fn a_record_belongs_to_its_slot() {
    let slab = Slab::new();
    let mut numbers = SlabNumbers::default();
    let (first, entry) = numbers.acquire(&slab).unwrap();
    entry.fill([1; 2]);
    let shared = Arc::new((slab, Unit::<1>::empty()));
    shared.1.slot(0).fill(5, &words(first.into()));
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            be_writer();
            shared.1.slot(0).retire();
            numbers.release(first);
            let (again, entry) = numbers.acquire(&shared.0).unwrap();
            assert_eq!(again, first);
            entry.fill([2; 2]);
            shared.1.slot(1).fill(6, &words(again.into()));
        })
    };
    for (slot, hash) in [(0, 5), (1, 6)] {
        if let Seen::Match(found) = shared.1.slot(slot).read(hash) {
            let entry = shared.0.get(found.near[0] as u32).unwrap();
            let read = [entry.read(0), entry.read(1)];
            if found.seen.validate() {
                assert_eq!(read, [slot as u64 + 1; 2], "another key's record");
            }
        }
    }
    writer.join().unwrap();
}

/// A use is given back while its lease moves to another record, and another key gets the first one:
/// it is added once, to the lease that it came from, or it is forfeited.
pub fn a_use_is_given_back_once_or_forfeited() {
    const REST: u64 = 9;
    const OTHER: u64 = 100;
    let slab = Slab::new();
    let mut numbers = SlabNumbers::default();
    let (first, entry) = numbers.acquire(&slab).unwrap();
    entry.fill([REST, 0]);
    let shared = Arc::new((slab, Unit::<1>::empty()));
    shared.1.slot(0).fill(5, &words(first.into()));
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            be_writer();
            let (slab, unit) = &*shared;
            let (second, entry) = numbers.acquire(slab).unwrap();
            let moved = LeaseCell(slab.get(first).unwrap().word(0)).take();
            entry.fill([moved.0, 0]);
            unit.slot(1).fill(5, &words(second.into()));
            unit.slot(0).retire();
            numbers.release(first);
            let (again, entry) = numbers.acquire(slab).unwrap();
            assert_eq!(again, first);
            entry.fill([OTHER, 0]);
            unit.slot(2).fill(6, &words(again.into()));
            second
        })
    };
    let (slab, unit) = &*shared;
    let mut given_back = 0;
    for slot in [0, 1] {
        let Seen::Match(found) = unit.slot(slot).read(5) else { continue };
        let cell = LeaseCell(slab.get(found.near[0] as u32).unwrap().word(0));
        if cell.give_back(LeaseWord(1), Ends, || found.seen.validate()) {
            given_back += 1;
            break;
        }
    }
    let second = writer.join().unwrap();
    let units = |record| LeaseCell(slab.get(record).unwrap().word(0)).take().held();
    assert_eq!((units(second), units(first)), (REST + given_back, OTHER));
}

const FIRST: u64 = 1;
const SECOND: u64 = 2;

/// Makes the first owner, with these flags.
fn an_owner(flags: u8) -> (Owners, OwnerNumbers, u32) {
    let owners = Owners::new();
    let mut numbers = OwnerNumbers::default();
    let rules = OwnerRules::default();
    let number = numbers.put(&owners, &Interned::new(FIRST), rules, flags).unwrap().number;
    (owners, numbers, number)
}

/// Removes the first owner, and gives its number to the second.
fn replace_owner(owners: &Owners, numbers: &mut OwnerNumbers) {
    let gone = numbers.remove(owners, &Interned::new(FIRST)).unwrap().number;
    numbers.release(owners, gone);
    let rules = OwnerRules::default();
    let again = numbers.put(owners, &Interned::new(SECOND), rules, 0).unwrap().number;
    assert_eq!(again, gone);
}

/// A reader that was led to an owner's number by a slot finds the id and the flags of the slot's owner, if the
/// slot is still the same afterwards, even if another owner has the number by then.
pub fn an_owners_number_is_used_again() {
    let (owners, mut numbers, number) = an_owner(1);
    let shared = Arc::new((owners, Unit::<1>::empty()));
    shared.1.slot(0).fill(5, &words(number.into()));
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            be_writer();
            let (owners, unit) = &*shared;
            unit.slot(0).retire();
            replace_owner(owners, &mut numbers);
            unit.slot(1).fill(6, &words(number.into()));
        })
    };
    let (owners, unit) = &*shared;
    for (slot, hash, id, flags) in [(0, 5, FIRST, 1), (1, 6, SECOND, 0)] {
        if let Seen::Match(found) = unit.slot(slot).read(hash) {
            let number = found.near[0] as u32;
            let read = (owners.word(number), owners.id(number));
            if found.seen.validate() {
                assert_eq!(read, (Some(flags), Some(Interned::new(id))), "another owner");
            }
        }
    }
    writer.join().unwrap();
}

/// A reference never leads to an owner that has got the number since.
pub fn a_reference_means_one_owner() {
    let (owners, mut numbers, number) = an_owner(0);
    let reference = owners.reference(number).unwrap();
    let owners = Arc::new(owners);
    let writer = {
        let owners = Arc::clone(&owners);
        thread::spawn(move || {
            be_writer();
            replace_owner(&owners, &mut numbers);
        })
    };
    let found = owners.id_of(reference);
    assert!(found.is_none_or(|id| id == Interned::new(FIRST)), "another owner");
    writer.join().unwrap();
    assert_eq!(owners.id_of(reference), None);
}

/// The reference that is read between two readings of the same limit record is that of the record's owner.
pub fn a_record_comes_with_its_owners_reference() {
    const OF_FIRST: u32 = 3;
    const OF_SECOND: u32 = 7;
    let (owners, mut numbers, number) = an_owner(0);
    owners.set_record(number, Some(OF_FIRST)).unwrap();
    let reference = owners.reference(number).unwrap();
    let owners = Arc::new(owners);
    let writer = {
        let owners = Arc::clone(&owners);
        thread::spawn(move || {
            be_writer();
            owners.set_record(number, None).unwrap();
            replace_owner(&owners, &mut numbers);
            owners.set_record(number, Some(OF_SECOND)).unwrap();
        })
    };
    let record = || Owners::record_of(owners.word(number).unwrap());
    let before = record();
    let read = owners.reference(number).unwrap();
    fence(Ordering::Acquire);
    if before.is_some() && record() == before {
        assert_eq!(read == reference, before == Some(OF_FIRST), "another owner's reference");
    }
    writer.join().unwrap();
}

/// A reader that knows of a suspension sees it. Before that, no reader sees flags that never were.
pub fn a_suspension_is_seen() {
    let (owners, _, number) = an_owner(0);
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
    let knows = shared.1.load(Ordering::Acquire);
    let flags = shared.0.word(number).unwrap();
    assert!(flags == 1 || !knows && flags == 0, "{flags} knows: {knows}");
    writer.join().unwrap();
}

/// A change of an owner holds from its acknowledgement on: by a rule for the slot of before, then by the
/// slot that was filled again, at which a reader of the owner's word looks once more.
pub fn a_rule_holds_until_its_slot_is_filled_again() {
    const STALE: u8 = 4;
    let (owners, _, number) = an_owner(0);
    let shared = Arc::new((owners, Unit::<1>::empty(), AtomicBool::new(false)));
    shared.1.slot(0).fill(5, &words(0));
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            be_writer();
            let (owners, unit, acknowledged) = &*shared;
            let (rules, epoch) = StaleRules::default().begin(0, StaleRule::CUT);
            owners.set_stale(number, rules);
            owners.set_flags(number, STALE).unwrap();
            acknowledged.store(true, Ordering::Release);
            unit.slot(1).fill(5, &words(epoch.unwrap().into()));
            unit.slot(0).retire();
            owners.set_flags(number, 0).unwrap();
            owners.set_stale(number, StaleRules::default());
        })
    };
    let (owners, unit, acknowledged) = &*shared;
    let is_acknowledged = acknowledged.load(Ordering::Acquire);
    if let Seen::Match(found) = unit.slot(0).read(5) {
        let word = owners.word(number).unwrap();
        let has_rules = Owners::flags_of(word) & STALE != 0;
        let is_cut = has_rules && !owners.stale(number).of(0).is_none();
        if found.seen.validate() {
            assert!(is_cut || !is_acknowledged, "a slot of before without its rule");
        }
    }
    writer.join().unwrap();
}

/// A key that is put after its owner was suspended is never seen with the owner unsuspended.
pub fn a_suspension_comes_before_its_keys() {
    let (owners, _, number) = an_owner(0);
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

/// The steps of joined commits, and counts of them.
struct Joined {
    group_commit: GroupCommit,
    inside: AtomicUsize,
    /// The number of times that each change was committed.
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
            group_commit: GroupCommit::default(),
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

    /// Commits one caller's change, whose outcome must come back.
    fn commit(&self, own: u64) {
        let outcome = self.group_commit.commit(change(own), |_, batch| {
            self.enter();
            let applied = |change: &Change| {
                let n = number(change);
                self.committed[n as usize].fetch_add(1, Ordering::Relaxed);
                Ok(Applied { first_event: n, last_event: n, ..Applied::default() })
            };
            let outcomes: Vec<_> = batch.iter().map(applied).collect();
            self.leave();
            if self.fails {
                return Err(keyhasp::Error::Unavailable(Unavailable::Closed));
            }
            Ok(outcomes)
        });
        match outcome {
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

/// Three callers commit at once: each gets the outcome of its own change, which was committed once.
pub fn each_caller_gets_its_outcome() {
    join(false);
}

/// An error of a step reaches all callers of the step.
pub fn an_error_reaches_each_caller() {
    join(true);
}

/// A caller that acquires the guard has it alone, and no change is committed meanwhile. All waiting
/// callers get their turn afterwards.
pub fn a_guard_is_alone() {
    let joined = Joined::new(false);
    let callers = [0, 1, 2].map(|own| {
        let joined = Arc::clone(&joined);
        thread::spawn(move || joined.commit(own))
    });
    let guard = joined.group_commit.acquire();
    joined.enter();
    joined.leave();
    drop(guard);
    callers.into_iter().for_each(|caller| caller.join().unwrap());
}

/// A verification that sleeps until it is woken, and counts that.
#[derive(Default)]
struct Sleeper {
    signal: Signal,
    woken: Count,
}

impl Wake for Sleeper {
    fn wake(self: StdArc<Self>) {
        self.woken.fetch_add(1, StdOrdering::SeqCst);
        self.signal.wake();
    }
}

/// A verification takes a place beside the thread that fetches, and beside the one that watches the
/// deadlines: it is woken once, and has an answer then.
pub fn a_wait_is_answered_once() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let waits = StdArc::new(LeaseWaits::new(HOUR));
    let fetching = {
        let waits = StdArc::clone(&waits);
        thread::spawn(move || {
            loop {
                match waits.take(1) {
                    Due::Now(wanted) => {
                        let waiters = wanted.into_iter().flat_map(|wanted| wanted.waiters);
                        waits.end(waiters, Outcome::TryAgain);
                        return waits.wake_ended();
                    }
                    Due::Later(_) | Due::Paused(_) => waits.fetches.wait(),
                }
            }
        })
    };
    let watching = {
        let waits = StdArc::clone(&waits);
        thread::spawn(move || _ = waits.expire(Instant::now() + 2 * HOUR))
    };
    let sleeper = StdArc::<Sleeper>::default();
    let waker = Waker::from(StdArc::clone(&sleeper));
    let holder = Whose::Key(KeyId::from_u128(1), None);
    let account = Account { owner: OwnerId::new("org").unwrap(), holder };
    let mut wait = waits.begin();
    wait.wait_for(&Need { account, at: Timestamp::MIN, uses: 1 }, &waker).unwrap();
    let answer = loop {
        match wait.poll(&Context::from_waker(&waker)) {
            Poll::Ready(answer) => break answer,
            Poll::Pending => sleeper.signal.wait(),
        }
    };
    fetching.join().unwrap();
    watching.join().unwrap();
    assert!(matches!(answer, Ok(()) | Err(Unavailable::Quota { .. })));
    assert_eq!(sleeper.woken.load(StdOrdering::SeqCst), 1);
}

/// Two uses ask for leases ahead, beside the thread that fetches: it takes both, whichever of them
/// wakes it.
pub fn what_is_asked_for_is_taken() {
    let waits = StdArc::new(LeaseWaits::new(Duration::ZERO));
    let ask = |id| {
        let waits = StdArc::clone(&waits);
        let holder = Whose::Key(KeyId::from_u128(id), None);
        let account = Account { owner: OwnerId::new("org").unwrap(), holder };
        thread::spawn(move || waits.fetch_ahead(account, Timestamp::MIN))
    };
    let asking = [1, 2].map(ask);
    let mut taken = 0;
    while taken < 2 {
        match waits.take(2) {
            Due::Now(wanted) => taken += wanted.len(),
            Due::Later(_) | Due::Paused(_) => waits.fetches.wait(),
        }
    }
    asking.into_iter().for_each(|thread| thread.join().unwrap());
}

/// All models, by name; those that take long come last.
pub const ALL: &[(&str, fn())] = &[
    ("contents_are_whole", contents_are_whole),
    ("a_rewrite_is_never_missed", a_rewrite_is_never_missed),
    ("a_removed_key_is_gone", a_removed_key_is_gone),
    ("a_probe_length_grows_before_it_is_needed", a_probe_length_grows_before_it_is_needed),
    ("a_record_belongs_to_its_slot", a_record_belongs_to_its_slot),
    ("a_use_is_given_back_once_or_forfeited", a_use_is_given_back_once_or_forfeited),
    ("an_owners_number_is_used_again", an_owners_number_is_used_again),
    ("a_reference_means_one_owner", a_reference_means_one_owner),
    ("a_record_comes_with_its_owners_reference", a_record_comes_with_its_owners_reference),
    ("a_suspension_is_seen", a_suspension_is_seen),
    ("a_rule_holds_until_its_slot_is_filled_again", a_rule_holds_until_its_slot_is_filled_again),
    ("a_suspension_comes_before_its_keys", a_suspension_comes_before_its_keys),
    ("what_is_asked_for_is_taken", what_is_asked_for_is_taken),
    ("a_wait_is_answered_once", a_wait_is_answered_once),
    ("each_caller_gets_its_outcome", each_caller_gets_its_outcome),
    ("an_error_reaches_each_caller", an_error_reaches_each_caller),
    ("a_guard_is_alone", a_guard_is_alone),
    ("a_group_is_rebuilt", a_group_is_rebuilt),
    ("a_slot_is_used_again", a_slot_is_used_again),
    ("a_group_is_split", a_group_is_split),
];
