//! An administrator's calls, which the API leaves to its staff: commands of the example.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::{
    Access, AdminKeys, ChangedKey, CreateKey, Error, Expiry, Key, KeyStore, ListKeys, NumericId,
    NumericIdChoice, OwnerId, Timestamp,
};
use serde_json::{Value, json};

use super::shared::Outcome;
use super::{configs, organisation, resource};

const ACTOR: &str = "administrator";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest trial, in days.
const MAX_DAYS: u32 = 3_650;

/// A command. Its words are the ones that `--help` lists.
#[derive(Debug)]
pub(crate) enum Command {
    List(Option<OwnerId>),
    Trial(OwnerId, u32),
    Block(NumericId, Option<String>),
    Unblock(NumericId),
    Deactivate(NumericId),
    Activate(NumericId),
    Defaults(OwnerId, [Value; 2]),
}

impl Command {
    /// Reads a command from its words, before anything is opened.
    pub(crate) fn read(words: &[String]) -> Outcome<Self> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(match *words {
            ["list"] => Self::List(None),
            ["list", organisation] => Self::List(Some(owner(organisation)?)),
            ["trial", organisation, days] => Self::Trial(owner(organisation)?, read_days(days)?),
            ["block", key] => Self::Block(number(key)?, None),
            ["block", key, reason] => Self::Block(number(key)?, Some(reason.to_owned())),
            ["unblock", key] => Self::Unblock(number(key)?),
            ["deactivate", key] => Self::Deactivate(number(key)?),
            ["activate", key] => Self::Activate(number(key)?),
            ["defaults", organisation, storage, webhook] => {
                Self::Defaults(owner(organisation)?, [config(storage)?, config(webhook)?])
            }
            _ => return Err("admin needs one of the commands that --help lists".into()),
        })
    }

    /// Executes the command, and returns what it prints: each key concerned.
    pub(crate) fn execute(self, store: &Arc<dyn KeyStore>, now: Timestamp) -> Outcome<Vec<Value>> {
        let admin = AdminKeys::new(Arc::clone(store), ACTOR)?;
        let shown = |key: &Key| -> Result<Value, Error> {
            Ok(resource::without_token(key, &admin.owner(&key.owner)?, store.catalogue()))
        };
        let keys = match self {
            Self::List(organisation) => list(&admin, organisation)?,
            Self::Trial(organisation, days) => {
                let over = Expiry::At(now.saturating_add(DAY * days));
                // More than the organisation's base permissions: all that there are.
                let trial = CreateKey::trial(Access::Full, over)
                    .numeric_id(NumericIdChoice::Next)
                    .recoverable();
                let issued = admin.create(&organisation, trial)?;
                let mut shown = shown(&issued.key)?;
                shown["token"] = issued.token.expose().into();
                return Ok(vec![shown]);
            }
            Self::Block(key, reason) => {
                let id = admin.find(key)?.id;
                let admin = match reason {
                    Some(reason) => admin.with_reason(reason)?,
                    None => admin.clone(),
                };
                match admin.block(id)? {
                    ChangedKey::Whole(key) => vec![*key],
                    // It can't be shown, but it is blocked.
                    ChangedKey::Damaged(entry) => return Ok(vec![json!(entry)]),
                }
            }
            Self::Unblock(key) => vec![admin.unblock(admin.find(key)?.id)?],
            Self::Deactivate(key) => vec![admin.deactivate(admin.find(key)?.id)?],
            Self::Activate(key) => vec![admin.activate(admin.find(key)?.id)?],
            Self::Defaults(organisation, configs) => {
                admin.update_owner(&organisation, organisation::set_defaults(configs))?;
                list(&admin, Some(organisation))?
            }
        };
        Ok(keys.iter().map(shown).collect::<Result<_, _>>()?)
    }
}

/// Returns all unrevoked keys, or those of an organisation, newest first.
fn list(admin: &AdminKeys, organisation: Option<OwnerId>) -> Result<Vec<Key>, Error> {
    let every = || {
        let query = ListKeys::new().limit(ListKeys::MAX_LIMIT);
        organisation.map_or(query.clone(), |owner| query.owner(owner))
    };
    if let Some(organisation) = &organisation {
        // The list of an owner that doesn't exist is empty.
        admin.owner(organisation)?;
    }
    let (mut all, mut query) = (Vec::new(), every());
    loop {
        let page = admin.list(&query)?;
        all.extend(page.items);
        match page.next {
            Some(cursor) => query = every().cursor(cursor),
            None => return Ok(all),
        }
    }
}

fn owner(text: &str) -> Outcome<OwnerId> {
    let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
    let id = number.map(|_| OwnerId::new(text)).transpose()?;
    id.ok_or_else(|| "ORGANISATION must be the number of an organisation".into())
}

fn number(text: &str) -> Outcome<NumericId> {
    resource::id(text).ok_or_else(|| "KEY must be the id of a key, a number".into())
}

fn read_days(text: &str) -> Outcome<u32> {
    let days = text.parse().ok().filter(|days| (1..=MAX_DAYS).contains(days));
    days.ok_or_else(|| format!("DAYS must be a number from 1 to {MAX_DAYS}").into())
}

fn config(text: &str) -> Outcome<Value> {
    if text == "none" {
        return Ok(Value::Null);
    }
    let id = text.parse().ok().filter(|id| configs::exists(*id));
    id.map(Value::from).ok_or_else(|| "STORAGE and WEBHOOK must be ids from 1 to 3, or none".into())
}
