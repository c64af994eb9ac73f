//! A process whose threads make changes at once, until it is killed.

use std::io::{self, Read};
use std::panic;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use keyhasp::store::Unavailable;
use keyhasp::{AdminKeys, Error, Key, KeyStore, OwnerId, Store};

use crate::engine::{self, Engine};
use crate::found;
use crate::injected::Injected;
use crate::line::{Line, Lines};
use crate::operation::{Deed, Made, Operation, OwnerDeed};
use crate::random::Random;
use crate::spending;

/// The usual number of threads: so many that their commits are joined.
pub const THREADS: u64 = 8;
/// The number of owners that a thread has, and of keys that an owner has, approximately.
const OWNERS: usize = 4;
const KEYS: usize = 8;

/// The task of a process.
#[derive(Clone, Debug)]
pub struct Task {
    /// The backend.
    pub engine: Engine,
    /// The beginning of the names of operations, another one for each process.
    pub name: String,
    /// The seed of all choices.
    pub seed: u64,
    /// The number of acknowledgements after which the process closes the store, if it does.
    pub close_after: Option<u64>,
    /// The number of threads that make changes.
    pub threads: u64,
    /// Whether other threads use keys that have a quota, and the store counts the uses.
    pub spends: bool,
    /// Whether calls on files fail, so that errors are expected.
    pub is_faulty: bool,
    /// A bug.
    pub injected: Option<Injected>,
}

/// Opens the database in a directory and works on it until the process is killed.
///
/// # Errors
/// The store can't be opened or read.
pub fn run(task: &Task, place: &Path, lines: &Lines) -> Result<(), String> {
    exit_with_parent();
    if task.is_faulty {
        // sled panics where a sync fails as it ends, and the backend catches that. A panic that it
        // doesn't catch ends a thread of this crate, which is reported when the thread is joined.
        panic::set_hook(Box::new(|_| ()));
    } else {
        tell_panics(lines);
    }
    let backend = task.engine.open(place).map_err(|error| error.to_string())?;
    let backend = match task.injected {
        Some(bug) => bug.into_backend(backend),
        None => backend,
    };
    let counting = match task.spends {
        true => {
            Some(engine::at_work(Arc::clone(&backend), true).map_err(|error| error.to_string())?)
        }
        false => None,
    };
    let store: Arc<dyn KeyStore> = match &counting {
        Some(counting) => Arc::<Store>::clone(counting),
        None => engine::at_work(backend, false).map_err(|error| error.to_string())? as _,
    };
    say(lines, &Line::Open);
    let done = AtomicU64::new(0);
    let mut random = Random::new(task.seed);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..task.threads)
            .map(|thread| {
                let random = Random::new(random.number());
                let admin = AdminKeys::new(Arc::clone(&store), format!("thread {thread}"))?;
                let worker =
                    Worker { task, lines, store: &store, admin, thread, random, done: &done };
                Ok(scope.spawn(move || worker.work()))
            })
            .collect::<Result<_, Error>>()
            .map_err(|error| error.to_string())?;
        let spender = counting.as_ref().map(|counting| {
            let seed = random.number();
            scope.spawn(move || spending::run(task, counting, lines, Random::new(seed)))
        });
        for worker in workers.into_iter().chain(spender) {
            let worked = worker.join().map_err(|_| "a thread panicked".to_owned())?;
            worked.map_err(|error| error.to_string())?;
        }
        Ok::<_, String>(())
    })?;
    say(lines, &Line::Closed);
    // The parent kills this process.
    loop {
        thread::park();
    }
}

struct Worker<'a> {
    task: &'a Task,
    lines: &'a Lines,
    store: &'a Arc<dyn KeyStore>,
    admin: AdminKeys,
    thread: u64,
    random: Random,
    done: &'a AtomicU64,
}

impl Worker<'_> {
    /// Works until the store is closed. No two threads work on the same owner.
    fn work(mut self) -> Result<(), Error> {
        let mut prefix = format!("t{}-", self.thread);
        for count in 0.. {
            let operation = match self.choose(&prefix, count) {
                Ok(operation) => operation,
                Err(Error::Unavailable(Unavailable::Closed)) => return Ok(()),
                Err(_) if self.task.is_faulty => {
                    // The next call shows whether it recovered.
                    let _ = self.store.recover();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let name = format!("{}-{}-{count}", self.task.name, self.thread);
            say(self.lines, &Line::Intent(name.clone(), operation.clone()));
            let early = self.task.injected == Some(Injected::Early) && operation.makes_nothing();
            if early {
                say(self.lines, &Line::Done(name.clone(), Made::default()));
            }
            match operation.perform(&self.admin.with_correlation_id(name.as_str())?) {
                _ if early => {}
                Ok(made) => say(self.lines, &Line::Done(name, made)),
                Err(Error::OutcomeUnknown(error)) => {
                    // The state of these owners is unknown, so the thread begins others.
                    prefix = format!("t{}u{count}-", self.thread);
                    say(self.lines, &Line::Unknown(name));
                    self.complain(&error);
                }
                Err(Error::Unavailable(Unavailable::Closed)) => {
                    say(self.lines, &Line::Refused(name, "closed".to_owned()));
                    return Ok(());
                }
                Err(error) => {
                    say(self.lines, &Line::Refused(name, error.to_string()));
                    self.complain(&error);
                    let _ = self.store.recover();
                }
            }
            if self.task.close_after == Some(self.done.fetch_add(1, Ordering::Relaxed)) {
                say(self.lines, &Line::Closing);
                let closed = self.store.close();
                if !self.task.is_faulty {
                    closed?;
                }
            }
        }
        Ok(())
    }

    fn complain(&self, error: &dyn std::error::Error) {
        if !self.task.is_faulty {
            say(self.lines, &Line::Trouble(error.to_string()));
        }
    }

    /// Chooses an operation that changes something in the present state.
    fn choose(&mut self, prefix: &str, count: u64) -> Result<Operation, Error> {
        let mut owners = found::owners(&self.admin)?;
        owners.retain(|owner| owner.id.as_str().starts_with(prefix));
        let few = owners.len() < OWNERS && self.random.percent(10);
        let Some(owner) = self.random.pick(&owners).filter(|_| !few) else {
            let id = OwnerId::new(format!("{prefix}{}-{count}", self.task.name))?;
            return Ok(Operation::CreateOwner(id));
        };
        let keys = found::keys(&self.admin, Some(owner.id))?;
        let live = keys.iter().any(|key| key.revoked.is_none());
        if self.random.percent(15) {
            let mark = self.random.number() >> 32;
            let deeds: &[OwnerDeed] = match (owner.suspended.is_some(), live) {
                (true, _) if owners.len() >= OWNERS => &[OwnerDeed::Purge, OwnerDeed::Resume],
                (true, _) => &[OwnerDeed::Resume],
                (false, true) => &[
                    OwnerDeed::RevokeAll,
                    OwnerDeed::RevokeAllAndReplace,
                    OwnerDeed::Suspend,
                    OwnerDeed::Update(mark),
                ],
                (false, false) => &[OwnerDeed::RevokeAllAndReplace, OwnerDeed::Update(mark)],
            };
            let deed = self.random.pick(deeds).copied().unwrap_or(OwnerDeed::Update(mark));
            return Ok(Operation::Owner(owner.id, deed));
        }
        let few = keys.len() < KEYS && self.random.percent(20);
        let owner = owner.id;
        match self.random.pick(&keys).filter(|_| !few) {
            Some(key) => Ok(self.do_to(key).unwrap_or(Operation::CreateKey(owner))),
            None => Ok(Operation::CreateKey(owner)),
        }
    }

    fn do_to(&mut self, key: &Key) -> Option<Operation> {
        let mark = self.random.number() >> 32;
        let mut deeds = vec![];
        if key.revoked.is_some() {
            deeds.push(Deed::Purge);
        } else {
            let switch = if key.deactivated.is_some() { Deed::Activate } else { Deed::Deactivate };
            deeds.extend([Deed::RotateByForce, Deed::Update(mark), switch]);
            if key.blocked.is_some() {
                deeds.extend([Deed::Unblock, Deed::UnblockAndRotate]);
            } else {
                // The last one twice: it takes six in a row to drop a token.
                deeds.extend([Deed::Block, Deed::RotateWithoutGrace]);
                deeds.extend([Deed::RotateWithGrace, Deed::RotateWithGrace]);
            }
            if !key.previous_tokens.is_empty() {
                deeds.push(Deed::InvalidatePrevious);
            }
            if self.random.percent(30) {
                deeds.push(Deed::Revoke);
            }
        }
        self.random.pick(&deeds).map(|deed| Operation::Key(key.id, *deed))
    }
}

/// Writes a line; ends the process if the parent reads no more.
pub(crate) fn say(lines: &Lines, line: &Line) {
    if lines.say(line).is_err() {
        process::exit(1);
    }
}

fn tell_panics(lines: &Lines) {
    let (lines, usual) = (lines.clone(), panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        let _ = lines.say(&Line::Trouble(format!("panic: {info}")));
        usual(info);
    }));
}

/// Ends the process when the parent closes the other end of the standard input.
fn exit_with_parent() {
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        process::exit(1);
    });
}
