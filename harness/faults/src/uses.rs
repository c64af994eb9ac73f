//! Keys with quotas and counted uses, and the bounds of both, whatever fails while a lease is
//! taken, uses are written or the store is closed.

use std::sync::Arc;

use keyhasp::backend::{Backend, UsageSubject};
use keyhasp::store::{Unavailable, UsageSettings};
use keyhasp::{
    Access, AdminKeys, Catalogue, Clock, CreateKey, CreateOwner, Error, Issued, KeyId, KeyStore,
    ManualClock, OwnerId, Prefix, Quota, RejectReason, SetLimits, Store, Timestamp, Verifier,
    VerifyError,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::expected::text;
use crate::mutations::{id, token};
use crate::world::{HOUR, START, await_recovery};

/// The uses of the first key's quota, and of its owner's, for both of its keys.
const KEY: u64 = 160;
const BOTH: u64 = 300;
/// The uses of each key that are counted at first.
const FIRST: u64 = 5;

/// An act during which an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Uses that take several leases.
    Lease,
    /// Two flushes of usage.
    Write,
    /// Closing with leases out and uses that are not written.
    Close,
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lease, Self::Write, Self::Close];
}

/// A store in which two keys are used.
#[derive(Debug)]
pub struct Uses {
    store: Arc<Store>,
    verifier: Verifier,
    keys: [(KeyId, String); 2],
    owner: OwnerId,
    /// The accepted uses of each key.
    accepted: [u64; 2],
    /// The uses that were answered `Unavailable`.
    pub refused: u64,
    /// Whether counts may be lost, since the outcome of their flush was unknown.
    pub may_be_lost: bool,
    /// Whether the closing failed, so that leases are forfeited.
    pub is_cut_off: bool,
}

fn open(backend: Arc<dyn Backend>) -> Result<Arc<Store>, Error> {
    let catalogue = Catalogue::builder().read("links:read").build()?;
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)?));
    // Usage is written only when a test flushes.
    let usage = UsageSettings::new().counts().interval(HOUR);
    // A use waits for its lease, however slow the machine is.
    let builder = Store::builder(catalogue, [Prefix::new("acme")?]).quota_wait(HOUR);
    let builder = builder.clock(clock).usage(usage);
    Ok(Arc::new(builder.random(ChaCha20Rng::seed_from_u64(1)).open_on(backend)?))
}

impl Uses {
    /// Opens a store, takes leases and counts some uses; nothing fails yet.
    ///
    /// # Errors
    /// Those of the store.
    pub fn begin(backend: Arc<dyn Backend>) -> Result<Self, String> {
        let owner = id("org");
        let create = || -> Result<_, Error> {
            let store = open(backend)?;
            let admin = AdminKeys::new(Arc::<Store>::clone(&store), "root")?;
            let once =
                |uses| -> Result<_, Error> { Ok(SetLimits::new().quota(Quota::one_time(uses)?)) };
            let request = CreateOwner::without_key().limits(once(BOTH)?);
            let _ = admin.create_owner(&owner, request)?;
            let limited = CreateKey::new(Access::Full).limits(once(KEY)?);
            let key = |issued: Issued| (issued.key.id, token(&issued));
            let keys = [
                key(admin.create(&owner, limited)?),
                key(admin.create(&owner, CreateKey::new(Access::Full))?),
            ];
            Ok((store, keys))
        };
        let (store, keys) = create().map_err(text)?;
        let verifier = Verifier::new(Arc::<Store>::clone(&store));
        let accepted = [0; 2];
        let (refused, may_be_lost, is_cut_off) = (0, false, false);
        let mut uses =
            Self { store, verifier, keys, owner, accepted, refused, may_be_lost, is_cut_off };
        for _ in 0..FIRST {
            uses.accept(0)?;
            uses.accept(1)?;
        }
        uses.store.flush_usage().map_err(text)?;
        Ok(uses)
    }

    /// Uses a key once; tells whether its quota is used up.
    fn is_exhausted(&mut self, key: usize) -> Result<bool, String> {
        let answer = self.verifier.verify(&self.keys[key].1);
        // Otherwise a thread makes its operations among those of the next act. If it fails, those who
        // need a lease hear so.
        let _ = self.store.fetch_leases();
        match answer {
            Ok(_) => self.accepted[key] += 1,
            Err(VerifyError::Rejected(RejectReason::QuotaExhausted { .. })) => return Ok(true),
            Err(VerifyError::Unavailable(Unavailable::Quota { .. } | Unavailable::Recovering)) => {
                self.refused += 1;
            }
            Err(other) => return Err(format!("a use is answered {other:?}")),
        }
        Ok(false)
    }

    /// Uses a key whose quota isn't used up.
    fn accept(&mut self, key: usize) -> Result<(), String> {
        match self.is_exhausted(key)? {
            true => Err(format!("used up after {:?} uses", self.accepted)),
            false => Ok(()),
        }
    }

    /// Performs the act; operations may fail. Calls `release` before each call that waits for the
    /// commit guard: a recovery thread that is held back may hold the guard.
    ///
    /// # Errors
    /// A violation, whatever fails.
    pub fn act(&mut self, act: Act, release: &dyn Fn()) -> Result<(), String> {
        match act {
            Act::Lease => (0..40).try_for_each(|_| self.accept(0)),
            Act::Write => {
                for _ in 0..2 {
                    // The leases hold enough of both quotas.
                    self.accept(0)?;
                    self.accept(1)?;
                    release();
                    let flushed = self.store.flush_usage();
                    self.note(flushed)?;
                }
                Ok(())
            }
            Act::Close => {
                self.accept(0)?;
                self.accept(1)?;
                release();
                let closed = self.store.close();
                // Leases that it can't give back are forfeited.
                self.is_cut_off = true;
                self.may_be_lost |= closed.is_err();
                self.note(closed)
            }
        }
    }

    fn note(&mut self, answer: Result<(), Error>) -> Result<(), String> {
        match answer {
            Ok(()) | Err(Error::Backend(_) | Error::Unavailable(Unavailable::Recovering)) => Ok(()),
            Err(Error::OutcomeUnknown(_)) => {
                self.may_be_lost = true;
                Ok(())
            }
            Err(other) => Err(format!("it is answered {other:?}")),
        }
    }

    /// Waits until the store has recovered by itself, or asks it to recover.
    ///
    /// # Errors
    /// It doesn't recover.
    pub fn recover(&self, by_itself: bool) -> Result<(), String> {
        if !by_itself {
            self.store.recover().map_err(text)?;
        }
        await_recovery(&*self.store)
    }

    /// Uses up the quotas, now that nothing fails, and closes the store. A store that was closed
    /// before is opened on `backend`.
    ///
    /// # Errors
    /// A violation.
    pub fn settle(&mut self, backend: Option<Arc<dyn Backend>>) -> Result<(), String> {
        if let Some(backend) = backend {
            self.store = open(backend).map_err(text)?;
            self.verifier = Verifier::new(Arc::<Store>::clone(&self.store));
        }
        let refused = std::mem::take(&mut self.refused);
        for key in 0..2 {
            let mut tries = 0..BOTH + 50;
            while !self.is_exhausted(key)? {
                tries.next().ok_or("it is never used up")?;
            }
        }
        if std::mem::replace(&mut self.refused, refused) > 0 {
            return Err("recovered, it is still unavailable".to_owned());
        }
        self.store.flush_usage().map_err(text)?;
        self.store.close().map_err(text)
    }

    /// Checks the records that a process would find now: no accepted use is left in a quota, and
    /// none is counted twice. Returns the uses that are left.
    ///
    /// # Errors
    /// A violation.
    pub fn hold(&self, backend: &dyn Backend) -> Result<[u64; 2], String> {
        let of = [UsageSubject::Key(self.keys[0].0), UsageSubject::Owner(self.owner)];
        let usage = backend.usage(&of).map_err(|error| error.to_string())?;
        let limits = [
            backend.key(self.keys[0].0).map(|key| key.map(|key| key.limits)),
            backend.owner(&self.owner).map(|owner| owner.map(|owner| owner.limits)),
        ];
        let all = self.accepted[0] + self.accepted[1];
        let mut lefts = [0; 2];
        for (at, limits) in limits.into_iter().enumerate() {
            let limits = limits.map_err(|error| error.to_string())?;
            let quota = limits.and_then(|limits| limits.quota).ok_or("a quota is gone")?;
            let now = ManualClock::new(Timestamp::from_millis(START).map_err(text)?).now();
            lefts[at] = quota.value.state_at(usage[at].quota, now).left;
            let used = [self.accepted[0], all][at];
            if lefts[at] + used > quota.value.quota.uses() {
                return Err(format!("{used} uses of {:?} and {} are left", quota.value, lefts[at]));
            }
        }
        for ((key, _), accepted) in self.keys.iter().zip(self.accepted) {
            let usage =
                backend.usage(&[UsageSubject::Key(*key)]).map_err(|error| error.to_string())?;
            let counted = usage[0].used.accepted;
            if !(FIRST..=accepted).contains(&counted) {
                return Err(format!("{counted} uses are counted of {accepted}"));
            }
        }
        Ok(lefts)
    }

    /// Checks the records in the end: quotas are used up, except at most so many forfeited leases
    /// of each. All uses are counted, unless the outcome of a flush was unknown.
    ///
    /// # Errors
    /// A violation.
    pub fn hold_settled(&self, backend: &dyn Backend, forfeited: u64) -> Result<(), String> {
        if self.hold(backend)? != [0; 2] {
            return Err("uses are left that were rejected".to_owned());
        }
        let all = self.accepted[0] + self.accepted[1];
        for (used, quota) in [(self.accepted[0], KEY), (all, BOTH)] {
            if used + forfeited * (quota / 16) < quota {
                return Err(format!(
                    "{used} of {quota} were accepted, {forfeited} leases forfeited"
                ));
            }
        }
        for ((key, _), accepted) in self.keys.iter().zip(self.accepted) {
            let usage =
                backend.usage(&[UsageSubject::Key(*key)]).map_err(|error| error.to_string())?;
            let counted = usage[0].used.accepted;
            if counted != accepted && !self.may_be_lost {
                return Err(format!("{counted} uses are counted of {accepted}"));
            }
        }
        Ok(())
    }
}
