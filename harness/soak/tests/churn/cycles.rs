//! The cycles: each leaves the store as it was.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use keyhasp::{
    Access, CreateKey, CreateOwner, Network, OwnerId, Rate, SetLimits, UpdateKey, VerifyError,
    VerifyRequest,
};

use crate::{PERMISSIONS, World};

/// A cycle with its number.
pub(crate) type Cycle = fn(&World, u64);

/// All cycles, with their names.
pub(crate) const CYCLES: [(&str, Cycle); 4] = [
    ("create, use, revoke, purge", keys),
    ("an owner: create, use, suspend, purge", owners),
    ("another access", accesses),
    ("another expiry", expiries),
];

/// An address that no other number below 2^24 has.
fn address(number: u64) -> IpAddr {
    Ipv4Addr::from_bits(10 << 24 | u32::try_from(number & 0xff_ffff).unwrap()).into()
}

/// A rate, and a list of networks of the number's own.
fn limits(number: u64) -> SetLimits {
    let network = Network::new(address(number), 32).unwrap();
    SetLimits::new().rate(Rate::new(10, Duration::from_secs(1)).unwrap()).networks([network])
}

/// An access that no other number below 2^24 has.
fn access(number: u64) -> Access {
    let granted = (0..PERMISSIONS).filter(|bit| (number + 1) >> bit & 1 == 1);
    Access::limited(granted.map(|bit| format!("links:{bit}"))).unwrap()
}

fn keys(world: &World, number: u64) {
    let request = CreateKey::new(access(number)).expires(world.after(365)).limits(limits(number));
    let issued = world.admin.create(&world.owner, request).unwrap();
    let request = VerifyRequest::new(issued.token.expose()).address(address(number));
    let _ = world.verifier.verify_request(&request).unwrap();
    let _ = world.admin.revoke(issued.key.id).unwrap();
    let rejected = world.verifier.verify_request(&request).unwrap_err();
    assert!(matches!(rejected, VerifyError::Rejected(_)), "{rejected:?}");
    world.admin.purge(issued.key.id).unwrap();
}

fn owners(world: &World, number: u64) {
    let owner = OwnerId::new(format!("an owner whose id is long, {number}")).unwrap();
    let request = CreateOwner::with_key(CreateKey::new(Access::Full))
        .max_access(access(number))
        .limits(limits(number));
    let token = world.admin.create_owner(&owner, request).unwrap().first_key.unwrap().token;
    let request = VerifyRequest::new(token.expose()).address(address(number));
    assert_eq!(world.verifier.verify_request(&request).unwrap().owner_id(), &owner);
    let _ = world.admin.suspend_owner(&owner).unwrap();
    let rejected = world.verifier.verify_request(&request).unwrap_err();
    assert!(matches!(rejected, VerifyError::Rejected(_)), "{rejected:?}");
    world.admin.purge_owner(&owner).unwrap();
    assert_eq!(world.verifier.verify_request(&request), Err(VerifyError::Unrecognized));
}

fn accesses(world: &World, number: u64) {
    let _ = world.admin.update(world.key, UpdateKey::new().access(access(number))).unwrap();
}

fn expiries(world: &World, number: u64) {
    let expiry = world.after(300 + u32::try_from(number % 60).unwrap());
    let _ = world.admin.update(world.key, UpdateKey::new().expires(expiry)).unwrap();
}
