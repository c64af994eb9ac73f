//! Every kind of mutation, and a store in which each has something to do.

use keyhasp::{
    Access, ChangeRules, CreateKey, CreateOwner, Error, Expiry, Issued, KeyId, OwnerId, Rotate,
    StoreRules, Timestamp, UpdateKey, UpdateOwner,
};

use crate::world::{HOUR, World};

/// Who is there.
#[derive(Clone, Debug)]
pub struct Cast {
    /// An owner with keys in all states.
    pub org: OwnerId,
    /// A suspended one.
    pub gone: OwnerId,
    /// One that nothing is done to.
    pub bystander: OwnerId,
    /// In force, with an previous token in its grace.
    pub active: KeyId,
    /// Switched off by its owner.
    pub deactivated: KeyId,
    /// Switched off by the administrator.
    pub blocked: KeyId,
    /// Over for good.
    pub revoked: KeyId,
    /// A trial.
    pub trial: KeyId,
    /// Recoverable.
    pub sealed: KeyId,
    /// The bystander's.
    pub other: KeyId,
    /// Every token that was ever issued.
    pub tokens: Vec<String>,
}

/// Something that changes the store, and the tokens that it issued.
pub type Act = fn(&World, &Cast) -> Result<Vec<String>, Error>;

/// Every kind of mutation, by name.
pub const MUTATIONS: &[(&str, Act)] = &[
    ("create owner", |world, _| {
        let request = CreateOwner::with_key(full().name("first"));
        let created = world.admin.create_owner(&id("new"), request)?;
        Ok(created.first_key.iter().map(token).collect())
    }),
    ("create key", |world, cast| issued(world.admin.create(&cast.org, full().name("more")))),
    ("create sealed key", |world, cast| {
        issued(world.admin.create(&cast.org, full().recoverable()))
    }),
    ("rotate", |world, cast| issued(world.admin.rotate(cast.active, Rotate::new()))),
    ("rotate by force", |world, cast| issued(world.admin.rotate(cast.active, forced()))),
    ("rotate blocked", |world, cast| issued(world.admin.rotate(cast.blocked, forced().unblock()))),
    ("end previous", |world, cast| done(world.admin.invalidate_previous_tokens(cast.active))),
    ("deactivate", |world, cast| done(world.admin.deactivate(cast.active))),
    ("activate", |world, cast| done(world.admin.activate(cast.deactivated))),
    ("block", |world, cast| done(world.admin.block(cast.active))),
    ("unblock", |world, cast| done(world.admin.unblock(cast.blocked))),
    ("revoke", |world, cast| done(world.admin.revoke(cast.active))),
    ("update", |world, cast| {
        let update = UpdateKey::new().name("renamed").access(Access::ReadOnly);
        done(world.admin.update(cast.active, update.settings(serde_json::json!({ "rate": 7 }))))
    }),
    ("extend_expiry", |world, cast| {
        done(world.admin.extend_expiry(cast.trial, Expiry::At(later(world, 9))))
    }),
    ("convert trial", |world, cast| done(world.admin.convert_trial(cast.trial, Expiry::Never))),
    ("open token", |world, cast| done(world.admin.reveal_token(cast.sealed))),
    ("purge key", |world, cast| done(world.admin.purge(cast.revoked))),
    ("update owner", |world, cast| {
        let update = UpdateOwner::new().max_access(Access::ReadOnly);
        done(world.admin.update_owner(&cast.org, update))
    }),
    ("suspend", |world, cast| done(world.admin.suspend_owner(&cast.org))),
    ("resume", |world, cast| done(world.admin.resume_owner(&cast.gone))),
    ("owner's mark", |world, cast| {
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
    ("store's mark", |world, _| done(world.admin.invalidate_tokens_issued_before(later(world, 0)))),
    ("prune events", |world, _| done(world.admin.prune_events(Timestamp::MAX))),
];

/// Fills an empty store.
///
/// # Errors
/// As the store.
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
    let sealed = keep(world.admin.create(&org, full().name("recoverable").recoverable())?);
    keep(create(&gone, "stays")?);
    let ended = keep(create(&gone, "ended")?);
    world.admin.revoke(ended)?;
    world.admin.suspend_owner(&gone)?;
    let other = keep(create(&bystander, "other")?);
    // So that a mark of now comes after them.
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
        sealed,
        other,
        tokens,
    })
}

/// The text of an issued token.
#[must_use]
pub fn token(issued: &Issued) -> String {
    issued.token.expose().to_owned()
}

/// A request for a standard key that may do everything.
pub fn full() -> CreateKey {
    CreateKey::new(Access::Full)
}

/// An owner's id.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn id(text: &str) -> OwnerId {
    OwnerId::new(text).expect("an id")
}

/// So many hours from now.
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
