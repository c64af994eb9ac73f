//! The VFS: a copy of SQLite's default one, with three functions of its own.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Once;

use rusqlite::ffi;

use super::file::{File, Witness};
use super::registry;
use super::watch::{Call, Kind, Operation, Verdict};

/// Makes this VFS the default of the process, once. Files that aren't watched pass through it.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: finding and registering are safe at any time. What is registered lives for ever,
        // and so does what it was copied from: SQLite's own is never unregistered.
        unsafe {
            let real = ffi::sqlite3_vfs_find(ptr::null());
            assert!(!real.is_null(), "SQLite has no VFS");
            let own = ffi::sqlite3_vfs {
                // The third version is about replacing system calls, which is for the real one.
                iVersion: 2,
                szOsFile: File::SIZE + (*real).szOsFile,
                pNext: ptr::null_mut(),
                zName: c"watched".as_ptr(),
                pAppData: real.cast(),
                xOpen: Some(open),
                xDelete: Some(delete),
                xAccess: Some(access),
                ..*real
            };
            let own = Box::leak(Box::new(own));
            assert_eq!(ffi::sqlite3_vfs_register(own, 1), ffi::SQLITE_OK);
        }
    });
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands in this VFS, `szOsFile` bytes for the file, and a name that is null or
    // ends with a zero and outlives the file.
    unsafe {
        (*file).pMethods = ptr::null();
        let witness = witness(name, kind(flags));
        let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
        let operation = Operation::Open { create };
        if let Some(code) = witness.as_ref().and_then(|witness| witness.failure_of(operation)) {
            return code;
        }
        let real = real(vfs);
        let Some(real_open) = (*real).xOpen else { return ffi::SQLITE_CANTOPEN };
        let code = real_open(real, name, File::real(file), flags, out_flags);
        if code == ffi::SQLITE_OK {
            File::fill(file, witness);
        }
        code
    }
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_directory: c_int,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        let witness = witness(name, Kind::Other);
        if let Some(code) = witness.and_then(|witness| witness.failure_of(Operation::Delete)) {
            return code;
        }
        let real = real(vfs);
        let Some(real_delete) = (*real).xDelete else { return ffi::SQLITE_IOERR_DELETE };
        real_delete(real, name, sync_directory)
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        let witness = witness(name, Kind::Other);
        if let Some(code) = witness.and_then(|witness| witness.failure_of(Operation::Access)) {
            return code;
        }
        let real = real(vfs);
        let Some(real_access) = (*real).xAccess else { return ffi::SQLITE_IOERR_ACCESS };
        real_access(real, name, flags, out)
    }
}

/// # Safety
/// `vfs` is the one that `install` registered.
unsafe fn real(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: as promised; `install` put it there.
    unsafe { (*vfs).pAppData.cast() }
}

/// # Safety
/// `name` is null or ends with a zero.
unsafe fn witness(name: *const c_char, kind: Kind) -> Option<Witness> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as promised.
    let name = unsafe { CStr::from_ptr(name) };
    let path = Path::new(OsStr::from_bytes(name.to_bytes()));
    let (watcher, file) = registry::watcher_of(path)?;
    Some(Witness { watcher, file, kind })
}

fn kind(flags: c_int) -> Kind {
    if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
        Kind::Database
    } else if flags & ffi::SQLITE_OPEN_MAIN_JOURNAL != 0 {
        Kind::Journal
    } else if flags & ffi::SQLITE_OPEN_WAL != 0 {
        Kind::Log
    } else {
        Kind::Other
    }
}

impl Witness {
    /// Asks before an operation that can't be short; returns the code with which it fails.
    pub(super) fn failure_of(&self, operation: Operation<'_>) -> Option<c_int> {
        match self.ask(operation) {
            Verdict::Fail(code) | Verdict::Short(_, code) => Some(code),
            Verdict::Pass | Verdict::Skip => None,
        }
    }

    pub(super) fn ask(&self, operation: Operation<'_>) -> Verdict {
        self.watcher.before(&Call { file: &self.file, kind: self.kind, operation })
    }
}
