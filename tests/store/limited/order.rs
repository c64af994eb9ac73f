//! Each limit rejects by its own name, and none before those that come first.

use keyhasp::key::RejectReason;
use keyhasp::{SetLimits, VerifyError};

use crate::common::{HOUR, World};
use crate::limited::place::{
    OWNERS, SECOND, ask, ask_for, ask_from, key, limit, limit_owner, rate,
};

fn networks(limits: SetLimits, text: &str) -> SetLimits {
    limits.networks(text.split(' ').map(|network| network.parse().unwrap()))
}

/// All limits at once, lifted one by one.
#[test]
fn reasons_in_their_order() {
    for (id, of_owner) in OWNERS.into_iter().zip([false, true]) {
        let world = World::new();
        let from = world.after(HOUR);
        let all =
            || networks(SetLimits::new(), "10.0.0.0/8").not_before(from).rate(rate(1, SECOND));
        let (own, owners) =
            if of_owner { (SetLimits::new(), all()) } else { (all(), SetLimits::new()) };
        let issued = key(&world, id, own, owners);
        let set = |limits: SetLimits| {
            if of_owner { limit_owner(&world, id, limits) } else { limit(&world, &issued, limits) }
        };
        let wrong = issued.token.expose().replace(&issued.token.expose()[40..42], "00");
        assert_eq!(world.verifier.verify(&wrong), Err(VerifyError::Unrecognized));
        world.admin.deactivate(issued.key.id).unwrap();
        assert_eq!(ask(&world, &issued), Err(VerifyError::Rejected(RejectReason::Deactivated)));
        world.admin.activate(issued.key.id).unwrap();
        assert_eq!(ask(&world, &issued), Err(VerifyError::Rejected(RejectReason::NotYet(from))));
        world.clock.advance(HOUR - SECOND / 1_000);
        assert_eq!(
            ask_from(&world, &issued, "10.0.0.1"),
            Err(VerifyError::Rejected(RejectReason::NotYet(from)))
        );
        world.clock.advance(SECOND / 1_000);
        assert_eq!(ask(&world, &issued), Err(VerifyError::Rejected(RejectReason::AddressMissing)));
        assert_eq!(
            ask_from(&world, &issued, "11.0.0.1"),
            Err(VerifyError::Rejected(RejectReason::AddressRejected))
        );
        let verified = ask_from(&world, &issued, "10.0.0.1").unwrap();
        assert_eq!((verified.owner_id().as_str(), verified.rate().unwrap().remaining), (id, 0));
        let limited =
            |answer| matches!(answer, Err(VerifyError::Rejected(RejectReason::RateLimited(_))));
        assert!(limited(ask_from(&world, &issued, "10.0.0.1")));
        // What comes earlier is still told first.
        assert_eq!(
            ask_from(&world, &issued, "11.0.0.1"),
            Err(VerifyError::Rejected(RejectReason::AddressRejected))
        );
        set(SetLimits::new().clear_networks());
        assert!(limited(ask(&world, &issued)));
        set(SetLimits::new().clear_rate());
        assert_eq!(ask(&world, &issued).unwrap().rate(), None);
        set(SetLimits::new().not_before(world.after(SECOND)));
        assert_eq!(
            ask(&world, &issued),
            Err(VerifyError::Rejected(RejectReason::NotYet(world.after(SECOND))))
        );
        set(SetLimits::new().clear_not_before());
        assert_eq!(ask(&world, &issued).unwrap().owner_id().as_str(), id);
    }
}

#[test]
fn the_later_of_two_moments_is_told() {
    let world = World::new();
    let until = |seconds: u32| SetLimits::new().not_before(world.after(SECOND * seconds));
    for (id, own, all) in [("a", 5, 3), ("b", 3, 5)] {
        let issued = key(&world, id, until(own), until(all));
        assert_eq!(
            ask(&world, &issued),
            Err(VerifyError::Rejected(RejectReason::NotYet(world.after(SECOND * 5))))
        );
    }
}

#[test]
fn addresses() {
    let world = World::new();
    for id in OWNERS {
        let own = networks(SetLimits::new(), "192.0.2.0/24 2001:db8::/32");
        let issued = key(&world, id, own, SetLimits::new());
        for (address, is_inside) in [
            ("192.0.2.9", true),
            ("::ffff:192.0.2.9", true),
            ("192.0.3.9", false),
            ("::ffff:192.0.3.9", false),
            ("::192.0.2.9", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
        ] {
            let expected = if is_inside {
                None
            } else {
                Some(VerifyError::Rejected(RejectReason::AddressRejected))
            };
            assert_eq!(ask_from(&world, &issued, address).err(), expected, "{address}");
        }
        assert_eq!(ask(&world, &issued), Err(VerifyError::Rejected(RejectReason::AddressMissing)));
        // Both the key's and its owner's must contain it.
        limit_owner(&world, id, networks(SetLimits::new(), "192.0.2.128/25"));
        assert_eq!(
            ask_from(&world, &issued, "192.0.2.9"),
            Err(VerifyError::Rejected(RejectReason::AddressRejected))
        );
        assert!(ask_from(&world, &issued, "192.0.2.129").is_ok());
        limit(&world, &issued, SetLimits::new().clear_networks());
        assert_eq!(ask(&world, &issued), Err(VerifyError::Rejected(RejectReason::AddressMissing)));
        assert_eq!(
            ask_from(&world, &issued, "2001:db8::1"),
            Err(VerifyError::Rejected(RejectReason::AddressRejected))
        );
        limit_owner(&world, id, SetLimits::new().clear_networks());
        assert!(ask(&world, &issued).is_ok());
        assert!(ask_for(&world, &issued, u32::MAX).is_ok(), "what isn't limited costs nothing");
    }
}
