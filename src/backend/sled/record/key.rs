//! A key's record: first what the verification index needs, then the rest.

use serde::{Deserialize, Serialize};

use super::fields::{
    SwitchWire, access, owner_id, push, set_by, set_by_number, settings, switch, take, take_last,
    timestamp, version,
};
use super::limits::{LimitsWire, limits};
use crate::authority::Actor;
use crate::backend::ScannedKey;
use crate::backend::sled::fault::Fault;
use crate::clock::Timestamp;
use crate::id::{Generation, KeyId, NumericId};
use crate::key::{
    Digest, KeyName, KeyRecord, Kind, MAX_PREVIOUS_TOKENS, PepperNumber, PrefixNumber,
    PreviousToken, Scheme, Seal, TokenRecord,
};

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    owner: &'a str,
    kind: u8,
    access: &'a str,
    limits: Option<LimitsWire>,
    expires_at: Option<u64>,
    #[serde(borrow)]
    deactivated: Option<SwitchWire<'a>>,
    #[serde(borrow)]
    blocked: Option<SwitchWire<'a>>,
    #[serde(borrow)]
    revoked: Option<SwitchWire<'a>>,
    current: Token,
    previous: Vec<Previous>,
}

#[derive(Serialize, Deserialize)]
struct Tail<'a> {
    version: u64,
    numeric_id: Option<u64>,
    name: Option<&'a str>,
    access_by: u8,
    expiry_by: u8,
    settings: &'a str,
    created_at: u64,
    created_by: &'a str,
    updated_at: u64,
    #[serde(borrow)]
    seal: Option<SealWire<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Token {
    generation: u32,
    scheme: u8,
    pepper: u16,
    prefix: u8,
    digest: [u8; 32],
    issued_at: u64,
}

#[derive(Serialize, Deserialize)]
struct Previous {
    token: Token,
    ends_at: u64,
}

#[derive(Serialize, Deserialize)]
struct SealWire<'a> {
    key_number: u16,
    nonce: [u8; 24],
    ciphertext: &'a [u8],
}

pub(in crate::backend::sled) fn encode_key(key: &KeyRecord) -> Result<Vec<u8>, Fault> {
    let access = key.access.to_string();
    let settings = key.settings.to_json();
    let head = Head {
        owner: key.owner.as_str(),
        kind: match key.kind {
            Kind::Standard => 0,
            Kind::Trial => 1,
        },
        access: &access,
        limits: LimitsWire::of(&key.limits),
        expires_at: key.expires_at.map(Timestamp::as_millis),
        deactivated: key.deactivated.as_ref().map(SwitchWire::from),
        blocked: key.blocked.as_ref().map(SwitchWire::from),
        revoked: key.revoked.as_ref().map(SwitchWire::from),
        current: Token::from(&key.current),
        previous: key.previous.iter().map(Previous::from).collect(),
    };
    let tail = Tail {
        version: key.version.get(),
        numeric_id: key.numeric_id.map(NumericId::get),
        name: key.name.as_ref().map(KeyName::as_str),
        access_by: set_by_number(key.access_by),
        expiry_by: set_by_number(key.expiry_by),
        settings: &settings,
        created_at: key.created_at.as_millis(),
        created_by: key.created_by.as_str(),
        updated_at: key.updated_at.as_millis(),
        seal: key.seal.as_ref().map(|seal| SealWire {
            key_number: seal.key_number,
            nonce: seal.nonce,
            ciphertext: &seal.ciphertext,
        }),
    };
    push(push(Vec::new(), &head)?, &tail)
}

pub(in crate::backend::sled) fn decode_key(id: KeyId, bytes: &[u8]) -> Result<KeyRecord, Fault> {
    let (head, rest): (Head<'_>, _) = take(bytes)?;
    let tail: Tail<'_> = take_last(rest)?;
    Ok(KeyRecord {
        id,
        owner: owner_id(head.owner)?,
        version: version(tail.version)?,
        numeric_id: tail.numeric_id.map(NumericId::new).transpose()?,
        kind: kind(head.kind)?,
        name: tail.name.map(KeyName::new).transpose()?,
        access: access(head.access)?,
        access_by: set_by(tail.access_by)?,
        expires_at: timestamp(head.expires_at)?,
        expiry_by: set_by(tail.expiry_by)?,
        settings: settings(tail.settings)?,
        limits: limits(head.limits)?.unwrap_or_default(),
        created_at: Timestamp::from_millis(tail.created_at)?,
        created_by: Actor::new(tail.created_by)?,
        updated_at: Timestamp::from_millis(tail.updated_at)?,
        current: head.current.try_into()?,
        previous: previous(head.previous)?,
        deactivated: switch(head.deactivated)?,
        blocked: switch(head.blocked)?,
        revoked: switch(head.revoked)?,
        seal: tail.seal.map(|seal| Seal {
            key_number: seal.key_number,
            nonce: seal.nonce,
            ciphertext: seal.ciphertext.into(),
        }),
    })
}

/// Decodes no more than the index needs.
pub(in crate::backend::sled) fn scan_key(id: KeyId, bytes: &[u8]) -> Result<ScannedKey, Fault> {
    let (head, _): (Head<'_>, _) = take(bytes)?;
    Ok(ScannedKey {
        id,
        owner: owner_id(head.owner)?,
        kind: kind(head.kind)?,
        access: access(head.access)?,
        limits: limits(head.limits)?.map(Box::new),
        expires_at: timestamp(head.expires_at)?,
        deactivated: head.deactivated.is_some(),
        blocked: head.blocked.is_some(),
        revoked: head.revoked.is_some(),
        current: head.current.try_into()?,
        previous: previous(head.previous)?,
    })
}

fn kind(number: u8) -> Result<Kind, Fault> {
    match number {
        0 => Ok(Kind::Standard),
        1 => Ok(Kind::Trial),
        _ => Err(Fault::damaged("a key is of no known kind")),
    }
}

fn previous(mirrors: Vec<Previous>) -> Result<Vec<PreviousToken>, Fault> {
    if mirrors.len() > MAX_PREVIOUS_TOKENS {
        return Err(Fault::damaged("a key has too many previous tokens"));
    }
    mirrors.into_iter().map(PreviousToken::try_from).collect()
}

impl From<&TokenRecord> for Token {
    fn from(token: &TokenRecord) -> Self {
        let digest = &token.digest;
        Self {
            generation: token.generation.get(),
            scheme: digest.scheme.number(),
            pepper: digest.pepper.get(),
            prefix: digest.prefix.get(),
            digest: *digest.expose(),
            issued_at: token.issued_at.as_millis(),
        }
    }
}

impl TryFrom<Token> for TokenRecord {
    type Error = Fault;

    fn try_from(mirror: Token) -> Result<Self, Fault> {
        Ok(Self {
            generation: Generation::new(mirror.generation)?,
            digest: Digest::new(
                mirror.digest,
                Scheme::from_number(mirror.scheme)?,
                PepperNumber::new(mirror.pepper),
                PrefixNumber::new(mirror.prefix)?,
            ),
            issued_at: Timestamp::from_millis(mirror.issued_at)?,
        })
    }
}

impl From<&PreviousToken> for Previous {
    fn from(previous: &PreviousToken) -> Self {
        Self { token: Token::from(&previous.token), ends_at: previous.ends_at.as_millis() }
    }
}

impl TryFrom<Previous> for PreviousToken {
    type Error = Fault;

    fn try_from(mirror: Previous) -> Result<Self, Fault> {
        Ok(Self {
            token: mirror.token.try_into()?,
            ends_at: Timestamp::from_millis(mirror.ends_at)?,
        })
    }
}
