//! A log for each thread, and the queue of full logs.
//!
//! A thread has its log nearly always to itself. It tries to lock the log, and if that fails uses
//! another one. No verification waits for a write to the backend.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::RejectKind;

/// Number of entries in a log. Gathering a full log takes a tenth of a millisecond.
const ENTRIES: usize = 1_024;
/// Largest number of full logs that wait to be gathered. The thread that fills a further one
/// gathers it.
const SPARE: usize = 24;

/// One or more verifications of a key in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: KeyId,
    /// The time of the last of them.
    pub(super) at: Timestamp,
    pub(super) rejected: Option<RejectKind>,
    pub(super) address: Option<IpAddr>,
    pub(super) count: u32,
}

type Log = Vec<Entry>;

/// The logs of all threads.
#[derive(Debug)]
pub(super) struct Logs {
    shards: Box<[Shard]>,
    /// Locked, since any thread may queue a full log. Without the lock two threads could take the
    /// same spare log.
    queue: Mutex<Queue>,
}

/// A log with its lock. Without the lock, two threads with the same shard could overwrite each
/// other's entries. Aligned to two cache lines, since some processors fetch two at a time.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<Log>);

/// The full logs, and empty ones to replace them.
#[derive(Debug)]
struct Queue {
    full: Vec<Log>,
    spare: Vec<Log>,
}

/// The outcome of noting an entry.
pub(super) enum Put {
    Noted,
    /// Noted, and a log is full and waits to be gathered.
    Full,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn empty() -> Log {
    Vec::with_capacity(ENTRIES)
}

/// Returns this thread's number, which it gets at its first call.
///
/// Relaxed: only the numbers must differ, and no other memory is read by them.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

impl Logs {
    pub(super) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = (threads * 2).next_power_of_two().min(64);
        Self {
            shards: (0..shards).map(|_| Shard(Mutex::new(empty()))).collect(),
            queue: Mutex::new(Queue {
                full: Vec::with_capacity(SPARE),
                spare: (0..SPARE).map(|_| empty()).collect(),
            }),
        }
    }

    /// Notes an entry. If the log is full and no spare one is left, `gather` empties it.
    #[inline]
    pub(super) fn put(&self, entry: Entry, gather: impl FnOnce(&mut Log)) -> Put {
        let mut log = self.lock_log();
        if let Some(last) = log.last_mut()
            && (last.key, last.rejected, last.address) == (entry.key, entry.rejected, entry.address)
            && last.count < u32::MAX
        {
            last.count += 1;
            last.at = last.at.max(entry.at);
            return Put::Noted;
        }
        let mut put = Put::Noted;
        if log.len() == ENTRIES {
            put = self.replace_full(&mut log, gather);
        }
        log.push(entry);
        put
    }

    /// Queues a full log and replaces it by a spare one, or empties it.
    #[cold]
    fn replace_full(&self, log: &mut Log, gather: impl FnOnce(&mut Log)) -> Put {
        let mut queue = lock(&self.queue);
        match queue.spare.pop() {
            Some(spare) => queue.full.push(std::mem::replace(log, spare)),
            None => {
                drop(queue);
                gather(log);
                log.clear();
            }
        }
        Put::Full
    }

    /// Locks a log: this thread's, or the next one that no other thread holds.
    #[inline]
    fn lock_log(&self) -> MutexGuard<'_, Log> {
        let first = thread_number();
        let shard = |step: usize| &self.shards[(first + step) & (self.shards.len() - 1)].0;
        for step in 0..self.shards.len() {
            match shard(step).try_lock() {
                Ok(log) => return log,
                Err(TryLockError::Poisoned(log)) => return log.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        lock(shard(0))
    }

    /// Shows all logs to `gather`, the full ones first, and empties them.
    pub(super) fn gather(&self, mut gather: impl FnMut(&mut Log)) {
        loop {
            let full = lock(&self.queue).full.pop();
            let Some(mut log) = full else { break };
            gather(&mut log);
            log.clear();
            lock(&self.queue).spare.push(log);
        }
        for shard in &self.shards {
            let mut log = lock(&shard.0);
            gather(&mut log);
            log.clear();
        }
    }
}
