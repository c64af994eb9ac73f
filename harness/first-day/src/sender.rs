use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Makes this process the one that sends events, or returns `None` while another one is. The lock
/// lasts until the file is dropped, and no longer than its process, however that ends.
pub fn elect(lock: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).append(true).open(lock)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}
