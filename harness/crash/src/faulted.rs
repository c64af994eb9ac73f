//! A process whose files fail: the store's answers meanwhile, and its records afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyhasp::store::Unavailable;
use keyhasp::{AdminKeys, Error, KeyStore, Verifier, VerifyError};

use crate::check::{Said, answer, ask, go_on, hold};
use crate::disk::{Control, EIO, Fault, Manner};
use crate::engine::{self, Engine};
use crate::injected::Injected;
use crate::ledger::{Ledger, TokenState};
use crate::line::Line;
use crate::operation::{Made, Operation};
use crate::random::Random;

/// The time that a store may take to recover.
const PATIENCE: Duration = Duration::from_secs(600);
/// The name of the operation.
const NAME: &str = "faulted";

/// The thing done while calls fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Closing the database, after a change.
    Close(Operation),
    /// Making the database.
    Create,
    /// A change.
    Mutation(Operation),
    /// Opening the database.
    Open,
    /// Recovering from a change whose calls all failed.
    Recovery(Operation),
}

/// The answer of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Success.
    Done,
    /// An error that says that nothing happened.
    Refused,
    /// An unknown outcome.
    Unknown,
}

/// The results of a case.
#[derive(Clone, Debug)]
pub struct Report {
    /// The answer.
    pub outcome: Outcome,
    /// Calls on files.
    pub seen: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Panics: of the engine's threads, and those that the backend caught.
    pub panics: u64,
    /// The findings in words.
    pub findings: Vec<String>,
}

/// Plays a case in this process, on a copy of the database that `before` made.
///
/// # Errors
/// The harness itself failed.
pub fn run(
    engine: Engine,
    scene: &Scene,
    fault: &Fault,
    injected: Option<Injected>,
    place: &Path,
    before: &[Line],
) -> Result<Report, String> {
    let panics = count_panics();
    let control = Control::of_process().map_err(|error| error.to_string())?;
    let mut ledger = Ledger::default();
    for (name, operation, made) in Said::of(before.iter().cloned())?.done {
        ledger.apply(&name, &operation, &made)?;
    }
    let mut case = Case {
        control,
        engine,
        place: place.to_owned(),
        injected,
        ledger,
        random: Random::new(fault.nth),
        findings: Vec::new(),
    };
    let (outcome, (seen, failed)) = case.play(scene, fault)?;
    let findings = case.findings;
    let panics = panics.load(Ordering::SeqCst);
    Ok(Report { outcome, seen, failed, panics, findings })
}

struct Case {
    control: Control,
    engine: Engine,
    place: PathBuf,
    injected: Option<Injected>,
    ledger: Ledger,
    random: Random,
    findings: Vec<String>,
}

impl Case {
    fn play(&mut self, scene: &Scene, fault: &Fault) -> Result<(Outcome, (u64, u64)), String> {
        match scene {
            Scene::Mutation(operation) => {
                let store = self.open()?;
                let said = self.perform(&store, operation, fault);
                let counts = self.control.disarm().map_err(|error| error.to_string())?;
                let outcome = self.settle(store, said)?;
                Ok((outcome, counts))
            }
            Scene::Recovery(operation) => {
                let store = self.open()?;
                let (nth, lasting, syncs, manner) = (1, true, false, Manner::Nothing);
                let all = Fault { nth, number: EIO, lasting, syncs, manner };
                let said = self.perform(&store, operation, &all);
                self.control.arm(fault).map_err(|error| error.to_string())?;
                let recovered = self.guarded(|| store.recover());
                let counts = self.control.disarm().map_err(|error| error.to_string())?;
                self.settle(store, said)?;
                Ok((if recovered.is_ok() { Outcome::Done } else { Outcome::Refused }, counts))
            }
            Scene::Close(operation) => {
                let store = self.open()?;
                let made = operation.perform(&self.admin(&store)?).map_err(|e| e.to_string())?;
                self.control.arm(fault).map_err(|error| error.to_string())?;
                let closed = self.guarded(|| store.close());
                drop(store);
                let counts = self.control.disarm().map_err(|error| error.to_string())?;
                self.reopened(said_done(operation, made))?;
                Ok((if closed.is_ok() { Outcome::Done } else { Outcome::Refused }, counts))
            }
            Scene::Open | Scene::Create => {
                self.control.arm(fault).map_err(|error| error.to_string())?;
                let (engine, place) = (self.engine, self.place.clone());
                let opened = self.guarded(|| engine.open(&place).and_then(engine::store));
                let counts = self.control.disarm().map_err(|error| error.to_string())?;
                let outcome = match opened {
                    Ok(store) => {
                        self.settle(store, Said::default())?;
                        Outcome::Done
                    }
                    Err(_) => {
                        self.reopened(Said::default())?;
                        Outcome::Refused
                    }
                };
                Ok((outcome, counts))
            }
        }
    }

    fn open(&self) -> Result<Arc<dyn KeyStore>, String> {
        let backend = self.engine.open(&self.place).map(|backend| match self.injected {
            Some(bug) => bug.into_backend(backend),
            None => backend,
        });
        let store = backend.and_then(engine::store);
        store.map_err(|error| format!("the database can't be opened: {error}"))
    }

    fn admin(&self, store: &Arc<dyn KeyStore>) -> Result<AdminKeys, String> {
        let admin = AdminKeys::new(Arc::clone(store), "faulted");
        admin.and_then(|admin| admin.with_correlation_id(NAME)).map_err(|error| error.to_string())
    }

    /// Makes a call that must not panic.
    fn guarded<T>(&mut self, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
            self.findings.push("a panic reached the caller".to_owned());
            Err(Error::Unavailable(Unavailable::Closed))
        })
    }

    /// Makes a change while calls fail, and checks right after how every token is answered.
    fn perform(&mut self, store: &Arc<dyn KeyStore>, operation: &Operation, fault: &Fault) -> Said {
        let before = self.ledger.clone();
        let admin = self.admin(store);
        if let Err(error) = self.control.arm(fault) {
            self.findings.push(error.to_string());
        }
        let done = self.guarded(|| operation.perform(&admin.map_err(|_| Unavailable::Closed)?));
        let mut after = before.clone();
        let (said, is_unknown) = match done {
            Ok(made) => {
                if let Err(why) = after.apply(NAME, operation, &made) {
                    self.findings.push(why);
                }
                // The change is visible at once, and no other is.
                self.expect_answers(store, &after.tokens, |token| vec![answer(&after, token)]);
                (said_done(operation, made), false)
            }
            Err(Error::OutcomeUnknown(_)) => {
                let said = Said { open: vec![(NAME.into(), operation.clone())], ..Said::default() };
                (said, true)
            }
            Err(error) => {
                self.expect_answers(store, &before.tokens, |token| vec![answer(&before, token)]);
                let refused = vec![(NAME.to_owned(), error.to_string())];
                (Said { refused, ..Said::default() }, false)
            }
        };
        if is_unknown {
            let known =
                after.apply(NAME, operation, &Made { key: Some(unknown_key()), ..Made::default() });
            if let Err(why) = known {
                self.findings.push(why);
            }
            let recovering = Err(VerifyError::Unavailable(Unavailable::Recovering));
            self.expect_answers(store, &before.tokens, |token| {
                if !concerns(operation, token) {
                    return vec![answer(&before, token)];
                }
                if fault.lasting {
                    return vec![indeterminate_answer(&before, token)];
                }
                // The store may have recovered already.
                vec![recovering, answer(&before, token), answer(&after, token)]
            });
        }
        said
    }

    fn expect_answers(
        &mut self,
        store: &Arc<dyn KeyStore>,
        tokens: &[TokenState],
        allowed: impl Fn(&TokenState) -> Vec<crate::check::Answer>,
    ) {
        let verifier = Verifier::new(Arc::clone(store));
        for token in tokens {
            let (is, allowed) = (ask(&verifier, token), allowed(token));
            // A look at a quota that isn't known yet reads, and reading fails.
            let is_blind = matches!(is, Err(VerifyError::Unavailable(Unavailable::Quota { .. })))
                && allowed.iter().any(Result::is_ok);
            if !allowed.contains(&is) && !is_blind {
                let (key, generation) = (token.key, token.generation);
                self.findings.push(format!(
                    "right after: token {generation} of key {key} is answered {is:?}, not one of {allowed:?}"
                ));
            }
        }
    }

    /// Waits, now that nothing fails, until the store has recovered. Then index, records and ledger
    /// must agree, also after the next opening.
    fn settle(&mut self, store: Arc<dyn KeyStore>, said: Said) -> Result<Outcome, String> {
        let outcome = match (&said.open[..], &said.refused[..]) {
            ([_, ..], _) => Outcome::Unknown,
            (_, [_, ..]) => Outcome::Refused,
            _ => Outcome::Done,
        };
        let started = Instant::now();
        loop {
            let recovered = self.guarded(|| store.recover());
            let health = store.health().unavailable;
            match (recovered, health) {
                (Ok(()), None) => break,
                (recovered, health) if started.elapsed() > PATIENCE => {
                    return Err(format!("it doesn't recover: {recovered:?}, {health:?}"));
                }
                _ => std::thread::yield_now(),
            }
        }
        self.hold(&store, &said, "after recovery")?;
        store.close().map_err(|error| format!("it can't be closed: {error}"))?;
        drop(store);
        self.reopened(Said::default())?;
        Ok(outcome)
    }

    /// Opens the database again and compares it with the ledger.
    fn reopened(&mut self, said: Said) -> Result<(), String> {
        let store = self.open()?;
        self.hold(&store, &said, "after reopening")?;
        store.close().map_err(|error| format!("it can't be closed: {error}"))
    }

    fn hold(&mut self, store: &Arc<dyn KeyStore>, said: &Said, when: &str) -> Result<(), String> {
        let held = hold(store, &mut self.ledger, said, &mut self.random);
        let findings = held.map_err(|error| format!("{when} it can't be read: {error}"))?;
        let wrong = go_on(store, &mut self.ledger);
        let wrong = wrong.map_err(|error| format!("{when} it can't be written: {error}"))?;
        let words = findings.words().chain(wrong);
        self.findings.extend(words.map(|words| format!("{when}: {words}")));
        Ok(())
    }
}

fn said_done(operation: &Operation, made: Made) -> Said {
    Said { done: vec![(NAME.to_owned(), operation.clone(), made)], ..Said::default() }
}

/// Stands for the key of a creation of unknown outcome.
fn unknown_key() -> keyhasp::KeyId {
    keyhasp::KeyId::from_u128(u128::MAX)
}

/// Tells whether a change of unknown outcome makes a token indeterminate.
fn concerns(operation: &Operation, token: &TokenState) -> bool {
    match operation {
        Operation::CreateOwner(_) | Operation::CreateKey(_) => false,
        Operation::Key(key, _) => token.key == *key,
        Operation::Owner(owner, _) => token.owner == *owner,
    }
}

/// Returns the answer to an indeterminate token: `Unavailable`, or as always if the secret is
/// wrong.
fn indeterminate_answer(before: &Ledger, token: &TokenState) -> crate::check::Answer {
    match answer(before, token) {
        Err(VerifyError::Unrecognized) => Err(VerifyError::Unrecognized),
        _ => Err(VerifyError::Unavailable(Unavailable::Recovering)),
    }
}

/// Counts panics and prints none: their messages may show the engine's bytes.
fn count_panics() -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    panic::set_hook(Box::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    count
}

/// Makes the database that cases begin with, with every sort of key and owner; returns the lines of
/// the changes that made it.
///
/// # Errors
/// Those of the store.
pub fn make(engine: Engine, place: &Path) -> Result<Vec<Line>, String> {
    let store = engine.open(place).and_then(engine::store).map_err(|error| error.to_string())?;
    let admin = AdminKeys::new(Arc::clone(&store), "maker").map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    let mut keys = BTreeMap::new();
    for (count, step) in STEPS.iter().enumerate() {
        let name = format!("made-{count}");
        let operation = resolve(step, &keys)?;
        let correlated =
            admin.with_correlation_id(name.as_str()).map_err(|error| error.to_string())?;
        let made = operation.perform(&correlated).map_err(|error| format!("{step}: {error}"))?;
        if let (Some(key), Operation::CreateOwner(_) | Operation::CreateKey(_)) =
            (made.key, &operation)
        {
            keys.insert(format!("K{}", keys.len() + 1), key.to_string());
        }
        lines.push(Line::Intent(name.clone(), operation));
        lines.push(Line::Done(name, made));
    }
    store.close().map_err(|error| error.to_string())?;
    Ok(lines)
}

/// The changes that make it; `K1` is the first key made.
const STEPS: [&str; 18] = [
    "create-owner one",
    "create-key one",
    "create-key one",
    "create-key one",
    "create-key one",
    "create-owner two",
    "create-owner three",
    "create-key three",
    "key K2 rotate-with-grace",
    "key K2 rotate-with-grace",
    "key K3 block",
    "key K4 deactivate",
    "key K5 revoke",
    "key K6 update 10",
    "owner two update 11",
    "owner three suspend",
    "key K8 rotate-with-grace",
    "key K1 update 12",
];

/// The changes during which calls fail: one of each deed.
const DEEDS: [&str; 21] = [
    "create-owner four",
    "create-key one",
    "key K4 activate",
    "key K1 block",
    "key K1 deactivate",
    "key K2 end-previous",
    "key K5 purge",
    "key K1 revoke",
    "key K2 rotate-by-force",
    "key K2 rotate-with-grace",
    "key K2 rotate-without-grace",
    "key K3 unblock",
    "key K3 unblock-and-rotate",
    "key K1 update 21",
    "key K1 update 25",
    "owner three purge",
    "owner three resume",
    "owner one revoke-all",
    "owner one revoke-all-and-replace",
    "owner one suspend",
    "owner one update 35",
];

/// Returns every scene on the database that `lines` made.
///
/// # Errors
/// The lines made another database.
pub fn scenes(lines: &[Line]) -> Result<Vec<Scene>, String> {
    let mut keys = BTreeMap::new();
    for (_, operation, made) in Said::of(lines.iter().cloned())?.done {
        if let (Some(key), Operation::CreateOwner(_) | Operation::CreateKey(_)) =
            (made.key, operation)
        {
            keys.insert(format!("K{}", keys.len() + 1), key.to_string());
        }
    }
    let mut scenes = vec![Scene::Create, Scene::Open];
    for deed in DEEDS {
        scenes.push(Scene::Mutation(resolve(deed, &keys)?));
    }
    let one = resolve("key K1 revoke", &keys)?;
    scenes.extend([Scene::Close(one.clone()), Scene::Recovery(one)]);
    Ok(scenes)
}

fn resolve(step: &str, keys: &BTreeMap<String, String>) -> Result<Operation, String> {
    let words = step.split(' ').map(|word| keys.get(word).map_or(word, String::as_str));
    words.collect::<Vec<_>>().join(" ").parse()
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close(operation) => write!(f, "close after {operation}"),
            Self::Create => f.write_str("create"),
            Self::Mutation(operation) => operation.fmt(f),
            Self::Open => f.write_str("open"),
            Self::Recovery(operation) => write!(f, "recover after {operation}"),
        }
    }
}

impl FromStr for Scene {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(operation) = text.strip_prefix("close after ") {
            return Ok(Self::Close(operation.parse()?));
        }
        if let Some(operation) = text.strip_prefix("recover after ") {
            return Ok(Self::Recovery(operation.parse()?));
        }
        Ok(match text {
            "create" => Self::Create,
            "open" => Self::Open,
            _ => Self::Mutation(text.parse()?),
        })
    }
}
