//! Lines of keys to their places, when all keys of a store that is opened have been put.
//!
//! How many keys are limited isn't known before; until then their lines lie in the order in which
//! they came. Then room is made for a fifth to a third more, each line gets a place of its own, in the stretch
//! of its key's tag as long as there is room, and they change places among themselves: nothing is
//! held twice but their numbers, in 4 bytes a line.

use super::placement::{Bits, LONG, Places, first_of};
use super::records::{Cells, WORDS};
use crate::store::index::entry::{Entry, Limited};
use crate::store::index::hash_table::group::Run;
use crate::store::index::verification_index::Index;

/// How many lines there are at most for each that is used, in hundredths.
const ROOM: u64 = 135;

/// No line.
const NONE: u32 = u32::MAX;
/// A line whose stretch has no room.
const LATE: u32 = u32::MAX - 1;

/// Where each line goes.
#[derive(Debug)]
struct Moves {
    to: Vec<u32>,
    free: Bits,
    stretches: u32,
    /// Where the next line may go, of those that come in the order of their tags.
    next: u32,
}

impl Moves {
    /// From the first lines to as many or more places, at least a stretch of them. No line is used
    /// as far as is known.
    fn new(lines: u32, places: u32) -> Self {
        let (to, free) = (vec![NONE; lines as usize], Bits::below(places));
        Self { to, free, stretches: places + 1 - LONG, next: 0 }
    }

    /// A line is used by a key with this tag: it goes to the first place of its stretch that those
    /// before it have left. As all stretches are of one length, no other way leads more lines there.
    fn note(&mut self, tag: u64, line: u32) {
        let first = first_of(tag, self.stretches);
        let place = self.next.max(first);
        let Some(to) = self.to.get_mut(line as usize) else { return };
        if place < first + LONG {
            self.free.remove(place);
            self.next = place + 1;
            *to = place;
        } else {
            *to = LATE;
        }
    }

    /// Gives places to those that are late, when all are noted.
    fn place_late(&mut self) {
        for to in self.to.iter_mut().filter(|to| **to == LATE) {
            *to = self.free.remove_any().unwrap_or(NONE);
        }
    }

    /// Where a line goes, if it is used.
    fn to(&self, line: u32) -> Option<u32> {
        self.to.get(line as usize).copied().filter(|to| *to != NONE)
    }

    /// Moves what they hold: each to its place, what lay there to its own, and so on. The places
    /// that are free then.
    fn make(mut self, cells: &mut Cells) -> Bits {
        for (first, number) in (0..self.to.len()).zip(0..) {
            let mut to = std::mem::replace(&mut self.to[first], NONE);
            if to == NONE {
                continue;
            }
            let mut held: [u64; WORDS] = cells.words(number);
            while to != NONE {
                let next = self.to.get_mut(to as usize);
                let next = next.map_or(NONE, |next| std::mem::replace(next, NONE));
                held = cells.swap(to, held);
                to = next;
            }
        }
        self.free
    }
}

impl Index {
    /// Places the lines of keys, once, while nobody else has the index. Where there can't be so
    /// many, they stay as they lie.
    pub(in crate::store) fn place_lines(&mut self) {
        let (table, lines, writer) = self.parts();
        let numbers = &writer.lines.keys;
        let (all, used) = (numbers.all(), numbers.used());
        let wanted = u32::try_from(u64::from(used) * ROOM / 100).unwrap_or(u32::MAX);
        // A part that is begun is made whole.
        let places = Cells::whole_parts(wanted).max(all).max(LONG);
        if used == 0 || !lines.keys.make(places) {
            return;
        }
        let mut moves = Moves::new(all, places);
        let mut named = Vec::new();
        for run in table.runs() {
            let slots = run.iter().filter_map(|slot| Some((slot.tag()?, slot.contents())));
            named.extend(
                slots.filter_map(|(tag, words)| Some((tag, limiter(&Entry::unpack(&words))?))),
            );
            named.sort_unstable();
            // Tokens of one key name one line.
            named.dedup();
            named.drain(..).for_each(|(tag, line)| moves.note(tag, line));
        }
        moves.place_late();
        for slot in table.runs().flat_map(Run::iter).filter(|slot| slot.tag().is_some()) {
            let entry = Entry::unpack(&slot.contents());
            let moved = limiter(&entry).and_then(|line| moves.to(line));
            if let (Some(limited), Some(to)) = (entry.limited, moved) {
                let limited = Limited { limiter: Some(to), ..limited };
                slot.rewrite(&Entry { limited: Some(limited), ..entry }.pack());
            }
        }
        let stretches = moves.stretches;
        writer.lines.keys = Places::new(places, moves.make(&mut lines.keys));
        lines.stretches.set(stretches);
    }
}

fn limiter(entry: &Entry) -> Option<u32> {
    entry.limited?.limiter
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::super::lease::{LeaseWord, LeftWord};
    use super::super::read::Whose;
    use super::*;
    use crate::backend::{ScannedKey, ScannedOwner};
    use crate::clock::{ManualClock, Timestamp};
    use crate::id::{Generation, KeyId, OwnerId, Version};
    use crate::key::{
        Digest, Kind, Limit, Limits, PepperNumber, PrefixNumber, PreviousToken, Quota, Rate,
        Scheme, SetBy, TokenRecord, VersionedQuota,
    };
    use crate::permission::{Access, Catalogue};
    use crate::store::index::hash_table::slot::{TAG_BITS, tag_of};

    proptest! {
        /// Against the plainest way: every used line has a place of its own that holds what it
        /// held, all other places are free, and of keys in the order of their tags each has the
        /// first free place of its stretch, if one is.
        #[test]
        fn each_line_has_a_place_of_its_own(
            mut keys in prop::collection::btree_map(0..1_u64 << TAG_BITS, any::<bool>(), 1..300),
            crowded in any::<bool>(),
            room in 0..200_u32,
            order in any::<u64>(),
        ) {
            if crowded {
                keys = keys.into_iter().map(|(tag, used)| (tag >> 4, used)).collect();
            }
            // Lines came in another order than tags, and some are used no more.
            let mut came: Vec<(u64, bool)> = keys.into_iter().collect();
            came.sort_by_key(|(tag, _)| (tag ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let lines = u32::try_from(came.len()).unwrap();
            let places = (lines + room).max(LONG);
            let mut cells = Cells::new();
            prop_assert!(cells.make(places));
            (0..places).for_each(|line| _ = cells.swap(line, [u64::from(line); WORDS]));
            let mut moves = Moves::new(lines, places);
            let by_tag: BTreeMap<u64, u32> = came.iter().zip(0..)
                .filter(|((_, used), _)| *used).map(|((tag, _), line)| (*tag, line)).collect();
            let mut free: BTreeSet<u32> = (0..places).collect();
            let mut expected = BTreeMap::new();
            for (tag, line) in &by_tag {
                moves.note(*tag, *line);
                let first = first_of(*tag, moves.stretches);
                let place = (first..first + LONG).find(|place| free.contains(place));
                if let Some(place) = place {
                    free.remove(&place);
                    expected.insert(*line, place);
                }
            }
            moves.place_late();
            let to: BTreeMap<u32, u32> =
                (0..lines).filter_map(|line| Some((line, moves.to(line)?))).collect();
            prop_assert!(to.keys().eq(by_tag.values().collect::<BTreeSet<_>>()));
            prop_assert!(expected.iter().all(|(line, place)| to[line] == *place));
            let taken: BTreeSet<u32> = to.values().copied().collect();
            prop_assert_eq!(taken.len(), to.len());
            prop_assert!(taken.iter().all(|place| *place < places));
            let mut free = moves.make(&mut cells);
            for (line, place) in &to {
                prop_assert_eq!(cells.words(*place), [u64::from(*line); WORDS]);
            }
            let left: BTreeSet<u32> = std::iter::from_fn(|| free.remove_any()).collect();
            prop_assert!(left.into_iter().eq((0..places).filter(|place| !taken.contains(place))));
        }
    }

    fn index() -> Index {
        let catalogue = Catalogue::builder().read("links:read").build().unwrap();
        let clock = ManualClock::new(Timestamp::clamped_millis(1_767_225_600_000));
        let index = Index::new(catalogue, vec![PepperNumber::new(1)], Arc::new(clock));
        let owner = ScannedOwner {
            id: OwnerId::new("org").unwrap(),
            suspended: false,
            max_access: Access::Full,
            limits: Limits::default(),
            tokens_valid_from: None,
        };
        index.put_owner(&owner).unwrap();
        index
    }

    fn id(number: u32) -> KeyId {
        let mut random = ChaCha8Rng::seed_from_u64(number.into());
        KeyId::from_u128(7 << 76 | u128::from(random.next_u64() >> 2))
    }

    /// A key with so many tokens, limited to a rate of so many uses, or not.
    fn key(number: u32, tokens: u32, rate: Option<u32>) -> ScannedKey {
        let digest = |generation: u32| {
            let mut bytes = [7; 32];
            bytes[..4].copy_from_slice(&number.to_ne_bytes());
            bytes[4..8].copy_from_slice(&generation.to_ne_bytes());
            let (pepper, prefix) = (PepperNumber::new(1), PrefixNumber::new(0).unwrap());
            Digest::new(bytes, Scheme::Blake3Keyed64, pepper, prefix)
        };
        let token = |generation: u32| TokenRecord {
            generation: Generation::new(generation).unwrap(),
            digest: digest(generation),
            issued_at: Timestamp::MIN,
        };
        let by_admin = |value| Some(Limit { value, by: SetBy::Administrator });
        let limits = rate.map(|count| {
            let quota = Quota::one_time(u64::from(count)).unwrap();
            let since = Version::new(count.into());
            Box::new(Limits {
                rate: Some(Limit {
                    value: Rate::new(count, Duration::from_secs(1)).unwrap(),
                    by: SetBy::Administrator,
                }),
                quota: by_admin(VersionedQuota { quota, quota_version: since }),
                ..Limits::default()
            })
        });
        ScannedKey {
            id: id(number),
            owner: OwnerId::new("org").unwrap(),
            kind: Kind::Standard,
            access: Access::Full,
            limits,
            expires_at: Some(Timestamp::MAX),
            deactivated: false,
            blocked: false,
            revoked: false,
            current: token(tokens),
            previous: (1..tokens)
                .map(|generation| PreviousToken {
                    token: token(generation),
                    ends_at: Timestamp::MAX,
                })
                .collect(),
        }
    }

    /// All that the index says of a key, and the lines that its tokens name.
    fn shown(index: &Index, number: u32) -> (Vec<Entry>, BTreeSet<Option<u32>>) {
        let contents = index.table.contents(tag_of(id(number).as_u128()));
        let mut entries: Vec<Entry> = contents.iter().map(Entry::unpack).collect();
        let lines = entries.iter().map(limiter).collect();
        for entry in &mut entries {
            entry.limited = entry.limited.map(|limited| Limited { limiter: None, ..limited });
        }
        entries.sort_unstable_by_key(|entry| entry.generation);
        (entries, lines)
    }

    /// How many of these keys have a line where their tags say.
    fn found_at_once(index: &Index, numbers: impl Iterator<Item = u32>) -> usize {
        let is_there = |number: &u32| {
            let line = index.key_limiter(&index.lock(), id(*number), None).unwrap();
            let first = index.lines.stretches.of(tag_of(id(*number).as_u128()));
            first.is_some_and(|first| (first..first + LONG).contains(&line))
        };
        numbers.filter(is_there).count()
    }

    /// Of all keys limited, of some, and of few; some have several tokens, and some were shown twice.
    #[test]
    fn placing_changes_nothing_but_numbers() {
        let all = 20_000;
        for share in [1, 7, 5_000] {
            let mut index = index();
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
            // What was used of each tells it from others.
            let now = index.clock.now();
            let limiter = |index: &Index, number: u32| {
                let entry = index.search(id(number)).find(|packed| packed.judged_at(now));
                let limiter = index.limiter(entry.unwrap().limited.unwrap()).unwrap();
                let rate = limiter.gcra().unwrap();
                (limiter.judge(rate, now, 0), limiter.shape, limiter.lease().held())
            };
            for number in &limited {
                let whose = Whose::Key(id(*number), None);
                let quota = index.quota(whose).unwrap();
                let lease = LeaseWord::new(None, u64::from(*number) + 1);
                assert!(index.put_lease(whose, quota, lease, LeftWord::UNKNOWN));
            }
            let state = |index: &Index| -> Vec<_> {
                limited.iter().map(|number| limiter(index, *number)).collect()
            };
            let before: Vec<_> = (0..all).map(|number| shown(&index, number)).collect();
            let states = state(&index);
            index.place_lines();
            assert_eq!(state(&index), states);
            let mut taken = BTreeSet::new();
            for (number, (entries, lines)) in (0..all).zip(before) {
                let (now, now_named) = shown(&index, number);
                assert!(now == entries && entries.len() == number as usize % 3 + 1);
                assert_eq!((lines.len(), now_named.len()), (1, 1));
                if let Some(line) = now_named.first().unwrap() {
                    assert!(taken.insert(*line), "named twice");
                }
                assert_eq!(now_named.first().unwrap().is_some(), is_limited(number));
            }
            let ([used, ..], [lines, ..]) = index.count_lines();
            assert_eq!((used, taken.len()), (limited.len(), limited.len()));
            let at_once = found_at_once(&index, limited.iter().copied());
            assert!(at_once * 100 >= used * 90, "{at_once} of {used}");
            // Whoever loses its limits gives its line back.
            for number in &limited {
                index.put_key(&key(*number, 2, None)).unwrap();
            }
            assert_eq!(index.count_lines(), ([0; 3], [lines, 0, 0]));
        }
    }

    #[test]
    fn without_limits_there_is_nothing_to_look_at() {
        let mut index = index();
        (0..1_000).for_each(|number| index.put_key(&key(number, 1, None)).unwrap());
        index.place_lines();
        assert_eq!(index.lines.stretches.of(1), None);
        assert_eq!(index.count_lines().1, [0; 3]);
        // Who comes later has a line all the same.
        index.put_key(&key(1, 1, Some(9))).unwrap();
        assert_eq!((index.count_lines().0, found_at_once(&index, 1..2)), ([1, 0, 0], 0));
    }

    /// The share of lines that lie where tags say sinks as more keys are limited; there is one line
    /// for each, and a third more at first.
    #[test]
    fn a_store_that_grows_finds_fewer_at_once() {
        let mut index = index();
        let first = 20_000;
        (0..first).for_each(|number| index.put_key(&key(number, 1, Some(9))).unwrap());
        index.place_lines();
        let lines = index.count_lines().1[0];
        assert!(lines * 100 <= first as usize * 135, "{lines}");
        let mut put = first;
        for (percent, least) in [(100, 91), (125, 78), (150, 65), (200, 48), (400, 24)] {
            let keys = first * percent / 100;
            (put..keys).for_each(|number| index.put_key(&key(number, 1, Some(9))).unwrap());
            put = keys;
            let right = found_at_once(&index, 0..keys) * 100 / keys as usize;
            assert!(right >= least, "{right} % of {keys}");
            assert_eq!(index.count_lines().1[0], lines.max(keys as usize));
        }
    }
}
