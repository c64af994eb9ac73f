//! Copies of databases, file by file.

use std::fs;
use std::io;
use std::path::Path;

/// Copies a directory with everything in it to a new one.
///
/// # Errors
/// Those of the file system.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
