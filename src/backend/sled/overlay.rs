//! A batch before it is written: what it writes lies over the trees, so that later changes see
//! earlier ones, and goes to the trees in one step at the end.

use std::ops::Bound;

use ::sled::IVec;

use super::chunks::{self, Values};
use super::engine::{Engine, Writes, number};
use super::fault::Fault;
use super::leads;
use super::record::encode;
use super::sums::Sums;
use super::trees::{self, Tree};
use crate::backend::{BackendError, UsageSubject};
use crate::event::Event;
use crate::key::Usage;

/// The writes of one step.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) writes: Writes,
    /// The number of the batch, by which a later opening knows whether it is still there.
    pub(super) number: u64,
}

/// Writes over the trees of an engine.
pub(super) struct Overlay<'a> {
    engine: &'a Engine,
    writes: Writes,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self { engine, writes: Writes::new() }
    }

    /// The outcome of a batch, and what is to be written for it.
    pub(super) fn finish<T>(
        self,
        outcome: Result<T, BackendError>,
    ) -> Result<Result<(T, Batch), BackendError>, Fault> {
        match outcome {
            Ok(outcome) => Ok(Ok((outcome, self.into_batch()?))),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The batch to write, with its number and what all trees sum up to after it.
    pub(super) fn into_batch(self) -> Result<Batch, Fault> {
        if self.writes.is_empty() {
            return Ok(Batch::default());
        }
        let mut sums = Sums::load(self.engine)?;
        for (tree, entries) in &self.writes {
            for (key, new) in entries {
                let old = self.engine.value(*tree, key)?;
                sums.replace(*tree, key, old.as_deref(), new.as_deref());
            }
        }
        self.into_batch_with(sums)
    }

    /// The batch to write, after which the trees have these sums.
    pub(super) fn into_batch_with(mut self, sums: Sums) -> Result<Batch, Fault> {
        let number = self.number(trees::WRITES)? + 1;
        self.put_number(trees::WRITES, number);
        self.put(Tree::StoreMetadata, trees::SUMS, &sums.encode());
        Ok(Batch { writes: self.writes, number })
    }

    pub(super) fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        self.writes.entry(tree).or_default().insert(key.to_vec(), Some(value.to_vec()));
    }

    pub(super) fn remove(&mut self, tree: Tree, key: &[u8]) {
        self.writes.entry(tree).or_default().insert(key.to_vec(), None);
    }

    /// Writes a record with all its chunks, and no chunk of the one before.
    pub(super) fn put_record(
        &mut self,
        tree: Tree,
        key: &[u8],
        record: &[u8],
    ) -> Result<(), Fault> {
        let (head, further) = chunks::split(tree, key, record)?;
        self.remove_record(tree, key)?;
        self.put(tree, key, &head);
        for (number, chunk) in (1..=u16::MAX).zip(further) {
            self.put(Tree::Chunks, &trees::chunk(tree, key, number), chunk);
        }
        Ok(())
    }

    pub(super) fn remove_record(&mut self, tree: Tree, key: &[u8]) -> Result<(), Fault> {
        if let Some(old) = self.value(tree, key)? {
            // A damaged value doesn't say how many follow it.
            let count = chunks::count(&old).ok();
            for number in 1..=count.unwrap_or(u16::MAX) {
                let chunk = trees::chunk(tree, key, number);
                if count.is_none() && self.value(Tree::Chunks, &chunk)?.is_none() {
                    break;
                }
                self.remove(Tree::Chunks, &chunk);
            }
            self.remove(tree, key);
        }
        Ok(())
    }

    /// Shows the keys of a tree that begin with `prefix`, in no order.
    pub(super) fn each(
        &self,
        tree: Tree,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let end = trees::after_prefix(prefix);
        let to = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(&*end) };
        let written = self.writes.get(&tree);
        for entry in self.engine.range(tree, Bound::Included(prefix), to) {
            let (key, _) = entry?;
            if !written.is_some_and(|written| written.contains_key(&*key)) {
                visit(&key)?;
            }
        }
        let is_there = |(key, value): &(&Vec<u8>, &Option<Vec<u8>>)| {
            key.starts_with(prefix) && value.is_some()
        };
        written.into_iter().flatten().filter(is_there).try_for_each(|(key, _)| visit(key))
    }

    /// Lists the first keys of a tree in a range, in order; at most `limit`.
    pub(super) fn first(
        &self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let written = self.writes.get(&tree);
        let mut first = Vec::new();
        for entry in self.engine.range(tree, Bound::Included(from), Bound::Excluded(to)) {
            if first.len() == limit {
                break;
            }
            let (key, _) = entry?;
            if !written.is_some_and(|written| written.contains_key(&*key)) {
                first.push(key.to_vec());
            }
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let written = written.map(|written| written.range::<[u8], _>(range));
        first.extend(
            written
                .into_iter()
                .flatten()
                .filter(|(_, value)| value.is_some())
                .map(|(key, _)| key.clone()),
        );
        first.sort_unstable();
        first.truncate(limit);
        Ok(first)
    }

    /// Removes an event with all by which it is found. What leads to a damaged one stays.
    pub(super) fn remove_event(
        &mut self,
        sequence: u64,
        event: Option<&Event>,
    ) -> Result<(), Fault> {
        self.remove_record(Tree::Events, &trees::event(sequence))?;
        let leads = event.map(leads::of_event).unwrap_or_default();
        leads.iter().for_each(|(tree, lead)| self.remove(*tree, lead));
        Ok(())
    }

    pub(super) fn store_usage(
        &mut self,
        of: &UsageSubject,
        usage: Option<&Usage>,
    ) -> Result<(), Fault> {
        let key = trees::usage(of);
        match usage {
            // Never so long that it has chunks.
            Some(usage) => {
                let head = chunks::split(Tree::Usage, &key, &encode(usage))?.0;
                self.put(Tree::Usage, &key, &head);
            }
            None => self.remove(Tree::Usage, &key),
        }
        Ok(())
    }

    pub(super) fn number(&self, name: &[u8]) -> Result<u64, Fault> {
        number(self.value(Tree::StoreMetadata, name)?.as_deref())
    }

    pub(super) fn put_number(&mut self, name: &[u8], number: u64) {
        self.put(Tree::StoreMetadata, name, &number.to_be_bytes());
    }
}

impl Values for Overlay<'_> {
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<IVec>, Fault> {
        match self.writes.get(&tree).and_then(|entries| entries.get(key)) {
            Some(value) => Ok(value.as_deref().map(IVec::from)),
            None => self.engine.value(tree, key),
        }
    }
}
