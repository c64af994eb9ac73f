//! A watcher that lets the n-th operation on the files fail, once or from then on.

use std::ffi::c_int;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use rusqlite::ffi;

use crate::vfs::{Call, Kind, Operation, Verdict, Watcher};

/// The name of the store's recovery thread.
const RECOVERY: &str = "keyhasp-recover";

/// The name of the store's thread that fetches leases. Either it or the test's thread fetches one, by
/// chance: their operations count together, since neither goes on while the other fetches.
const LEASES: &str = "keyhasp-leases";

/// A way for an operation to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Every operation fails with EIO.
    Io,
    /// Operations that may need space fail with ENOSPC.
    NoSpace,
    /// A write ends early for lack of space; other operations don't fail. It ends where the missing
    /// rest already stands in the file, and otherwise in the middle.
    Short,
    /// A write ends early with EIO.
    ShortIo,
    /// A sync fails with EIO; other operations don't fail.
    Sync,
}

impl Failure {
    /// All of them, except `Sync`, which `Io` includes.
    pub const ALL: [Self; 4] = [Self::Io, Self::NoSpace, Self::Short, Self::ShortIo];

    /// Returns the code that SQLite's own VFS would return; `None` if the operation can't fail so.
    fn code(self, operation: Operation<'_>) -> Option<c_int> {
        use Operation as O;
        match self {
            Self::Io => Some(match operation {
                O::Access => ffi::SQLITE_IOERR_ACCESS,
                O::Delete => ffi::SQLITE_IOERR_DELETE,
                O::Lock => ffi::SQLITE_IOERR_LOCK,
                O::Open { .. } => ffi::SQLITE_CANTOPEN,
                O::Read => ffi::SQLITE_IOERR_READ,
                O::ShmLock => ffi::SQLITE_IOERR_SHMLOCK,
                O::ShmMap => ffi::SQLITE_IOERR_SHMMAP,
                O::Size => ffi::SQLITE_IOERR_FSTAT,
                O::Sync => ffi::SQLITE_IOERR_FSYNC,
                O::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
                O::Write { .. } => ffi::SQLITE_IOERR_WRITE,
            }),
            Self::NoSpace => match operation {
                O::Open { create: true } => Some(ffi::SQLITE_CANTOPEN),
                O::ShmMap => Some(ffi::SQLITE_IOERR_SHMSIZE),
                // Quotas, network file systems and thin disks may miss space only here.
                O::Sync => Some(ffi::SQLITE_IOERR_FSYNC),
                O::Write { .. } => Some(ffi::SQLITE_FULL),
                _ => None,
            },
            Self::Sync => (operation == O::Sync).then_some(ffi::SQLITE_IOERR_FSYNC),
            Self::Short => matches!(operation, O::Write { .. }).then_some(ffi::SQLITE_FULL),
            Self::ShortIo => {
                matches!(operation, O::Write { .. }).then_some(ffi::SQLITE_IOERR_WRITE)
            }
        }
    }
}

/// The operation that fails.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The way in which it fails.
    pub failure: Failure,
    /// Its number among the operations that can fail so, counted from now.
    pub nth: u64,
    /// Whether all later ones fail too, in every thread.
    pub lasting: bool,
}

/// A watcher that lets operations fail as planned.
#[derive(Debug)]
pub struct Failing {
    directory: PathBuf,
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    armed: Option<Armed>,
    /// The operation that failed first.
    struck: Option<String>,
    holds: bool,
}

#[derive(Debug)]
struct Armed {
    plan: Plan,
    /// The thread whose operations count, with those of the thread that fetches leases; `None` for all
    /// threads.
    of: Option<ThreadId>,
    counted: u64,
}

impl Failing {
    /// Makes a watcher of this directory, in which nothing fails yet.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { directory, state: Mutex::default(), released: Condvar::new() }
    }

    /// Counts the operations of this thread, and of the one that fetches leases, from now on, and lets them
    /// fail as planned.
    ///
    /// After the first failure the store's recovery thread waits before its next operation until
    /// the test [releases](Failing::release) it, so that the test can look at indeterminate
    /// records.
    pub fn arm(&self, plan: Plan) {
        let of = Some(thread::current().id());
        *self.lock() = State { armed: Some(Armed { plan, of, counted: 0 }), ..State::default() };
    }

    /// Counts every thread's operations from now on, lets them fail as planned, and releases the
    /// recovery thread.
    pub fn arm_for_all(&self, plan: Plan) {
        let armed = Armed { plan, of: None, counted: 0 };
        *self.lock() = State { armed: Some(armed), ..State::default() };
        self.released.notify_all();
    }

    /// Returns the first operation that failed, in words.
    #[must_use]
    pub fn struck(&self) -> Option<String> {
        self.lock().struck.clone()
    }

    /// Releases the recovery thread.
    pub fn release(&self) {
        self.lock().holds = false;
        self.released.notify_all();
    }

    /// Ends the failing, and releases the recovery thread.
    pub fn heal(&self) {
        self.lock().armed = None;
        self.release();
    }

    /// Returns how many bytes of a write are carried out. Reading the file here drops SQLite's
    /// locks, which is harmless since no other process opens it.
    fn part(&self, file: &str, offset: u64, data: &[u8]) -> usize {
        let mut there = vec![0; data.len()];
        let file = File::open(self.directory.join(file));
        let is_read = file.and_then(|file| file.read_exact_at(&mut there, offset)).is_ok();
        let differs = |(a, b): (&u8, &u8)| a != b;
        match there.iter().zip(data).rposition(differs) {
            Some(last) if is_read && last + 1 < data.len() => last + 1,
            _ => data.len() / 2,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Failing {
    fn before(&self, call: &Call<'_>) -> Verdict {
        let thread = thread::current();
        let mut state = self.lock();
        while state.holds && thread.name() == Some(RECOVERY) {
            state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // A process can't see whether its files were really synced, and skipping saves time.
        let otherwise =
            if call.operation == Operation::Sync { Verdict::Skip } else { Verdict::Pass };
        let has_struck = state.struck.is_some();
        let Some(armed) = &mut state.armed else { return otherwise };
        let Some(code) = armed.plan.failure.code(call.operation) else { return otherwise };
        if has_struck {
            if !armed.plan.lasting {
                return otherwise;
            }
        } else {
            let counts = |of| of == thread.id() || thread.name() == Some(LEASES);
            if !armed.of.is_none_or(counts) {
                return otherwise;
            }
            armed.counted += 1;
            if armed.counted < armed.plan.nth {
                return otherwise;
            }
        }
        let (plan, of) = (armed.plan, armed.of);
        if !has_struck {
            state.struck = Some(describe(call));
            state.holds = of.is_some();
        }
        match (plan.failure, call.operation) {
            (Failure::Short | Failure::ShortIo, Operation::Write { offset, data }) => {
                Verdict::Short(self.part(call.file, offset, data), code)
            }
            _ => Verdict::Fail(code),
        }
    }
}

fn describe(call: &Call<'_>) -> String {
    let Call { file, kind, operation } = call;
    match operation {
        Operation::Write { offset, data } => {
            format!("write of {} bytes at {offset} of {file}", data.len())
        }
        other if *kind == Kind::Other => format!("{other:?} of {file}"),
        other => format!("{other:?} of {file} ({kind:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(operation: Operation<'_>) -> Call<'_> {
        Call { file: "keys.db", kind: Kind::Database, operation }
    }

    const WRITE: Operation<'_> = Operation::Write { offset: 0, data: &[1, 2, 3, 4] };

    #[test]
    fn the_nth_that_can_fail_so_fails_once_or_from_then_on() {
        for lasting in [false, true] {
            let failing = Failing::new(Path::new("nowhere"));
            failing.arm(Plan { failure: Failure::NoSpace, nth: 2, lasting });
            let write = || failing.before(&call(WRITE));
            assert_eq!(write(), Verdict::Pass);
            assert_eq!(failing.before(&call(Operation::Read)), Verdict::Pass);
            assert!(failing.struck().is_none());
            assert_eq!(write(), Verdict::Fail(ffi::SQLITE_FULL));
            assert!(failing.struck().is_some());
            let after = if lasting { Verdict::Fail(ffi::SQLITE_FULL) } else { Verdict::Pass };
            assert_eq!(write(), after);
            failing.heal();
            assert_eq!(write(), Verdict::Pass);
        }
    }

    #[test]
    fn a_short_write_writes_a_part() {
        let failing = Failing::new(Path::new("nowhere"));
        failing.arm(Plan { failure: Failure::Short, nth: 1, lasting: false });
        assert_eq!(failing.before(&call(Operation::Sync)), Verdict::Skip);
        assert_eq!(failing.before(&call(WRITE)), Verdict::Short(2, ffi::SQLITE_FULL));
    }

    #[test]
    fn after_a_failure_recovery_waits() {
        let failing = Failing::new(Path::new("nowhere"));
        failing.arm(Plan { failure: Failure::Io, nth: 1, lasting: false });
        failing.before(&call(WRITE));
        let passed = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            let try_it = || {
                failing.before(&call(WRITE));
                passed.store(true, std::sync::atomic::Ordering::SeqCst);
            };
            let recovery = thread::Builder::new().name(RECOVERY.to_owned());
            let other = recovery.spawn_scoped(scope, try_it).unwrap();
            // Another thread doesn't wait.
            scope.spawn(|| failing.before(&call(WRITE))).join().unwrap();
            for _ in 0..100 {
                thread::yield_now();
            }
            assert!(!passed.load(std::sync::atomic::Ordering::SeqCst));
            failing.release();
            other.join().unwrap();
        });
        assert!(passed.into_inner());
    }
}
