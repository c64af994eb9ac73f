//! Callers who do and ask at once, and note what they were told.

use std::sync::{Arc, Barrier};

use keyhasp::store::Events;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Error, EventKind, Issued, Key, KeyId, KeyStore,
    ListEvents, ListKeys, OwnerId, Rotate, Version,
};

use crate::book::Book;
use crate::chance::Chance;
use crate::history::{Answered, Ask, Entry, Logged, SET_UP, Seen, Turn};

/// The owners of a history. Each keeps a standard key.
pub(crate) const OWNERS: [&str; 2] = ["left", "right"];

/// The plan of a history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) threads: usize,
    /// Of each thread.
    pub(crate) calls: usize,
}

/// One process's callers, and what they know.
pub(crate) struct Desk<'a> {
    pub(crate) process: usize,
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) book: &'a Book,
    /// Moments: each at least as late as those before it.
    pub(crate) moment: &'a (dyn Fn() -> u64 + Sync),
    /// As in an [`Entry`].
    pub(crate) lag: Option<u64>,
}

impl Desk<'_> {
    fn admin(&self) -> AdminKeys {
        AdminKeys::new(Arc::clone(&self.store), "root").unwrap()
    }

    /// Makes the owners, each with keys, before any other thread calls.
    pub(crate) fn set_up(&self, keys: usize) {
        let full = || CreateKey::new(Access::Full);
        for owner in OWNERS {
            let admin =
                |nth| self.admin().with_correlation_id(format!("{SET_UP}{owner}.{nth}")).unwrap();
            let owner = owner_id(owner);
            let created = admin(0).create_owner(&owner, CreateOwner::with_key(full())).unwrap();
            self.learn(created.first_key.as_ref().unwrap());
            for nth in 1..keys {
                self.learn(&admin(nth).create(&owner, full()).unwrap());
            }
        }
    }

    fn learn(&self, issued: &Issued) {
        self.book.learn(issued);
        self.saw(&issued.key);
    }

    fn saw(&self, key: &Key) {
        self.book.saw(&key.id.to_string(), key.version.get());
    }

    /// All callers at once; their entries.
    pub(crate) fn play(&self, plan: Plan) -> Vec<Entry> {
        let barrier = Barrier::new(plan.threads);
        let call = |thread: usize| {
            let seed = plan.seed.wrapping_mul(1_000_003) + (self.process * 1_000 + thread) as u64;
            let mut chance = Chance::new(seed);
            barrier.wait();
            let one = |nth| {
                let ask = self.choose(&mut chance);
                let call = format!("{}.{thread}.{nth}", self.process);
                if chance.percent(20) {
                    std::thread::yield_now();
                }
                self.perform(call, ask)
            };
            (0..plan.calls).map(one).collect::<Vec<_>>()
        };
        std::thread::scope(|scope| {
            let call = &call;
            let callers = (0..plan.threads).map(|n| scope.spawn(move || call(n)));
            let callers: Vec<_> = callers.collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        })
    }

    fn choose(&self, chance: &mut Chance) -> Ask {
        let token = self.book.pick(chance);
        let key = token.key;
        let owner = chance.pick(&OWNERS).to_owned();
        let known = if chance.percent(60) { self.book.version(&key) } else { None };
        let turn = |how| Ask::Turn { key: key.clone(), how, expected: known };
        let weights = [
            (40, Ask::Verify { key: key.clone(), generation: token.generation }),
            (8, Ask::Rotate { key: key.clone(), force: false, unblock: false, expected: known }),
            (5, Ask::Rotate { key: key.clone(), force: true, unblock: false, expected: known }),
            (2, Ask::Rotate { key: key.clone(), force: true, unblock: true, expected: known }),
            (6, turn(Turn::Block)),
            (6, turn(Turn::Unblock)),
            (4, turn(Turn::Deactivate)),
            (4, turn(Turn::Activate)),
            (6, turn(Turn::Revoke)),
            (3, turn(Turn::InvalidatePrevious)),
            (5, Ask::Create { owner: owner.clone() }),
            (6, Ask::Get { key: key.clone() }),
            (5, Ask::List { owner: owner.clone() }),
            (1, Ask::RevokeAll { owner: owner.clone() }),
            (2, Ask::Suspend { owner: owner.clone() }),
            (3, Ask::Resume { owner }),
        ];
        let positions: Vec<(usize, usize)> =
            weights.iter().enumerate().map(|(at, (weight, _))| (*weight, at)).collect();
        weights[chance.weigh(&positions)].1.clone()
    }

    /// Asks, and notes when and what was told.
    pub(crate) fn perform(&self, call: String, ask: Ask) -> Entry {
        let text = match &ask {
            Ask::Verify { key, generation } => self.book.text(key, *generation),
            _ => String::new(),
        };
        let admin = self.admin().with_correlation_id(&*call).unwrap();
        let start = (self.moment)();
        let told = match &ask {
            Ask::Verify { .. } => Answered::of_verdict(&self.store.verify(text.as_bytes())),
            ask => self.manage(&admin, ask).unwrap_or_else(|error| Answered::of_error(&error)),
        };
        let end = (self.moment)();
        Entry { process: self.process, lag: self.lag, call, start, end, ask, told }
    }

    fn manage(&self, admin: &AdminKeys, ask: &Ask) -> Result<Answered, Error> {
        let expecting = |expected: &Option<u64>| match expected {
            Some(version) => admin.if_version(Version::new(*version)),
            None => admin.clone(),
        };
        let issued = |issued: &Issued| {
            self.learn(issued);
            Seen::from(&issued.key)
        };
        let shown = |key: Key| {
            self.saw(&key);
            Answered::Key(Seen::from(&key))
        };
        Ok(match ask {
            Ask::Create { owner } => {
                let created = admin.create(&owner_id(owner), CreateKey::new(Access::Full))?;
                Answered::Key(issued(&created))
            }
            Ask::Get { key } => shown(admin.get(key_id(key))?),
            Ask::List { owner } => {
                let query = ListKeys::new().owner(owner_id(owner)).limit(ListKeys::MAX_LIMIT);
                let page = admin.list(&query)?;
                assert!(page.next.is_none(), "they fit on a page");
                Answered::Keys(page.items.iter().map(Seen::from).collect())
            }
            Ask::Resume { owner } => told_owner(admin.resume_owner(&owner_id(owner))?),
            Ask::RevokeAll { owner } => {
                let instead = CreateKey::new(Access::Full);
                let all = admin.revoke_all(&owner_id(owner), Some(instead))?;
                let replacement = all.replacement.as_ref().map(issued);
                Answered::RevokedAll { revoked: all.revoked, replacement }
            }
            Ask::Rotate { key, force, unblock, expected } => {
                let mut rotate = if *force { Rotate::forced() } else { Rotate::new() };
                if *unblock {
                    rotate = rotate.unblock();
                }
                Answered::Key(issued(&expecting(expected).rotate(key_id(key), rotate)?))
            }
            Ask::Suspend { owner } => told_owner(admin.suspend_owner(&owner_id(owner))?),
            Ask::Turn { key, how, expected } => {
                let (admin, key) = (expecting(expected), key_id(key));
                shown(match how {
                    Turn::Activate => admin.activate(key),
                    Turn::Block => admin.block(key).map(|key| key.whole().unwrap()),
                    Turn::Deactivate => admin.deactivate(key),
                    Turn::InvalidatePrevious => admin.invalidate_previous_tokens(key),
                    Turn::Revoke => admin.revoke(key).map(|key| key.whole().unwrap()),
                    Turn::Unblock => admin.unblock(key),
                }?)
            }
            Ask::Verify { .. } => unreachable!("it isn't management"),
        })
    }

    /// When all is quiet, everything is asked for once more.
    pub(crate) fn look(&self) -> Vec<Entry> {
        let tokens = self.book.tokens();
        let verify = tokens
            .iter()
            .map(|known| Ask::Verify { key: known.key.clone(), generation: known.generation });
        let get = tokens.iter().map(|known| Ask::Get { key: known.key.clone() });
        let list = OWNERS.iter().map(|owner| Ask::List { owner: (*owner).to_owned() });
        let asks = verify.chain(get).chain(list).enumerate();
        asks.map(|(nth, ask)| self.perform(format!("{}.end.{nth}", self.process), ask)).collect()
    }

    /// The whole log, once the pieces of every revocation are written.
    pub(crate) fn log(&self) -> Vec<Logged> {
        loop {
            let log = self.log_so_far();
            let count = |kind| log.iter().filter(|event| event.kind == kind).count();
            if count(EventKind::OwnerKeysRevoked) == count(EventKind::OwnerSweepEnded) {
                return log;
            }
            std::thread::yield_now();
        }
    }

    fn log_so_far(&self) -> Vec<Logged> {
        let mut log = Vec::new();
        let mut after = Some(0);
        while let Some(from) = after {
            let query = ListEvents::new().after(from).limit(1_000);
            let Events { items, next, .. } = self.admin().events(&query).unwrap();
            log.extend(items.iter().map(Logged::from));
            after = next;
        }
        log
    }
}

fn told_owner(owner: keyhasp::Owner) -> Answered {
    Answered::Owner { version: owner.version.get(), suspended: owner.suspended.is_some() }
}

fn owner_id(text: &str) -> OwnerId {
    OwnerId::new(text).unwrap()
}

fn key_id(text: &str) -> KeyId {
    text.parse().unwrap()
}
