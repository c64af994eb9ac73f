//! A store with keys that are limited, and how they are asked.

use keyhasp::RejectReason;
use std::net::IpAddr;
use std::time::Duration;

use keyhasp::{
    Access, CreateKey, CreateOwner, Issued, Rate, SetLimits, UpdateKey, UpdateOwner, VerifiedKey,
    VerifyError, VerifyRequest,
};

use crate::common::{World, owner};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn rate(count: u32, per: Duration) -> Rate {
    Rate::new(count, per).unwrap()
}

/// Ids of more than 16 bytes lie in another place of the index.
pub(crate) const OWNERS: [&str; 2] = ["org", "an-owner-whose-id-is-longer-than-16-bytes"];

/// A key of a new owner, both limited.
pub(crate) fn key(world: &World, id: &str, key: SetLimits, all: SetLimits) -> Issued {
    let request = CreateOwner::with_key(CreateKey::new(Access::Full).limits(key)).limits(all);
    world.owner_with(id, request).1
}

pub(crate) fn limit(world: &World, issued: &Issued, limits: SetLimits) {
    world.admin.update(issued.key.id, UpdateKey::new().limits(limits)).unwrap();
}

pub(crate) fn limit_owner(world: &World, id: &str, limits: SetLimits) {
    world.admin.update_owner(&owner(id), UpdateOwner::new().limits(limits)).unwrap();
}

pub(crate) fn ask(world: &World, issued: &Issued) -> Result<VerifiedKey, VerifyError> {
    world.verifier.verify(issued.token.expose())
}

pub(crate) fn ask_from(
    world: &World,
    issued: &Issued,
    address: &str,
) -> Result<VerifiedKey, VerifyError> {
    let address: IpAddr = address.parse().unwrap();
    let request = VerifyRequest::new(issued.token.expose().as_bytes()).address(address);
    world.store.verify_request(&request)
}

pub(crate) fn ask_for(
    world: &World,
    issued: &Issued,
    cost: u32,
) -> Result<VerifiedKey, VerifyError> {
    let request = VerifyRequest::new(issued.token.expose().as_bytes()).cost(cost);
    world.store.verify_request(&request)
}

/// Counts the allowed ones of so many tries; the others are rejected for the rate.
pub(crate) fn allowed(world: &World, issued: &Issued, tries: usize) -> usize {
    let answers = (0..tries).map(|_| ask(world, issued));
    let refused = |refusal: VerifyError| {
        assert!(matches!(refusal, VerifyError::Rejected(RejectReason::RateLimited(_))));
    };
    answers.filter_map(|answer| answer.map_err(refused).ok()).count()
}
