//! Two organisations for a demonstration.
//!
//! The first is five weeks old. It has keys 1 (good), 3 (deactivated by the organisation), 4
//! (blocked by an administrator) and 5 (an expired trial). By default its keys use storage
//! configuration 1 and webhook configuration 2. The second has key 2, and no default.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::{Access, AdminKeys, Clock, CreateKey, Error, Expiry, NumericId};
use keyhasp::{Key, KeyStore, ManualClock, NumericIdChoice, OwnerId, OwnerKeys, SystemClock};
use serde_json::{Value, json};

use super::organisation;
use super::shared::Outcome;

const ACTOR: &str = "demonstration";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const GOOD: u64 = 1;
const OTHER: u64 = 2;
const DEACTIVATED: u64 = 3;
const BLOCKED: u64 = 4;
const TRIAL: u64 = 5;

/// Fills a new database, with a clock that stands five weeks ago: only a manual clock makes an
/// expired trial. Adds what is missing if an earlier process ended halfway. `open` must refuse a
/// clock that is behind the log: a database in use is opened with no clock but the right one.
pub(crate) fn fill(open: impl FnOnce(Arc<dyn Clock>) -> Outcome<Arc<dyn KeyStore>>) -> Outcome<()> {
    let then = SystemClock::new().now().saturating_sub(35 * DAY);
    let store = match open(Arc::new(ManualClock::new(then))) {
        Err(error) if matches!(error.downcast_ref(), Some(Error::ClockBehindLog(_))) => {
            return Ok(());
        }
        opened => opened?,
    };
    let admin = AdminKeys::new(Arc::clone(&store), ACTOR)?;
    let (first, second) = (OwnerId::new("1")?, OwnerId::new("2")?);
    let standard = || CreateKey::new(Access::Full);
    let create = |id, key| admin.create_owner(id, organisation::with_key(key)?);
    once(&admin, GOOD, |key| create(&first, key), standard())?;
    admin.update_owner(&first, organisation::set_defaults([1.into(), 2.into()]))?;
    once(&admin, OTHER, |key| create(&second, key), standard())?;
    let deactivated = once(&admin, DEACTIVATED, |key| admin.create(&first, key), standard())?;
    OwnerKeys::new(Arc::clone(&store), first, ACTOR)?.deactivate(deactivated.id)?;
    let blocked = once(&admin, BLOCKED, |key| admin.create(&first, key), standard())?;
    admin.with_reason("its token was found in public")?.block(blocked.id)?;
    let trial = CreateKey::trial(Access::Full, Expiry::At(then.saturating_add(14 * DAY)));
    once(&admin, TRIAL, |key| admin.create(&first, key), trial)?;
    Ok(store.close()?)
}

/// Returns the key of this number. Creates it if it doesn't exist.
fn once<T>(
    admin: &AdminKeys,
    number: u64,
    create: impl FnOnce(CreateKey) -> Result<T, Error>,
    key: CreateKey,
) -> Result<Key, Error> {
    let id = NumericId::new(number)?;
    match admin.find(id) {
        Err(Error::NotFound(_)) => {
            create(key.numeric_id(NumericIdChoice::Given(id)).recoverable())?;
            admin.find(id)
        }
        found => found,
    }
}

/// Returns the current tokens of the demonstration's keys. A token that can't be decrypted any more
/// is null.
pub(crate) fn tokens(store: &Arc<dyn KeyStore>) -> Result<Value, Error> {
    let admin = AdminKeys::new(Arc::clone(store), ACTOR)?;
    let token = |number| {
        let key = admin.find(NumericId::new(number)?)?;
        match admin.reveal_token(key.id) {
            Ok(token) => Ok(Some(token.expose().to_owned())),
            Err(Error::Seal(_)) => Ok(None),
            Err(error) => Err(error),
        }
    };
    Ok(json!({
        "token": token(GOOD)?,
        "other_token": token(OTHER)?,
        "dead_tokens": [token(DEACTIVATED)?, token(BLOCKED)?, token(TRIAL)?],
    }))
}
