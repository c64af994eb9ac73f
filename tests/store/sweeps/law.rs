//! The law: a store whose pieces are worked at once, and one whose pieces are held back, answer the
//! same to every read, whatever is called.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::{Backend, Memory, OwnerPageQuery};
use keyhasp::key::{MAX_SWEEPS, State};
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, DelegatedKeys, Error, Expiry, Issued, KeyId,
    KeyStore, ListKeys, ListOwners, ManualClock, NumericIdChoice, Rotate, Store, StoreRules,
    UpdateKey, UpdateOwner,
};
use proptest::prelude::*;

use crate::common::{HOUR, builder, clock, owner};

/// The owners of the law.
const OWNERS: [&str; 2] = ["acme", "bolt"];

/// One call. A key is meant by its place among all that were ever created.
#[derive(Clone, Debug)]
enum Op {
    Create {
        owner: usize,
        name: u8,
        trial: bool,
        expires: bool,
    },
    CreateAsDelegate {
        by: usize,
        name: u8,
    },
    Rename {
        key: usize,
        name: u8,
    },
    Rotate {
        key: usize,
    },
    Block {
        key: usize,
    },
    ExtendExpiry {
        key: usize,
    },
    Revoke {
        key: usize,
    },
    RevokeTree {
        key: usize,
    },
    Purge {
        key: usize,
    },
    RevokeAll {
        owner: usize,
        replacement: Option<u8>,
    },
    PurgeOwner {
        owner: usize,
    },
    CreateOwner {
        owner: usize,
        with_key: bool,
    },
    Invalidate {
        owner: usize,
    },
    MaxKeys {
        owner: usize,
        most: u32,
    },
    Wait,
    /// So many pieces, of the store that holds them back.
    Pieces(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (any_owner, key, name) = (0..OWNERS.len(), 0..24_usize, 0..4_u8);
    let op = prop_oneof![
        6 => (any_owner.clone(), name.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(owner, name, trial, expires)| Op::Create { owner, name, trial, expires }),
        3 => (key.clone(), name.clone()).prop_map(|(by, name)| Op::CreateAsDelegate { by, name }),
        2 => (key.clone(), name.clone()).prop_map(|(key, name)| Op::Rename { key, name }),
        2 => key.clone().prop_map(|key| Op::Rotate { key }),
        1 => key.clone().prop_map(|key| Op::Block { key }),
        1 => key.clone().prop_map(|key| Op::ExtendExpiry { key }),
        1 => key.clone().prop_map(|key| Op::Revoke { key }),
        1 => key.clone().prop_map(|key| Op::RevokeTree { key }),
        2 => key.prop_map(|key| Op::Purge { key }),
        4 => (any_owner.clone(), prop::option::of(name))
            .prop_map(|(owner, replacement)| Op::RevokeAll { owner, replacement }),
        3 => any_owner.clone().prop_map(|owner| Op::PurgeOwner { owner }),
        4 => (any_owner.clone(), any::<bool>())
            .prop_map(|(owner, with_key)| Op::CreateOwner { owner, with_key }),
        1 => any_owner.clone().prop_map(|owner| Op::Invalidate { owner }),
        1 => (any_owner, 1..5_u32).prop_map(|(owner, most)| Op::MaxKeys { owner, most }),
        1 => Just(Op::Wait),
        2 => (1..3_usize).prop_map(Op::Pieces),
    ];
    prop::collection::vec(op, 1..40)
}

/// A store of the law, and the backend below it.
struct Side {
    store: Arc<Store>,
    backend: Arc<dyn Backend>,
    clock: Arc<ManualClock>,
    admin: AdminKeys,
    /// The keys that were created, with the tokens that were issued.
    issued: Vec<KeyId>,
    tokens: Vec<String>,
    holds_back: bool,
}

impl Side {
    fn new(backend: Arc<dyn Backend>, rules: StoreRules, holds_back: bool) -> Self {
        let clock = clock();
        let builder = builder(&clock, 1).rules(rules).without_sweeps_for_tests();
        let store = Arc::new(builder.open_on(Arc::clone(&backend)).unwrap());
        let admin = AdminKeys::new(Arc::clone(&store) as Arc<dyn KeyStore>, "root").unwrap();
        let (issued, tokens) = (Vec::new(), Vec::new());
        Self { store, backend, clock, admin, issued, tokens, holds_back }
    }

    fn key(&self, at: usize) -> Option<KeyId> {
        self.issued.get(at % self.issued.len().max(1)).copied()
    }

    fn note(&mut self, issued: Result<Issued, Error>) -> String {
        match issued {
            Ok(issued) => {
                self.issued.push(issued.key.id);
                self.tokens.push(issued.token.expose().to_owned());
                shown(&issued.key)
            }
            Err(error) => format!("{error:?}"),
        }
    }

    /// Draws as many random numbers on both sides: a call that has to decide again would draw more.
    fn make_room(&self) {
        let query = OwnerPageQuery { swept: true, ..OwnerPageQuery::all(9) };
        let page = self.backend.page_owners(&query).unwrap();
        let pending = page.owners.iter().filter_map(|owner| owner.sweeps.as_ref());
        if pending.map(|sweeps| sweeps.pending.len()).max() == Some(MAX_SWEEPS) {
            self.store.finish_sweeps().unwrap();
        }
    }

    fn run(&mut self, op: &Op) -> String {
        self.make_room();
        let named = |name: u8| CreateKey::new(Access::Full).name(format!("name {name}"));
        let answer = match op {
            Op::Create { owner: at, name, trial, expires } => {
                let expiry = Expiry::At(self.now().saturating_add(HOUR));
                let mut request = match trial {
                    true => CreateKey::trial(Access::Full, expiry),
                    false => CreateKey::new(Access::Full),
                };
                request = request.name(format!("name {name}")).numeric_id(NumericIdChoice::Next);
                if *expires {
                    request = request.expires(expiry);
                }
                let issued = self.admin.create(&owner(OWNERS[*at]), request);
                self.note(issued)
            }
            Op::CreateAsDelegate { by, name } => {
                let token = self.tokens.get(*by % self.tokens.len().max(1)).cloned();
                let Some(token) = token else { return String::new() };
                let verified = match self.store.verify(token.as_bytes()) {
                    Ok(verified) => verified,
                    Err(error) => return format!("{error:?}"),
                };
                let store = Arc::clone(&self.store) as Arc<dyn KeyStore>;
                let keys = DelegatedKeys::new(store, &verified, "ci").unwrap();
                let issued = keys.create(named(*name));
                self.note(issued)
            }
            Op::Rename { key, name } => {
                let Some(key) = self.key(*key) else { return String::new() };
                let update = UpdateKey::new().name(format!("name {name}"));
                told(self.admin.update(key, update).map(|key| shown(&key)))
            }
            Op::Rotate { key } => {
                let Some(key) = self.key(*key) else { return String::new() };
                let rotated = self.admin.rotate(key, Rotate::new());
                if let Ok(issued) = &rotated {
                    self.tokens.push(issued.token.expose().to_owned());
                }
                told(rotated.map(|issued| shown(&issued.key)))
            }
            Op::Block { key } => {
                let Some(key) = self.key(*key) else { return String::new() };
                told(self.admin.block(key).map(|key| shown(&key.whole().unwrap())))
            }
            Op::ExtendExpiry { key } => {
                let Some(key) = self.key(*key) else { return String::new() };
                let later = Expiry::At(self.now().saturating_add(HOUR * 9));
                told(self.admin.extend_expiry(key, later).map(|key| shown(&key)))
            }
            Op::Revoke { key } => {
                let Some(key) = self.key(*key) else { return String::new() };
                told(self.admin.revoke(key).map(|key| shown(&key.whole().unwrap())))
            }
            Op::RevokeTree { key } => {
                let Some(key) = self.key(*key) else { return String::new() };
                told(self.admin.revoke_with_descendants(key).map(|tree| tree.revoked))
            }
            Op::Purge { key } => {
                let Some(key) = self.key(*key) else { return String::new() };
                told(self.admin.purge(key))
            }
            Op::RevokeAll { owner: at, replacement } => {
                let revoked = self.admin.revoke_all(&owner(OWNERS[*at]), replacement.map(named));
                match revoked {
                    Ok(revoked) => {
                        let count = revoked.revoked;
                        let replacement = revoked.replacement.map(|issued| self.note(Ok(issued)));
                        format!("{count} {replacement:?}")
                    }
                    Err(error) => format!("{error:?}"),
                }
            }
            Op::PurgeOwner { owner: at } => {
                let id = owner(OWNERS[*at]);
                let _ = self.admin.suspend_owner(&id);
                told(self.admin.purge_owner(&id))
            }
            Op::CreateOwner { owner: at, with_key } => {
                let request = match with_key {
                    true => CreateOwner::with_key(named(0)),
                    false => CreateOwner::without_key(),
                };
                match self.admin.create_owner(&owner(OWNERS[*at]), request) {
                    Ok(created) => {
                        let first = created.first_key.map(|issued| self.note(Ok(issued)));
                        format!("{} {first:?}", shown(&created.owner))
                    }
                    Err(error) => format!("{error:?}"),
                }
            }
            Op::Invalidate { owner: at } => {
                let (id, now) = (owner(OWNERS[*at]), self.now());
                let invalidated = self.admin.invalidate_owner_tokens_issued_before(&id, now);
                told(invalidated.map(|owner| shown(&owner)))
            }
            Op::MaxKeys { owner: at, most } => {
                let update = UpdateOwner::new().max_keys(*most);
                let updated = self.admin.update_owner(&owner(OWNERS[*at]), update);
                told(updated.map(|owner| shown(&owner)))
            }
            Op::Wait => {
                self.clock.advance(Duration::from_secs(4_000));
                String::new()
            }
            Op::Pieces(pieces) => {
                if self.holds_back {
                    self.store.work_sweeps_for_tests(*pieces).unwrap();
                }
                String::new()
            }
        };
        self.clock.advance(Duration::from_millis(7));
        if !self.holds_back {
            self.store.finish_sweeps().unwrap();
        }
        answer
    }

    fn now(&self) -> keyhasp::Timestamp {
        use keyhasp::Clock;
        self.clock.now()
    }

    /// Everything that can be read, event log and pages' ends apart.
    fn reads(&self) -> Vec<String> {
        let mut reads = Vec::new();
        for key in &self.issued {
            let got = self.admin.get(*key);
            if let Some(id) = got.as_ref().ok().and_then(|key| key.numeric_id) {
                reads.push(told(self.admin.find(id).map(|key| shown(&key))));
            }
            reads.push(told(got.map(|key| shown(&key))));
            reads.push(self.list(ListKeys::new().created_by_key(*key).states(State::ALL)));
        }
        for number in 1..10 {
            let id = keyhasp::NumericId::new(number).unwrap();
            reads.push(told(self.admin.find(id).map(|key| shown(&key))));
        }
        for id in OWNERS {
            reads.push(told(self.admin.owner(&owner(id)).map(|owner| shown(&owner))));
        }
        for suspended in [None, Some(true), Some(false)] {
            let query = ListOwners::new();
            let query = match suspended {
                Some(suspended) => query.suspended(suspended),
                None => query,
            };
            let owners = self.admin.list_owners(&query).unwrap().items;
            reads.push(owners.iter().map(shown).collect());
        }
        for bits in 0..32_u8 {
            let states = State::ALL.into_iter().filter(|state| bits >> *state as u8 & 1 == 1);
            let query = ListKeys::new().states(states).limit(2);
            for owner_id in [None, Some(OWNERS[0]), Some(OWNERS[1])] {
                let query = match owner_id {
                    Some(id) => query.clone().owner(owner(id)),
                    None => query.clone(),
                };
                reads.push(format!("{:?}", self.admin.count(&query).unwrap()));
                reads.push(self.list(query));
            }
        }
        if let (Some(first), Some(last)) = (self.issued.first(), self.issued.last()) {
            let between = ListKeys::new().states(State::ALL).starting_after(*last);
            reads.push(self.list(between.ending_before(*first)));
        }
        for token in &self.tokens {
            let verified = self.store.verify(token.as_bytes());
            reads.push(format!("{:?}", verified.map(|key| (key.key_id(), key.is_current()))));
        }
        reads
    }

    fn list(&self, query: ListKeys) -> String {
        let (mut keys, mut cursor) = (String::new(), None::<String>);
        loop {
            let query = match &cursor {
                Some(cursor) => query.clone().cursor(cursor.clone()),
                None => query.clone(),
            };
            let page = self.admin.list(&query).unwrap();
            keys.extend(page.items.iter().map(shown));
            match page.next {
                Some(next) => cursor = Some(next),
                None => return keys,
            }
        }
    }
}

fn shown(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn told<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    format!("{answer:?}")
}

fn rules(bits: u8) -> StoreRules {
    StoreRules {
        unique_names: bits & 1 == 1,
        keep_standard_key: bits & 2 == 2,
        ..StoreRules::default()
    }
}

/// Runs the calls on both sides, and compares what each answers, and every read after it.
fn check(ops: &[Op], rules: StoreRules, backends: [Arc<dyn Backend>; 2]) {
    let [at_once, held] = backends;
    let mut at_once = Side::new(at_once, rules, false);
    let mut held = Side::new(held, rules, true);
    for (step, op) in ops.iter().enumerate() {
        let (expected, heard) = (at_once.run(op), held.run(op));
        assert_eq!(expected, heard, "step {step}, {op:?}");
        let (expected, heard) = (at_once.reads(), held.reads());
        for (expected, heard) in expected.iter().zip(&heard) {
            assert_eq!(expected, heard, "a read after step {step}, {op:?}");
        }
        assert_eq!(expected.len(), heard.len());
    }
    // What is held back is done in the end, and changes nothing even then.
    held.store.finish_sweeps().unwrap();
    assert_eq!(at_once.reads(), held.reads(), "after all pieces");
    let query = OwnerPageQuery { swept: true, ..OwnerPageQuery::all(9) };
    for side in [&at_once, &held] {
        assert_eq!(side.backend.page_owners(&query).unwrap().owners.len(), 0);
        assert_eq!(side.store.check().unwrap(), []);
    }
    // A scan of all records, as an opening makes it, says the same.
    let tokens = held.tokens.clone();
    let verdicts = |store: &Store| -> Vec<String> {
        let verdict = |token: &String| format!("{:?}", store.verify(token.as_bytes()).map(drop));
        tokens.iter().map(verdict).collect()
    };
    let again = builder(&held.clock, 2).rules(rules).without_sweeps_for_tests();
    let again = again.open_on(Arc::clone(&held.backend)).unwrap();
    assert_eq!(verdicts(&held.store), verdicts(&again), "after another opening");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pieces_change_no_answer(ops in ops(), bits in 0..4_u8) {
        check(&ops, rules(bits), [Arc::new(Memory::new()), Arc::new(Memory::new())]);
    }
}

#[cfg(all(feature = "sqlite", feature = "testing"))]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn pieces_change_no_answer_on_sqlite(ops in ops(), bits in 0..4_u8) {
        use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| -> Arc<dyn Backend> {
            Arc::new(Sqlite::create(dir.path().join(name), SqliteOptions::exclusive().sync_off_for_tests()).unwrap())
        };
        check(&ops, rules(bits), [open("a.db"), open("b.db")]);
    }
}

#[cfg(all(feature = "sled", feature = "testing"))]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn pieces_change_no_answer_on_sled(ops in ops(), bits in 0..4_u8) {
        use keyhasp::backend::sled::{Sled, SledOptions};
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| -> Arc<dyn Backend> {
            Arc::new(Sled::create(dir.path().join(name), SledOptions::default().sync_off_for_tests()).unwrap())
        };
        check(&ops, rules(bits), [open("a"), open("b")]);
    }
}
