//! What follows from records: the index and the counts. A check compares both with the records, and a
//! repair makes them again.

use std::collections::BTreeSet;

use keyhasp::backend::{Damage, DamagedRecord, Finding, KeyCounts, UsageSubject};
use keyhasp::clock::Timestamp;
use keyhasp::id::OwnerId;
use keyhasp::key::{RequestId, Usage};

use crate::fault::Fault;
use crate::read;
use crate::tables::{self, ALL, Order, Part, View, each, each_lead, get};
use crate::transaction::Writing;

/// The differences between the records and what follows from them.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    pub(crate) findings: Vec<Finding>,
    missing: Vec<(Part, Vec<u8>, Vec<u8>)>,
    stale: Vec<(Part, Vec<u8>)>,
    miscounted: Vec<(OwnerId, KeyCounts)>,
}

impl Differences {
    pub(crate) fn of(view: &impl View) -> Result<Self, Fault> {
        let mut differences = Self::default();
        differences.look_for_leads(view)?;
        differences.look_at_leads(view)?;
        differences.look_at_counts(view)?;
        differences.look_at_usage(view)?;
        Ok(differences)
    }

    /// Writes what is missing, and removes what leads nowhere.
    pub(crate) fn mend(&self, writing: &Writing<'_>) -> Result<(), Fault> {
        for (part, key, value) in &self.missing {
            writing.put(*part, key, value)?;
        }
        for (part, key) in &self.stale {
            writing.remove(*part, key)?;
        }
        self.miscounted.iter().try_for_each(|(id, counts)| writing.store_counts(id, *counts))
    }

    fn expect(
        &mut self,
        view: &impl View,
        part: Part,
        leads: Vec<Vec<u8>>,
        value: &[u8],
        of: DamagedRecord,
    ) -> Result<(), Fault> {
        for lead in leads {
            if get(view, part, &lead)?.as_deref() != Some(value) {
                self.findings.push(Finding::Derived(format!("{} of {of}", part.name())));
                self.missing.push((part, lead, value.to_vec()));
            }
        }
        Ok(())
    }

    fn stale(&mut self, what: &str, part: Part, key: &[u8]) {
        self.findings.push(Finding::Derived(what.into()));
        self.stale.push((part, key.to_vec()));
    }

    /// Each whole record has the entries that lead to it.
    fn look_for_leads(&mut self, view: &impl View) -> Result<(), Fault> {
        read::each_owner(view, &mut |owner| {
            let Ok(owner) = owner else { return Ok(()) };
            let of = DamagedRecord::Owner(owner.id);
            self.expect(view, Part::Index, tables::leads_of_owner(&owner), &[], of)
        })?;
        read::each_key(view, &mut |key| {
            let Ok(key) = key else { return Ok(()) };
            let of = DamagedRecord::Key(key.id);
            self.expect(view, Part::Index, tables::leads_of_key(&key), &[], of)?;
            let number = key.numeric_id.map(|id| tables::numeric_id(id).to_vec());
            let leads = number.into_iter().collect();
            self.expect(view, Part::NumericIds, leads, &key.id.to_bytes(), of)
        })?;
        each(view, Part::Events, ALL, Order::Rising, &mut |key, bytes| {
            if let Some(number) = tables::number_in(key)
                && let Ok(event) = read::event_of(number, bytes)
            {
                let of = DamagedRecord::Event(number);
                self.expect(view, Part::Index, tables::leads_of_event(&event), &[], of)?;
            }
            Ok(true)
        })?;
        each(view, Part::Requests, ALL, Order::Rising, &mut |key, bytes| {
            let id = RequestId::from_bytes(key);
            match id.map(|id| read::request_of(&id, bytes)) {
                Some(Ok(request)) => {
                    let (leads, of) = (tables::leads_of_request(&request), DamagedRecord::Request);
                    self.expect(view, Part::Index, leads, &[], of)?;
                }
                Some(Err(fault)) => self.findings.push(Finding::Record(fault.damage()?)),
                None => {}
            }
            Ok(true)
        })?;
        each(view, Part::Quarantine, ALL, Order::Rising, &mut |key, _| {
            if let Some(id) = tables::key_in(key)
                && read::quarantine(view, id)?.is_none()
            {
                let damage = Damage::new("quarantine", "record", DamagedRecord::Key(id));
                self.findings.push(Finding::Record(damage));
            }
            Ok(true)
        })
    }

    /// Each entry leads to a record to which it belongs. To what one of a damaged record belongs isn't
    /// known.
    fn look_at_leads(&mut self, view: &impl View) -> Result<(), Fault> {
        each(view, Part::Index, ALL, Order::Rising, &mut |lead, _| {
            let begin = lead.get(..1).unwrap_or_default();
            let leads = if tables::TO_KEYS.contains(&begin) {
                let key = tables::key_in(lead).map_or(Ok(None), |id| read::key(view, id));
                key.map(|key| key.as_ref().map(tables::leads_of_key))
            } else if tables::TO_EVENTS.contains(&begin) {
                let number = tables::number_in(lead);
                let event = number.map_or(Ok(None), |number| read::event(view, number));
                event.map(|event| event.as_ref().map(tables::leads_of_event))
            } else if begin == tables::SWEPT {
                let id = tables::owner_in(&lead[1..]);
                let owner = id.map_or(Ok(None), |id| read::owner(view, &id));
                owner.map(|owner| owner.as_ref().map(tables::leads_of_owner))
            } else {
                let id = lead.get(9..).and_then(RequestId::from_bytes);
                let request = id.map_or(Ok(None), |id| read::request(view, &id));
                request.map(|request| request.as_ref().map(tables::leads_of_request))
            };
            let belongs = match leads {
                Ok(leads) => leads.unwrap_or_default().iter().any(|known| known == lead),
                Err(fault) => fault.damage().map(|_| true)?,
            };
            if !belongs {
                self.stale("an entry of the index that leads nowhere", Part::Index, lead);
            }
            Ok(true)
        })
    }

    fn look_at_counts(&mut self, view: &impl View) -> Result<(), Fault> {
        let mut owners = BTreeSet::new();
        each(view, Part::Counts, ALL, Order::Rising, &mut |key, _| {
            owners.extend(tables::owner_in(key));
            Ok(true)
        })?;
        each_lead(view, b"o", &mut |lead| {
            owners.extend(tables::owner_in(&lead[1..]));
            Ok(true)
        })?;
        for owner in owners {
            let counted = read::counted(view, &owner)?;
            let stored = get(view, Part::Counts, owner.as_str().as_bytes())?;
            let stored =
                stored.map_or(Some(KeyCounts::default()), |value| tables::counts_in(&value));
            // An owner with a damaged key may have either.
            if stored.is_none_or(|stored| stored.all != counted.all)
                || stored != Some(counted) && !self.has_damaged_key(view, &owner)?
            {
                self.findings.push(Finding::Derived(format!("the counts of owner {owner}")));
                self.miscounted.push((owner, counted));
            }
        }
        Ok(())
    }

    fn has_damaged_key(&self, view: &impl View, owner: &OwnerId) -> Result<bool, Fault> {
        let mut has_one = false;
        each_lead(view, &tables::of_owner(owner), &mut |lead| {
            let key = tables::key_in(lead).map_or(Ok(None), |id| read::key(view, id));
            if let Err(fault) = key {
                fault.damage()?;
                has_one = true;
            }
            Ok(!has_one)
        })?;
        Ok(has_one)
    }

    /// Usage goes with its key or owner.
    fn look_at_usage(&mut self, view: &impl View) -> Result<(), Fault> {
        each(view, Part::Usage, ALL, Order::Rising, &mut |key, _| {
            let is_there = match key.split_first() {
                Some((b'k', id)) => get(view, Part::Keys, id)?.is_some(),
                Some((b'o', id)) => get(view, Part::Owners, id)?.is_some(),
                _ => false,
            };
            if !is_there {
                self.stale("usage of a record that isn't there", Part::Usage, key);
            }
            Ok(true)
        })
    }
}

/// Replaces the usage of a key or an owner: a damaged one by nothing used, a lost quota by one that is
/// used up.
pub(crate) fn replace_usage(
    writing: &Writing<'_>,
    of: DamagedRecord,
    now: Timestamp,
) -> Result<(), Fault> {
    let view = writing.view;
    let (of, limits) = match of {
        DamagedRecord::Key(id) => {
            (UsageSubject::Key(id), read::key(view, id)?.map(|key| key.limits))
        }
        DamagedRecord::Owner(id) => {
            (UsageSubject::Owner(id), read::owner(view, &id)?.map(|owner| owner.limits))
        }
        _ => return Ok(()),
    };
    let Some(limits) = limits else { return Ok(()) };
    let stored = match read::usage(view, &of) {
        Ok(usage) => usage.unwrap_or_default(),
        Err(fault) => fault.damage().map(|_| Usage::default())?,
    };
    let quota = limits.quota.map(|quota| quota.value);
    let quota = quota.map(|run| run.own_state(stored.quota).unwrap_or(run.used_up(now)));
    writing.put(Part::Usage, &tables::usage(&of), &Usage { quota, ..stored }.to_bytes())
}
