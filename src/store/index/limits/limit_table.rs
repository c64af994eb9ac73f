//! The table of all limit records, by number.

use std::net::IpAddr;

use super::super::memory::slab::{Slab, SlabNumbers};
use super::limiter::{DroppedLease, LimitSpec, Limiter};
use super::networks::{NetworkListNumbers, NetworkLists};
use super::placement::{BUCKET_LEN, Buckets, Placement};
use super::relocation::Relocation;
use crate::clock::Timestamp;
use crate::id::OwnerId;
use crate::key::{Limits, Networks};

/// The readers' side.
#[derive(Debug)]
pub(in super::super) struct LimitTable {
    keys: Slab,
    owners: Slab,
    networks: NetworkLists,
    buckets: Buckets,
}

/// The most records of owners: an owner's word has 24 bits for the number of its record.
pub(in super::super) const MAX_OWNER_RECORDS: u32 = (1 << 24) - 1;

/// The writer's side: which records are free.
#[derive(Debug)]
pub(in super::super) struct LimitWriter {
    keys: Placement,
    owners: SlabNumbers,
    networks: NetworkListNumbers,
}

impl Default for LimitWriter {
    fn default() -> Self {
        Self {
            keys: Placement::default(),
            owners: SlabNumbers::up_to(MAX_OWNER_RECORDS - 1),
            networks: NetworkListNumbers::default(),
        }
    }
}

impl LimitWriter {
    /// Returns how many more owners can have a record, and how many more entries there can be of lists
    /// of networks.
    pub(in super::super) fn room(&self) -> [u32; 2] {
        [self.owners.room(), self.networks.numbers.room()]
    }

    /// Whether there is a list of these networks.
    pub(in super::super) fn has_list(&self, networks: &Networks) -> bool {
        self.networks.has(networks)
    }
}

/// The record of limits that were written.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct WrittenLimits {
    /// Its number; `None` if the limits need no record.
    pub(in super::super) record: Option<u32>,
    /// Whether the record is new, so that it must be named or released.
    pub(in super::super) is_new: bool,
    /// The rest of the lease of a quota that was replaced.
    pub(in super::super) dropped: Option<DroppedLease>,
}

/// There can be no more records or lists.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct LimitsFull;

/// The readers' side.
impl LimitTable {
    pub(in super::super) fn new() -> Self {
        let (keys, owners) = (Slab::new(), Slab::new());
        Self { keys, owners, networks: NetworkLists::new(), buckets: Buckets::default() }
    }

    /// Prefetches the bucket of a key hash, which probably holds the key's record.
    #[inline]
    pub(in super::super) fn prefetch_bucket(&self, hash: u64) {
        if let Some(first) = self.buckets.first_of(hash) {
            self.keys.prefetch_some(first, BUCKET_LEN as usize);
        }
    }

    /// Prefetches a key's record.
    #[inline]
    pub(in super::super) fn prefetch(&self, record: u32) {
        self.keys.prefetch(record);
    }

    /// Reads a key's record.
    #[inline]
    pub(in super::super) fn key(&self, record: u32) -> Option<Limiter<'_>> {
        Some(Limiter::read(self.keys.get(record)?, record))
    }

    /// Reads an owner's record.
    pub(in super::super) fn owner(&self, record: u32) -> Option<Limiter<'_>> {
        Some(Limiter::read_seqlocked(self.owners.get(record)?, record))
    }

    /// Whether an address lies in the networks of limits; `None` if they have none.
    pub(in super::super) fn contain(
        &self,
        limiter: &Limiter<'_>,
        address: Option<IpAddr>,
    ) -> Option<bool> {
        let list = limiter.spec.list()?;
        Some(address.is_some_and(|address| self.networks.contain(list, address)))
    }
}

/// The writer's side.
impl LimitTable {
    /// Writes the limits of a key with this hash. The same limits keep their record `before`.
    pub(in super::super) fn write_key(
        &self,
        writer: &mut LimitWriter,
        (hash, owner): (u64, &OwnerId),
        limits: &Limits,
        before: Option<u32>,
        now: Timestamp,
    ) -> Result<WrittenLimits, LimitsFull> {
        let before = before.and_then(|record| self.key(record));
        let spec = self.spec(writer, limits)?.map(|spec| spec.of_key(owner));
        self.write(writer, spec, before, |writer, spec| {
            let bucket = self.buckets.first_of(hash);
            let (record, entry) = writer.keys.acquire(&self.keys, bucket)?;
            Limiter::fill(entry, spec, before.as_ref(), now);
            Some(record)
        })
    }

    /// Writes the limits of an owner. The same limits keep their record `before`.
    pub(in super::super) fn write_owner(
        &self,
        writer: &mut LimitWriter,
        limits: &Limits,
        before: Option<u32>,
        now: Timestamp,
    ) -> Result<WrittenLimits, LimitsFull> {
        let before = before.and_then(|record| self.owner(record));
        let not_before = not_before_of(limits);
        let spec = self
            .spec(writer, limits)?
            .or(not_before.map(|_| LimitSpec::default()))
            .map(|spec| spec.of_owner(not_before));
        self.write(writer, spec, before, |writer, spec| {
            let (record, entry) = writer.owners.acquire(&self.owners)?;
            Limiter::write_seqlocked(entry, spec, before.as_ref(), now);
            Some(record)
        })
    }

    /// Packs limits, and acquires a reference to their list of networks.
    fn spec(
        &self,
        writer: &mut LimitWriter,
        limits: &Limits,
    ) -> Result<Option<LimitSpec>, LimitsFull> {
        let list = match &limits.networks {
            Some(networks) => {
                let list = writer.networks.acquire(&self.networks, &networks.value);
                Some(list.ok_or(LimitsFull)?)
            }
            None => None,
        };
        Ok(LimitSpec::new(limits, list))
    }

    /// Finds or fills the record of a spec, and takes over the spec's reference to its list.
    fn write(
        &self,
        writer: &mut LimitWriter,
        spec: Option<LimitSpec>,
        before: Option<Limiter<'_>>,
        fill: impl FnOnce(&mut LimitWriter, LimitSpec) -> Option<u32>,
    ) -> Result<WrittenLimits, LimitsFull> {
        let Some(spec) = spec else { return Ok(WrittenLimits::default()) };
        if let Some(before) = before.filter(|before| before.spec.is_same(&spec)) {
            self.release_list(writer, spec);
            return Ok(WrittenLimits { record: Some(before.number), ..WrittenLimits::default() });
        }
        let record = fill(writer, spec);
        if record.is_none() {
            self.release_list(writer, spec);
            return Err(LimitsFull);
        }
        let dropped = before.and_then(|before| before.drop_lease(&spec));
        Ok(WrittenLimits { record, is_new: true, dropped })
    }

    /// Releases a key's record that no slot names any more.
    pub(in super::super) fn release_key(&self, writer: &mut LimitWriter, record: u32) {
        if let Some(limiter) = self.key(record) {
            self.release_list(writer, limiter.spec);
        }
        writer.keys.release(record);
    }

    /// Releases an owner's record that no word names any more.
    pub(in super::super) fn release_owner(&self, writer: &mut LimitWriter, record: u32) {
        if let Some(limiter) = self.owner(record) {
            self.release_list(writer, limiter.spec);
        }
        writer.owners.release(record);
    }

    fn release_list(&self, writer: &mut LimitWriter, spec: LimitSpec) {
        if let Some(list) = spec.list() {
            writer.networks.release(&self.networks, list);
        }
    }

    /// Begins to relocate the keys' records, while no reader has the table; `None` if there are
    /// none, or no room for it.
    pub(in super::super) fn begin_relocation(
        &mut self,
        writer: &LimitWriter,
    ) -> Option<Relocation> {
        Relocation::begin(&mut self.keys, &writer.keys)
    }

    /// Moves the keys' records to their targets.
    pub(in super::super) fn relocate(&mut self, writer: &mut LimitWriter, relocation: Relocation) {
        self.buckets.set(relocation.buckets());
        writer.keys = relocation.apply(&mut self.keys);
    }
}

/// Returns the `not_before` of limits. The beginning of time limits nothing.
pub(in super::super) fn not_before_of(limits: &Limits) -> Option<Timestamp> {
    limits.not_before.map(|limit| limit.value).filter(|at| *at > Timestamp::MIN)
}

/// Counters for tests of the whole index.
#[cfg(test)]
impl LimitTable {
    /// Returns the numbers of the keys' records, the owners' records and the lists that are in use;
    /// then those of all entries.
    pub(in super::super) fn count(&self, writer: &LimitWriter) -> ([usize; 3], [usize; 3]) {
        let LimitWriter { keys, owners, networks } = writer;
        let ((keys, all_keys), (owners, all_owners)) = (keys.count(), owners.count());
        let (lists, all_lists) = networks.count();
        ([keys, owners, lists], [all_keys, all_owners, all_lists])
    }

    /// Whether a key hash has a bucket, and the record lies in it.
    pub(in super::super) fn is_in_bucket(&self, hash: u64, record: u32) -> bool {
        let first = self.buckets.first_of(hash);
        first.is_some_and(|first| (first..first + BUCKET_LEN).contains(&record))
    }

    /// Sets the quarantine of all numbers.
    pub(in super::super) fn set_quarantine(writer: &mut LimitWriter, quarantine: usize) {
        writer.keys.quarantine = quarantine;
        writer.owners.quarantine = quarantine;
        writer.networks.numbers.quarantine = quarantine;
    }
}
