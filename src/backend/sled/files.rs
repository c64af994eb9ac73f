//! Files and directories, made durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// Makes a file's contents and length durable.
pub(super) fn sync_file(path: &Path) -> io::Result<()> {
    // Windows flushes only what may be written to.
    OpenOptions::new().read(true).write(true).open(path)?.sync_all()
}

/// Makes the entries of a directory durable; where directories can't be opened, the system does so
/// by itself.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Makes everything in a directory durable, and the directory itself.
pub(super) fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            sync_file(&entry.path())?;
        }
    }
    sync_dir(dir)
}

/// Sums the sizes of the files in a directory.
pub(super) fn tree_bytes(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { tree_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}

/// Copies everything in a directory to a new one, by reading it and writing it again; durable, if
/// asked.
pub(super) fn copy_tree(from: &Path, to: &Path, sync: bool) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target, sync)?;
        } else {
            // Not `fs::copy`, which may share blocks between the files instead of writing.
            let mut source = File::open(entry.path())?;
            let mut copy = OpenOptions::new().write(true).create_new(true).open(&target)?;
            let mut buffer = vec![0; 1 << 18];
            loop {
                match source.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => copy.write_all(&buffer[..read])?,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if sync {
                copy.sync_all()?;
            }
        }
    }
    if sync { sync_dir(to) } else { Ok(()) }
}

/// Removes a directory with all that is in it; one that isn't there is fine.
pub(super) fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a file; one that isn't there is fine.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
