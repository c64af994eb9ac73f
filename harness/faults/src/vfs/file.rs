//! An open file, with the real one behind it in the same piece of memory.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::slice;
use std::sync::Arc;

use rusqlite::ffi;

use super::watch::{Kind, Operation, Verdict, Watcher};

/// The `sqlite3_file` of this VFS. The real VFS's own follows in memory.
#[repr(C)]
pub(super) struct File {
    base: ffi::sqlite3_file,
    /// A `Box`, or null if the file isn't watched.
    witness: *mut Witness,
}

/// The watcher of a file.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) watcher: Arc<dyn Watcher>,
    pub(super) file: String,
    pub(super) kind: Kind,
}

impl File {
    /// A multiple of 8, so that what follows is aligned as SQLite aligned this.
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "16 bytes")]
    pub(super) const SIZE: c_int = mem::size_of::<Self>() as c_int;

    /// Returns the real file.
    ///
    /// # Safety
    /// `file` has room for both.
    pub(super) unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
        // SAFETY: as promised.
        unsafe { file.cast::<Self>().add(1).cast() }
    }

    /// Makes it a file of this VFS.
    ///
    /// # Safety
    /// The real file behind it is open, and no thread uses `file` yet.
    pub(super) unsafe fn fill(file: *mut ffi::sqlite3_file, witness: Option<Witness>) {
        let witness = witness.map_or(ptr::null_mut(), |witness| Box::into_raw(Box::new(witness)));
        let base = ffi::sqlite3_file { pMethods: &raw const METHODS };
        // SAFETY: as promised.
        unsafe { file.cast::<Self>().write(Self { base, witness }) };
    }
}

/// Without the third version's methods SQLite reads and writes only by these, and maps only the
/// log's index.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// # Safety
/// `file` was filled and not closed.
unsafe fn witness<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a Witness> {
    // SAFETY: as promised. The box lives until the file is closed, and one thread at a time uses
    // it.
    unsafe { (*file.cast::<File>()).witness.as_ref() }
}

/// Calls a method of the real file.
macro_rules! real {
    ($file:ident . $method:ident ($($argument:expr),*)) => {{
        let real = File::real($file);
        match (*(*real).pMethods).$method {
            Some(method) => method(real $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// Asks the watcher, and calls the method of the real file.
macro_rules! watched {
    ($operation:expr, $file:ident . $method:ident ($($argument:expr),*)) => {{
        // SAFETY: SQLite calls with a file that `open` filled, and with what the real method wants.
        unsafe {
            match witness($file).map_or(Verdict::Pass, |witness| witness.ask($operation)) {
                Verdict::Fail(code) | Verdict::Short(_, code) => code,
                Verdict::Skip => ffi::SQLITE_OK,
                Verdict::Pass => real!($file.$method($($argument),*)),
            }
        }
    }};
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, and doesn't use it any more.
    unsafe {
        let witness = mem::replace(&mut (*file.cast::<File>()).witness, ptr::null_mut());
        if !witness.is_null() {
            drop(Box::from_raw(witness));
        }
        real!(file.xClose())
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    watched!(Operation::Read, file.xRead(buffer, amount, offset))
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite calls with a file that `open` filled, and a buffer of this length.
    unsafe {
        let length = usize::try_from(amount).unwrap_or(0);
        let data = slice::from_raw_parts(buffer.cast::<u8>(), length);
        let operation = Operation::Write { offset: offset.unsigned_abs(), data };
        let (amount, after) = match witness(file).map(|witness| witness.ask(operation)) {
            Some(Verdict::Fail(code)) => return code,
            Some(Verdict::Skip) => return ffi::SQLITE_OK,
            Some(Verdict::Short(written, code)) => {
                (c_int::try_from(written.min(length)).unwrap_or(amount), code)
            }
            Some(Verdict::Pass) | None => (amount, ffi::SQLITE_OK),
        };
        match real!(file.xWrite(buffer, amount, offset)) {
            ffi::SQLITE_OK => after,
            code => code,
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    watched!(Operation::Truncate, file.xTruncate(size))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    watched!(Operation::Sync, file.xSync(flags))
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    watched!(Operation::Size, file.xFileSize(out))
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    watched!(Operation::Lock, file.xLock(level))
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    watched!(Operation::ShmMap, file.xShmMap(page, size, extend, out))
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        // An unlock never fails.
        // SAFETY: SQLite calls with a file that `open` filled.
        return unsafe { real!(file.xShmLock(offset, count, flags)) };
    }
    watched!(Operation::ShmLock, file.xShmLock(offset, count, flags))
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite calls with a file that `open` filled.
    unsafe { real!(file.xUnlock(level)) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: as above.
    unsafe { real!(file.xCheckReservedLock(out)) }
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: as above.
    unsafe { real!(file.xFileControl(operation, argument)) }
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as above.
    unsafe { real!(file.xSectorSize()) }
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as above.
    unsafe { real!(file.xDeviceCharacteristics()) }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as above.
    unsafe {
        let real = File::real(file);
        if let Some(method) = (*(*real).pMethods).xShmBarrier {
            method(real);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { real!(file.xShmUnmap(delete)) }
}
