//! The users and the creation of their keys, which taap.it does in its dashboard.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::store::{StoreBuilder, UsageSettings};
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Error, Invalid, Issued, KeyStore, Network, OwnerId,
    OwnerKeys, Prefix, Rate, SetLimits, Store, Token,
};

use super::level;

/// The prefix of the tokens, before a `_`.
const PREFIX: &str = "taapit";
/// The user of the demonstration, and of the keys that the command line creates.
const USER: &str = "user_1";

/// The number of requests a minute that a user's keys together may make.
pub(crate) const PER_MINUTE: u32 = 600;

/// The tokens of the demonstration, one of each level. They are shown this once.
#[derive(Debug)]
pub(crate) struct Demonstration {
    pub(crate) full: Token,
    pub(crate) read_only: Token,
    pub(crate) limited: Token,
}

/// Prepares the store's builder: the prefix, the catalogue and the usage of keys.
pub(crate) fn store() -> Result<StoreBuilder, Invalid> {
    let builder = Store::builder(level::catalogue()?, [Prefix::new(PREFIX)?]);
    Ok(builder.usage(UsageSettings::new()))
}

/// Fills a new store. Returns `None` if the store has its user already.
pub(crate) fn demonstrate(store: &Arc<dyn KeyStore>) -> Result<Option<Demonstration>, Error> {
    let limited = Access::limited(["links:read", "links:write", "analytics:read"])?;
    let first = CreateKey::new(Access::Full).name("Demonstration, full access");
    let Some(full) = new_user(store, CreateOwner::with_key(first))? else { return Ok(None) };
    let read_only = create(store, "Demonstration, read only", Access::ReadOnly, None)?.token;
    let limited = create(store, "Demonstration, limited", limited, None)?.token;
    Ok(Some(Demonstration { full, read_only, limited }))
}

/// Executes `--create NAME LEVEL`.
pub(crate) fn create_on_demand(
    store: &Arc<dyn KeyStore>,
    name: &str,
    access: Access,
    networks: Option<Vec<Network>>,
) -> Result<Issued, Error> {
    new_user(store, CreateOwner::without_key())?;
    create(store, name, access, networks)
}

/// Creates the user, and returns the token of its first key if the request has one. Returns `None`
/// if the user exists.
fn new_user(store: &Arc<dyn KeyStore>, request: CreateOwner) -> Result<Option<Token>, Error> {
    let dashboard = AdminKeys::new(Arc::clone(store), "dashboard")?;
    let rate = Rate::new(PER_MINUTE, Duration::from_secs(60))?;
    let request = request.limits(SetLimits::new().rate(rate));
    match dashboard.create_owner(&OwnerId::new(USER)?, request) {
        Ok(created) => Ok(created.first_key.map(|issued| issued.token)),
        Err(Error::OwnerExists) => Ok(None),
        Err(error) => Err(error),
    }
}

fn create(
    store: &Arc<dyn KeyStore>,
    name: &str,
    access: Access,
    networks: Option<Vec<Network>>,
) -> Result<Issued, Error> {
    let user = OwnerKeys::new(Arc::clone(store), OwnerId::new(USER)?, "dashboard")?;
    let limits = networks.map(|networks| SetLimits::new().networks(networks));
    user.create(CreateKey::new(access).name(name).limits(limits.unwrap_or_default()))
}
