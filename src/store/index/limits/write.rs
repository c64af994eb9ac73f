//! The limits of keys and owners into their lines, and lines given back.

use super::limiter::{Limiter, Shape};
use super::networks::ListNumbers;
use super::read::{LineNumbers, Lines, read};
use super::records::Cells;
use crate::backend::ScannedKey;
use crate::clock::Timestamp;
use crate::key::Limits;
use crate::store::index::entry::{Entry, Limited};
use crate::store::index::hash_table::slot::{Words, tag_of};
use crate::store::index::interned::Owners;
use crate::store::index::verification_index::{Index, IndexError, IndexWriter};

/// Limits that were put, and whether their line is new.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::index) struct PutLimits {
    pub(in crate::store::index) limited: Option<Limited>,
    pub(in crate::store::index) new: Option<u32>,
}

/// Whose line: of a key with this tag, or of an owner.
#[derive(Clone, Copy, Debug)]
enum LineOf {
    Key(u64),
    Owner,
}

impl Index {
    /// Puts the limits of a key; the line stays the same if they are the same. Its tokens must name
    /// it next, or [`take_back`](Self::take_back) be called.
    pub(in crate::store::index) fn put_key_limits(
        &self,
        writer: &mut IndexWriter,
        key: &ScannedKey,
        owner: u32,
    ) -> Result<PutLimits, IndexError> {
        let nothing = PutLimits { limited: None, new: None };
        // A revoked key is never used again.
        let Some(limits) = key.limits.as_deref().filter(|_| !key.revoked) else {
            return Ok(nothing);
        };
        let shape = shape(&self.lines, &mut writer.lines, limits)?;
        let shape = shape.map(|shape| shape.of_key(&key.owner));
        let before = self.key_limiter(writer, key.id, Some(owner));
        let before = before.and_then(|before| read(&self.lines.keys, before));
        let whose = LineOf::Key(tag_of(key.id.as_u128()));
        let (number, is_new) = self.put_line(writer, shape, before, whose)?;
        let not_before = limits.not_before.map(|limit| limit.value);
        // The beginning of time limits nothing.
        let not_before = not_before.filter(|at| *at > Timestamp::MIN);
        let is_limited = number.is_some() || not_before.is_some();
        let limited = is_limited.then_some(Limited { not_before, limiter: number });
        Ok(PutLimits { limited, new: number.filter(|_| is_new) })
    }

    /// Puts the limits of an owner, which hold at once.
    pub(in crate::store::index) fn put_owner_limits(
        &self,
        writer: &mut IndexWriter,
        owner: u32,
        limits: &Limits,
    ) -> Result<(), IndexError> {
        let before = Owners::limiter_of(self.owners.word(owner).ok_or(IndexError::Full)?);
        let not_before = limits.not_before.map(|limit| limit.value);
        let not_before = not_before.filter(|at| *at > Timestamp::MIN);
        let shape = shape(&self.lines, &mut writer.lines, limits)?
            .or(not_before.map(|_| Shape::default()))
            .map(|shape| shape.of_owner(not_before));
        let old = before.and_then(|before| read(&self.lines.owners, before));
        let (number, is_new) = self.put_line(writer, shape, old, LineOf::Owner)?;
        if number == before {
            return Ok(());
        }
        if self.owners.set_limiter(owner, number).is_none() {
            if let Some(new) = number.filter(|_| is_new) {
                self.free_owner(writer, new);
            }
            return Err(IndexError::Full);
        }
        if let Some(before) = before {
            self.free_owner(writer, before);
        }
        Ok(())
    }

    /// Ends the limits of an owner that is gone.
    pub(in crate::store::index) fn end_owner_limits(&self, writer: &mut IndexWriter, owner: u32) {
        let number = self.owners.word(owner).and_then(Owners::limiter_of);
        if let Some(number) = number
            && self.owners.set_limiter(owner, None).is_some()
        {
            self.free_owner(writer, number);
        }
    }

    /// A new line was not named by any token.
    pub(in crate::store::index) fn take_back(&self, writer: &mut IndexWriter, put: PutLimits) {
        if let Some(number) = put.new {
            self.free_key(writer, number);
        }
    }

    /// Frees the lines that tokens named which are gone, unless others name them now.
    pub(in crate::store::index) fn free_lines<'a>(
        &self,
        writer: &mut IndexWriter,
        gone: impl Iterator<Item = &'a Words>,
        named: &[Words],
    ) {
        let limiter = |words: &Words| Entry::unpack(words).limited?.limiter;
        let mut gone: Vec<u32> = gone.filter_map(limiter).collect();
        if gone.is_empty() {
            return;
        }
        gone.sort_unstable();
        gone.dedup();
        gone.retain(|number| named.iter().all(|words| limiter(words) != Some(*number)));
        gone.into_iter().for_each(|number| self.free_key(writer, number));
    }

    /// The line of a shape, and whether it is a new one. Takes over the shape's list.
    fn put_line(
        &self,
        writer: &mut IndexWriter,
        shape: Option<Shape>,
        before: Option<Limiter<'_>>,
        of: LineOf,
    ) -> Result<(Option<u32>, bool), IndexError> {
        let Some(shape) = shape else { return Ok((None, false)) };
        let lines = &mut writer.lines;
        if let Some(before) = before.filter(|before| before.shape.is_same(&shape)) {
            if let Some(list) = shape.list() {
                lines.lists.release(&self.lines.lists, list);
            }
            return Ok((Some(before.number), false));
        }
        let taken = match of {
            LineOf::Key(tag) => lines.keys.take(&self.lines.keys, self.lines.stretches.of(tag)),
            LineOf::Owner => lines.owners.take(&self.lines.owners),
        };
        let Some((number, cell)) = taken else {
            if let Some(list) = shape.list() {
                lines.lists.release(&self.lines.lists, list);
            }
            return Err(IndexError::Full);
        };
        let now = self.clock.now();
        match of {
            LineOf::Key(_) => Limiter::fill(cell, shape, before.as_ref(), now),
            LineOf::Owner => Limiter::write_seqlocked(cell, shape, before.as_ref(), now),
        }
        Ok((Some(number), true))
    }

    /// A key's line that no token names any more.
    fn free_key(&self, writer: &mut IndexWriter, number: u32) {
        let lines = &mut writer.lines;
        self.free_list(&mut lines.lists, &self.lines.keys, number);
        lines.keys.release(number);
    }

    /// An owner's line.
    fn free_owner(&self, writer: &mut IndexWriter, number: u32) {
        let lines = &mut writer.lines;
        self.free_list(&mut lines.lists, &self.lines.owners, number);
        lines.owners.release(number);
    }

    /// A line's list is referred to once less.
    fn free_list(&self, lists: &mut ListNumbers, cells: &Cells, number: u32) {
        if let Some(list) = read(cells, number).and_then(|limiter| limiter.shape.list()) {
            lists.release(&self.lines.lists, list);
        }
    }

    /// How many lines keys and owners have, and how many lists there are; how many lines there
    /// are, used or not.
    #[cfg(test)]
    pub(in crate::store::index) fn count_lines(&self) -> ([usize; 3], [usize; 3]) {
        let writer = self.lock();
        let LineNumbers { keys, owners, lists } = &writer.lines;
        let ((keys, all_keys), (owners, all_owners)) = (keys.count(), owners.count());
        let (lists, all_lists) = lists.count();
        ([keys, owners, lists], [all_keys, all_owners, all_lists])
    }
}

/// What limits are judged by; their list is referred to once more.
fn shape(
    lines: &Lines,
    numbers: &mut LineNumbers,
    limits: &Limits,
) -> Result<Option<Shape>, IndexError> {
    let list = match &limits.networks {
        Some(networks) => {
            let list = numbers.lists.put(&lines.lists, &networks.value);
            Some(list.ok_or(IndexError::Full)?)
        }
        None => None,
    };
    Ok(Shape::new(limits, list))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::super::lease::{LeaseWord, LeftWord};
    use super::super::read::Whose;
    use super::*;
    use crate::backend::ScannedOwner;
    use crate::clock::ManualClock;
    use crate::id::{Generation, KeyId, OwnerId, Version};
    use crate::key::{
        Digest, Kind, Limit, Network, Networks, PepperNumber, PrefixNumber, PreviousToken, Quota,
        Rate, Scheme, SetBy, TokenRecord, Verdict, VersionedQuota,
    };
    use crate::permission::{Access, Catalogue};

    fn index() -> Index {
        let catalogue = Catalogue::builder().read("links:read").build().unwrap();
        let clock = ManualClock::new(Timestamp::clamped_millis(1_767_225_600_000));
        Index::new(catalogue, vec![PepperNumber::new(1)], Arc::new(clock))
    }

    /// An index whose lines are used again after one change, as if a reader were interrupted for a
    /// thousand.
    fn restless() -> Index {
        let index = index();
        let mut writer = index.lock();
        writer.lines.keys.rest = 1;
        writer.lines.owners.rest = 1;
        writer.lines.lists.numbers.rest = 1;
        drop(writer);
        index
    }

    fn by_admin<T>(value: T) -> Option<Limit<T>> {
        Some(Limit { value, by: SetBy::Administrator })
    }

    /// A rate and a quota whose numbers are all this one, and a list of networks that begins with it.
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
        let id = OwnerId::new(id).unwrap();
        ScannedOwner {
            id,
            suspended: false,
            max_access: Access::Full,
            limits,
            tokens_valid_from: None,
        }
    }

    fn key(number: u64, owner: &str, limits: Option<Limits>) -> ScannedKey {
        let (pepper, prefix) = (PepperNumber::new(1), PrefixNumber::new(0).unwrap());
        let digest = Digest::new([7; 32], Scheme::Blake3Keyed64, pepper, prefix);
        ScannedKey {
            id: KeyId::from_u128(7 << 76 | u128::from(number)),
            owner: OwnerId::new(owner).unwrap(),
            kind: Kind::Standard,
            access: Access::Full,
            limits: limits.map(Box::new),
            expires_at: None,
            deactivated: false,
            blocked: false,
            revoked: false,
            current: TokenRecord {
                generation: Generation::FIRST,
                digest,
                issued_at: Timestamp::MIN,
            },
            previous: Vec::new(),
        }
    }

    /// However often limits come, change and go: there are as many lines as are needed at once.
    #[test]
    fn lines_are_used_again() {
        let index = index();
        let mut most = [0; 3];
        for round in 0..3_000_u32 {
            let id = format!("org-{}", round % 7);
            index.put_owner(&owner(&id, limits(round % 11 + 1))).unwrap();
            for n in 0..4 {
                index.put_key(&key(n, &id, Some(limits(round % 5 + 1 + n as u32)))).unwrap();
            }
            assert_eq!(index.count_lines().0[..2], [4, 1], "{round}");
            let unlimited = key(0, &id, None);
            index.put_key(&unlimited).unwrap();
            index.put_key(&ScannedKey { revoked: true, ..key(1, &id, Some(limits(1))) }).unwrap();
            assert_eq!(index.count_lines().0[..2], [2, 1], "{round}");
            if round % 2 == 0 {
                for n in 0..4 {
                    index.remove_key(key(n, &id, None).id, &unlimited.owner).unwrap();
                }
                index.remove_owner(&unlimited.owner);
            } else {
                index.retain(&BTreeSet::new(), &BTreeSet::new());
            }
            let (used, all) = index.count_lines();
            assert_eq!(used, [0; 3], "{round}");
            // By then as many have rested as must.
            if round == 1_500 {
                most = all;
            }
        }
        assert_eq!(index.count_lines().1, most);
    }

    #[test]
    fn a_line_that_no_token_names_is_free_again() {
        let index = index();
        index.put_owner(&owner("org", Limits::default())).unwrap();
        let key = key(1, "org", Some(limits(3)));
        let (pepper, prefix) = (PepperNumber::new(2), PrefixNumber::new(0).unwrap());
        let digest = Digest::new([7; 32], Scheme::Blake3Keyed64, pepper, prefix);
        let token = TokenRecord { digest, ..key.current };
        let previous = |token: &TokenRecord| {
            let token = token.clone();
            PreviousToken { token, ends_at: Timestamp::MAX }
        };
        let second = vec![previous(&key.current), previous(&token)];
        let first = ScannedKey { current: token, ..key.clone() };
        for key in [first, ScannedKey { previous: second, ..key }] {
            assert!(index.put_key(&key).is_err(), "a pepper isn't open");
            assert_eq!(index.count_lines().0, [0; 3]);
        }
    }

    #[test]
    fn the_same_limits_keep_their_line() {
        let index = index();
        index.put_owner(&owner("org", limits(2))).unwrap();
        let mut key = key(1, "org", Some(limits(3)));
        index.put_key(&key).unwrap();
        let number = || index.key_limiter(&index.lock(), key.id, None).unwrap();
        let before = number();
        let id = key.owner;
        index.put_owner(&owner("org", limits(2))).unwrap();
        key.deactivated = true;
        index.put_key(&key).unwrap();
        index.mark_key_indeterminate(key.id, &id);
        let number = index.key_limiter(&index.lock(), key.id, None).unwrap();
        assert_eq!((number, index.count_lines().0), (before, [1, 1, 2]));
        key.limits = Some(Box::new(limits(2)));
        index.put_key(&key).unwrap();
        assert_eq!(index.count_lines().0, [1, 1, 1]);
    }

    /// All that a reader takes for a key's limits, or an owner's, was put together.
    #[test]
    fn limits_are_never_torn() {
        let index = restless();
        index.put_owner(&owner("org", limits(1))).unwrap();
        index.put_key(&key(1, "org", Some(limits(1)))).unwrap();
        let id = key(1, "org", None).id;
        let stop = AtomicBool::new(false);
        let whole = |limiter: &Limiter<'_>| {
            let rate = limiter.gcra()?;
            let (number, per) = (rate.rate().count(), rate.rate().per().as_millis());
            let same = rate.rate().burst() == number
                && per == number.into()
                && limiter.since() == u64::from(number);
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
                // Lines of keys and of owners, and lists, rest one change only.
                index.put_key(&key(1, "org", Some(limits(round % 97 * 10 + 1)))).unwrap();
                index.put_owner(&owner("org", limits(round % 89 * 10 + 1))).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    /// No use of a lease is counted twice while it moves from line to line, and none is missing.
    #[test]
    fn a_lease_moves_whole() {
        let index = restless();
        index.put_owner(&owner("org", Limits::default())).unwrap();
        let quota = |count: u32| Limits { rate: limits(count).rate, ..limits(1_000) };
        index.put_key(&key(1, "org", Some(quota(1)))).unwrap();
        let id = key(1, "org", None).id;
        let now = Timestamp::MIN;
        let whose = Whose::Key(id, None);
        let quota_now = index.quota(whose).unwrap();
        let all = LeaseWord::new(None, 50_000);
        assert!(index.put_lease(whose, quota_now, all, LeftWord::new(0, now)));
        let spent = std::thread::scope(|scope| {
            let spending = scope.spawn(|| {
                let mut spent = 0;
                for _ in 0..40_000 {
                    let found = index.search(id).find(|packed| {
                        let entry = packed.judged_at(now)?;
                        let limiter = index.limiter(entry.limited?)?;
                        if !packed.seen().validate() {
                            return None;
                        }
                        let Some(lease) = limiter.spend(now, 1) else {
                            let lacks = limiter.lacks(now, 1, None);
                            assert!(!lacks || !packed.seen().validate(), "there is enough");
                            return None;
                        };
                        if !packed.seen().validate() {
                            index.refund_lease(Whose::Key(id, None), &limiter, lease.with_units(1));
                            return None;
                        }
                        Some(())
                    });
                    spent += u64::from(found.is_some());
                }
                spent
            });
            for round in 0..2_000 {
                index.put_key(&key(1, "org", Some(quota(1 + round % 50)))).unwrap();
            }
            spending.join().unwrap()
        });
        let (left, _) = index.take_lease(Whose::Key(id, None)).unwrap();
        assert_eq!(left.held() + spent, 50_000);
        assert!(spent > 0);
    }

    /// While uses go into the lease from beside it, none of them is missing.
    #[test]
    fn what_is_leased_is_never_missing() {
        const ALL: u32 = 100_000;
        let index = index();
        index.put_owner(&owner("org", Limits::default())).unwrap();
        index.put_key(&key(1, "org", Some(limits(1_000)))).unwrap();
        let (id, now) = (key(1, "org", None).id, Timestamp::MIN);
        let whose = Whose::Key(id, None);
        let quota = index.quota(whose).unwrap();
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

    /// What was leased of a quota before it was tightened is none of the tightened one, though it is
    /// counted from the same version on.
    #[test]
    fn a_lease_of_another_quota_is_not_put() {
        let index = index();
        index.put_owner(&owner("org", Limits::default())).unwrap();
        let quota = |uses| {
            let since = Version::new(3);
            let quota =
                VersionedQuota { quota: Quota::one_time(uses).unwrap(), quota_version: since };
            Limits { quota: by_admin(quota), ..Limits::default() }
        };
        let key = |uses| key(1, "org", Some(quota(uses)));
        index.put_key(&key(1_000)).unwrap();
        let whose = Whose::Key(key(0).id, None);
        let before = index.quota(whose).unwrap();
        let lease = LeaseWord::new(None, 62);
        assert!(index.put_lease(whose, before, lease, LeftWord::UNKNOWN));
        let search = || index.search(key(0).id).find(|packed| packed.judged_at(Timestamp::MIN));
        let limiter = || index.limiter(search().unwrap().limited.unwrap()).unwrap();
        let from = limiter();
        assert!(from.spend(Timestamp::MIN, 5).is_some());
        index.put_key(&key(10)).unwrap();
        assert!(!index.put_lease(whose, before, lease, LeftWord::UNKNOWN));
        index.refund_lease(whose, &from, lease.with_units(5));
        assert_eq!(limiter().lease().held(), 0);
        let now = index.quota(whose).unwrap();
        assert!(index.put_lease(whose, now, lease.with_units(1), LeftWord::UNKNOWN));
        index.refund_lease(whose, &limiter(), lease.with_units(1));
        assert_eq!(limiter().lease().held(), 2);
    }

    /// A used rate is carried over, to the last use, and other numbers apart.
    #[test]
    fn what_was_used_moves_along() {
        let index = index();
        index.put_owner(&owner("org", limits(9))).unwrap();
        let now = index.clock.now();
        for (count, left) in [(9, 4), (20, 15), (5, 0), (7, 2)] {
            let with = Limits { networks: None, quota: None, ..limits(count) };
            index.put_owner(&owner("org", with)).unwrap();
            let limiter = index.owner_limiter(0).unwrap().limiter;
            let rate = limiter.gcra().unwrap();
            if count == 9 {
                assert!(matches!(limiter.take(rate, now, 5), Verdict::Allowed { .. }));
            }
            let Verdict::Allowed { used, .. } = limiter.judge(rate, now, 0) else { panic!("used") };
            assert_eq!(rate.remaining(used), left, "{count}");
        }
    }
}
