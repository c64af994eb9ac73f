//! A run of all calls, on any backend, with everything heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyhasp::key::{Kind, StoreRules};
use keyhasp::store::StoreBuilder;
use keyhasp::{
    Access, AdminKeys, Catalogue, ChangeRules, CreateKey, CreateOwner, DelegatedKeys, Error,
    Expiry, IfInUse, KeyStore, ListEvents, ListKeys, ListOwners, ManualClock, NumericId,
    NumericIdChoice, OwnerId, OwnerKeys, Peppers, Prefix, RecoveryKeys, Rotate, State, Store,
    Timestamp, UpdateKey, UpdateOwner, Verifier, Version,
};
use serde_json::json;

use crate::common::source::Source;
use crate::secrets::ear::Ear;

const HOUR: Duration = Duration::from_secs(3_600);

/// Bytes that look like a key's, different for each number.
pub(crate) fn key_bytes(number: u8) -> [u8; 32] {
    std::array::from_fn(|i| u8::try_from((i * 37 + usize::from(number) * 101 + 11) % 251).unwrap())
}

/// What stands in for the world around a store.
pub(crate) struct World {
    pub(crate) ear: Ear,
    clock: Arc<ManualClock>,
    random_fails: Arc<AtomicBool>,
    seed: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let start = Timestamp::from_millis(1_767_225_600_000).unwrap();
        Self {
            ear: Ear::default(),
            clock: Arc::new(ManualClock::new(start)),
            random_fails: Arc::default(),
            seed: 0,
        }
    }

    /// A store with a pepper and a recovery key.
    pub(crate) fn builder(&mut self) -> StoreBuilder {
        self.seed += 1;
        let catalogue = Catalogue::builder().read("links:read").write("links:write");
        let peppers = Peppers::new(1, key_bytes(1)).unwrap().and(2, key_bytes(2)).unwrap();
        let sealing = RecoveryKeys::new(1, key_bytes(3)).unwrap().and(2, key_bytes(4)).unwrap();
        self.ear.debug(&peppers);
        self.ear.debug(&sealing);
        let builder = Store::builder(catalogue.build().unwrap(), [prefix("acme"), prefix("x")])
            .rules(StoreRules {
                unique_names: true,
                recoverable_tokens: true,
                ..StoreRules::default()
            })
            .peppers(peppers)
            .recovery_keys(sealing)
            .clock(Arc::clone(&self.clock) as _)
            .random(Source::new(self.seed, Arc::clone(&self.random_fails)));
        self.ear.debug(&builder);
        builder
    }

    fn now(&self) -> Timestamp {
        keyhasp::Clock::now(&*self.clock)
    }

    fn later(&self, hours: u32) -> Expiry {
        Expiry::At(self.now().saturating_add(HOUR * hours))
    }

    /// The life of owners and keys, told through all handles.
    pub(crate) fn run(&mut self, store: &Arc<dyn KeyStore>) {
        let admin = AdminKeys::new(Arc::clone(store), "root").unwrap();
        let admin =
            admin.with_reason("the canary's life").unwrap().with_correlation_id("req-1").unwrap();
        self.ear.debug(&admin);
        self.ear.debug(store);
        self.owners(&admin);
        self.keys(store, &admin);
        self.sealed(store, &admin);
        self.refusals(store, &admin);
        self.slips(store, &admin);
        self.lists(store, &admin);
        self.ends(store, &admin);
    }

    fn owners(&mut self, admin: &AdminKeys) {
        for (id, max_keys) in [("acme", 1_000), ("globex", 2)] {
            let first = CreateKey::new(Access::Full).name("first").recoverable();
            let request = CreateOwner::with_key(first)
                .defaults(json!({ "colour": "blue" }))
                .max_keys(max_keys);
            self.ear.debug(&request);
            let created = admin.create_owner(&owner(id), request).unwrap();
            self.ear.debug(&created);
            self.ear.shown(created.owner);
            self.ear.issued(created.first_key.unwrap());
        }
        let update = UpdateOwner::new().defaults(json!({ "size": 1 })).max_access(Access::ReadOnly);
        self.ear.shown(admin.update_owner(&owner("globex"), update).unwrap());
        self.ear.shown(admin.suspend_owner(&owner("globex")).unwrap());
        self.ear.shown(admin.resume_owner(&owner("globex")).unwrap());
        self.ear.shown(admin.owner(&owner("acme")).unwrap());
    }

    fn keys(&mut self, store: &Arc<dyn KeyStore>, admin: &AdminKeys) {
        let keys = OwnerKeys::new(Arc::clone(store), owner("acme"), "alice").unwrap();
        self.ear.debug(&keys);
        self.ear.shown(keys.owner().unwrap());
        let request = CreateKey::new(Access::limited(["links:*"]).unwrap())
            .name("links")
            .expires(self.later(100))
            .settings(json!({ "colour": "red" }))
            .numeric_id(NumericIdChoice::Next)
            .prefix(prefix("x"))
            .recoverable();
        self.ear.debug(&request);
        let issued = keys.create(request).unwrap();
        let issued = self.ear.issued(issued);
        let id = issued.key.id;
        self.verify(store, issued.token.expose());
        self.ear.shown(keys.get(id).unwrap());
        self.ear.shown(keys.find(issued.key.numeric_id.unwrap()).unwrap());
        let update = UpdateKey::new().name("other links").settings(json!({ "colour": null }));
        self.ear.shown(keys.update(id, update).unwrap());
        self.ear.shown(keys.extend_expiry(id, self.later(200)).unwrap());
        self.ear.shown(keys.deactivate(id).unwrap());
        self.verify(store, issued.token.expose());
        self.ear.shown(keys.activate(id).unwrap());
        for _ in 0..7 {
            let rotated = keys.rotate(id, Rotate::with_grace(HOUR * 90)).unwrap();
            self.ear.issued(rotated);
        }
        self.ear.shown(keys.invalidate_previous_tokens(id).unwrap());
        self.ear.shown(admin.block(id).unwrap());
        let rotated = admin.rotate(id, Rotate::forced()).unwrap();
        let rotated = self.ear.issued(rotated);
        self.verify(store, rotated.token.expose());
        self.ear.shown(admin.unblock(id).unwrap());
        let verified = store.verify(rotated.token.expose().as_bytes()).unwrap();

        let delegated = DelegatedKeys::new(Arc::clone(store), &verified, "a script").unwrap();
        self.ear.debug(&delegated);
        let made = delegated.create(CreateKey::new(Access::limited(["links:read"]).unwrap()));
        let made = self.ear.issued(made.unwrap());
        self.ear.issued(delegated.rotate(made.key.id, Rotate::new()).unwrap());
        self.ear.refused(delegated.create(CreateKey::new(Access::Full)));

        let trial = CreateKey::trial(Access::Full, self.later(1)).name("trial").recoverable();
        let trial = self.ear.issued(admin.create(&owner("acme"), trial).unwrap());
        self.ear.shown(admin.convert_trial(trial.key.id, Expiry::Never).unwrap());
        self.ear.shown(keys.revoke(trial.key.id).unwrap());
        self.verify(store, trial.token.expose());
        admin.purge(trial.key.id).unwrap();
        self.verify(store, trial.token.expose());
    }

    fn sealed(&mut self, store: &Arc<dyn KeyStore>, admin: &AdminKeys) {
        let keys = OwnerKeys::new(Arc::clone(store), owner("acme"), "alice").unwrap();
        let page = keys.reveal_tokens(&ListKeys::new()).unwrap();
        self.ear.debug(&page);
        assert!(page.items.iter().filter(|opened| opened.token.is_some()).count() >= 2);
        for opened in &page.items {
            self.ear.debug(&opened.token);
            self.ear.shown(opened.key.clone());
        }
        let opened = admin.reveal_token(page.items.last().unwrap().key.id).unwrap();
        self.ear.token(&opened);
    }

    fn refusals(&mut self, store: &Arc<dyn KeyStore>, admin: &AdminKeys) {
        let acme = owner("acme");
        let keys = OwnerKeys::new(Arc::clone(store), acme, "alice").unwrap();
        let all = self.ear.shown(keys.list(&ListKeys::new()).unwrap());
        let (one, other) = (&all.items[0], all.items.last().unwrap());
        let name = other.name.as_ref().unwrap().as_str();
        let strange = OwnerKeys::new(Arc::clone(store), owner("globex"), "bob").unwrap();
        let given = NumericIdChoice::Given(NumericId::new(1).unwrap());
        let narrow = Access::limited(["nobody:knows"]).unwrap();
        self.ear.refused(strange.get(one.id));
        self.ear.refused(keys.if_version(Version::new(77)).deactivate(one.id));
        self.ear.refused(keys.create(CreateKey::new(Access::Full).name(name)));
        self.ear.refused(keys.create(CreateKey::new(narrow)));
        self.ear.refused(keys.create(CreateKey::new(Access::Full).numeric_id(given)));
        self.ear.refused(admin.create(&acme, CreateKey::new(Access::Full).numeric_id(given)));
        self.ear.refused(keys.create(CreateKey::new(Access::Full).prefix(prefix("stranger"))));
        self.ear.refused(keys.create(CreateKey::new(Access::Full).settings(json!([]))));
        self.ear
            .refused(keys.create(CreateKey::new(Access::Full).expires(Expiry::At(Timestamp::MIN))));
        self.ear.refused(keys.rotate(one.id, Rotate::with_grace(HOUR * 24 * 400)));
        self.ear.refused(keys.rotate(one.id, Rotate::forced().unblock()));
        self.ear.refused(admin.purge(one.id));
        self.ear.refused(admin.purge_owner(&acme));
        self.ear.refused(admin.create_owner(&acme, CreateOwner::without_key()));
        self.ear.refused(admin.convert_trial(one.id, Expiry::Never));
        self.ear.refused(admin.invalidate_tokens_issued_before(self.now().saturating_add(HOUR)));
        for rules in [
            StoreRules { unique_names: true, ..StoreRules::default() },
            StoreRules {
                keep_standard_key: true,
                recoverable_tokens: true,
                ..StoreRules::default()
            },
        ] {
            let empty = admin.create_owner(&owner("empty"), CreateOwner::without_key());
            self.ear.debug(&empty);
            self.ear.refused(admin.change_rules(ChangeRules::new().rules(rules)));
        }
        self.ear.issued(admin.create(&owner("globex"), CreateKey::new(Access::Full)).unwrap());
        self.ear.refused(strange.create(CreateKey::new(Access::Full)));
        self.random_fails.store(true, Ordering::SeqCst);
        let failed = self.ear.refused(keys.rotate(one.id, Rotate::new()));
        assert!(matches!(failed, Error::Random(_)));
        self.random_fails.store(false, Ordering::SeqCst);
    }

    /// A token handed in where something else belongs.
    fn slips(&mut self, store: &Arc<dyn KeyStore>, admin: &AdminKeys) {
        for token in self.ear.tokens.clone() {
            self.ear.refused(admin.list(&ListKeys::new().cursor(&token)));
            self.ear.error(&OwnerId::new(&token).unwrap_err());
            self.ear.error(&Prefix::new(&token).unwrap_err());
            self.ear.error(&Access::limited([&token]).unwrap_err());
            self.ear.error(&token.parse::<Access>().unwrap_err());
            self.ear.error(&token.parse::<keyhasp::KeyId>().unwrap_err());
            self.ear.error(&token.parse::<Timestamp>().unwrap_err());
            self.verify(store, &format!("{token}0"));
            self.verify(store, &token[..token.len() - 1]);
            self.verify(store, &token.to_uppercase());
            self.ear.debug(&keyhasp::token::inspect(token.to_uppercase().as_bytes()));
            let text = format!("key={token}");
            self.ear.debug(&keyhasp::token::scan(text.as_bytes(), &[prefix("acme")]));
        }
    }

    fn lists(&mut self, store: &Arc<dyn KeyStore>, admin: &AdminKeys) {
        let query = ListKeys::new().states(State::ALL).kind(Kind::Standard).limit(2);
        self.ear.debug(&query);
        let page = self.ear.shown(admin.list(&query).unwrap());
        let query = query.cursor(page.next.unwrap());
        self.ear.debug(&query);
        self.ear.shown(admin.list(&query).unwrap());
        self.ear.debug(&admin.count(&ListKeys::new()).unwrap());
        self.ear.shown(admin.list_owners(&ListOwners::new()).unwrap());
        self.ear.debug(&admin.rules().unwrap());
        for prefixes in [["acme", "x", "y"].as_slice(), &["acme", "x"]] {
            let prefixes = prefixes.iter().map(|text| prefix(text));
            let rules = admin.change_rules(ChangeRules::new().prefixes(prefixes));
            self.ear.debug(&rules.unwrap());
        }
        self.ear.debug(&admin.wait_for_event(0, Duration::ZERO).unwrap());
        self.ear.shown(store.health());
        store.recover().unwrap();
        let mut query = ListEvents::new().limit(1_000);
        self.ear.debug(&query);
        let events = self.ear.shown(admin.events(&query).unwrap());
        assert!(events.next.is_none() && events.items.len() > 30);
        query = query.owner(owner("globex"));
        self.ear.shown(admin.events(&query).unwrap());
    }

    fn ends(&mut self, store: &Arc<dyn KeyStore>, admin: &AdminKeys) {
        let keys = OwnerKeys::new(Arc::clone(store), owner("acme"), "alice").unwrap();
        let replacement = CreateKey::new(Access::Full).name("after the leak").recoverable();
        let all = keys.revoke_all(Some(replacement)).unwrap();
        self.ear.debug(&all);
        self.ear.issued(all.replacement.unwrap());
        self.ear.shown(
            admin.invalidate_owner_tokens_issued_before(&owner("acme"), self.now()).unwrap(),
        );
        self.ear.debug(&admin.invalidate_tokens_issued_before(self.now()).unwrap());
        for token in self.ear.tokens.clone() {
            self.verify(store, &token);
        }
        self.clock.advance(HOUR);
        admin.suspend_owner(&owner("globex")).unwrap();
        admin.purge_owner(&owner("globex")).unwrap();
        self.ear.debug(&admin.prune_events(self.now().saturating_sub(HOUR)).unwrap());
        self.ear.shown(admin.events(&ListEvents::new()).unwrap());
        let last = admin.list(&ListKeys::new()).unwrap();
        self.ear.issued(admin.rotate(last.items[0].id, Rotate::new()).unwrap());
    }

    /// What a store says of a token, right or wrong.
    pub(crate) fn verify(&mut self, store: &Arc<dyn KeyStore>, token: &str) {
        let verifier = Verifier::new(Arc::clone(store));
        self.ear.debug(&verifier);
        match verifier.verify(token) {
            Ok(verified) => self.ear.debug(&verified),
            Err(refusal) => self.ear.error(&refusal),
        }
    }

    /// A store that is closed.
    pub(crate) fn close(&mut self, store: &Arc<dyn KeyStore>) {
        let admin = AdminKeys::new(Arc::clone(store), "root").unwrap();
        store.close().unwrap();
        self.ear.refused(admin.list(&ListKeys::new()));
        for token in self.ear.tokens.clone() {
            self.verify(store, &token);
        }
        self.ear.debug(store);
    }

    /// Openings that are refused, and seals that don't open.
    pub(crate) fn open_wrongly(&mut self, open: &dyn Fn(StoreBuilder) -> Result<Store, Error>) {
        let only_two = Peppers::new(2, key_bytes(2)).unwrap();
        for wrong in [Peppers::new(1, key_bytes(9)).unwrap(), only_two, Peppers::public()] {
            let builder = self.builder().peppers(wrong);
            let told = self.ear.refused(open(builder));
            assert!(matches!(told, Error::Pepper { .. }), "{told:?}");
        }
        let builder = self.builder().retire_pepper(1, IfInUse::Refuse);
        let builder = builder.peppers(Peppers::new(2, key_bytes(2)).unwrap());
        let told = self.ear.refused(open(builder));
        assert!(matches!(told, Error::PepperInUse { .. }), "{told:?}");
        let builder = self.builder().rules(StoreRules::default());
        let told = self.ear.refused(open(builder));
        assert!(matches!(told, Error::RulesDiffer(_)), "{told:?}");
        let behind = Arc::new(ManualClock::new(Timestamp::MIN));
        let builder = self.builder().refuse_clock_behind_log().clock(behind);
        let told = self.ear.refused(open(builder));
        assert!(matches!(told, Error::ClockBehindLog(_)), "{told:?}");
        let sealing = |number| RecoveryKeys::new(number, key_bytes(8)).unwrap();
        let builder = self.builder().recovery_keys(sealing(1));
        let told = self.ear.refused(open(builder));
        assert!(matches!(told, Error::RecoveryKey { .. }), "{told:?}");
        let builder = self.builder().recovery_keys(sealing(7));
        let store: Arc<dyn KeyStore> = Arc::new(open(builder).unwrap());
        let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
        let page = admin.reveal_tokens(&ListKeys::new()).unwrap();
        let mut errors: Vec<Error> = page.items.into_iter().filter_map(|item| item.error).collect();
        let told = self.ear.refused::<()>(Err(errors.pop().unwrap()));
        assert!(matches!(told, Error::Seal(_)), "{told:?}");
        store.close().unwrap();
        let builder = self.builder();
        let store = open(builder).unwrap();
        let builder = self.builder();
        let told = self.ear.refused(open(builder));
        assert!(matches!(told, Error::Backend(_)), "{told:?}");
        self.ear.debug(&store);
    }
}

fn owner(id: &str) -> OwnerId {
    OwnerId::new(id).unwrap()
}

fn prefix(text: &str) -> Prefix {
    Prefix::new(text).unwrap()
}
