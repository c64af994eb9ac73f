//! The n-th operation on the files fails, once or from then on.

use std::ffi::c_int;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use rusqlite::ffi;

use crate::vfs::{AlertSettings, Call, Kind, Operation, Verdict};

/// The thread in which a store finds out by itself what became of a change.
const RECOVERY: &str = "keyhasp-recover";

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The disk doesn't answer: EIO, for every operation.
    Io,
    /// No space is left: ENOSPC, for what may need some.
    NoSpace,
    /// A write ends early for lack of space; other operations don't fail. It ends where what is left
    /// out already stands in the file, if it is so, and else in the middle.
    Short,
    /// The same with EIO.
    ShortIo,
    /// A sync fails with EIO; other operations don't fail.
    Sync,
}

impl Failure {
    /// All of them; what fails a sync alone is part of the first.
    pub const ALL: [Self; 4] = [Self::Io, Self::NoSpace, Self::Short, Self::ShortIo];

    /// SQLite's code for it where its own VFS meets it; `None` if this operation doesn't fail so.
    fn code(self, operation: Operation<'_>) -> Option<c_int> {
        use Operation as O;
        match self {
            Self::Io => Some(match operation {
                O::Access => ffi::SQLITE_IOERR_ACCESS,
                O::Delete { .. } => ffi::SQLITE_IOERR_DELETE,
                O::Lock => ffi::SQLITE_IOERR_LOCK,
                O::Open { .. } => ffi::SQLITE_CANTOPEN,
                O::Read => ffi::SQLITE_IOERR_READ,
                O::ShmLock => ffi::SQLITE_IOERR_SHMLOCK,
                O::ShmMap => ffi::SQLITE_IOERR_SHMMAP,
                O::Size => ffi::SQLITE_IOERR_FSTAT,
                O::Sync => ffi::SQLITE_IOERR_FSYNC,
                O::Truncate { .. } => ffi::SQLITE_IOERR_TRUNCATE,
                O::Write { .. } => ffi::SQLITE_IOERR_WRITE,
            }),
            Self::NoSpace => match operation {
                O::Open { create: true } => Some(ffi::SQLITE_CANTOPEN),
                O::ShmMap => Some(ffi::SQLITE_IOERR_SHMSIZE),
                // Space that is found late: quotas, network file systems, thin disks.
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

/// What is to fail, and when.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How.
    pub failure: Failure,
    /// Which of the operations that can fail so, counted from now.
    pub nth: u64,
    /// Whether all later ones fail too, in every thread.
    pub lasting: bool,
}

/// Fails operations as planned.
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
    /// The thread whose operations count; all if none.
    of: Option<ThreadId>,
    counted: u64,
}

impl Failing {
    /// Nothing fails yet in this directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { directory, state: Mutex::default(), released: Condvar::new() }
    }

    /// From now on this thread's operations are counted, and fail as planned.
    ///
    /// After the first failure the store's recovery waits before its next operation until it is
    /// [released](Failing::release): so what holds before it can be looked at.
    pub fn arm(&self, plan: Plan) {
        let of = Some(thread::current().id());
        *self.lock() = State { armed: Some(Armed { plan, of, counted: 0 }), ..State::default() };
    }

    /// From now on every thread's operations are counted, and fail as planned. Who waited goes on.
    pub fn arm_for_all(&self, plan: Plan) {
        let armed = Armed { plan, of: None, counted: 0 };
        *self.lock() = State { armed: Some(armed), ..State::default() };
        self.released.notify_all();
    }

    /// The first operation that failed, in words; `None` if none has.
    #[must_use]
    pub fn struck(&self) -> Option<String> {
        self.lock().struck.clone()
    }

    /// Lets recovery go on.
    pub fn release(&self) {
        self.lock().holds = false;
        self.released.notify_all();
    }

    /// Nothing fails any more, and nobody waits.
    pub fn heal(&self) {
        self.lock().armed = None;
        self.release();
    }

    /// How much of a write is carried out. The file is looked at past SQLite, whose locks that drops:
    /// no other process is there to mind.
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

impl AlertSettings for Failing {
    fn before(&self, call: &Call<'_>) -> Verdict {
        let thread = thread::current();
        let mut state = self.lock();
        while state.holds && thread.name() == Some(RECOVERY) {
            state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // What the operating system would do at a sync is nothing that a live process can see.
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
            if armed.of.is_some_and(|of| of != thread.id()) {
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

    fn after(&self, _call: &Call<'_>) {}
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
            // Another thread doesn't.
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
