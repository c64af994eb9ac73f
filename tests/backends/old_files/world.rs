//! What old databases hold: a story that leaves a record of each sort behind, told with fixed
//! time, randomness, peppers and recovery keys, so that each format tells it in the same words.
#![allow(dead_code, unreachable_pub)] // Each test binary uses its part.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::{
    Backend, Change, EventFilter, EventQuery, KeyFilter, KeyPageQuery, StateSet, Write,
};
use keyhasp::event::{EventDraft, Fields};
use keyhasp::key::{KeyRecord, Quarantine, Switch};
use keyhasp::store::{AlertSettings, StoreBuilder, UsageSettings};
use keyhasp::{
    Access, AdminKeys, Catalogue, ChangeRules, Clock, CreateKey, CreateOwner, DelegatedKeys, Error,
    Event, EventKind, Expiry, IdempotencyKey, Issued, KeyId, KeyStore, Lifetime, ListEvents,
    ListKeys, ListOwners, ManualClock, Network, NumericId, NumericIdChoice, OwnerId, OwnerKeys,
    Peppers, Period, Prefix, Quota, Rate, RecoveryKeys, Refill, Rotate, SetLimits, State, Store,
    StoreRules, Timestamp, UpdateOwner, VerifyRequest, Version,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z, when the story begins.
const BEGINS: u64 = 1_767_225_600_000;
/// Ten days later, when it is read.
const READ: u64 = BEGINS + 10 * 24 * 3_600_000;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

const RULES: StoreRules = StoreRules {
    unique_names: true,
    keep_standard_key: false,
    recoverable_tokens: true,
    lifetime: Lifetime::NONE,
};

/// Each of them.
fn limits() -> SetLimits {
    let quota = Quota::one_time(50).unwrap().with_refill(Refill::new(20, Period::Week).unwrap());
    let rate = Rate::new(10, Duration::from_secs(60)).unwrap().with_burst(3).unwrap();
    let networks = ["192.0.2.0/24", "2001:db8::/32"].map(|text| text.parse::<Network>().unwrap());
    let from = Timestamp::from_millis(BEGINS).unwrap();
    SetLimits::new().not_before(from).networks(networks).rate(rate).quota(quota)
}

/// Opens a store on one and the same database, time and again.
pub type Open<'a> = &'a dyn Fn(StoreBuilder) -> Store;

pub fn owner(id: &str) -> OwnerId {
    OwnerId::new(id).unwrap()
}

fn prefix(text: &str) -> Prefix {
    Prefix::new(text).unwrap()
}

fn clock(at: u64) -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(at).unwrap()))
}

fn builder(clock: &Arc<ManualClock>, seed: u64, prefixes: [&str; 2]) -> StoreBuilder {
    let catalogue = Catalogue::builder().read("links:read").write("links:write").write("domains");
    Store::builder(catalogue.build().unwrap(), prefixes.map(prefix))
        .quota_wait(Duration::from_secs(3_600))
        // A thread would write the pieces of a sweep beside the story.
        .without_sweeps_for_tests()
        .rules(RULES)
        .peppers(Peppers::new(2, [0x22; 32]).unwrap().and(1, [0x11; 32]).unwrap())
        .recovery_keys(RecoveryKeys::new(1, [0x33; 32]).unwrap())
        .clock(Arc::clone(clock) as _)
        // Not written while the story is told, but where it says so.
        .usage(UsageSettings::new().counts().addresses(100 * DAY).interval(HOUR))
        .random(ChaCha20Rng::seed_from_u64(seed))
}

/// A builder that opens what the story left behind.
pub fn reader() -> StoreBuilder {
    builder(&clock(READ), 3, ["acme_live", "acme_test"])
}

/// Tells the story to an empty database; every token that was issued, in order.
pub fn write(open: Open<'_>) -> Vec<String> {
    watched(open, &mut |_| {})
}

/// The same, and `watch` is called after each change with the tokens so far.
pub fn watched(open: Open<'_>, watch: &mut dyn FnMut(&[String])) -> Vec<String> {
    let mut story = Story { clock: clock(BEGINS), tokens: Vec::new(), watch };
    let first = builder(&story.clock, 1, ["acme_live", "acme_old"])
        .peppers(Peppers::new(1, [0x11; 32]).unwrap());
    story.under_one_pepper(&(Arc::new(open(first)) as _));
    let watching = builder(&story.clock, 4, ["acme_live", "acme_old"]).alerts(watch_all());
    story.used(&Arc::new(open(watching)));
    let second = builder(&story.clock, 2, ["acme_live", "acme_old"]);
    story.under_two(&Arc::new(open(second)));
    story.tokens
}

/// Puts a quarantine entry over a key: the newest that has no name. No store does so without damage.
pub fn quarantine(backend: &dyn Backend) {
    let filter = KeyFilter::new(StateSet::UNREVOKED, Timestamp::MIN);
    let query = KeyPageQuery { filter, before: None, after: None, limit: 99, examine: 99 };
    let keys = backend.page_keys(&query).unwrap().keys;
    let is_on = |key: &KeyRecord| key.blocked.is_none() && key.deactivated.is_none();
    let key = keys.into_iter().find(|key| key.name.is_none() && is_on(key)).unwrap();
    let filter = EventFilter { key: Some(key.id), ..EventFilter::default() };
    let query = EventQuery { after: 0, before: None, filter, limit: 1, examine: 99 };
    let created = backend.events(&query).unwrap().events.remove(0).draft;
    let at = Timestamp::from_millis(READ).unwrap();
    let version = Version::FIRST;
    let entry = Quarantine {
        id: key.id,
        owner: Some(key.owner),
        version,
        blocked: None,
        revoked: Some(Switch::new(at, &created.authority)),
    };
    let (kind, fields) = (EventKind::KeyRevoked, Fields::REVOKED);
    let event = EventDraft { at, kind, version, fields, ..created };
    let change = Change::of(Write::Quarantine(Box::new(entry)), event);
    backend.commit(&[change]).unwrap()[0].as_ref().unwrap();
    backend.close().unwrap();
}

/// For everything there is to tell.
pub fn watch_all() -> AlertSettings {
    AlertSettings::new()
        .expiries()
        .trials_ending_within(500 * DAY)
        .tokens_older_than(12 * HOUR)
        .keys_unused_for(12 * HOUR)
        .previous_tokens_used_within(30 * DAY)
        .rejections(1, DAY)
        .only_when_asked()
}

struct Story<'a> {
    clock: Arc<ManualClock>,
    tokens: Vec<String>,
    watch: &'a mut dyn FnMut(&[String]),
}

impl Story<'_> {
    /// After a change.
    fn then<T>(&mut self, answer: Result<T, Error>) -> T {
        let answer = answer.unwrap();
        (self.watch)(&self.tokens);
        self.clock.advance(Duration::from_secs(1));
        answer
    }

    /// After one that issued a token.
    fn issued(&mut self, answer: Result<Issued, Error>) -> KeyId {
        let issued = answer.unwrap();
        self.tokens.push(issued.token.expose().to_owned());
        self.then(Ok(issued.key.id))
    }

    fn after(&self, time: Duration) -> Expiry {
        Expiry::At(self.clock.now().saturating_add(time))
    }

    fn owner(&mut self, admin: &AdminKeys, id: &str, request: CreateOwner) {
        let created = admin.create_owner(&owner(id), request).unwrap();
        match created.first_key {
            Some(issued) => _ = self.issued(Ok(issued)),
            None => self.then(Ok(())),
        }
    }

    fn under_one_pepper(&mut self, store: &Arc<dyn KeyStore>) {
        let admin = AdminKeys::new(Arc::clone(store), "root").unwrap();
        let admin =
            admin.with_reason("setting up").unwrap().with_correlation_id("request-1").unwrap();
        let sealed = CreateKey::new(Access::Full).name("recoverable").recoverable();
        let with_key = CreateOwner::with_key(sealed).defaults(json!({"colour": "blue", "size": 3}));
        self.owner(&admin, "acme", with_key.max_keys(100));
        let keys = OwnerKeys::new(Arc::clone(store), owner("acme"), "alice").unwrap();
        let rotated = CreateKey::new(Access::limited(["links:*", "domains"]).unwrap());
        let rotated = self.issued(keys.create(rotated.name("rotated")));
        for grace in [DAY, 30 * DAY] {
            self.issued(keys.rotate(rotated, Rotate::with_grace(grace)));
        }
        let old = CreateKey::new(Access::ReadOnly).prefix(prefix("acme_old"));
        let old = self.issued(keys.create(old));
        self.then(keys.with_reason("its prefix goes").unwrap().revoke(old));
        store.close().unwrap();
    }

    /// Uses tokens, has some rejected, and lets the store write the alerts that are due.
    fn used(&mut self, store: &Arc<Store>) {
        let shared: Arc<dyn KeyStore> = Arc::<Store>::clone(store);
        let admin = AdminKeys::new(Arc::clone(&shared), "root").unwrap();
        let keys = OwnerKeys::new(shared, owner("acme"), "alice").unwrap();
        let soon = self.after(HOUR);
        self.issued(keys.create(CreateKey::new(Access::Full).expires(soon)));
        let trial = CreateKey::trial(Access::Full, self.after(20 * DAY));
        self.issued(admin.create(&owner("acme"), trial));
        let limited = CreateKey::new(Access::Full).limits(limits()).settings(json!({"seats": 3}));
        let lifetime = Lifetime::new(Some(400 * DAY), Some(30 * DAY)).unwrap();
        let umbrella = CreateOwner::with_key(limited).limits(limits()).lifetime(lifetime);
        let umbrella = umbrella.defaults(json!({"plan": "free"})).fixed_defaults(["plan"]);
        self.owner(&admin, "umbrella", umbrella);
        let addresses = ["192.0.2.9", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap());
        let tokens = self.tokens.clone();
        for address in addresses.into_iter().cycle().take(6) {
            for token in &tokens {
                let _verdict =
                    store.verify_request(&VerifyRequest::new(token.as_bytes()).address(address));
            }
        }
        self.clock.advance(DAY / 2);
        self.then(store.run_alerts().map(drop));
        self.then(store.flush_usage());
        store.close().unwrap();
    }

    fn under_two(&mut self, opened: &Arc<Store>) {
        let store: &Arc<dyn KeyStore> = &(Arc::<Store>::clone(opened) as _);
        let admin = AdminKeys::new(Arc::clone(store), "root").unwrap();
        let keys = OwnerKeys::new(Arc::clone(store), owner("acme"), "alice").unwrap();
        let prefixes = ["acme_live", "acme_test"].map(prefix);
        self.then(admin.change_rules(ChangeRules::new().prefixes(prefixes)));
        self.states(&admin, &keys);
        self.contents(store, &admin, &keys);
        self.owners(&admin);
        // The end must write no more.
        self.then(opened.flush_usage());
        store.close().unwrap();
    }

    /// A key in each state.
    fn states(&mut self, admin: &AdminKeys, keys: &OwnerKeys) {
        let named = |name| CreateKey::new(Access::Full).name(name);
        let blocked = self.issued(keys.create(named("blocked").limits(limits())));
        self.then(admin.with_reason("seen in a log").unwrap().block(blocked));
        let deactivated = self.issued(keys.create(named("deactivated")));
        self.then(keys.deactivate(deactivated));
        let revoked = self.issued(keys.create(named("revoked")));
        self.then(keys.revoke(revoked));
        let expires = self.after(DAY);
        self.issued(keys.create(named("expired").expires(expires)));
        let ends = self.after(5 * DAY);
        let trial = CreateKey::trial(Access::ReadOnly, ends).name("a trial that ran out");
        self.issued(admin.create(&owner("acme"), trial));
        let ends = self.after(500 * DAY);
        let trial = CreateKey::trial(Access::ReadOnly, ends).name("a trial that runs");
        self.issued(admin.create(&owner("acme"), trial));
    }

    /// Keys with all that a key can have.
    fn contents(&mut self, store: &Arc<dyn KeyStore>, admin: &AdminKeys, keys: &OwnerKeys) {
        let given = NumericIdChoice::Given(NumericId::new(77).unwrap());
        let purged = CreateKey::new(Access::Full).numeric_id(given);
        let purged = self.issued(admin.create(&owner("acme"), purged));
        self.then(keys.revoke(purged));
        self.then(admin.purge(purged));
        // Longer than one value of sled and one page of SQLite.
        let long = CreateKey::new(Access::limited(["links:read"]).unwrap())
            .name("long \u{e9}")
            .settings(json!({"colour": "red", "notes": "all work and no play ".repeat(250)}))
            .numeric_id(NumericIdChoice::Next);
        let expires = self.after(1_000 * DAY);
        self.issued(keys.create(long.expires(expires)));
        self.issued(
            keys.create(CreateKey::new(Access::Full).name("acting").tags(["env=prod", "ci"])),
        );
        let acting = self.tokens.last().unwrap().as_bytes();
        let verified = store.verify(acting).unwrap();
        let delegated = DelegatedKeys::new(Arc::clone(store), &verified, "a script").unwrap();
        let made = CreateKey::new(Access::limited(["links:write"]).unwrap()).recoverable();
        let made = self.issued(delegated.create(made));
        self.issued(delegated.rotate(made, Rotate::forced()));
        let provided = keys.provided(&verified);
        self.then(provided.deactivate(made));
        self.then(provided.allowing_previous_tokens().activate(made));
        let request = || CreateKey::new(Access::ReadOnly);
        let once = IdempotencyKey::new("request-1").unwrap();
        for handle in [keys, &provided] {
            let issued = handle.create_once(request(), &once).unwrap();
            self.tokens.push(issued.token.unwrap().expose().to_owned());
            self.then(handle.create_once(request(), &once).map(drop));
        }
    }

    /// An owner that is suspended, one whose first key is before its mark, one without a key.
    fn owners(&mut self, admin: &AdminKeys) {
        let full = || CreateKey::new(Access::Full);
        self.owner(admin, "globex", CreateOwner::with_key(full()).limits(limits()).tags(["eu"]));
        self.then(admin.with_reason("did not pay").unwrap().suspend_owner(&owner("globex")));
        self.owner(admin, "initech", CreateOwner::with_key(full()));
        let max_access = UpdateOwner::new().max_access(Access::ReadOnly);
        self.then(admin.update_owner(&owner("initech"), max_access));
        self.then(admin.invalidate_owner_tokens_issued_before(&owner("initech"), self.clock.now()));
        self.issued(admin.create(&owner("initech"), full()));
        self.owner(admin, "nobody \u{df}", CreateOwner::without_key());
    }
}

/// Answers of a store.
pub struct Facts {
    /// What verification says of each token.
    pub verdicts: Vec<Value>,
    pub keys: Result<Vec<Value>, Error>,
    pub owners: Result<Vec<Value>, Error>,
    pub events: Result<Vec<Value>, Error>,
}

impl Facts {
    pub fn of(store: &Arc<dyn KeyStore>, tokens: &[String]) -> Self {
        let admin = AdminKeys::new(Arc::clone(store), "root").unwrap();
        let keys = admin.list(&ListKeys::new().states(State::ALL).limit(1_000));
        let owners = admin.list_owners(&ListOwners::new().limit(1_000));
        Self {
            verdicts: tokens.iter().map(|token| verdict(store, token)).collect(),
            keys: keys.map(|page| page.items.iter().map(as_json).collect()),
            owners: owners.map(|page| page.items.iter().map(as_json).collect()),
            events: events(&admin).map(|events| events.iter().map(as_json).collect()),
        }
    }

    /// All of them as JSON.
    pub fn json(self) -> Value {
        json!({
            "tokens": self.verdicts,
            "keys": self.keys.unwrap(),
            "owners": self.owners.unwrap(),
            "events": self.events.unwrap(),
        })
    }
}

fn as_json<T: serde::Serialize>(item: &T) -> Value {
    serde_json::to_value(item).unwrap()
}

pub fn events(admin: &AdminKeys) -> Result<Vec<Event>, Error> {
    Ok(admin.events(&ListEvents::new().limit(1_000))?.items)
}

/// What verification says of a token.
pub fn verdict(store: &Arc<dyn KeyStore>, token: &str) -> Value {
    let verified = match store.verify(token.as_bytes()) {
        Ok(verified) => verified,
        Err(refusal) => return json!({"token": token, "refused": format!("{refusal:?}")}),
    };
    let names = store.catalogue().iter().filter(|(permission, _)| verified.allows(*permission));
    json!({
        "token": token,
        "key": verified.key_id(),
        "owner": verified.owner_id(),
        "kind": verified.kind(),
        "allows": names.map(|(_, name)| name.as_str()).collect::<Vec<_>>(),
        "generation": verified.generation(),
        "is_current": verified.is_current(),
        "ends_at": verified.ends_at(),
        "prefix": verified.prefix(),
    })
}
