//! An event.

use super::codec::{Decoder, Encoder};
use crate::authority::{Authority, Role};
use crate::backend::sled::fault::Fault;
use crate::event::{Event, EventDraft, EventKind, Fields};
use crate::key::{Sink, Source};

pub(in crate::backend::sled) fn encode_event(event: &Event) -> Result<Vec<u8>, Fault> {
    let Event { sequence: _, incarnation, binding, draft } = event;
    let EventDraft { at, kind, owner, key, version, generation, fields, authority } = draft;
    let Authority { role, actor, reason, reason_for_owner, correlation_id } = authority;
    let mut encoder = Encoder::default();
    encoder.add(at)?.number(kind.number().into())?;
    encoder
        .add(owner)?
        .add(incarnation)?
        .add(binding)?
        .add(key)?
        .add(version)?
        .add(generation)?
        .add(&fields.bits())?;
    match role {
        Role::Administrator => encoder.number(0)?,
        Role::Owner { owner } => {
            encoder.number(1)?;
            encoder.add(owner)?;
        }
        Role::Delegate { owner, key, generation } => {
            encoder.number(2)?;
            encoder.add(owner)?.add(key)?.add(generation)?;
        }
        Role::OwnerByKey { owner, key, generation, previous_tokens } => {
            encoder.number(3)?;
            encoder.add(owner)?.add(key)?.add(generation)?.add(previous_tokens)?;
        }
    }
    encoder.add(actor)?.add(reason)?.add(reason_for_owner)?.add(correlation_id)?;
    Ok(encoder.into_bytes())
}

pub(in crate::backend::sled) fn decode_event(sequence: u64, bytes: &[u8]) -> Result<Event, Fault> {
    let mut decoder = Decoder::new(bytes);
    let at = decoder.next()?;
    let kind = decoder.number_as("kind", |kind| kind.try_into().ok().map(EventKind::of_stored))?;
    let owner = decoder.next()?;
    let incarnation = decoder.next()?;
    let binding = decoder.next()?;
    let draft = EventDraft {
        at,
        kind,
        owner,
        key: decoder.next()?,
        version: decoder.next()?,
        generation: decoder.next()?,
        fields: Fields::from_bits(decoder.next()?),
        authority: Authority {
            role: role(&mut decoder)?,
            actor: decoder.next()?,
            reason: decoder.next()?,
            reason_for_owner: decoder.next()?,
            correlation_id: decoder.next()?,
        },
    };
    decoder.expect_next(draft.version)?;
    decoder.finish()?;
    Ok(Event { sequence, incarnation, binding, draft })
}

fn role(decoder: &mut Decoder<'_>) -> Result<Role, Fault> {
    match decoder.number("role")? {
        0 => Ok(Role::Administrator),
        1 => Ok(Role::Owner { owner: decoder.next()? }),
        2 => Ok(Role::Delegate {
            owner: decoder.next()?,
            key: decoder.next()?,
            generation: decoder.next()?,
        }),
        3 => Ok(Role::OwnerByKey {
            owner: decoder.next()?,
            key: decoder.next()?,
            generation: decoder.next()?,
            previous_tokens: decoder.next()?,
        }),
        _ => Err(decoder.damaged("role")),
    }
}
