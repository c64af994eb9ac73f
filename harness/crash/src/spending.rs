//! Threads that use keys with quotas and report each accepted use, until the store is closed.

use keyhasp::RejectReason;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use keyhasp::store::Unavailable;
use keyhasp::{AdminKeys, Error, KeyId, KeyStore, OwnerId, Store, VerifyError, VerifyRequest};

use crate::found;
use crate::limits::{ADDRESS, mark_of_quota, small_quota};
use crate::line::{Line, Lines};
use crate::operation::{Deed, Made, Operation, OwnerDeed};
use crate::random::Random;
use crate::work::{Task, say};

/// The number of threads; a kill may cut off the report of one use of each.
pub const SPENDERS: u64 = 2;
/// The highest cost of a use.
pub const MOST: u64 = 3;
/// The number of keys; their owner has a quota too.
const KEYS: usize = 2;
/// The most units of a quota.
const QUOTA: u64 = 3_000;
/// The flushes in a hundred thousand uses, and the quotas that are replaced before they are used
/// up.
const FLUSHES: u64 = 2_000;
const RENEWALS: u64 = 200;

/// The state that the threads share.
struct Spending<'a> {
    task: &'a Task,
    store: &'a Arc<Store>,
    lines: &'a Lines,
    admin: AdminKeys,
    owner: OwnerId,
    tokens: Vec<(KeyId, String)>,
    /// A use holds it for reading, a change of a quota for writing. Without it a use could count
    /// for either quota.
    renewing: RwLock<()>,
    count: AtomicU64,
}

/// The reason to stop.
enum Over {
    Closed,
    Wrong,
}

/// Uses keys until the store is closed.
///
/// # Errors
/// A call failed that must not fail.
pub fn run(
    task: &Task,
    store: &Arc<Store>,
    lines: &Lines,
    mut random: Random,
) -> Result<(), Error> {
    let admin = AdminKeys::new(Arc::<Store>::clone(store), "spender")?;
    let mut spending = Spending {
        task,
        store,
        lines,
        admin,
        owner: OwnerId::new(format!("s-{}", task.name))?,
        tokens: Vec::new(),
        renewing: RwLock::default(),
        count: AtomicU64::new(0),
    };
    if spending.set_up(&mut random).is_err() {
        return Ok(());
    }
    thread::scope(|scope| {
        for thread in 0..SPENDERS {
            let (spending, random) = (&spending, Random::new(random.number()));
            scope.spawn(move || spending.spend(thread, random));
        }
    });
    Ok(())
}

impl Spending<'_> {
    /// Rotates the keys of the processes before, whose tokens died with them, and sets quotas.
    fn set_up(&mut self, random: &mut Random) -> Result<(), Over> {
        let owners = found::owners(&self.admin).map_err(|error| self.over(&error))?;
        match owners.iter().find(|owner| owner.id.as_str().starts_with('s')) {
            Some(owner) => self.owner = owner.id,
            None => drop(self.perform(&Operation::CreateOwner(self.owner))?),
        }
        let keys = || found::keys(&self.admin, Some(self.owner)).map_err(|error| self.over(&error));
        for _ in keys()?.len()..KEYS {
            self.perform(&Operation::CreateKey(self.owner))?;
        }
        let mut tokens = Vec::new();
        for key in keys()? {
            let made = self.perform(&Operation::Key(key.id, Deed::RotateByForce))?;
            tokens.extend(made.token.map(|token| (key.id, token)));
            if key.limits.quota.is_none() {
                self.renew(Some(key.id), random)?;
            }
        }
        self.tokens = tokens;
        let owner = self.admin.owner(&self.owner).map_err(|error| self.over(&error))?;
        match owner.limits.quota {
            Some(_) => Ok(()),
            None => self.renew(None, random),
        }
    }

    /// Uses keys until a call says that the store is closed.
    fn spend(&self, thread: u64, mut random: Random) {
        for count in 0.. {
            let Some((key, token)) = random.pick(&self.tokens) else { return };
            let cost = 1 + random.below(MOST) as u32;
            let still = self.renewing.read().unwrap_or_else(PoisonError::into_inner);
            let used = self.use_key(*key, token, cost);
            drop(still);
            let next = match used {
                Ok(true) => Ok(()),
                Ok(false) => self.exhausted(*key, token, cost, &mut random),
                Err(over) => Err(over),
            };
            let next = next.and_then(|()| match random.below(100_000) {
                chance if chance < FLUSHES => self.flush(thread << 32 | count),
                chance if chance < FLUSHES + RENEWALS => {
                    let _alone = self.renewing.write().unwrap_or_else(PoisonError::into_inner);
                    self.renew(random.percent(50).then_some(*key), &mut random)
                }
                _ => Ok(()),
            });
            if next.is_err() {
                return;
            }
        }
    }

    /// Uses a key; returns false if a quota is used up.
    fn use_key(&self, key: KeyId, token: &str, cost: u32) -> Result<bool, Over> {
        let request = VerifyRequest::new(token.as_bytes()).address(ADDRESS).cost(cost);
        match self.store.verify_request(&request) {
            Ok(_) => {
                say(self.lines, &Line::Used(key, cost));
                Ok(true)
            }
            Err(VerifyError::Rejected(RejectReason::QuotaExhausted { .. })) => Ok(false),
            Err(VerifyError::Unavailable(Unavailable::Closed)) => Err(Over::Closed),
            Err(error) => Err(self.wrong(&format!("a use was rejected: {error:?}"))),
        }
    }

    /// Replaces a quota that is used up, unless another thread has.
    fn exhausted(
        &self,
        key: KeyId,
        token: &str,
        cost: u32,
        random: &mut Random,
    ) -> Result<(), Over> {
        let _alone = self.renewing.write().unwrap_or_else(PoisonError::into_inner);
        if self.use_key(key, token, cost)? {
            return Ok(());
        }
        let found = self.admin.get(key).map_err(|error| self.over(&error))?;
        let left = found.usage.and_then(|usage| usage.quota_left);
        let of = (left == Some(0)).then_some(key);
        self.renew(of, random)?;
        // What was used stays used, also of another quota.
        let refill = match of {
            Some(key) => Operation::Key(key, Deed::Refill),
            None => Operation::Owner(self.owner, OwnerDeed::Refill),
        };
        self.perform(&refill).map(drop)
    }

    /// Sets a new quota of a key, or of the owner.
    fn renew(&self, key: Option<KeyId>, random: &mut Random) -> Result<(), Over> {
        // Small ones are used up; large ones are leased in parts.
        let uses = 1 + random.below(QUOTA).min(random.below(QUOTA));
        let mark = mark_of_quota(uses, random.number() >> 32);
        debug_assert_eq!(small_quota(mark), Some(uses));
        let operation = match key {
            Some(key) => Operation::Key(key, Deed::Update(mark)),
            None => Operation::Owner(self.owner, OwnerDeed::Update(mark)),
        };
        self.perform(&operation).map(drop)
    }

    fn flush(&self, number: u64) -> Result<(), Over> {
        say(self.lines, &Line::Flushing(number));
        self.store.flush_usage().map_err(|error| self.over(&error))?;
        say(self.lines, &Line::Flushed(number));
        Ok(())
    }

    fn perform(&self, operation: &Operation) -> Result<Made, Over> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-s-{count}", self.task.name);
        say(self.lines, &Line::Intent(name.clone(), operation.clone()));
        let admin = self
            .admin
            .with_correlation_id(name.as_str())
            .map_err(|error| self.wrong(&error.to_string()))?;
        match operation.perform(&admin) {
            Ok(made) => {
                say(self.lines, &Line::Done(name, made.clone()));
                Ok(made)
            }
            Err(error) => {
                say(self.lines, &Line::Refused(name, error.to_string()));
                Err(self.over(&error))
            }
        }
    }

    fn over(&self, error: &Error) -> Over {
        match error {
            Error::Unavailable(Unavailable::Closed) => Over::Closed,
            other => self.wrong(&other.to_string()),
        }
    }

    fn wrong(&self, what: &str) -> Over {
        say(self.lines, &Line::Trouble(format!("spending: {what}")));
        Over::Wrong
    }
}
