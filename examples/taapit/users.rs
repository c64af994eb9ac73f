//! The users and the creation of their keys, which taap.it does in its dashboard.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::store::{StoreBuilder, UsageSettings};
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Error, Invalid, Issued, KeyStore, Network, OwnerId,
    OwnerKeys, Prefix, Rate, SetLimits, Store, Token,
};

use super::{alerts, level};

/// The prefix of the tokens, before a `_`.
const PREFIX: &str = "taapit";
/// The user of the demonstration, and of the keys that the command line creates unless it names
/// another.
pub(crate) const USER: &str = "user_1";

/// The number of requests a minute that a user's keys together may make.
pub(crate) const PER_MINUTE: u32 = 600;

/// The tokens of the demonstration, one of each level. They are shown this once.
#[derive(Debug)]
pub(crate) struct Demonstration {
    pub(crate) full: Token,
    pub(crate) read_only: Token,
    pub(crate) limited: Token,
}

/// Prepares the store's builder: the prefix, the catalogue, the usage of keys, and alerts.
pub(crate) fn store() -> Result<StoreBuilder, Invalid> {
    let builder = Store::builder(level::catalogue()?, [Prefix::new(PREFIX)?]);
    Ok(builder.usage(UsageSettings::new()).alerts(alerts::settings()))
}

/// Fills a new store. Returns `None` if the store has its user already.
pub(crate) fn demonstrate(store: &Arc<dyn KeyStore>) -> Result<Option<Demonstration>, Error> {
    let user = OwnerId::new(USER)?;
    let limited = Access::limited(["links:read", "links:write", "analytics:read"])?;
    let first = CreateKey::new(Access::Full).name("Demonstration, full access");
    let request = CreateOwner::with_key(first);
    let Some(full) = new_user(store, user, request)? else { return Ok(None) };
    let create = |name, access| create(store, user, name, access, None);
    let read_only = create("Demonstration, read only", Access::ReadOnly)?.token;
    let limited = create("Demonstration, limited", limited)?.token;
    Ok(Some(Demonstration { full, read_only, limited }))
}

/// Executes `--create NAME LEVEL` for a user, who is new if this is the first key.
pub(crate) fn create_on_demand(
    store: &Arc<dyn KeyStore>,
    user: OwnerId,
    name: &str,
    access: Access,
    networks: Option<Vec<Network>>,
) -> Result<Issued, Error> {
    new_user(store, user, CreateOwner::without_key())?;
    create(store, user, name, access, networks)
}

/// Creates the user, and returns the token of its first key if the request has one. Returns `None`
/// if the user exists.
fn new_user(
    store: &Arc<dyn KeyStore>,
    user: OwnerId,
    request: CreateOwner,
) -> Result<Option<Token>, Error> {
    let dashboard = AdminKeys::new(Arc::clone(store), "dashboard")?;
    let rate = Rate::new(PER_MINUTE, Duration::from_secs(60))?;
    let request = request.limits(SetLimits::new().rate(rate));
    match dashboard.create_owner(&user, request) {
        Ok(created) => Ok(created.first_key.map(|issued| issued.token)),
        Err(Error::OwnerExists) => Ok(None),
        Err(error) => Err(error),
    }
}

fn create(
    store: &Arc<dyn KeyStore>,
    user: OwnerId,
    name: &str,
    access: Access,
    networks: Option<Vec<Network>>,
) -> Result<Issued, Error> {
    let user = OwnerKeys::new(Arc::clone(store), user, "dashboard")?;
    let limits = networks.map(|networks| SetLimits::new().networks(networks));
    user.create(CreateKey::new(access).name(name).limits(limits.unwrap_or_default()))
}
