//! Faults of reads.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keyhasp::authority::Actor;
use keyhasp::backend::{
    Backend, BackendError, EventFilter, EventPage, EventQuery, KeyFilter, KeyPage, KeyPageQuery,
    OwnerPage, OwnerPageQuery, Scanned, StateSet, Write,
};
use keyhasp::id::{KeyId, NumericId, OwnerId};
use keyhasp::key::{KeyRecord, Limits, OwnerRecord, Tags};
use keyhasp::permission::Access;

use super::{Entry, Fault, FaultyBackend, Half};

impl FaultyBackend {
    pub(super) fn read_scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        let (mut owners, mut keys) = (Vec::new(), Vec::new());
        let last = self.memory.scan(&mut |scanned| match scanned {
            Scanned::Owner(_) => owners.push(scanned),
            Scanned::Key(_) | Scanned::Damaged(_) => keys.push(scanned),
        })?;
        if self.is(Fault::ScansShowAKeyTwice) {
            keys.extend(keys.first().cloned());
        }
        self.show(owners, keys, visit);
        Ok(match self.fault {
            Fault::ScansTellNoEvent => 0,
            Fault::ScansTellTheEventAfterThem => self.memory.last_event()?,
            Fault::EventsAreNumberedFromZero => last.saturating_sub(1),
            _ => last,
        })
    }

    pub(super) fn read_scan_of(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        let (mut owners, mut keys) = (Vec::new(), Vec::new());
        let mut take = |scanned| match scanned {
            Scanned::Owner(_) => owners.push(scanned),
            Scanned::Key(_) | Scanned::Damaged(_) => keys.push(scanned),
        };
        let mut half = self.half.lock().unwrap();
        if self.is(Fault::ScansOfAnOwnerGoByItsFirstLetters) {
            self.memory.scan(&mut |scanned| {
                let of = match &scanned {
                    Scanned::Owner(owner) => owner.id,
                    Scanned::Key(key) => key.owner,
                    Scanned::Damaged(_) => return,
                };
                if of.as_str().starts_with(owner.as_str()) {
                    take(scanned);
                }
            })?;
        } else {
            self.memory.scan_owner(owner, &mut take)?;
        }
        if *half == Half::Stands {
            *half = Half::Seen;
        }
        drop(half);
        self.show(owners, keys, visit);
        Ok(())
    }

    fn show(&self, owners: Vec<Scanned>, keys: Vec<Scanned>, visit: &mut dyn FnMut(Scanned)) {
        let (first, second) =
            if self.is(Fault::ScansShowKeysFirst) { (keys, owners) } else { (owners, keys) };
        for mut scanned in first.into_iter().chain(second) {
            match (self.fault, &mut scanned) {
                (Fault::ScansOmitBlocks, Scanned::Key(key)) => key.blocked = false,
                (Fault::ScansOmitLimits, Scanned::Key(key)) => key.limits = None,
                (Fault::ScansOmitLimitsOfOwners, Scanned::Owner(owner)) => {
                    owner.limits = Limits::default();
                }
                (Fault::ScansOmitMaxAccesss, Scanned::Owner(owner)) => {
                    owner.max_access = Access::Full;
                }
                _ => {}
            }
            visit(scanned);
        }
    }

    pub(super) fn read_owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        let found = self.memory.owner(id)?;
        if found.is_some() || !self.is(Fault::OwnersAreFoundWithoutCase) {
            return Ok(found);
        }
        let (after, limit) = (None, usize::MAX);
        let query = OwnerPageQuery { after, ..OwnerPageQuery::all(limit) };
        let alike = |owner: &OwnerRecord| owner.id.as_str().eq_ignore_ascii_case(id.as_str());
        Ok(self.memory.page_owners(&query)?.owners.into_iter().find(alike))
    }

    pub(super) fn read_key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        let found = self.memory.key(id)?;
        if !self.is(Fault::ReadsAreStale) {
            return Ok(found);
        }
        let mut notes = self.notes();
        Ok(found.map(|key| notes.first_reads.entry(id).or_insert(key).clone()))
    }

    pub(super) fn read_by_numeric_id(
        &self,
        id: NumericId,
    ) -> Result<Option<KeyRecord>, BackendError> {
        let mut id = id;
        if self.is(Fault::NumericIdsAreReadByTheirLowBits) {
            id = NumericId::new(id.get() & 0xffff_ffff).unwrap_or(id);
        }
        let found = self.memory.key_by_numeric_id(id)?;
        match self.fault {
            Fault::RevokedKeysHaveNoNumericId => Ok(found.filter(KeyRecord::is_live)),
            Fault::RemovedKeysAreFoundByNumericId if found.is_none() => {
                let notes = self.notes();
                let operations = notes.log.iter().flat_map(|entry| match entry {
                    Entry::Committed(change) => change.operations.as_slice(),
                    _ => &[],
                });
                let mut created = operations.filter_map(|operation| match &operation.write {
                    Write::CreateKey(create) => Some(&create.record),
                    _ => None,
                });
                Ok(created.find(|key| key.numeric_id == Some(id)).cloned())
            }
            _ => Ok(found),
        }
    }

    fn spoil_filter(&self, filter: &mut KeyFilter) {
        match self.fault {
            Fault::ExpiryIsExclusive => {
                filter.now = filter.now.saturating_sub(Duration::from_millis(1));
            }
            Fault::KeysAreInAnyState => filter.states = StateSet::ALL,
            Fault::KeysAreOfAnyKind => filter.kind = None,
            Fault::KeysAreOfAnyCreator => filter.created_by_key = None,
            Fault::KeysAreOfAnyOwner => filter.owner = None,
            Fault::KeysExpireAtAnyTime => filter.expires_before = None,
            Fault::KeysGrantAnyPermission => filter.permission = None,
            Fault::KeysHaveAnyTags => filter.tags = Tags::default(),
            Fault::KeysHaveAnyName => filter.name_start = None,
            Fault::KeysHaveAnyPrefix => filter.prefixes = None,
            _ => {}
        }
    }

    /// Alters how many rows a page may hold and examine.
    fn spoil_bounds(&self, limit: &mut usize, examine: &mut usize) {
        match self.fault {
            Fault::PagesExamineTooMuch => *examine = usize::MAX,
            Fault::PagesExceedTheirLimit => *limit += 1,
            _ => {}
        }
    }

    pub(super) fn read_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        let mut query = query.clone();
        self.spoil_filter(&mut query.filter);
        self.spoil_bounds(&mut query.limit, &mut query.examine);
        let missing = match query.before {
            Some(before) => self.memory.key(before)?.is_none(),
            None => false,
        };
        if missing && self.is(Fault::PagesEndWithAMissingKey) {
            return Ok(KeyPage::default());
        }
        if self.is(Fault::BoundsOfKeysAreIncluded) {
            let moved =
                |id: KeyId, by: i128| KeyId::from_u128(id.as_u128().wrapping_add_signed(by));
            query.before = query.before.map(|id| moved(id, 1));
            query.after = query.after.map(|id| moved(id, -1));
        }
        let mut page = self.memory.page_keys(&query)?;
        match self.fault {
            Fault::EmptyPagesGoOn if page.keys.is_empty() => {
                page.next = Some(KeyId::from_u128(0));
            }
            Fault::KeysAreOldestFirst => page.keys.reverse(),
            Fault::KeyIdsAreSigned => {
                page.keys.sort_by_key(|key| std::cmp::Reverse(key.id.as_u128().cast_signed()));
            }
            Fault::PagesEndWithTheFirst => page.next = None,
            Fault::PagesOmitSeals => page.keys.iter_mut().for_each(|key| key.seal = None),
            _ => {}
        }
        Ok(page)
    }

    pub(super) fn read_count(&self, filter: &KeyFilter) -> Result<u64, BackendError> {
        let mut filter = filter.clone();
        self.spoil_filter(&mut filter);
        if self.is(Fault::CountsAreOfAll) {
            filter.states = StateSet::ALL;
        }
        self.memory.count_keys(&filter)
    }

    pub(super) fn read_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        let mut query = query.clone();
        self.spoil_bounds(&mut query.limit, &mut query.examine);
        if self.is(Fault::OwnersAreInAnyState) {
            query.suspended = None;
        }
        if self.is(Fault::OwnersHaveAnyTags) {
            query.tags = Tags::default();
        }
        let mut page = self.memory.page_owners(&query)?;
        match (self.fault, query.after) {
            (Fault::BoundsOfOwnersAreIncluded, Some(after)) => {
                page.owners.splice(0..0, self.memory.owner(&after)?);
            }
            (Fault::EmptyPagesGoOn, None) if page.owners.is_empty() => {
                page.next = OwnerId::new("a").ok();
            }
            (Fault::OwnersAreOrderedWithoutCase, _) => {
                page.owners.sort_by_key(|owner| owner.id.as_str().to_lowercase());
            }
            (Fault::PagesEndWithTheFirst, _) => page.next = None,
            (Fault::SweptOwnersAreNotListed, _) if query.swept => page.owners.clear(),
            (Fault::PagesOmitMaxAccesss, _) => {
                page.owners.iter_mut().for_each(|owner| owner.max_access = Access::Full);
            }
            _ => {}
        }
        Ok(page)
    }

    pub(super) fn read_events(&self, query: &EventQuery) -> Result<EventPage, BackendError> {
        let EventQuery { mut after, mut before, mut filter, mut limit, mut examine } =
            query.clone();
        self.spoil_bounds(&mut limit, &mut examine);
        let actor = filter.actor.clone();
        match self.fault {
            Fault::ActorsAreComparedWithoutCase => filter.actor = None,
            Fault::EventsAreByAnyKey => filter.acting_key = None,
            Fault::EventsAreOfAnyKey => filter.key = None,
            Fault::EventsAreOfAnyIncarnation => filter.incarnation = None,
            Fault::EventsAreOfAnyKind => filter.kind = None,
            Fault::EventsAreOfAnyOwner => filter.owner = None,
            Fault::EventsAreOfAnyTime => (filter.since, filter.until) = (None, None),
            Fault::EventsFromANumberOn => after = after.saturating_sub(1),
            Fault::EventsUpToANumber => before = before.map(|before| before.saturating_add(1)),
            _ => {}
        }
        let spoiled = EventQuery { after, before, filter: filter.clone(), limit, examine };
        let mut page = self.memory.events(&spoiled)?;
        let notes = self.notes();
        page.events.retain(|event| !notes.hidden_events.contains(&event.sequence));
        match self.fault {
            Fault::ActorsAreComparedWithoutCase => {
                let lower = |actor: &Actor| actor.as_str().to_lowercase();
                let meant = actor.as_ref().map(lower);
                page.events.retain(|event| {
                    meant.as_ref().is_none_or(|meant| *meant == lower(&event.authority.actor))
                });
            }
            Fault::EmptyPagesGoOn if page.events.is_empty() => page.next = Some(after + 1),
            Fault::EventsAreNeverNewestFirst => page.events.sort_by_key(|event| event.sequence),
            Fault::EventsAreNumberedFromZero => {
                page.events.iter_mut().for_each(|event| event.sequence -= 1);
            }
            Fault::EventsLoseTheirIncarnation => {
                page.events.iter_mut().for_each(|event| event.incarnation = None);
            }
            Fault::EventsLoseTheirCorrelation => {
                let lose = |event: &mut keyhasp::event::Event| {
                    event.draft.authority.correlation_id = None;
                };
                page.events.iter_mut().for_each(lose);
            }
            Fault::EventsOfTheStoreAreNotRead => {
                page.events.retain(|event| event.kind.number() < 40);
            }
            Fault::PagesEndWithTheFirst => page.next = None,
            Fault::PrunedEventsAreFoundByFilters if !is_everything(&filter) => {
                let pruned = notes.all_events.iter().filter(|event| {
                    event.sequence <= page.pruned_through
                        && event.sequence > after
                        && filter.matches(event)
                });
                page.events.splice(0..0, pruned.cloned());
            }
            Fault::PruningIsNotSaid => page.pruned_through = 0,
            _ => {}
        }
        Ok(page)
    }

    pub(super) fn read_wait(&self, after: u64, timeout: Duration) -> Result<u64, BackendError> {
        match self.fault {
            Fault::WaitingEndsAtOnce => self.memory.last_event(),
            Fault::WaitingIsWokenByNothing => self.memory.wait(u64::MAX, timeout),
            Fault::WaitingKnowsNothingAtOpen if !self.committed.load(Ordering::SeqCst) => {
                self.memory.wait(u64::MAX, timeout).map(|_| 0)
            }
            _ => self.memory.wait(after, timeout),
        }
    }
}

fn is_everything(filter: &EventFilter) -> bool {
    let EventFilter { key, owner, incarnation, actor, viewer: _, acting_key, kind, since, until } =
        filter;
    key.is_none()
        && acting_key.is_none()
        && owner.is_none()
        && incarnation.is_none()
        && actor.is_none()
        && kind.is_none()
        && since.is_none()
        && until.is_none()
}
