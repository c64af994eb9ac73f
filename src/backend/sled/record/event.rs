//! An event.

use serde::{Deserialize, Serialize};

use super::fields::{owner_id, push, take_last, version};
use crate::authority::{Actor, Authority, CorrelationId, Reason, Role};
use crate::backend::sled::fault::Fault;
use crate::clock::Timestamp;
use crate::event::{Event, EventDraft, EventKind, Fields};
use crate::id::{Generation, KeyId, OwnerId};

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    at: u64,
    kind: u8,
    owner: Option<&'a str>,
    key: Option<[u8; 16]>,
    version: u64,
    generation: Option<u32>,
    fields: u32,
    #[serde(borrow)]
    role: RoleWire<'a>,
    actor: &'a str,
    reason: Option<&'a str>,
    correlation_id: Option<&'a str>,
}

/// Stored by place: 0, 1, 2.
#[derive(Serialize, Deserialize)]
enum RoleWire<'a> {
    Administrator,
    Owner { owner: &'a str },
    Delegate { owner: &'a str, key: [u8; 16], generation: u32 },
}

pub(in crate::backend::sled) fn encode_event(event: &EventDraft) -> Result<Vec<u8>, Fault> {
    let authority = &event.authority;
    let mirror = Wire {
        at: event.at.as_millis(),
        kind: event.kind.number(),
        owner: event.owner.as_ref().map(OwnerId::as_str),
        key: event.key.map(KeyId::to_bytes),
        version: event.version.get(),
        generation: event.generation.map(Generation::get),
        fields: event.fields.bits(),
        role: match &authority.role {
            Role::Administrator => RoleWire::Administrator,
            Role::Owner { owner } => RoleWire::Owner { owner: owner.as_str() },
            Role::Delegate { owner, key, generation } => RoleWire::Delegate {
                owner: owner.as_str(),
                key: key.to_bytes(),
                generation: generation.get(),
            },
        },
        actor: authority.actor.as_str(),
        reason: authority.reason.as_ref().map(Reason::as_str),
        correlation_id: authority.correlation_id.as_ref().map(CorrelationId::as_str),
    };
    push(Vec::new(), &mirror)
}

pub(in crate::backend::sled) fn decode_event(sequence: u64, bytes: &[u8]) -> Result<Event, Fault> {
    let mirror: Wire<'_> = take_last(bytes)?;
    let role = match mirror.role {
        RoleWire::Administrator => Role::Administrator,
        RoleWire::Owner { owner } => Role::Owner { owner: owner_id(owner)? },
        RoleWire::Delegate { owner, key, generation } => Role::Delegate {
            owner: owner_id(owner)?,
            key: KeyId::from_bytes(key),
            generation: Generation::new(generation)?,
        },
    };
    let draft = EventDraft {
        at: Timestamp::from_millis(mirror.at)?,
        kind: EventKind::from_number(mirror.kind)?,
        owner: mirror.owner.map(owner_id).transpose()?,
        key: mirror.key.map(KeyId::from_bytes),
        version: version(mirror.version)?,
        generation: mirror.generation.map(Generation::new).transpose()?,
        fields: Fields::from_bits(mirror.fields),
        authority: Authority {
            role,
            actor: Actor::new(mirror.actor)?,
            reason: mirror.reason.map(Reason::new).transpose()?,
            correlation_id: mirror.correlation_id.map(CorrelationId::new).transpose()?,
        },
    };
    Ok(Event { sequence, draft })
}
