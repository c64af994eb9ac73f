//! Every kind of mutation, and a store in which each changes something.

use keyhasp::{
    Access, ChangeRules, CreateKey, CreateOwner, Error, Expiry, Issued, KeyId, OwnerId, Rotate,
    StoreRules, Timestamp, UpdateKey, UpdateOwner,
};

use crate::world::{HOUR, World};

/// The owners and keys of the store.
#[derive(Clone, Debug)]
pub struct Cast {
    /// An owner with keys in all states.
    pub org: OwnerId,
    /// A suspended one.
    pub gone: OwnerId,
    /// An owner that no mutation changes.
    pub bystander: OwnerId,
    /// A valid key with a previous token.
    pub active: KeyId,
    /// A key that its owner deactivated.
    pub deactivated: KeyId,
    /// A key that an administrator blocked.
    pub blocked: KeyId,
    /// A revoked key.
    pub revoked: KeyId,
    /// A trial key.
    pub trial: KeyId,
    /// A key with a recoverable token.
    pub recoverable: KeyId,
    /// The bystander's key.
    pub other: KeyId,
    /// Every token that was ever issued.
    pub tokens: Vec<String>,
}

/// A mutation; returns the tokens that it issued.
pub type Act = fn(&World, &Cast) -> Result<Vec<String>, Error>;

/// Every kind of mutation, by name.
pub const MUTATIONS: &[(&str, Act)] = &[
    ("create owner", |world, _| {
        let request = CreateOwner::with_key(full().name("first"));
        let created = world.admin.create_owner(&id("new"), request)?;
        Ok(created.first_key.iter().map(token).collect())
    }),
    ("create key", |world, cast| issued(world.admin.create(&cast.org, full().name("more")))),
    ("create recoverable key", |world, cast| {
        issued(world.admin.create(&cast.org, full().recoverable()))
    }),
    ("rotate", |world, cast| issued(world.admin.rotate(cast.active, Rotate::new()))),
    ("rotate by force", |world, cast| issued(world.admin.rotate(cast.active, forced()))),
    ("rotate blocked", |world, cast| issued(world.admin.rotate(cast.blocked, forced().unblock()))),
    ("invalidate previous tokens", |world, cast| {
        done(world.admin.invalidate_previous_tokens(cast.active))
    }),
    ("deactivate", |world, cast| done(world.admin.deactivate(cast.active))),
    ("activate", |world, cast| done(world.admin.activate(cast.deactivated))),
    ("block", |world, cast| done(world.admin.block(cast.active))),
    ("unblock", |world, cast| done(world.admin.unblock(cast.blocked))),
    ("revoke", |world, cast| done(world.admin.revoke(cast.active))),
    ("revoke with descendants", |world, cast| {
        done(world.admin.revoke_with_descendants(cast.active))
    }),
    ("update", |world, cast| {
        let update = UpdateKey::new().name("renamed").access(Access::ReadOnly);
        done(world.admin.update(cast.active, update.settings(serde_json::json!({ "rate": 7 }))))
    }),
    ("extend expiry", |world, cast| {
        done(world.admin.extend_expiry(cast.trial, Expiry::At(later(world, 9))))
    }),
    ("convert trial", |world, cast| done(world.admin.convert_trial(cast.trial, Expiry::Never))),
    ("reveal token", |world, cast| done(world.admin.reveal_token(cast.recoverable))),
    ("purge key", |world, cast| done(world.admin.purge(cast.revoked))),
    ("update owner", |world, cast| {
        let update = UpdateOwner::new().max_access(Access::ReadOnly);
        done(world.admin.update_owner(&cast.org, update))
    }),
    ("suspend", |world, cast| done(world.admin.suspend_owner(&cast.org))),
    ("resume", |world, cast| done(world.admin.resume_owner(&cast.gone))),
    ("invalidate owner's tokens", |world, cast| {
        done(world.admin.invalidate_owner_tokens_issued_before(&cast.org, later(world, 0)))
    }),
    ("revoke all", |world, cast| {
        let all = world.admin.revoke_all(&cast.org, Some(full().name("instead")))?;
        Ok(all.replacement.iter().map(token).collect())
    }),
    ("purge owner", |world, cast| done(world.admin.purge_owner(&cast.gone))),
    ("change rules", |world, _| {
        let rules =
            StoreRules { unique_names: true, recoverable_tokens: true, ..StoreRules::default() };
        done(world.admin.change_rules(ChangeRules::new().rules(rules)))
    }),
    ("invalidate store's tokens", |world, _| {
        done(world.admin.invalidate_tokens_issued_before(later(world, 0)))
    }),
    ("prune events", |world, _| done(world.admin.prune_events(Timestamp::MAX))),
];

/// Fills an empty store.
///
/// # Errors
/// Those of the store.
pub fn fill(world: &World) -> Result<Cast, Error> {
    let (org, gone, bystander) = (id("org"), id("gone"), id("bystander"));
    let mut tokens = Vec::new();
    let mut keep = |issued: Issued| {
        tokens.push(token(&issued));
        issued.key.id
    };
    for owner in [&org, &gone, &bystander] {
        let _ = world.admin.create_owner(owner, CreateOwner::without_key())?;
    }
    let create = |owner, name: &str| world.admin.create(owner, full().name(name));
    let active = keep(create(&org, "active")?);
    keep(world.admin.rotate(active, Rotate::new())?);
    let deactivated = keep(create(&org, "deactivated")?);
    world.admin.deactivate(deactivated)?;
    let blocked = keep(create(&org, "blocked")?);
    world.admin.block(blocked)?;
    let revoked = keep(create(&org, "revoked")?);
    world.admin.revoke(revoked)?;
    let trial = CreateKey::trial(Access::Full, Expiry::At(later(world, 5)));
    let trial = keep(world.admin.create(&org, trial)?);
    let recoverable = keep(world.admin.create(&org, full().name("recoverable").recoverable())?);
    keep(create(&gone, "stays")?);
    let ended = keep(create(&gone, "ended")?);
    world.admin.revoke(ended)?;
    world.admin.suspend_owner(&gone)?;
    let other = keep(create(&bystander, "other")?);
    // Tokens are issued before a mutation that invalidates those issued before now.
    world.clock.advance(HOUR / 4);
    Ok(Cast {
        org,
        gone,
        bystander,
        active,
        deactivated,
        blocked,
        revoked,
        trial,
        recoverable,
        other,
        tokens,
    })
}

/// Returns the text of an issued token.
#[must_use]
pub fn token(issued: &Issued) -> String {
    issued.token.expose().to_owned()
}

/// Requests a standard key with full access.
pub fn full() -> CreateKey {
    CreateKey::new(Access::Full)
}

/// Makes an owner's id.
///
/// # Panics
/// If the text is no id.
#[must_use]
pub fn id(text: &str) -> OwnerId {
    OwnerId::new(text).expect("an id")
}

/// Returns the time so many hours from now.
#[must_use]
pub fn later(world: &World, hours: u32) -> Timestamp {
    use keyhasp::Clock;
    world.clock.now().saturating_add(HOUR * hours)
}

fn forced() -> Rotate {
    Rotate::forced()
}

fn issued(issued: Result<Issued, Error>) -> Result<Vec<String>, Error> {
    Ok(vec![token(&issued?)])
}

fn done<T>(answer: Result<T, Error>) -> Result<Vec<String>, Error> {
    answer.map(|_| Vec::new())
}
