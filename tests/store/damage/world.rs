//! A store with keys in every state, and the answers to all of their tokens.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::Backend;
use keyhasp::store::VerifyError;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, DelegatedKeys, Error, Expiry, KeyId, KeyStore,
    ManualClock, OwnerId, Quota, Rotate, SetLimits, Store, UpdateKey, Verifier,
};

use crate::common::{HOUR, builder, clock, owner};

/// The answer of a verification, apart from limits that count.
pub(super) type Answer = Result<(KeyId, OwnerId, String), VerifyError>;

pub(super) struct Token {
    pub(super) key: KeyId,
    pub(super) text: Vec<u8>,
}

/// The tokens of a database that was written and closed, and what they answered.
pub(super) struct Written {
    pub(super) clock: Arc<ManualClock>,
    pub(super) tokens: Vec<Token>,
    pub(super) answers: Vec<Answer>,
    /// The keys that have a quota.
    pub(super) limited: Vec<KeyId>,
}

pub(super) struct Opened {
    pub(super) concrete: Arc<Store>,
    pub(super) store: Arc<dyn KeyStore>,
    pub(super) admin: AdminKeys,
    verifier: Verifier,
}

pub(super) fn open(backend: impl Backend, clock: &Arc<ManualClock>) -> Result<Opened, Error> {
    open_on(Arc::new(backend), clock)
}

pub(super) fn open_on(
    backend: Arc<dyn Backend>,
    clock: &Arc<ManualClock>,
) -> Result<Opened, Error> {
    let concrete = Arc::new(builder(clock, 2).open_on(backend)?);
    let store: Arc<dyn KeyStore> = Arc::<Store>::clone(&concrete);
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    let verifier = Verifier::new(Arc::clone(&store));
    Ok(Opened { concrete, store, admin, verifier })
}

impl Opened {
    pub(super) fn answer(&self, token: &Token) -> Answer {
        self.verifier
            .verify(&token.text)
            .map(|key| (key.key_id(), *key.owner_id(), format!("{:?}", key.permissions())))
    }

    /// Acts with a key, by its token.
    pub(super) fn acting(&self, token: &Token) -> DelegatedKeys {
        let verified = self.verifier.verify(&token.text).unwrap();
        DelegatedKeys::new(Arc::clone(&self.store), &verified, "ci").unwrap()
    }

    pub(super) fn answers(&self, written: &Written) -> Vec<Answer> {
        written.tokens.iter().map(|token| self.answer(token)).collect()
    }
}

/// Writes owners with keys in every state, and closes the database.
pub(super) fn write(backend: impl Backend) -> Written {
    write_with(backend, 0, &|| {})
}

/// The same with long changes in between, which leave `filler` bytes and more in the log. Before the
/// database is closed, its files are as a killed process leaves them: `killed` may copy them.
pub(super) fn write_with(backend: impl Backend, filler: usize, killed: &dyn Fn()) -> Written {
    let clock = clock();
    let opened = open(backend, &clock).unwrap();
    let admin = &opened.admin;
    let (mut tokens, mut limited) = (Vec::new(), Vec::new());
    for name in ["acme", "blue", "coral", "dune"] {
        let owner = owner(name);
        admin.create_owner(&owner, CreateOwner::default()).unwrap();
        for number in 0..12 {
            let access = if number % 2 == 0 { Access::Full } else { Access::ReadOnly };
            let request = CreateKey::new(access).name(format!("key {number}"));
            let request = match number {
                3 => request.expires(Expiry::At(clock_after(&clock, HOUR))),
                9 => request.limits(SetLimits::new().quota(Quota::one_time(1).unwrap())),
                _ => request,
            };
            let issued = admin.create(&owner, request).unwrap();
            let id = issued.key.id;
            tokens.push(Token { key: id, text: issued.token.expose().into() });
            if filler > 0 {
                let filler = serde_json::json!({ "filler": "x".repeat(filler + number) });
                admin.update(id, UpdateKey::new().settings(filler)).unwrap();
            }
            match number {
                4 => _ = admin.revoke(id).unwrap(),
                5 => _ = admin.block(id).unwrap(),
                6 => _ = admin.deactivate(id).unwrap(),
                7 | 8 => {
                    let rotated = admin.rotate(id, Rotate::with_grace(HOUR * 24)).unwrap();
                    tokens.push(Token { key: id, text: rotated.token.expose().into() });
                }
                9 => {
                    assert!(opened.verifier.verify(issued.token.expose()).is_ok());
                    limited.push(id);
                }
                _ => {}
            }
        }
    }
    admin.suspend_owner(&owner("dune")).unwrap();
    clock.advance(HOUR + Duration::from_secs(1));
    let mut written = Written { clock, tokens, answers: Vec::new(), limited };
    written.answers = opened.answers(&written);
    killed();
    opened.store.close().unwrap();
    let accepted = written.answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(accepted > 20 && accepted < written.answers.len() - 10, "{accepted}");
    written
}

/// Waits until sled's threads let go of its file, which they do in their own time.
#[cfg(feature = "sled")]
pub(super) fn await_unlocked(path: &std::path::Path) {
    std::fs::File::open(path.join("sled-1").join("db")).unwrap().lock().unwrap();
}

fn clock_after(clock: &ManualClock, duration: Duration) -> keyhasp::Timestamp {
    use keyhasp::Clock;
    clock.now().saturating_add(duration)
}
