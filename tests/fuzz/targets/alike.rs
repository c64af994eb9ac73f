//! A sequence of calls on memory, SQLite and sled: each answers as the others do, to the letter,
//! and in the end all hold the same.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::{Backend, Memory};
use keyhasp::store::StoreBuilder;
use keyhasp::{
    Access, AdminKeys, Catalogue, Clock, CreateKey, CreateOwner, DelegatedKeys, Error, Expiry,
    Issued, KeyId, KeyStore, Kind, ListEvents, ListKeys, ListOwners, ManualClock, NumericId,
    NumericIdChoice, OwnerId, OwnerKeys, Prefix, RecoveryKeys, Rotate, State, Store, StoreRules,
    Timestamp, UpdateKey, UpdateOwner,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::json;
use tempfile::TempDir;

use super::history::{open_sqlite, tempdir};
use super::input::Input;

/// Longer sequences find little more, and take longer.
const CALLS: usize = 40;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let rules = input.byte();
    let mut worlds =
        [Place::Memory(Arc::new(Memory::new())), Place::Sqlite(tempdir()), Place::Sled(tempdir())]
            .map(|place| World::new(place, rules));
    for seed in 1..=CALLS as u64 {
        if input.is_empty() {
            break;
        }
        let call = Call { what: input.byte(), a: input.byte(), b: input.byte() };
        let answers = worlds.each_mut().map(|world| world.call(&call, seed));
        if call.what & 0xc0 == 0xc0 {
            for world in &worlds {
                world.sweeps.work_sweeps_for_tests(1).unwrap();
            }
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{call:?}: {answers:#?}");
    }
    let ends = worlds.each_mut().map(World::everything);
    assert!(ends.iter().all(|end| *end == ends[0]), "in the end: {ends:#?}");
}

/// What is called, and of what.
#[derive(Debug)]
struct Call {
    what: u8,
    a: u8,
    b: u8,
}

enum Place {
    Memory(Arc<dyn Backend>),
    Sled(TempDir),
    Sqlite(TempDir),
}

impl Place {
    fn open(&self, builder: StoreBuilder) -> Result<Store, Error> {
        match self {
            Self::Memory(memory) => builder.open_on(Arc::clone(memory)),
            Self::Sled(dir) => {
                let options = SledOptions::default().cache_capacity(0).sync_off_for_tests();
                builder.open(Sled::open_or_create(dir.path().join("keys"), options)?.0)
            }
            Self::Sqlite(dir) => open_sqlite(dir.path(), builder),
        }
    }
}

struct World {
    place: Place,
    rules: StoreRules,
    clock: Arc<ManualClock>,
    store: Arc<dyn KeyStore>,
    /// The same store, of which this works the pieces of sweeps: a thread would write events beside.
    sweeps: Arc<Store>,
    /// Stores before it on the same memory, which would end with the last of them.
    former: Vec<Arc<dyn KeyStore>>,
    admin: AdminKeys,
    /// In the order in which they were made, also those that are gone.
    keys: Vec<KeyId>,
    tokens: Vec<String>,
}

const OWNERS: [&str; 3] = ["a", "b", "c \u{e9}"];

impl World {
    fn new(place: Place, rules: u8) -> Self {
        let rules = StoreRules {
            unique_names: rules & 1 == 1,
            keep_standard_key: rules & 2 == 2,
            recoverable_tokens: rules & 4 == 4,
            ..StoreRules::default()
        };
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1 << 40).unwrap()));
        let (store, sweeps, admin) = Self::opened(&place, rules, &clock, 0);
        let (former, keys, tokens) = (Vec::new(), Vec::new(), Vec::new());
        Self { place, rules, clock, store, sweeps, former, admin, keys, tokens }
    }

    fn opened(
        place: &Place,
        rules: StoreRules,
        clock: &Arc<ManualClock>,
        seed: u64,
    ) -> (Arc<dyn KeyStore>, Arc<Store>, AdminKeys) {
        let catalogue = Catalogue::builder().read("links:read").write("links:write").write("b");
        let prefixes = ["x", "y_z"].map(|text| Prefix::new(text).unwrap());
        let builder = Store::builder(catalogue.build().unwrap(), prefixes)
            .rules(rules)
            .without_sweeps_for_tests()
            .recovery_keys(RecoveryKeys::new(1, [1; 32]).unwrap())
            .clock(Arc::clone(clock) as _)
            .random(ChaCha20Rng::seed_from_u64(seed));
        let sweeps = Arc::new(place.open(builder).unwrap());
        let store = Arc::clone(&sweeps) as Arc<dyn KeyStore>;
        let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
        (store, sweeps, admin)
    }

    /// Chooses one of the keys, or an id without a key while there is none.
    fn key(&self, which: u8) -> KeyId {
        match self.keys.len() {
            0 => KeyId::from_u128(which.into()),
            count => self.keys[usize::from(which) % count],
        }
    }

    fn after(&self, hours: u8) -> Timestamp {
        self.clock.now().saturating_add(HOUR * u32::from(hours))
    }

    fn issued(&mut self, answer: Result<Issued, Error>) -> String {
        let Ok(issued) = answer else { return said(answer.map(drop)) };
        let token = issued.token.expose().to_owned();
        if issued.key.generation.get() == 1 {
            self.keys.push(issued.key.id);
        }
        let answer = format!("{token} {:?}", issued.key);
        self.tokens.push(token);
        answer
    }

    fn call(&mut self, call: &Call, seed: u64) -> String {
        let Call { what, a, b } = *call;
        let owner = OwnerId::new(OWNERS[usize::from(a) % OWNERS.len()]).unwrap();
        let keys = OwnerKeys::new(Arc::clone(&self.store), owner, "alice").unwrap();
        let id = self.key(b);
        let admin = self.admin.clone();
        match what % 32 {
            0..=2 => self.issued(keys.create(self.request(b))),
            3 => self.issued(admin.create(&owner, self.request(b))),
            4 => {
                let first = if b & 1 == 0 { None } else { Some(self.request(b)) };
                let request = first.map_or(CreateOwner::without_key(), CreateOwner::with_key);
                let request = request.max_keys(u32::from(b >> 4) + 1);
                let request = if b & 2 == 0 { request } else { request.tags(["eu"]) };
                match admin.create_owner(&owner, request) {
                    Ok(created) => {
                        let first = created.first_key.map(|first| self.issued(Ok(first)));
                        format!("{:?} {first:?}", created.owner)
                    }
                    Err(error) => said::<()>(Err(error)),
                }
            }
            5 | 6 => {
                let rotate = Rotate::with_grace(HOUR * u32::from(a));
                self.issued(keys.rotate(id, if a & 8 == 8 { Rotate::forced() } else { rotate }))
            }
            7 => self.issued(admin.rotate(id, Rotate::forced())),
            8 => said(keys.invalidate_previous_tokens(id)),
            9 => said(keys.deactivate(id)),
            10 => said(keys.activate(id)),
            11 => said(admin.block(id)),
            12 => said(admin.unblock(id)),
            13 => said(keys.revoke(id)),
            14 => said(admin.revoke(id)),
            15 => said(admin.purge(id)),
            16 => said(admin.suspend_owner(&owner)),
            17 => said(admin.resume_owner(&owner)),
            18 => said(admin.purge_owner(&owner)),
            19 => said(admin.update(id, self.update(a))),
            20 => said(keys.update(id, self.update(a))),
            21 => said(keys.extend_expiry(id, Expiry::At(self.after(a)))),
            22 => {
                let max_access = if b & 1 == 0 { Access::ReadOnly } else { Access::Full };
                let update = UpdateOwner::new().max_access(max_access).defaults(json!({"n": b}));
                said(admin.update_owner(&owner, update))
            }
            23 => said(admin.invalidate_owner_tokens_issued_before(&owner, self.clock.now())),
            24 => match admin.revoke_all(&owner, (b & 1 == 1).then(|| self.request(b))) {
                Ok(all) => {
                    let replacement = all.replacement.map(|one| self.issued(Ok(one)));
                    format!("{:?} {replacement:?}", all.revoked)
                }
                Err(error) => said::<()>(Err(error)),
            },
            25 => {
                self.clock.advance(HOUR * u32::from(a) + Duration::from_millis(b.into()));
                String::new()
            }
            26 => said(admin.prune_events(self.after(0).saturating_sub(HOUR * u32::from(a)))),
            27 => said(keys.reveal_token(id).map(|token| token.expose().to_owned())),
            28 => self.delegated(a, b),
            29 => said(admin.convert_trial(id, Expiry::At(self.after(a)))),
            30 => self.listed(&keys, a, b),
            _ => {
                self.reopen(seed);
                self.everything()
            }
        }
    }

    fn request(&self, shape: u8) -> CreateKey {
        let access = match shape & 3 {
            0 => Access::Full,
            1 => Access::ReadOnly,
            _ => Access::limited(["links:*"]).unwrap(),
        };
        let request = match shape >> 2 & 7 {
            0 => CreateKey::trial(access, Expiry::At(self.after(shape))),
            1 => CreateKey::new(access).numeric_id(NumericIdChoice::Next),
            2 => {
                let id = NumericId::new(u64::from(shape)).unwrap();
                CreateKey::new(access).numeric_id(NumericIdChoice::Given(id))
            }
            3 => CreateKey::new(access).expires(Expiry::At(self.after(shape))),
            4 => CreateKey::new(access).recoverable(),
            5 => CreateKey::new(access).settings(json!({"s": "x".repeat(usize::from(shape) * 60)})),
            _ => CreateKey::new(access),
        };
        let request = if shape & 64 == 0 { request } else { request.tags(["a", "b:1"]) };
        if shape & 128 == 0 { request.name(format!("n{}", shape & 3)) } else { request }
    }

    fn update(&self, shape: u8) -> UpdateKey {
        let update = match shape & 3 {
            0 => UpdateKey::new().name(format!("n{}", shape >> 4)),
            1 => UpdateKey::new().access(Access::ReadOnly).clear_name(),
            2 => UpdateKey::new().expires(Expiry::At(self.after(shape))),
            _ => UpdateKey::new().settings(json!({"s": shape, "gone": null})),
        };
        match shape >> 2 & 7 {
            0 => update.tags(["a"]),
            1 => update.tags(["c", "a"]),
            2 => update.clear_tags(),
            _ => update,
        }
    }

    /// Acts with a token.
    fn delegated(&mut self, a: u8, b: u8) -> String {
        let Some(token) = self.tokens.get(usize::from(a)) else { return String::new() };
        let verified = match self.store.verify(token.as_bytes()) {
            Ok(verified) => verified,
            Err(refusal) => return format!("{refusal:?}"),
        };
        let keys = DelegatedKeys::new(Arc::clone(&self.store), &verified, "a script").unwrap();
        if b & 1 == 0 {
            let request = self.request(b);
            return self.issued(keys.create(request));
        }
        said(keys.revoke(self.key(b)))
    }

    fn listed(&self, keys: &OwnerKeys, a: u8, b: u8) -> String {
        let query = ListKeys::new().limit(usize::from(a & 7) + 1);
        let query = if b & 1 == 0 { query } else { query.kind(Kind::Trial) };
        let query = if b & 2 == 0 { query } else { query.states(State::ALL) };
        let query = if b & 4 == 0 { query } else { query.starting_after(self.key(a)) };
        let query = if b & 8 == 0 { query } else { query.tag("a") };
        let query = if b & 16 == 0 { query } else { query.name_starts_with("n1") };
        let query = if b & 32 == 0 { query } else { query.expires_before(self.after(a)) };
        let query = if b & 64 == 0 { query } else { query.permission("links:write") };
        let events = ListEvents::new().key(self.key(b)).limit(3);
        let events = if b & 128 == 0 { events } else { events.newest_first() };
        let listed = walked(keys, query);
        format!(
            "{listed} {} {}",
            said(keys.count(&ListKeys::new())),
            self.told(events, b & 128 != 0)
        )
    }

    /// Events of a query, page by page.
    fn told(&self, query: ListEvents, is_newest_first: bool) -> String {
        let (mut items, mut query) = (Vec::new(), query);
        loop {
            match self.admin.events(&query) {
                Ok(page) => {
                    items.extend(page.items);
                    let Some(next) = page.next else { return format!("{items:?}") };
                    query = if is_newest_first { query.before(next) } else { query.after(next) };
                }
                Err(error) => return said::<()>(Err(error)),
            }
        }
    }

    /// All that there is, and what verification says of every token.
    fn everything(&mut self) -> String {
        let keys = self.admin.list(&ListKeys::new().states(State::ALL).limit(1_000));
        let owners = self.admin.list_owners(&ListOwners::new());
        let tagged = self.admin.list_owners(&ListOwners::new().tag("eu"));
        let events = self.admin.events(&ListEvents::new().limit(1_000));
        let verdicts: Vec<_> =
            self.tokens.iter().map(|token| self.store.verify(token.as_bytes())).collect();
        let [keys, owners, tagged, events] = [said(keys), said(owners), said(tagged), said(events)];
        format!("{keys}\n{owners}\n{tagged}\n{events}\n{verdicts:?}")
    }

    fn reopen(&mut self, seed: u64) {
        match self.place {
            Place::Memory(_) => self.former.push(Arc::clone(&self.store)),
            _ => self.store.close().unwrap(),
        }
        (self.store, self.sweeps, self.admin) =
            Self::opened(&self.place, self.rules, &self.clock, seed);
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

fn said<T: Debug>(answer: Result<T, Error>) -> String {
    if let Err(Error::Backend(error)) = &answer {
        panic!("{error}");
    }
    format!("{answer:?}")
}

/// Keys of a query, page by page. Where a page ends is a backend's own affair: it may be short, and
/// still say that there may be more.
fn walked(keys: &OwnerKeys, query: ListKeys) -> String {
    let mut items = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let page = match next.take() {
            None => keys.list(&query),
            Some(cursor) => keys.list(&query.clone().cursor(cursor)),
        };
        match page {
            Ok(page) => {
                items.extend(page.items);
                next = page.next;
                if next.is_none() {
                    return format!("{items:?}");
                }
            }
            Err(error) => return said::<()>(Err(error)),
        }
    }
}
