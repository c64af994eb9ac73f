//! Notes in the lock's file for the process after this one: that something is being made durable,
//! and which batch was durable last.
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
/// The number, and its checksum.
const NUMBER_LEN: usize = 8;
const CHECKSUM_LEN: usize = 4;

/// The file beside the directory, locked, and what it says.
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

    /// The batch of this number is durable, and those before it.
    pub(super) fn note_durable(&self, number: u64) {
        let number = number.to_be_bytes();
        let checksum = crc32fast::hash(&number).to_be_bytes();
        let _ = self.write(&[&[NO][..], &number, &checksum].concat());
    }

    /// Returns the number of the batch that was durable last; `None` if the file doesn't say.
    pub(super) fn durable(&self) -> io::Result<Option<u64>> {
        let mut noted = [0; NUMBER_LEN + CHECKSUM_LEN];
        self.lock.file().seek(SeekFrom::Start(1))?;
        match self.lock.file().read_exact(&mut noted) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let (number, checksum) = noted.split_at(NUMBER_LEN);
        let is_whole = crc32fast::hash(number).to_be_bytes() == *checksum;
        let number = number.first_chunk().map(|number| u64::from_be_bytes(*number));
        Ok(number.filter(|_| is_whole))
    }

    /// Forgets all notes, before a database is created: they are of one that was here before.
    pub(super) fn forget(&self) -> io::Result<()> {
        self.lock.file().set_len(0)
    }

    fn put(&self, byte: u8) -> io::Result<()> {
        self.write(&[byte])
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.lock.file().seek(SeekFrom::Start(0))?;
        self.lock.file().write_all(bytes)
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

    #[test]
    fn the_last_batch_is_noted_beside_the_byte() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("lock");
        let open = || DirtyMarker::noted_in(FileLock::take(&path, Hold::Alone).unwrap().unwrap());
        assert_eq!(open().durable().unwrap(), None);
        let marker = open();
        marker.note_durable(7);
        marker.note().unwrap();
        assert_eq!((marker.durable().unwrap(), marker.is_noted().unwrap()), (Some(7), true));
        marker.note_durable(300);
        drop(marker);
        let notes = || {
            let marker = open();
            (marker.durable().unwrap(), marker.is_noted().unwrap())
        };
        assert_eq!(notes(), (Some(300), false));
        // What isn't whole says nothing.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(open().durable().unwrap(), None);
        open().note_durable(9);
        open().forget().unwrap();
        assert_eq!(notes(), (None, false));
    }
}
