//! The recorded changes that a process made to its files, in the order of effect.

use std::fs;
use std::io;
use std::path::Path;

/// A change of a file, or an event between changes. Paths are below the watched directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A process started.
    Process,
    /// Bytes were written.
    Write(String, u64, Vec<u8>),
    /// A file was truncated or extended.
    Truncate(String, u64),
    /// A file or a directory was synced.
    Sync(String),
    /// A sync failed; what was written before it may never reach the disk.
    SyncFailed(String),
    /// `sync_file_range`, which is no sync.
    SyncRange(String),
    /// A file was made.
    Create(String),
    /// A file or a directory got another name.
    Rename(String, String),
    /// A file or a directory was removed.
    Remove(String),
    /// A directory was made.
    Directory(String),
    /// The process wrote a whole line to its standard output.
    Said(String),
}

/// The length of an entry before its path and data.
const HEAD: usize = 24;

/// Reads a log.
///
/// # Errors
/// The file can't be read, or is no log.
pub fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let bytes = fs::read(path)?;
    let mut rest = bytes.as_slice();
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (entry, len) = parse(rest).ok_or_else(|| io::Error::other("not a log of a disk"))?;
        entries.push(entry);
        rest = &rest[len..];
    }
    Ok(entries)
}

fn parse(bytes: &[u8]) -> Option<(Entry, usize)> {
    let head = bytes.get(..HEAD)?;
    let path_len = u32::from_ne_bytes(head[4..8].try_into().ok()?) as usize;
    let offset = u64::from_ne_bytes(head[8..16].try_into().ok()?);
    let data_len = u64::from_ne_bytes(head[16..24].try_into().ok()?) as usize;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let path = text(bytes.get(HEAD..HEAD + path_len)?)?;
    let end = HEAD + path_len + data_len;
    let data = bytes.get(HEAD + path_len..end)?;
    let entry = match head[0] {
        b'P' => Entry::Process,
        b'W' => Entry::Write(path, offset, data.to_vec()),
        b'T' => Entry::Truncate(path, offset),
        b'S' => Entry::Sync(path),
        b'F' => Entry::SyncFailed(path),
        b'R' => Entry::SyncRange(path),
        b'C' => Entry::Create(path),
        b'N' => Entry::Rename(path, text(data)?),
        b'U' => Entry::Remove(path),
        b'M' => Entry::Directory(path),
        b'A' => Entry::Said(text(data)?),
        _ => return None,
    };
    Some((entry, end))
}
