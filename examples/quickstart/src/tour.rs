//! State that all steps share: the store, the handles on it and the story's clock; and the checks
//! that turn a wrong answer into a failure.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::{
    AdminKeys, Catalogue, Clock, Error, KeyStore, ManualClock, OwnerId, OwnerKeys, Peppers, Prefix,
    Store, SystemClock, Timestamp, Token, VerifiedKey, Verifier, VerifyError,
};

use keyhasp::store::UsageSettings;

use crate::database::Database;
use crate::page::{Page, moment};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn StdError>>;

/// Prefix of the service's tokens.
const PREFIX: &str = "shrt_live";
/// Pepper of the demo. A real service keeps its pepper with its secrets, apart from the database.
const PEPPER: [u8; 32] = *b"thirty-two bytes, for this demo.";
/// Time from the beginning of the story to now: more than its steps take, so that it ends in the
/// past.
const STORY: Duration = Duration::from_secs(16 * 24 * 60 * 60);
/// Time from one step to the next.
const PACE: Duration = Duration::from_secs(20 * 60);

/// The three organisations.
pub(crate) struct Owners {
    pub(crate) linden: OwnerId,
    pub(crate) harbour: OwnerId,
    pub(crate) mill: OwnerId,
    /// Number of the run on this database.
    pub(crate) run: u32,
}

pub(crate) struct Tour {
    pub(crate) page: Page,
    pub(crate) owners: Owners,
    /// The administrator's handle.
    pub(crate) ada: AdminKeys,
    pub(crate) verifier: Verifier,
    store: Arc<dyn KeyStore>,
    database: Database,
    /// Set by hand. The last steps use the real clock instead.
    story_clock: Arc<ManualClock>,
    pace: Duration,
    clock: Arc<dyn Clock>,
}

impl Tour {
    /// Opens the store at the story's beginning.
    pub(crate) fn begin(database: Database, page: Page) -> Outcome<Self> {
        let began = SystemClock::new().now().saturating_sub(STORY);
        let began = Timestamp::from_millis(began.as_millis() / 60_000 * 60_000)?;
        let story_clock = Arc::new(ManualClock::new(began));
        let clock: Arc<dyn Clock> = story_clock.clone();
        let store = open(&database, Arc::clone(&clock))?;
        let ada = AdminKeys::new(Arc::clone(&store), "ada@service")?;
        let owners = free_names(&ada)?;
        let verifier = Verifier::new(Arc::clone(&store));
        Ok(Self { page, owners, ada, verifier, store, database, story_clock, pace: PACE, clock })
    }

    /// Makes a handle that reaches one owner's keys, for a person who works there.
    pub(crate) fn keys_of(&self, owner: OwnerId, actor: &str) -> Outcome<OwnerKeys> {
        Ok(OwnerKeys::new(Arc::clone(&self.store), owner, actor)?)
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn prefix() -> Outcome<Prefix> {
        Ok(Prefix::new(PREFIX)?)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Begins the next step of the story, a little after the last one.
    pub(crate) fn step(&mut self, title: &str) -> Outcome {
        self.story_clock.advance(self.pace);
        Ok(self.page.step(title, self.now())?)
    }

    /// Sets the story's clock forward.
    pub(crate) fn later(&mut self, by: Duration) -> Outcome {
        self.story_clock.advance(by);
        Ok(self.page.later(by)?)
    }

    /// Lets the story's clock catch up with the real one, where it stands still.
    pub(crate) fn catch_up(&mut self) {
        self.pace = Duration::ZERO;
        self.story_clock.set(SystemClock::new().now());
    }

    /// Closes the store and opens it again, now on the operating system's clock.
    pub(crate) fn reopen(&mut self) -> Outcome {
        self.store.close()?;
        self.clock = Arc::new(SystemClock::new());
        self.store = open(&self.database, Arc::clone(&self.clock))?;
        self.ada = AdminKeys::new(Arc::clone(&self.store), "ada@service")?;
        self.verifier = Verifier::new(Arc::clone(&self.store));
        Ok(())
    }

    pub(crate) fn close(&self) -> Outcome {
        Ok(self.store.close()?)
    }

    /// Verifies a token that must be accepted, and prints its verified key.
    pub(crate) fn accepted(&mut self, what: &str, token: &Token) -> Outcome<VerifiedKey> {
        let verified = match self.verifier.verify(token.expose()) {
            Ok(verified) => verified,
            Err(why) => return Err(format!("{what} was rejected: {why}").into()),
        };
        let which = if verified.is_current() { "current" } else { "previous" };
        let until = verified.ends_at().map(|at| format!(", until {}", moment(at)));
        let detail = format!(
            "{}, generation {} ({which}){}",
            verified.owner_id(),
            verified.generation(),
            until.unwrap_or_default()
        );
        self.page.accepted(what, &detail)?;
        Ok(verified)
    }

    /// Verifies a token that must be rejected for this reason.
    pub(crate) fn rejected(
        &mut self,
        what: &str,
        token: impl AsRef<[u8]>,
        why: VerifyError,
    ) -> Outcome {
        match self.verifier.verify(token) {
            Err(found) if found == why => Ok(self.page.rejected(what, &why.to_string())?),
            Err(found) => Err(format!("{what} was rejected with `{found}`, not `{why}`").into()),
            Ok(_) => Err(format!("{what} was accepted").into()),
        }
    }

    /// Checks a call that must fail in this way.
    pub(crate) fn failed<T>(
        &mut self,
        what: &str,
        result: Result<T, Error>,
        is_expected: impl FnOnce(&Error) -> bool,
    ) -> Outcome {
        match result {
            Err(error) if is_expected(&error) => Ok(self.page.refused(what, &error.to_string())?),
            Err(error) => Err(format!("{what} failed with another error: {error}").into()),
            Ok(_) => Err(format!("{what} went through").into()),
        }
    }
}

/// Fails with `what`, unless it holds.
pub(crate) fn check(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(format!("this does not hold: {what}").into()) }
}

/// Opens the service's store: its permissions, its prefix, its pepper, and a clock.
fn open(database: &Database, clock: Arc<dyn Clock>) -> Outcome<Arc<dyn KeyStore>> {
    let catalogue = Catalogue::builder()
        .read("links:read")
        .write("links:write")
        .read("stats:read")
        .write("domains:write")
        .build()?;
    let builder =
        Store::builder(catalogue, [Tour::prefix()?]).peppers(Peppers::new(1, PEPPER)?).clock(clock);
    let builder = builder.usage(UsageSettings::new());
    database.open(builder)
}

/// Finds names that no run before on the same database has used.
fn free_names(ada: &AdminKeys) -> Outcome<Owners> {
    let named = |name: &str, run: u32| match run {
        1 => OwnerId::new(name),
        _ => OwnerId::new(format!("{name}-{run}")),
    };
    let mut run = 1;
    while is_there(ada, &named("linden-press", run)?)? {
        run += 1;
    }
    Ok(Owners {
        linden: named("linden-press", run)?,
        harbour: named("harbour-labs", run)?,
        mill: named("mill-bakery", run)?,
        run,
    })
}

fn is_there(ada: &AdminKeys, owner: &OwnerId) -> Outcome<bool> {
    match ada.owner(owner) {
        Ok(_) => Ok(true),
        Err(Error::NotFound(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
