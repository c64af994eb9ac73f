//! The opening of a store.

use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;

use super::Store;
use super::alerts::{AlertScanner, Noticed};
use super::engine::{
    Engine, FIRST_PAUSE, HealthHook, HealthWatch, KeyObserver, MetadataState, Next, Records,
    RecordsParts, Retention, Threads, Worked, Workers, next_attempt, start_settling, start_sweeps,
    start_watch, stored_metadata,
};
use super::manage::{Manager, Minter, Sealer, mend_graces};
use super::opening::{add_secrets, check_rules, check_secrets, found_or_created, retire_peppers};
use super::types::{
    AlertSettings, Error, Health, IfInUse, SettingsCheck, Unavailable, UsageSettings,
};
use super::usage::UsageRecorder;
use super::verify::{LeaseSettings, TokenVerifier};
use crate::backend::{Backend, Sharing};
use crate::clock::{Clock, SystemClock};
use crate::id::Version;
use crate::invalid::{Invalid, Problem};
use crate::key::{Prefix, PrefixTable, StoreMetadata, StoreRules};
use crate::permission::Catalogue;
#[cfg(feature = "recoverable")]
use crate::token::RecoveryKeys;
use crate::token::{Peppers, RandomSource};

/// The longest time for which a verification waits for a lease, unless the builder sets another.
const DEFAULT_QUOTA_WAIT: Duration = Duration::from_millis(50);
const MAX_QUOTA_WAIT: Duration = Duration::from_secs(3_600);

/// A builder that opens a [`Store`].
///
/// ```
/// use keyhasp::backend::Memory;
/// use keyhasp::{Catalogue, Prefix, Store};
///
/// let catalogue = Catalogue::builder().read("links:read").write("links:write").build()?;
/// let store = Store::builder(catalogue, [Prefix::new("acme")?]).open(Memory::new())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct StoreBuilder {
    catalogue: Catalogue,
    prefixes: Vec<Prefix>,
    rules: StoreRules,
    peppers: Peppers,
    retiring: Vec<(u16, IfInUse)>,
    clock: Arc<dyn Clock>,
    random: Box<dyn RandomSource>,
    settings_check: Option<Box<dyn SettingsCheck>>,
    event_retention: Option<Duration>,
    key_retention: Option<Duration>,
    refuses_clock_behind_log: bool,
    usage: Option<UsageSettings>,
    alerts: AlertSettings,
    leases: LeaseSettings,
    holds_sweeps: bool,
    health_hook: Option<HealthHook>,
    details: Option<Vec<String>>,
    #[cfg(feature = "recoverable")]
    recovery_keys: Option<RecoveryKeys>,
}

impl Store {
    /// Starts a builder, with the permissions that the service declares and the 1 to 8 prefixes of
    /// its tokens. The first prefix is the default of new keys.
    pub fn builder(
        catalogue: Catalogue,
        prefixes: impl IntoIterator<Item = Prefix>,
    ) -> StoreBuilder {
        StoreBuilder::new(catalogue, prefixes.into_iter().collect())
    }
}

impl StoreBuilder {
    pub(super) fn new(catalogue: Catalogue, prefixes: Vec<Prefix>) -> Self {
        Self {
            catalogue,
            prefixes,
            rules: StoreRules::default(),
            peppers: Peppers::public(),
            retiring: Vec::new(),
            clock: Arc::new(SystemClock::new()),
            random: Box::new(SysRng),
            settings_check: None,
            event_retention: None,
            key_retention: None,
            refuses_clock_behind_log: false,
            usage: None,
            alerts: AlertSettings::new(),
            leases: LeaseSettings { wait: DEFAULT_QUOTA_WAIT, renews: true },
            holds_sweeps: false,
            health_hook: None,
            details: None,
            #[cfg(feature = "recoverable")]
            recovery_keys: None,
        }
    }

    /// Sets the rules of the store. Defaults to [`StoreRules::default`]. A new database adopts
    /// them; a database with other rules isn't opened. To change rules or prefixes, open the
    /// database with those that it has, call [`change_rules`](crate::AdminKeys::change_rules), and
    /// open it with the new ones from then on.
    pub fn rules(mut self, rules: StoreRules) -> Self {
        self.rules = rules;
        self
    }

    /// Sets the peppers under which tokens are hashed. Defaults to the fixed public one;
    /// [`Peppers`] explains its risk.
    pub fn peppers(mut self, peppers: Peppers) -> Self {
        self.peppers = peppers;
        self
    }

    /// Retires a pepper at the opening, as [`AdminKeys::retire_pepper`](crate::AdminKeys::retire_pepper)
    /// does later: so a store opens whose pepper is lost. The pepper needn't be given, and its tokens
    /// end; its keys get others by a rotation. [`Store::retired_at_opening`] says how many ended.
    /// Defaults to retiring none. A pepper that is retired already stays so, and the call may stay in
    /// the service's code.
    pub fn retire_pepper(mut self, number: u16, if_in_use: IfInUse) -> Self {
        self.retiring.push((number, if_in_use));
        self
    }

    /// Sets the keys that encrypt recoverable tokens. Defaults to none, so that tokens can't be
    /// recoverable. The store opens without a key under which tokens are encrypted: revealing one of
    /// these is an error that names the key's number, and all else works.
    #[cfg(feature = "recoverable")]
    pub fn recovery_keys(mut self, keys: RecoveryKeys) -> Self {
        self.recovery_keys = Some(keys);
        self
    }

    /// Sets the source of time. Defaults to the operating system.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of randomness. Defaults to the operating system.
    pub fn random(mut self, random: impl RandomSource + 'static) -> Self {
        self.random = Box::new(random);
        self
    }

    /// Sets the service's own check of settings. Defaults to none.
    pub fn settings_check(mut self, check: impl SettingsCheck) -> Self {
        self.settings_check = Some(Box::new(check));
        self
    }

    /// Sets how long events are kept, at least an hour. Defaults to for ever. The store prunes
    /// older events after commits, some hundreds at a time. It prunes none in its first hour, nor
    /// while its clock is ahead (see [`Health`](super::Health)). A process that lives shorter calls
    /// [`prune_events`](crate::AdminKeys::prune_events).
    pub fn event_retention(mut self, keep: Duration) -> Self {
        self.event_retention = Some(keep);
        self
    }

    /// Sets how long keys are kept after they expired or were revoked, at least an hour. Defaults to
    /// for ever. After commits the store purges older ones, some dozens at a time, each with its
    /// event by the actor `keyhasp`; an owner's last standard key stays where the rules want one.
    /// As with events, it purges nothing in its first hour, and while its clock is known to be ahead.
    pub fn key_retention(mut self, keep: Duration) -> Self {
        self.key_retention = Some(keep);
        self
    }

    /// Refuses to open a database whose newest event lies more than a minute ahead of the clock.
    /// Defaults to opening it; [`Health`](super::Health) says so then. A clock that was ahead when
    /// the last event was written also makes the opening fail: open the store without this then,
    /// and change something.
    pub fn refuse_clock_behind_log(mut self) -> Self {
        self.refuses_clock_behind_log = true;
        self
    }

    /// Keeps the usage of keys: the last use, and what the settings add. Defaults to keeping none.
    pub fn usage(mut self, settings: UsageSettings) -> Self {
        self.usage = Some(settings);
        self
    }

    /// Sets the alerts that the store scans for, about every 30 seconds, and writes events of.
    /// Defaults to none.
    pub fn alerts(mut self, settings: AlertSettings) -> Self {
        self.alerts = settings;
        self
    }

    /// Keeps the name, the numeric id and the tags of every key in memory, and the effective values of the
    /// settings of these names, for [`Verifier::details`](crate::Verifier::details). Defaults to keeping none of
    /// it. A later call replaces it.
    ///
    /// The memory is as current as the index. A key takes about 200 bytes there, and more where it has
    /// tags or values of its own; values of its owner are kept once for all of the owner's keys. The opening
    /// reads all keys once more.
    pub fn key_details<S: Into<String>>(mut self, settings: impl IntoIterator<Item = S>) -> Self {
        self.details = Some(settings.into_iter().map(Into::into).collect());
        self
    }

    /// Sets how long a verification waits at most for the lease of a quota, up to an hour. Defaults
    /// to 50 ms. When the time is over, it is [`Unavailable::Quota`](super::Unavailable::Quota), which
    /// says when to try again. With zero it never waits, and the lease is fetched for those that come
    /// later.
    pub fn quota_wait(mut self, at_most: Duration) -> Self {
        self.leases.wait = at_most;
        self
    }

    /// Renews no lease when a period begins. For tests that have to know which quotas a thread has
    /// looked at.
    #[doc(hidden)]
    pub fn without_renewals_for_tests(mut self) -> Self {
        self.leases.renews = false;
        self
    }

    /// Works no pieces of sweeps by a thread. For tests that look at a store in the middle of them, or
    /// that have to know the order of events: they call
    /// [`Store::work_sweeps_for_tests`](super::Store::work_sweeps_for_tests).
    #[doc(hidden)]
    pub fn without_sweeps_for_tests(mut self) -> Self {
        self.holds_sweeps = true;
        self
    }

    /// Calls a function when [`Health::problems`] are others than before, and at the opening if
    /// there are any. Defaults to none. A later call replaces it.
    ///
    /// A thread of its own, `keyhasp-health`, looks once a second and calls the function. It holds
    /// no lock, so the function may call the store. A store that the function owns is never
    /// dropped; give it a [`Weak`](std::sync::Weak). While the function runs, the thread looks for
    /// no further change. If the function panics, the thread is failing in the store's health, and
    /// goes on. It isn't called for the closing of the store.
    ///
    /// ```
    /// # use keyhasp::{Catalogue, Prefix, Store};
    /// # fn f(builder: keyhasp::StoreBuilder) -> keyhasp::StoreBuilder {
    /// builder.on_health_change(|health| match health.problems().first() {
    ///     None => eprintln!("keyhasp is well"),
    ///     Some(gravest) => eprintln!("keyhasp: {gravest}"),
    /// })
    /// # }
    /// ```
    pub fn on_health_change(mut self, hook: impl Fn(&Health) + Send + 'static) -> Self {
        self.health_hook = Some(HealthHook::new(hook));
        self
    }

    /// Opens a store on a backend.
    ///
    /// On a backend that was opened [to look only](Backend::is_read_only), every call that changes
    /// something fails with [`BackendErrorKind::ReadOnly`](crate::backend::BackendErrorKind), and so
    /// does pruning. The store records no use and writes no alert. It counts rates for itself, and
    /// takes no lease of a quota: a key or owner with a quota is
    /// [`Unavailable::Quota`](super::Unavailable::Quota). A pepper that the database doesn't know is
    /// of no use, and isn't added.
    ///
    /// # Errors
    /// The database isn't changed if opening fails; a pepper that was retired stays so.
    ///
    /// - [`Error::RulesDiffer`] if the database has other rules or prefixes; it contains both.
    /// - [`Error::Pepper`] for a wrong pepper, without one that a live token needs, if the current
    ///   one is retired, or if one is to be retired that is current or unknown.
    /// - [`Error::PepperInUse`] if a live token is under a pepper that is to be retired, and
    ///   [`IfInUse::Refuse`] was given; it contains the number of tokens and some of their keys.
    /// - [`Error::RecoveryKey`] for a wrong recovery key.
    /// - [`Error::ClockBehindLog`] after [`refuse_clock_behind_log`](Self::refuse_clock_behind_log).
    /// - [`Error::Invalid`] for no prefix or more than 8, a retention under an hour, a quota wait over
    ///   an hour, settings of usage or a window of rejections outside their limits, or an alert about
    ///   unused keys if usage isn't kept or is too coarse.
    /// - [`Error::Backend`] if the backend fails.
    pub fn open(self, backend: impl Backend) -> Result<Store, Error> {
        self.open_on(Arc::new(backend))
    }

    /// Opens a store on a backend that others hold too, for tests that look at the backend.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(self, backend: Arc<dyn Backend>) -> Result<Store, Error> {
        let retention = Retention::new("event retention", self.event_retention)?;
        let key_retention = Retention::new("key retention", self.key_retention)?;
        self.usage.map_or(Ok(()), |settings| settings.check())?;
        self.alerts.check(self.usage.as_ref())?;
        check_quota_wait(self.leases.wait)?;
        let sealer = Arc::new(Sealer {
            #[cfg(feature = "recoverable")]
            keys: self.recovery_keys,
        });
        let initial = StoreMetadata {
            version: Version::FIRST,
            rules: self.rules,
            prefixes: PrefixTable::default().accepting(&self.prefixes)?,
            peppers: self.peppers.checks(),
            recovery_keys: sealer.checks(),
            tokens_valid_from: None,
        };
        let now = self.clock.now();
        let metadata = found_or_created(&*backend, &initial, now)?;
        check_rules(&metadata, &initial)?;
        check_secrets(&metadata, &self.peppers, &sealer)?;
        let retired = retire_peppers(&*backend, &self.peppers, &self.retiring, now)?;
        let metadata = if retired.is_empty() { metadata } else { stored_metadata(&*backend)? };

        let is_shared = matches!(backend.sharing(), Sharing::Shared { .. });
        let is_read_only = backend.is_read_only();
        let alerts = if is_read_only { AlertSettings::new() } else { self.alerts };
        let noticed = Arc::new(Noticed::new(alerts, self.clock.now()));
        let mut records = Records::new(RecordsParts {
            backend,
            clock: self.clock,
            catalogue: self.catalogue,
            peppers: self.peppers,
            observer: Arc::clone(&noticed) as Arc<dyn KeyObserver>,
            details: self.details,
            metadata: MetadataState { metadata, prefixes: self.prefixes },
        });
        records.load()?;
        match records.clock_watch.behind_log() {
            Some(behind) if self.refuses_clock_behind_log => {
                return Err(Error::ClockBehindLog(behind));
            }
            _ => {}
        }
        let engine = Arc::new(Engine::new(Arc::new(records), retention, key_retention));
        if is_shared {
            // Another process may have changed the metadata while the records were read.
            let stored = engine.records.stored_metadata()?;
            check_rules(&stored, &initial)?;
            check_secrets(&stored, &engine.records.peppers, &sealer)?;
            engine.records.put_metadata(&stored)?;
        }
        let threads = Arc::new(Threads::new(Arc::clone(&engine.records.clock)));
        let health = Arc::new(HealthWatch::new(&engine.records, &threads));
        let mut workers = Workers::new(threads);
        start_recovery(&engine, &mut workers)?;
        start_watch(&engine.records, &mut workers)?;
        start_settling(&engine, &mut workers)?;
        if !is_read_only {
            add_secrets(&engine, &sealer)?;
        }
        if let Sharing::Shared { max_staleness } = engine.records.backend.sharing() {
            engine.records.refresh()?;
            start_refresh(&engine, max_staleness, &mut workers)?;
        }
        if !is_read_only && !self.holds_sweeps {
            start_sweeps(&engine, &mut workers)?;
        }
        if !is_read_only {
            // If this fails, the next call that may change something tries again.
            let _ = mend_graces(&engine);
        }
        let usage = Arc::new(UsageRecorder::new(&engine, self.usage));
        usage.start(&mut workers)?;
        let alerts = Arc::new(AlertScanner::new(&engine, &noticed, &usage));
        alerts.start(&mut workers)?;
        if let Some(hook) = self.health_hook {
            health.start_hook(hook, &mut workers)?;
        }
        let minter = Minter::new(&engine, self.random, &sealer);
        let verifier = TokenVerifier::new(&engine, &noticed, &usage, self.leases);
        verifier.start(&mut workers)?;
        Ok(Store {
            verifier,
            manager: Manager::new(&engine, &usage, minter, self.settings_check),
            sealer,
            retired,
            usage,
            alerts,
            workers,
            health,
            engine,
        })
    }
}

fn check_quota_wait(given: Duration) -> Result<(), Invalid> {
    if given <= MAX_QUOTA_WAIT {
        return Ok(());
    }
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (given, max) = (millis(given), millis(MAX_QUOTA_WAIT));
    Err(Invalid::new("quota wait", Problem::OutOfRange { given, min: 0, max, unit: "ms" }))
}

/// Starts the thread that finds out the outcome of indeterminate changes. The thread is parked
/// until there is one.
fn start_recovery(engine: &Arc<Engine>, workers: &mut Workers) -> Result<(), Error> {
    let (shared, mut pause) = (Arc::clone(engine), FIRST_PAUSE);
    let work = move || next_attempt(shared.attempt_recovery(), &mut pause);
    let name = engine.records.backend.name();
    workers.spawn(name, "keyhasp-recover", engine.recovery_signal(), Next::WhenWoken, work)
}

/// Starts the thread that polls at a quarter of `max_staleness`. The opening has just polled.
fn start_refresh(
    engine: &Arc<Engine>,
    max_staleness: Duration,
    workers: &mut Workers,
) -> Result<(), Error> {
    let (records, pause) = (Arc::clone(&engine.records), max_staleness / 4);
    let work = move || {
        let polled = records.refresh();
        let is_over = matches!(
            polled,
            Err(Error::Unavailable(Unavailable::Closed | Unavailable::RulesChanged))
        );
        // After a failed poll the store may go stale; the next poll tries again.
        Worked::with(polled, if is_over { Next::Never } else { Next::After(pause) })
    };
    let name = engine.records.backend.name();
    workers.spawn(name, "keyhasp-refresh", &Arc::default(), Next::After(pause), work)
}
