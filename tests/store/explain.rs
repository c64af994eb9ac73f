//! What stands against a token, and what its key may do.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::Arc;

use keyhasp::backend::Memory;
use keyhasp::key::Network;
use keyhasp::store::{ExplainedToken, Explanation, Obstacle, ObstacleKind, UsageSettings};
use keyhasp::{
    Access, ChangeRules, CreateKey, CreateOwner, Expiry, Invalid, KeyStore, Quota, Rate, Rotate,
    SetLimits, Timestamp, Token, UpdateKey, UpdateOwner, VerifyError,
};

use crate::common::keep_open::KeepOpen;
use crate::common::{HOUR, World, builder, catalogue, clock, owner, prefix};
use crate::each::on_each;

fn known(world: &World, token: &Token) -> ExplainedToken {
    match world.admin.explain(token.expose()).unwrap() {
        Explanation::Known(known) => *known,
        other => panic!("{other:?}"),
    }
}

fn obstacles(world: &World, token: &Token) -> Vec<(ObstacleKind, Option<Timestamp>)> {
    let obstacles = known(world, token).obstacles;
    assert!(obstacles.iter().all(|obstacle| obstacle.until.is_none()));
    obstacles.iter().map(|Obstacle { kind, since, .. }| (*kind, *since)).collect()
}

#[test]
fn every_reason_is_told_with_its_moment_in_the_order_of_verification() {
    on_each(|world| {
        let expiry = world.after(2 * HOUR);
        let request =
            CreateKey::new(Access::Full).prefix(prefix("acme_test")).expires(Expiry::At(expiry));
        let (keys, first) = world.owner_with("org", CreateOwner::with_key(request));
        let id = first.key.id;
        assert_eq!(obstacles(world, &first.token), []);
        let second = keys.rotate(id, Rotate::with_grace(HOUR)).unwrap();
        let grace = world.after(HOUR);
        assert!(known(world, &second.token).is_current);
        let previous = known(world, &first.token);
        assert!(!previous.is_current && previous.obstacles.is_empty());
        assert_eq!(previous.generation, first.key.generation);
        assert_eq!(previous.issued_at, first.key.token_issued_at);
        assert_eq!(previous.prefix, prefix("acme_test"));
        assert_eq!((previous.key.id, previous.owner.id), (id, owner("org")));

        world.clock.advance(HOUR);
        assert_eq!(obstacles(world, &first.token), [(ObstacleKind::GraceOver, Some(grace))]);
        let _ = keys.deactivate(id).unwrap();
        let mut expected = vec![(ObstacleKind::Deactivated, Some(world.now()))];
        assert_eq!(obstacles(world, &second.token), expected);
        world.clock.advance(HOUR);
        expected.push((ObstacleKind::Expired, Some(expiry)));
        let _ = world.admin.block(id).unwrap();
        expected.insert(0, (ObstacleKind::Blocked, Some(world.now())));
        assert_eq!(obstacles(world, &second.token), expected);
        world.clock.advance(HOUR);
        let _ = world.admin.suspend_owner(&owner("org")).unwrap();
        expected.insert(0, (ObstacleKind::OwnerSuspended, Some(world.now())));
        let until = world.now();
        let _ = world.admin.invalidate_owner_tokens_issued_before(&owner("org"), until).unwrap();
        expected.push((ObstacleKind::InvalidatedForOwner, Some(until)));
        let _ = world.admin.invalidate_tokens_issued_before(until).unwrap();
        expected.push((ObstacleKind::InvalidatedForStore, Some(until)));
        assert_eq!(obstacles(world, &second.token), expected);
        let _ = world.admin.revoke(id).unwrap();
        expected.insert(1, (ObstacleKind::Revoked, Some(world.now())));
        assert_eq!(obstacles(world, &second.token), expected);
        let _ = world.admin.change_rules(ChangeRules::new().prefixes([prefix("acme")])).unwrap();
        expected.insert(0, (ObstacleKind::PrefixNotAccepted, None));
        assert_eq!(obstacles(world, &second.token), expected);
    });
}

#[test]
fn a_key_that_is_accepted_later_is_told_until_when() {
    let world = World::new();
    let (early, late) = (world.after(HOUR), world.after(2 * HOUR));
    let key = CreateKey::new(Access::Full).limits(SetLimits::new().not_before(late));
    let request = CreateOwner::with_key(key).limits(SetLimits::new().not_before(early));
    let (_, issued) = world.owner_with("org", request);
    let told: Vec<_> = known(&world, &issued.token)
        .obstacles
        .iter()
        .map(|obstacle| (obstacle.kind, obstacle.since, obstacle.until))
        .collect();
    let both = [
        (ObstacleKind::KeyNotYet, None, Some(late)),
        (ObstacleKind::OwnerNotYet, None, Some(early)),
    ];
    assert_eq!(told, both);
    assert_eq!(known(&world, &issued.token).limits.not_before, Some(late));
    world.clock.advance(HOUR);
    assert_eq!(known(&world, &issued.token).obstacles.len(), 1);
    world.clock.advance(HOUR);
    assert_eq!(known(&world, &issued.token).obstacles, []);
}

#[test]
fn a_text_that_is_no_token_and_a_token_of_no_key_say_so() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let explain = |text: &str| world.admin.explain(text).unwrap();
    for text in ["", "acme_", "no token at all"] {
        assert_eq!(explain(text), Explanation::Malformed);
    }
    let text = issued.token.expose();
    let _ = keys.rotate(issued.key.id, Rotate::forced()).unwrap();
    let Explanation::Unknown { is_mistyped: false, key: Some(key) } = explain(text) else {
        panic!("{:?}", explain(text))
    };
    assert_eq!(key.id, issued.key.id);
    let mut mistyped = text.to_owned();
    let last = if mistyped.pop() == Some('0') { '1' } else { '0' };
    mistyped.push(last);
    assert!(matches!(explain(&mistyped), Explanation::Unknown { is_mistyped: true, .. }));
    let _ = world.admin.revoke(issued.key.id).unwrap();
    world.admin.purge(issued.key.id).unwrap();
    assert_eq!(explain(text), Explanation::Unknown { is_mistyped: false, key: None });
}

#[test]
fn it_is_no_use_and_shows_what_is_left() {
    let world =
        World::with(|builder| builder.usage(UsageSettings::new()), keyhasp::backend::Memory::new());
    let limits = SetLimits::new().quota(Quota::one_time(100).unwrap());
    let key = CreateKey::new(Access::Full).limits(limits);
    let (_, issued) = world.owner_with("org", CreateOwner::with_key(key));
    for _ in 0..3 {
        let usage = known(&world, &issued.token).key.usage.unwrap();
        assert_eq!((usage.last_used_at, usage.quota_left), (None, Some(100)));
    }
}

fn limited(names: &[&str]) -> Access {
    Access::limited(names).unwrap()
}

#[test]
fn what_a_key_may_do_is_what_its_owner_leaves() {
    let read = limited(&["domains:read", "links:read"]);
    let table = [
        (Access::Full, Access::Full, Some(Access::Full)),
        (Access::Full, Access::ReadOnly, Some(Access::ReadOnly)),
        (Access::ReadOnly, Access::Full, Some(Access::ReadOnly)),
        (Access::ReadOnly, Access::ReadOnly, Some(Access::ReadOnly)),
        (limited(&["*:read"]), Access::Full, Some(read.clone())),
        (limited(&["*:read"]), Access::ReadOnly, Some(read.clone())),
        (Access::ReadOnly, limited(&["links:*"]), Some(limited(&["links:read"]))),
        (Access::Full, limited(&["links:*"]), Some(limited(&["links:read", "links:write"]))),
        (limited(&["links:write"]), Access::ReadOnly, None),
        (limited(&["links:*"]), limited(&["domains:*"]), None),
    ];
    let catalogue = catalogue();
    for (at, (own, most, effective)) in table.into_iter().enumerate() {
        let world = World::new();
        let (_, issued) = world.owner_with(
            "org",
            CreateOwner::with_key(CreateKey::new(own.clone())).max_access(most.clone()),
        );
        let shown = world.admin.get(issued.key.id).unwrap();
        assert_eq!(shown.effective_access(&catalogue), effective, "row {at}");
        let verified = world.verifier.verify(issued.token.expose()).unwrap();
        assert_eq!(shown.effective_permissions(&catalogue), *verified.permissions(), "row {at}");
        assert_eq!(known(&world, &issued.token).access, effective);
        assert_eq!((shown.access, issued.key.access), (own.clone(), own.clone()));
        // A trial key may exceed its owner's maximum.
        let trial = CreateKey::trial(own.clone(), Expiry::Never);
        let trial = world.admin.create(&owner("org"), trial).unwrap();
        let verified = world.verifier.verify(trial.token.expose()).unwrap();
        assert_eq!(trial.key.effective_permissions(&catalogue), *verified.permissions());
        assert_eq!(*verified.permissions(), own.compile(&catalogue));
    }
}

#[test]
fn limits_of_key_and_owner_are_shown_together() -> Result<(), Invalid> {
    let world = World::new();
    let networks = |texts: &[&str]| -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let (rate, quota) = (Rate::new(10, HOUR)?, Quota::one_time(5)?);
    let limits = SetLimits::new().networks(networks(&["10.0.0.0/8", "192.0.2.7"])).rate(rate);
    let key = CreateKey::new(Access::Full).limits(limits);
    let owners = SetLimits::new()
        .networks(networks(&["10.1.0.0/16", "192.0.2.0/24", "198.51.100.0/24"]))
        .quota(quota);
    let (_, issued) = world.owner_with("org", CreateOwner::with_key(key).limits(owners));
    let shown = issued.key.effective_limits();
    assert_eq!(shown.networks, Some(networks(&["10.1.0.0/16", "192.0.2.7"])));
    assert_eq!((shown.rate, shown.owner_rate), (Some(rate), None));
    assert_eq!((shown.quota, shown.owner_quota), (None, Some(quota)));
    let elsewhere = SetLimits::new().networks(networks(&["203.0.113.0/24"]));
    let key = world.admin.update(issued.key.id, UpdateKey::new().limits(elsewhere)).unwrap();
    assert_eq!(key.effective_limits().networks, Some(Vec::new()));
    let key =
        world.admin.update(key.id, UpdateKey::new().limits(SetLimits::new().clear_networks()));
    let kept = networks(&["10.1.0.0/16", "192.0.2.0/24", "198.51.100.0/24"]);
    assert_eq!(key.unwrap().effective_limits().networks, Some(kept));
    let none = SetLimits::new().clear_networks().clear_quota();
    let _ = world.admin.update_owner(&owner("org"), UpdateOwner::new().limits(none)).unwrap();
    let key = world.admin.get(issued.key.id).unwrap();
    assert_eq!((key.effective_limits().networks, key.effective_limits().owner_quota), (None, None));
    Ok(())
}

#[test]
fn a_retired_pepper_is_told() {
    use keyhasp::{IfInUse, Peppers};
    let old = Peppers::new(2, [2; 32]).unwrap().and(1, [1; 32]).unwrap();
    let database = Arc::new(KeepOpen::new(Memory::new()));
    let clock = clock();
    let open = |seed, peppers| {
        let builder = builder(&clock, seed).peppers(peppers);
        let store = builder.open_on(Arc::<KeepOpen<Memory>>::clone(&database)).unwrap();
        World::of(Arc::new(store) as Arc<dyn KeyStore>, Arc::clone(&clock))
    };
    let world = open(1, Peppers::new(1, [1; 32]).unwrap());
    let (_, issued) = world.owner("org");
    drop(world);
    let world = open(2, old);
    assert_eq!(obstacles(&world, &issued.token), []);
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let _ = world.admin.retire_pepper(1, IfInUse::EndTokens).unwrap();
    assert_eq!(obstacles(&world, &issued.token), [(ObstacleKind::PepperRetired, None)]);
    // A connection that was kept open hears it too.
    let again = world.verifier.recheck(&verified);
    assert_eq!(again, world.verifier.verify(issued.token.expose()));
    assert!(again.is_err());
}

#[cfg(feature = "testing")]
#[test]
fn a_damaged_record_is_told() {
    use keyhasp::backend::DamagedRecord;
    use keyhasp::testing::Failing;
    for record in [DamagedRecord::Key as fn(_) -> _, |_| DamagedRecord::Owner(owner("org"))] {
        let (clock, backend) = (clock(), Arc::new(Failing::new(Memory::new())));
        let store = builder(&clock, 1).open_on(Arc::<Failing<Memory>>::clone(&backend)).unwrap();
        let world = World::of(Arc::new(store) as Arc<dyn KeyStore>, clock);
        let (_, issued) = world.owner("org");
        let record = record(issued.key.id);
        backend.damage(record);
        match world.admin.explain(issued.token.expose()).unwrap() {
            Explanation::Damaged(damage) => assert_eq!(damage.record, record),
            other => panic!("{other:?}"),
        }
    }
}

/// A stranger with the same token learns no more than before.
#[test]
fn only_administrators_may_ask() {
    use keyhasp::authority::{Actor, Authority, Role};
    let world = World::new();
    let (_, issued) = world.owner("org");
    let role = Role::Owner { owner: owner("org") };
    let by = Authority::new(role, Actor::new("alice").unwrap());
    let asked = world.store.explain(&by, issued.token.expose().as_bytes());
    assert!(matches!(asked, Err(keyhasp::Error::Forbidden(_))), "{asked:?}");
    let _ = world.admin.block(issued.key.id).unwrap();
    let heard = world.verifier.verify(issued.token.expose());
    assert!(matches!(heard, Err(VerifyError::Rejected(_))));
}
