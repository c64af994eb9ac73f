//! Entries that lead to records, and counts of records. Each commit writes them;
//! a check compares them with the records, and a repair makes them again.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::chunks::Values;
use super::engine::Engine;
use super::fault::Fault;
use super::leads::{Lead, of_event, of_key, of_owner, of_request};
use super::overlay::{Batch, Overlay};
use super::read::{load_key, load_owner, load_usage};
use super::sums::Sums;
use super::trees::{self, Tree};
use crate::backend::{BackendErrorKind, Damage, DamagedRecord, Finding, UsageSubject};
use crate::clock::Timestamp;
use crate::id::OwnerId;
use crate::key::Usage;

/// The trees that hold nothing but what follows from records.
const TREES: [Tree; 9] = [
    Tree::OwnerKeys,
    Tree::CreatedKeys,
    Tree::LiveNames,
    Tree::LiveExpiries,
    Tree::KeyCounts,
    Tree::KeyEvents,
    Tree::OwnerEvents,
    Tree::RequestTimes,
    Tree::SweptOwners,
];

/// The differences between the records and what follows from them.
#[derive(Debug, Default)]
pub(super) struct Differences {
    pub(super) findings: Vec<Finding>,
    missing: Vec<(Lead, Vec<u8>)>,
    stale: Vec<Lead>,
    miscounted: BTreeSet<OwnerId>,
}

/// A record that an entry should lead to, as far as it can be read.
enum Found<T> {
    Whole(T),
    Damaged,
    Missing,
}

/// Finds the entries that lead to the record to which an entry of a tree leads.
type LeadsOf<'a> = dyn Fn(&[u8]) -> Result<Found<Vec<Lead>>, Fault> + 'a;

/// A visitor of each key and value of a tree.
type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Fault> + 'a;

impl Differences {
    /// Looks at all records, and at all that should lead to them.
    pub(super) fn of(engine: &Engine) -> Result<Self, Fault> {
        let mut differences = Self::default();
        differences.look_at_keys(engine)?;
        differences.look_at_owners(engine)?;
        differences.look_at_counts(engine)?;
        differences.look_at_events(engine)?;
        differences.look_at_requests(engine)?;
        differences.look_at_usage(engine)?;
        Ok(differences)
    }

    /// Writes what is missing, and removes what leads nowhere.
    pub(super) fn mend(&self, overlay: &mut Overlay<'_>) -> Result<(), Fault> {
        for ((tree, key), value) in &self.missing {
            overlay.put(*tree, key, value);
        }
        for (tree, key) in &self.stale {
            match tree {
                Tree::Usage => overlay.remove_record(*tree, key)?,
                tree => overlay.remove(*tree, key),
            }
        }
        self.miscounted.iter().try_for_each(|owner| overlay.count_again(owner))
    }

    fn derived(&mut self, what: String) {
        self.findings.push(Finding::Derived(what));
    }

    fn expect(
        &mut self,
        engine: &Engine,
        (tree, key): Lead,
        value: &[u8],
        of: &DamagedRecord,
    ) -> Result<(), Fault> {
        if engine.value(tree, &key)?.as_deref() != Some(value) {
            self.derived(format!("{} of {of}", tree.name()));
            self.missing.push(((tree, key), value.to_vec()));
        }
        Ok(())
    }

    fn look_at_keys(&mut self, engine: &Engine) -> Result<(), Fault> {
        each(engine, Tree::Keys, &mut |entry, _| {
            let Some(id) = trees::key_in(entry) else { return Ok(()) };
            let Found::Whole(key) = found(load_key(engine, id))? else { return Ok(()) };
            let of = DamagedRecord::Key(id);
            for lead in of_key(&key) {
                self.expect(engine, lead, &[], &of)?;
            }
            if let Some(numeric_id) = key.numeric_id {
                let lead = (Tree::NumericIds, trees::numeric_id(numeric_id).to_vec());
                self.expect(engine, lead, &trees::key(id), &of)?;
            }
            Ok(())
        })?;
        for tree in [Tree::OwnerKeys, Tree::CreatedKeys, Tree::LiveNames, Tree::LiveExpiries] {
            let key_in = match tree {
                Tree::LiveExpiries => trees::expiring_key_in,
                _ => trees::key_in,
            };
            self.look_at_leads(engine, tree, &|entry| match key_in(entry) {
                Some(id) => Ok(map(found(load_key(engine, id))?, of_key)),
                None => Ok(Found::Missing),
            })?;
        }
        Ok(())
    }

    fn look_at_owners(&mut self, engine: &Engine) -> Result<(), Fault> {
        each(engine, Tree::Owners, &mut |entry, _| {
            let Some(id) = trees::owner_in(entry) else { return Ok(()) };
            let Found::Whole(owner) = found(load_owner(engine, &id))? else { return Ok(()) };
            let of = DamagedRecord::Owner(id);
            of_owner(&owner).into_iter().try_for_each(|lead| self.expect(engine, lead, &[], &of))
        })?;
        self.look_at_leads(engine, Tree::SweptOwners, &|entry| match trees::owner_in(entry) {
            Some(id) => Ok(map(found(load_owner(engine, &id))?, of_owner)),
            None => Ok(Found::Missing),
        })
    }

    /// Finds the entries of a tree that lead to no record, or to one to which they don't belong.
    fn look_at_leads(
        &mut self,
        engine: &Engine,
        tree: Tree,
        leads_of: &LeadsOf<'_>,
    ) -> Result<(), Fault> {
        each(engine, tree, &mut |entry, _| {
            let lead = (tree, entry.to_vec());
            let is_stale = match leads_of(entry)? {
                Found::Whole(leads) => !leads.contains(&lead),
                // To what it belonged isn't known.
                Found::Damaged => false,
                Found::Missing => true,
            };
            if is_stale {
                self.derived(format!("an entry of {} that leads nowhere", tree.name()));
                self.stale.push(lead);
            }
            Ok(())
        })
    }

    fn look_at_counts(&mut self, engine: &Engine) -> Result<(), Fault> {
        let overlay = Overlay::new(engine);
        let mut owners = BTreeSet::new();
        for tree in [Tree::Owners, Tree::KeyCounts] {
            each(engine, tree, &mut |entry, _| {
                owners.extend(trees::owner_in(entry));
                Ok(())
            })?;
        }
        for owner in owners {
            let counted = overlay.counted(&owner)?;
            if overlay.load_counts(&owner).ok() != Some(counted) {
                self.derived(format!("the counts of {}", DamagedRecord::Owner(owner)));
                self.miscounted.insert(owner);
            }
        }
        Ok(())
    }

    fn look_at_events(&mut self, engine: &Engine) -> Result<(), Fault> {
        each(engine, Tree::Events, &mut |entry, _| {
            let Some(number) = trees::event_in(entry) else { return Ok(()) };
            let Found::Whole(event) = found(engine.event(number).map(Some))? else {
                return Ok(());
            };
            let of = DamagedRecord::Event(number);
            of_event(&event).into_iter().try_for_each(|lead| self.expect(engine, lead, &[], &of))
        })?;
        for tree in [Tree::KeyEvents, Tree::OwnerEvents] {
            self.look_at_leads(engine, tree, &|entry| {
                let Some(number) = trees::event_in(entry) else { return Ok(Found::Missing) };
                if engine.value(Tree::Events, &trees::event(number))?.is_none() {
                    return Ok(Found::Missing);
                }
                Ok(map(found(engine.event(number).map(Some))?, of_event))
            })?;
        }
        Ok(())
    }

    fn look_at_requests(&mut self, engine: &Engine) -> Result<(), Fault> {
        each(engine, Tree::Requests, &mut |entry, _| {
            let id = crate::key::RequestId::from_bytes(entry);
            let request = id.map(|id| found(engine.request(&id))).transpose()?;
            match request {
                Some(Found::Whole(record)) => {
                    self.expect(engine, of_request(&record), &[], &DamagedRecord::Request)
                }
                _ => {
                    let name = Tree::Requests.name();
                    let damage = Damage::new(name, "record", DamagedRecord::Request);
                    self.findings.push(Finding::Record(damage));
                    Ok(())
                }
            }
        })?;
        self.look_at_leads(engine, Tree::RequestTimes, &|entry| match trees::request_in(entry) {
            Some(id) => Ok(map(found(engine.request(&id))?, |record| vec![of_request(record)])),
            None => Ok(Found::Missing),
        })
    }

    /// Usage goes with its key or owner.
    fn look_at_usage(&mut self, engine: &Engine) -> Result<(), Fault> {
        each(engine, Tree::Usage, &mut |entry, _| {
            let of = trees::usage_in(entry);
            let is_there = match &of {
                Some(UsageSubject::Key(id)) => {
                    engine.value(Tree::Keys, &trees::key(*id))?.is_some()
                }
                Some(UsageSubject::Owner(id)) => {
                    engine.value(Tree::Owners, trees::owner(id))?.is_some()
                }
                None => false,
            };
            if !is_there {
                self.derived("usage of a record that isn't there".into());
                self.stale.push((Tree::Usage, entry.to_vec()));
            }
            Ok(())
        })
    }
}

/// Lists what the sums of the trees tell. Where a tree holds what follows from records, those tell
/// which entry is meant; the sum itself is then made again.
pub(super) fn check_sums(engine: &Engine) -> Result<Vec<Finding>, Fault> {
    let sums = Sums::load(engine)?;
    let mut findings = Vec::new();
    for tree in Tree::ALL {
        match sums.check(engine, *tree) {
            Err(fault) if fault.kind() == BackendErrorKind::EarlierState => {
                let name = tree.name();
                findings.push(if TREES.contains(tree) {
                    Finding::Derived(format!("the sum of {name}"))
                } else {
                    Finding::Structure(format!("entries of {name} are lost"))
                });
            }
            checked => checked?,
        }
    }
    Ok(findings)
}

/// The batch that makes the sums again of what follows from records; nothing if they are right.
pub(super) fn mended_sums(engine: &Engine) -> Result<Batch, Fault> {
    let stored = Sums::load(engine)?;
    let mut sums = stored.clone();
    TREES.iter().try_for_each(|tree| sums.sum_up(engine, *tree))?;
    let overlay = Overlay::new(engine);
    if sums == stored { Ok(Batch::default()) } else { overlay.into_batch_with(sums) }
}

/// Replaces the usage of a key or an owner: a damaged one by nothing used, a lost quota by one that is
/// used up.
pub(super) fn replace_usage(
    overlay: &mut Overlay<'_>,
    of: &UsageSubject,
    now: Timestamp,
) -> Result<(), Fault> {
    let limits = match of {
        UsageSubject::Key(id) => load_key(overlay, *id)?.map(|key| key.limits),
        UsageSubject::Owner(id) => load_owner(overlay, id)?.map(|owner| owner.limits),
    };
    let Some(limits) = limits else { return Ok(()) };
    let stored = match found(load_usage(overlay, of))? {
        Found::Whole(usage) => usage,
        Found::Damaged | Found::Missing => Usage::default(),
    };
    let quota = limits.quota.map(|quota| quota.value);
    let quota = quota.map(|run| run.own_state(stored.quota).unwrap_or(run.used_up(now)));
    overlay.store_usage(of, Some(&Usage { quota, ..stored }))
}

fn each(engine: &Engine, tree: Tree, visit: &mut Visit<'_>) -> Result<(), Fault> {
    for entry in engine.range(tree, Bound::Unbounded, Bound::Unbounded) {
        let (key, value) = entry?;
        visit(&key, &value)?;
    }
    Ok(())
}

fn found<T>(loaded: Result<Option<T>, Fault>) -> Result<Found<T>, Fault> {
    match loaded {
        Ok(Some(record)) => Ok(Found::Whole(record)),
        Ok(None) => Ok(Found::Missing),
        // Which record it is makes no difference here.
        Err(fault) => {
            fault.damage(Tree::StoreMetadata, DamagedRecord::Unknown).map(|_| Found::Damaged)
        }
    }
}

fn map<T, U>(found: Found<T>, with: impl FnOnce(&T) -> U) -> Found<U> {
    match found {
        Found::Whole(record) => Found::Whole(with(&record)),
        Found::Damaged => Found::Damaged,
        Found::Missing => Found::Missing,
    }
}
