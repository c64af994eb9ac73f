//! The entries of other trees that lead to a record.

use super::trees::{self, Tree};
use crate::event::Event;
use crate::key::{KeyRecord, OwnerRecord, RequestRecord};

/// An entry that leads to a record.
pub(super) type Lead = (Tree, Vec<u8>);

/// The entries that lead to a key.
pub(super) fn of_key(key: &KeyRecord) -> Vec<Lead> {
    let mut leads = vec![(Tree::OwnerKeys, trees::owner_key(&key.owner, key.id))];
    if let Some(creator) = key.created_by_key {
        leads.push((Tree::CreatedKeys, trees::created_key(creator, key.id)));
    }
    if let Some(name) = key.name.as_ref().filter(|_| key.is_live()) {
        leads.push((Tree::LiveNames, trees::live_name(&key.owner, name, key.id)));
    }
    if let Some(at) = key.expires_at.filter(|_| key.is_live()) {
        leads.push((Tree::LiveExpiries, trees::live_expiry(&key.owner, at, key.id)));
    }
    leads
}

/// The entries that lead to an event.
pub(super) fn of_event(event: &Event) -> Vec<Lead> {
    let key = event.key.map(|key| (Tree::KeyEvents, trees::key_event(key, event.sequence)));
    let owner = event.owner.as_ref();
    let owner = owner.map(|owner| (Tree::OwnerEvents, trees::owner_event(owner, event.sequence)));
    key.into_iter().chain(owner).collect()
}

/// The entry that leads to a request.
pub(super) fn of_request(record: &RequestRecord) -> Lead {
    (Tree::RequestTimes, trees::request_time(record.at, &record.id))
}

/// The entry that leads to an owner with sweeps.
pub(super) fn of_owner(owner: &OwnerRecord) -> Vec<Lead> {
    let lead = (Tree::SweptOwners, trees::owner(&owner.id).to_vec());
    owner.sweeps.iter().map(|_| lead.clone()).collect()
}
