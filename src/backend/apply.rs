//! The rules of a commit, decided in one place for every backend.
//!
//! [`apply`] reads through a [`Transaction`], decides, and only then writes: a refused change has
//! written nothing, so that a backend needs no undo for one change among others.

use super::plan::{Checked, Plan};
use super::swept::Swept;
use super::{Applied, BackendError, Change, Rejection, Transaction, UsageSubject};
use crate::event::Event;

/// Applies one change, or refuses it having written nothing. A change that has to read a damaged
/// record is refused alone: those of other callers in its batch take effect.
///
/// # Errors
/// [`BackendError`] of the transaction; the batch is abandoned then.
pub fn apply(
    tx: &mut dyn Transaction,
    change: &Change,
) -> Result<Result<Applied, Rejection>, BackendError> {
    let mut tx = Swept::new(tx);
    match decide(&mut tx, change) {
        Ok(Ok(plan)) => write(plan, &mut tx, change).map(Ok),
        Ok(Err(rejection)) => Ok(Err(rejection)),
        Err(error) => match error.damage() {
            Some(damage) => Ok(Err(Rejection::Damaged(Box::new(damage.clone())))),
            None => Err(error),
        },
    }
}

fn decide<'a>(tx: &mut Swept<'_>, change: &'a Change) -> Checked<Plan<'a>> {
    let mut plan = match Plan::read(tx, change)? {
        Ok(plan) => plan,
        Err(rejection) => return Ok(Err(rejection)),
    };
    let checks =
        [Plan::check_names, Plan::check_counts, Plan::assign_numeric_ids, Plan::check_metadata];
    for check in checks {
        if let Err(rejection) = check(&mut plan, tx)? {
            return Ok(Err(rejection));
        }
    }
    Ok(Ok(plan))
}

fn write(mut plan: Plan<'_>, tx: &mut Swept<'_>, change: &Change) -> Result<Applied, BackendError> {
    let overtaken = tx.overtaken(plan.keys.keys())?;
    let first_event = tx.last_event()? + 1;
    // The events of other keys come before the change's own.
    let first_own = first_event + (plan.lapses.len() + overtaken.len()) as u64;
    let swept = write_records(&plan, tx, first_own)?;
    let lapses = plan.lapses.write(tx)?;
    plan.requests.write(tx, change)?;
    tx.finish()?;
    let of_piece = plan.sweeping.piece();
    let overtaken = overtaken.iter().map(|(draft, sweep)| (draft, Some(sweep)));
    let own = change.operations.iter().map(|made| (&made.event, of_piece));
    let events = lapses.iter().map(|draft| (draft, None)).chain(overtaken).chain(own);
    let mut sequence = first_event;
    for (draft, sweep) in events {
        let incarnation = match sweep {
            // The owner may be gone, and another one have its id.
            Some(sweep) => Some(sweep.incarnation),
            None => plan.quarantines.tolerate(plan.incarnations.of(tx, draft.owner))?,
        };
        let (binding, draft) = (sweep.map(|sweep| sweep.binding), draft.clone());
        tx.append_event(&Event { sequence, incarnation, binding, draft })?;
        sequence += 1;
    }
    Ok(Applied {
        first_event,
        last_event: sequence - 1,
        numeric_ids: plan.assigned,
        lapsed: plan.lapses.into_keys(),
        ended: plan.ended,
        swept,
    })
}

/// Writes the records; returns how many keys its sweeps cover.
fn write_records(plan: &Plan<'_>, tx: &mut Swept<'_>, first_own: u64) -> Result<u64, BackendError> {
    if let Some(metadata) = &plan.new_metadata {
        tx.put_metadata(metadata)?;
    }
    let mut swept = 0;
    // Created owners before their keys, removed owners after them.
    let (stay, go): (Vec<_>, Vec<_>) =
        plan.owners.values().partition(|owner| owner.after.is_some());
    for owner in stay {
        swept += plan.sweeping.bind(tx, owner.before.as_ref(), first_own)?;
        tx.put_owner(owner.before.as_ref(), owner.after.as_ref())?;
    }
    for (id, key) in &plan.keys {
        tx.put_key(key.before.as_ref(), key.after.as_ref())?;
        if key.after.is_none() {
            tx.put_usage(&UsageSubject::Key(*id), None)?;
        }
    }
    for key in plan.sweeping.write(tx)? {
        tx.put_usage(&UsageSubject::Key(key.id), None)?;
    }
    for owner in go {
        swept += plan.sweeping.bind(tx, owner.before.as_ref(), first_own)?;
        tx.put_owner(owner.before.as_ref(), owner.after.as_ref())?;
        if let Some(gone) = &owner.before {
            tx.put_usage(&UsageSubject::Owner(gone.id), None)?;
        }
    }
    for (of, usage) in &plan.usage {
        tx.put_usage(of, Some(usage))?;
    }
    plan.quarantines.write(tx)?;
    Ok(swept)
}
