//! A note that something is being made durable, for the process after one that ended meanwhile.
//!
//! The kernel reports a failed sync once, and may then take its pages for clean. If the process
//! ends before it has noted the failure, the next one would read those pages and sync with success.
//! So the note is written before the work, in the first byte of the lock's file. The note needs no
//! sync: it has to outlive the process, not the system. After a restart of the system, what is read
//! is what is on the disk.

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::backend::file_lock::FileLock;

const YES: u8 = b'1';
const NO: u8 = b'0';

/// The file beside the directory, locked, and what its first byte says.
pub(super) struct DirtyMarker {
    lock: FileLock,
}

impl DirtyMarker {
    pub(super) fn noted_in(lock: FileLock) -> Self {
        Self { lock }
    }

    /// The lock.
    pub(super) fn lock(&self) -> &FileLock {
        &self.lock
    }

    /// Whether it was noted and not taken back.
    pub(super) fn is_noted(&self) -> io::Result<bool> {
        let mut byte = [NO];
        self.lock.file().seek(SeekFrom::Start(0))?;
        // An empty file says no.
        let _ = self.lock.file().read(&mut byte)?;
        Ok(byte == [YES])
    }

    /// Before anything is written.
    pub(super) fn note(&self) -> io::Result<()> {
        self.put(YES)
    }

    /// It is durable, or was not begun. Where even this fails, the next open makes a copy that it
    /// need not have made.
    pub(super) fn take_back(&self) {
        let _ = self.put(NO);
    }

    /// A batch is durable, and those before it.
    pub(super) fn note_durable(&self, number: u64) {
        self.lock.note_durable(number);
        self.take_back();
    }

    /// Forgets all notes, before a database is created: they are of one that was here before.
    pub(super) fn forget(&self) -> io::Result<()> {
        self.lock.file().set_len(0)
    }

    fn put(&self, byte: u8) -> io::Result<()> {
        self.lock.file().seek(SeekFrom::Start(0))?;
        self.lock.file().write_all(&[byte])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::file_lock::Hold;

    #[test]
    fn noted_until_it_is_taken_back() {
        let dir = tempfile::TempDir::new().unwrap();
        let open = || {
            let lock = FileLock::take(&dir.path().join("lock"), Hold::Alone).unwrap();
            DirtyMarker::noted_in(lock.unwrap())
        };
        assert!(!open().is_noted().unwrap());
        let dirty_marker = open();
        dirty_marker.note().unwrap();
        dirty_marker.note().unwrap();
        assert!(dirty_marker.is_noted().unwrap());
        drop(dirty_marker);
        let dirty_marker = open();
        assert!(dirty_marker.is_noted().unwrap());
        dirty_marker.take_back();
        assert!(!dirty_marker.is_noted().unwrap());
        drop(dirty_marker);
        assert!(!open().is_noted().unwrap());
    }
}
