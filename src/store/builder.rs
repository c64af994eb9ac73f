//! Opening a store.

use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use getrandom::SysRng;

use super::Store;
use super::alerts::Alerts;
use super::engine::affected::AffectedRecords;
use super::engine::availability::Availability;
use super::engine::group_commit::GroupCommit;
use super::engine::prefixes::AcceptedPrefixes;
use super::engine::pruning::Retention;
use super::engine::state::{AppliedLog, Core, MetadataState};
use super::engine::worker::Stop;
use super::index::Index;
use super::types::AlertSettings;
use super::types::UsageSettings;
use super::types::error::{Error, PepperProblem, RulesDiffer, RulesShown};
use super::types::settings_check::SettingsCheck;
use super::usage::Collector;
use super::verify::quota_leases::Leases;
use crate::authority::{Actor, Authority, Role};
use crate::backend::{Backend, Change, Rejection, Sharing, Write};
use crate::clock::{Clock, SystemClock};
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{KeyIdSource, Version};
use crate::key::{Prefix, PrefixTable, StoreMetadata, StoreRules};
use crate::permission::Catalogue;
#[cfg(feature = "recoverable")]
use crate::token::RecoveryKeys;
use crate::token::{Peppers, RandomSource};

/// How a store is opened.
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
    clock: Arc<dyn Clock>,
    random: Box<dyn RandomSource>,
    settings_check: Option<Box<dyn SettingsCheck>>,
    event_retention: Option<Duration>,
    usage: Option<UsageSettings>,
    watch: AlertSettings,
    #[cfg(feature = "recoverable")]
    recovery_keys: Option<RecoveryKeys>,
}

impl StoreBuilder {
    pub(super) fn new(catalogue: Catalogue, prefixes: Vec<Prefix>) -> Self {
        Self {
            catalogue,
            prefixes,
            rules: StoreRules::default(),
            peppers: Peppers::public(),
            clock: Arc::new(SystemClock::new()),
            random: Box::new(SysRng),
            settings_check: None,
            event_retention: None,
            usage: None,
            watch: AlertSettings::new(),
            #[cfg(feature = "recoverable")]
            recovery_keys: None,
        }
    }

    /// The rules of the store. A new database takes them over; one that has others isn't opened: to
    /// change rules or prefixes, open it with those that it has, call
    /// [`change_rules`](crate::AdminKeys::change_rules), and open it with the new ones from then on.
    pub fn rules(mut self, rules: StoreRules) -> Self {
        self.rules = rules;
        self
    }

    /// The peppers under which tokens are hashed; the fixed public one unless told, and
    /// [`Peppers`] says what that gives up.
    pub fn peppers(mut self, peppers: Peppers) -> Self {
        self.peppers = peppers;
        self
    }

    /// The keys under which tokens are sealed.
    #[cfg(feature = "recoverable")]
    pub fn recovery_keys(mut self, keys: RecoveryKeys) -> Self {
        self.recovery_keys = Some(keys);
        self
    }

    /// Where time comes from; the operating system unless told.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where randomness comes from; the operating system unless told.
    pub fn random(mut self, random: impl RandomSource + 'static) -> Self {
        self.random = Box::new(random);
        self
    }

    /// The service's own check of settings.
    pub fn settings_check(mut self, check: impl SettingsCheck) -> Self {
        self.settings_check = Some(Box::new(check));
        self
    }

    /// How long events are kept, at least an hour; for ever unless told. Older ones are pruned by
    /// whoever commits, and at opening, some hundreds at a time.
    pub fn event_retention(mut self, keep: Duration) -> Self {
        self.event_retention = Some(keep);
        self
    }

    /// Keeps what is used of keys: when last, and what else the settings say. Nothing unless told.
    pub fn usage(mut self, settings: UsageSettings) -> Self {
        self.usage = Some(settings);
        self
    }

    /// What the store looks out for by itself, about every half a minute, and writes events of;
    /// nothing unless told.
    pub fn watch(mut self, watch: AlertSettings) -> Self {
        self.watch = watch;
        self
    }

    /// Opens a store on a backend.
    ///
    /// # Errors
    /// [`Error::RulesDiffer`] if the database has other rules or prefixes, naming both;
    /// [`Error::Pepper`] for a wrong pepper, or without one that a live token needs;
    /// [`Error::Invalid`] for no prefix, more than 8, a retention under an hour, settings of usage
    /// or a window of refusals outside their limits, or a watch for unused keys
    /// without usage that is kept as exactly;
    /// [`Error::Backend`] if the backend fails. The database isn't changed then.
    pub fn open(self, backend: impl Backend) -> Result<Store, Error> {
        self.open_on(Arc::new(backend))
    }

    /// Opens a store on a backend that others hold too, for tests that look at it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(self, backend: Arc<dyn Backend>) -> Result<Store, Error> {
        let retention = Retention::new(self.event_retention)?;
        self.usage.map_or(Ok(()), |settings| settings.check())?;
        self.watch.check(self.usage.as_ref())?;
        let initial = StoreMetadata {
            version: Version::FIRST,
            rules: self.rules,
            prefixes: PrefixTable::default().accepting(&self.prefixes)?,
            peppers: self.peppers.checks(),
            tokens_valid_from: None,
        };
        let metadata = backend.open_metadata(&initial)?;
        check_rules(&metadata, &initial)?;
        check_peppers(&metadata, &initial)?;

        let max_staleness = match backend.sharing() {
            Sharing::Exclusive => None,
            Sharing::Shared { max_staleness } => Some(max_staleness),
        };
        let open_peppers = self.peppers.iter().map(|(number, _)| number).collect();
        let mut core = Core {
            index: Index::new(self.catalogue, open_peppers, Arc::clone(&self.clock)),
            availability: Availability::new(max_staleness),
            prefixes: AcceptedPrefixes::new(&metadata.prefixes),
            peppers: self.peppers,
            settings_check: self.settings_check,
            #[cfg(feature = "recoverable")]
            recovery_keys: self.recovery_keys,
            retention,
            alerts: Alerts::new(self.watch, self.clock.now()),
            group_commit: GroupCommit::default(),
            leases: Leases::default(),
            usage: self
                .usage
                .map(|settings| Arc::new(Collector::new(settings, backend.expected_keys()))),
            stop: Arc::new(Stop::default()),
            metadata: RwLock::new(MetadataState { metadata, prefixes: self.prefixes }),
            ids: Mutex::new(KeyIdSource::default()),
            random: Mutex::new(self.random),
            indeterminate: Mutex::new(AffectedRecords::default()),
            applied_log: Mutex::new(AppliedLog { applied_seq: 0 }),
            clock: self.clock,
            backend,
        };
        core.index.set_tokens_valid_from(core.metadata().metadata.tokens_valid_from);
        let through = core.load()?;
        core.lock_applied_log().applied_seq = through;
        let core = Arc::new(core);
        core.leases.belong_to(Arc::downgrade(&core));
        if max_staleness.is_some() {
            // Another process may have changed it while the records were read.
            let stored = core.backend.metadata()?;
            check_rules(&stored, &initial)?;
            check_peppers(&stored, &initial)?;
            core.put_metadata(&stored)?;
        }
        core.add_peppers()?;
        core.prune_if_due();
        if let Some(max_staleness) = max_staleness {
            core.refresh()?;
            core.keep_fresh(max_staleness)?;
        }
        core.keep_usage()?;
        core.start_alerts()?;
        Ok(Store { core })
    }
}

/// The database has the rules and accepts the prefixes that the store is opened with.
fn check_rules(stored: &StoreMetadata, given: &StoreMetadata) -> Result<(), Error> {
    let shown = |metadata: &StoreMetadata| {
        let mut prefixes: Vec<Prefix> =
            metadata.prefixes.accepted().map(|entry| entry.prefix).collect();
        prefixes.sort_unstable_by_key(|prefix| prefix.as_str().to_owned());
        RulesShown { rules: metadata.rules, prefixes }
    };
    let (stored, given) = (shown(stored), shown(given));
    if stored == given {
        return Ok(());
    }
    Err(Error::RulesDiffer(Box::new(RulesDiffer { stored, given })))
}

/// The peppers are those that the database knows under their numbers.
fn check_peppers(stored: &StoreMetadata, given: &StoreMetadata) -> Result<(), Error> {
    for check in &given.peppers {
        let known = stored.peppers.iter().find(|known| known.number == check.number);
        if known.is_some_and(|known| known != check) {
            let number = check.number.get();
            return Err(Error::Pepper { number, problem: PepperProblem::Wrong });
        }
    }
    Ok(())
}

impl Core {
    /// Notes check values of peppers that the database doesn't know yet.
    fn add_peppers(self: &Arc<Self>) -> Result<(), Error> {
        loop {
            let before = self.metadata().metadata;
            let mut next = before.clone();
            let known = |number| before.peppers.iter().any(|check| check.number == number);
            next.peppers.extend(self.peppers.checks().into_iter().filter(|c| !known(c.number)));
            if next.peppers.len() == before.peppers.len() {
                return Ok(());
            }
            next.peppers.sort_unstable_by_key(|check| check.number);
            next.version = before.version.next();
            let event = EventDraft {
                at: self.now(),
                kind: EventKind::PepperAdded,
                owner: None,
                key: None,
                version: next.version,
                generation: None,
                fields: Fields::PEPPERS,
                authority: Authority::new(Role::Administrator, Actor::new("keyhasp")?),
            };
            let change = Change::of(Write::ReplaceMetadata(Box::new(next)), event);
            match self.commit(change)? {
                Ok(_) => return Ok(()),
                Err(Rejection::Conflict { .. }) => {
                    // Another process was faster: its peppers are checked like those found first.
                    let stored = self.backend.metadata()?;
                    let state = self.metadata();
                    check_rules(&stored, &state.metadata)?;
                    let given = StoreMetadata { peppers: self.peppers.checks(), ..state.metadata };
                    check_peppers(&stored, &given)?;
                    self.put_metadata(&stored)?;
                }
                Err(_) => return Ok(()),
            }
        }
    }
}
