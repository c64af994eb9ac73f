//! The directory of a database: what lies where, and what may be there at open.
//!
//! A directory is ours if it holds the marker, a small text file that also names the numbered
//! directory (a generation) with sled's files. Replacing the marker is one rename, and the only
//! step by which a created or recovered generation takes effect: a crash leaves the one state or
//! the other. Generations that the marker doesn't name are leftovers, and are removed at open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::files::{copy_tree, remove_file, remove_tree, sync_dir};
use crate::backend::BackendErrorKind;
use crate::backend::file_lock::{FileLock, Hold};
use crate::backend::file_system::{self, Network};
use crate::backend::format::{FORMAT, OLDEST_READ};
use crate::backend::open_file::{OpenFile, Role};

const MARKER: &str = "keyhasp";
const MARKER_NEW: &str = "keyhasp.new";
/// The file that stands beside the data after a sync failed, when what is read may not be what is on
/// the disk. A restart of the system may lose it: after that, what is read is what is on the disk.
const UNSYNCED: &str = "keyhasp.unsynced";
const GENERATION_PREFIX: &str = "sled-";
const FIRST_LINE: &str = "keyhasp sled store";
/// Instead of a generation, while the database is being created: none counts. The marker says it by
/// a word, so that no damaged digit says it by mistake. The next open begins such a database again.
const UNFINISHED: u64 = 0;
const UNFINISHED_LINE: &str = "unfinished";
const FIRST_GENERATION: u64 = 1;
/// sled's data file, in the directory of a generation.
const DATA_FILE: &str = "db";

/// The directory of a database.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    sync: bool,
}

/// A look at a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, an empty directory, or what a creation that was broken off left.
    Nothing,
    /// A database, whose files are those of this generation.
    Store(u64),
}

impl Layout {
    /// The place of this path, made absolute: the process may go elsewhere later, and two paths to
    /// one directory must mean one lock.
    pub(super) fn at(path: &Path, sync: bool) -> Result<Self, Fault> {
        let not_there = |_| {
            let text = "the directory in which the database's directory would lie does not exist";
            Fault::new(BackendErrorKind::NotADatabase, text)
        };
        let dir = match path.canonicalize() {
            Ok(dir) => dir,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let name = path.file_name().ok_or_else(|| not_there(error))?;
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                parent.canonicalize().map_err(not_there)?.join(name)
            }
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Err(not_there(error)),
            Err(error) => return Err(error.into()),
        };
        if dir.file_name().is_none() {
            let text = "the root directory can't be a database";
            return Err(Fault::new(BackendErrorKind::NotADatabase, text));
        }
        Ok(Self { dir, sync })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of sled's files.
    pub(super) fn generation(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{GENERATION_PREFIX}{number}"))
    }

    /// sled's data file.
    pub(super) fn data_file(&self, generation: u64) -> PathBuf {
        self.generation(generation).join(DATA_FILE)
    }

    /// Looks, and writes nothing: what is refused here stays as it is.
    pub(super) fn look(&self) -> Result<Found, Fault> {
        let about = match fs::metadata(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            about => about?,
        };
        if !about.is_dir() {
            let text = "a sled database is a directory, and this is something else";
            return Err(Fault::new(BackendErrorKind::NotADatabase, text));
        }
        let Some(marker) = self.read_marker()? else {
            self.expect_nothing()?;
            return expect_writable(&about).map(|()| Found::Nothing);
        };
        let generation = parse_marker(&marker)?;
        if generation == UNFINISHED {
            expect_writable(&about)?;
            return Ok(Found::Nothing);
        }
        for path in [self.generation(generation), self.data_file(generation)] {
            match fs::metadata(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(Fault::damaged("the files that the marker names are missing"));
                }
                about => expect_writable(&about?)?,
            }
        }
        expect_writable(&about)?;
        Ok(Found::Store(generation))
    }

    fn read_marker(&self) -> Result<Option<Vec<u8>>, Fault> {
        let file = match File::open(self.dir.join(MARKER)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut marker = Vec::new();
        match file.take(1 << 10).read_to_end(&mut marker) {
            // Another program's directory of that name.
            Err(error) if error.kind() == ErrorKind::IsADirectory => Err(foreign()),
            read => Ok(read.map(|_| Some(marker))?),
        }
    }

    /// Refuses a directory with anything in it but a first marker that was not yet in its place.
    fn expect_nothing(&self) -> Result<(), Fault> {
        for entry in fs::read_dir(&self.dir)? {
            if entry?.file_name() != MARKER_NEW {
                return Err(foreign());
            }
        }
        Ok(())
    }

    /// Refuses a network file system.
    pub(super) fn expect_local(&self, network: Network) -> Result<(), Fault> {
        // The directory may be mounted by itself.
        for place in [Some(&*self.dir), self.dir.parent()].into_iter().flatten() {
            file_system::check(place, network)
                .map_err(|why| Fault::new(BackendErrorKind::NetworkFileSystem, why))?;
        }
        Ok(())
    }

    /// Takes the lock beside the directory. Its file's first byte says whether something was under
    /// way.
    pub(super) fn lock(&self) -> Result<FileLock, Fault> {
        FileLock::take(&self.lock_file(), Hold::Alone)?.ok_or_else(already_open)
    }

    fn lock_file(&self) -> PathBuf {
        let mut name = self.dir.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        self.dir.with_file_name(name)
    }

    /// Notes the files of an open generation.
    pub(super) fn open_files(
        &self,
        lock: &FileLock,
        data: &File,
        generation: u64,
    ) -> io::Result<Vec<OpenFile>> {
        let files = [
            OpenFile::of(Role::Lock, &self.lock_file(), lock.file())?,
            OpenFile::at(Role::Directory, &self.dir)?,
            OpenFile::of(Role::Data, &self.data_file(generation), data)?,
        ];
        Ok(files.into_iter().flatten().collect())
    }

    /// Begins a creation: makes the directory, if there is none, marks it as ours, and makes an
    /// empty first generation. It counts once [`mark`](Self::mark) has named it.
    pub(super) fn begin(&self) -> Result<u64, Fault> {
        match fs::create_dir(&self.dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        if let (true, Some(parent)) = (self.sync, self.dir.parent()) {
            sync_dir(parent)?;
        }
        self.mark(UNFINISHED)?;
        self.sweep(UNFINISHED)?;
        fs::create_dir(self.generation(FIRST_GENERATION))?;
        Ok(FIRST_GENERATION)
    }

    /// Raises the format in the marker to the one that is written from now on.
    pub(super) fn raise_format(&self, generation: u64) -> Result<(), Fault> {
        if self.read_marker()?.as_deref() != Some(marker_text(generation).as_bytes()) {
            self.mark(generation)?;
        }
        Ok(())
    }

    /// Puts a marker that names `generation`, whose files are durable, in the place of the one
    /// before. It is unknown whether an error came before or after the effect.
    pub(super) fn mark(&self, generation: u64) -> io::Result<()> {
        let new = self.dir.join(MARKER_NEW);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(marker_text(generation).as_bytes())?;
        if self.sync {
            file.sync_all()?;
        }
        drop(file);
        fs::rename(&new, self.dir.join(MARKER))?;
        if self.sync { sync_dir(&self.dir) } else { Ok(()) }
    }

    /// Removes generations that the marker doesn't name, and a marker that never got its place.
    pub(super) fn sweep(&self, named: u64) -> io::Result<()> {
        remove_file(&self.dir.join(MARKER_NEW))?;
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(GENERATION_PREFIX));
            if let Some(number) = number.and_then(|number| number.parse::<u64>().ok())
                && number != named
            {
                remove_tree(&self.dir.join(&name))?;
            }
        }
        Ok(())
    }

    /// Copies a generation to the next one, durably, except what sled left half-written.
    pub(super) fn copy(&self, generation: u64) -> io::Result<u64> {
        let next = generation + 1;
        let (from, to) = (self.generation(generation), self.generation(next));
        remove_tree(&to)?;
        self.drop_half_snapshots(generation)?;
        copy_tree(&from, &to, self.sync).inspect_err(|_| {
            // If there is no room for a whole copy, half a copy need not take up room.
            let _ = remove_tree(&to);
        })?;
        if self.sync {
            sync_dir(&self.dir)?;
        }
        Ok(next)
    }

    /// Removes snapshots that sled was writing when it was stopped. sled takes the last name for
    /// the newest snapshot, these unfinished ones too, and then refuses to open.
    pub(super) fn drop_half_snapshots(&self, generation: u64) -> io::Result<()> {
        let dir = self.generation(generation);
        for entry in fs::read_dir(&dir)? {
            let name = entry?.file_name();
            let is_half = name
                .to_str()
                .is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating"));
            if is_half {
                remove_file(&dir.join(&name))?;
            }
        }
        Ok(())
    }

    /// Notes that a sync failed.
    pub(super) fn note_unsynced(&self) {
        // If even this can't be written, no other file can be either.
        let _ = File::create(self.dir.join(UNSYNCED));
    }

    /// Whether a sync failed and no copy was made since.
    pub(super) fn is_unsynced(&self) -> bool {
        self.dir.join(UNSYNCED).exists()
    }

    /// Notes that everything that is read was written again.
    pub(super) fn clear_unsynced(&self) -> io::Result<()> {
        remove_file(&self.dir.join(UNSYNCED))
    }
}

pub(super) fn already_open() -> Fault {
    let text = "another process, or another handle in this one, has it; sled is not shared: close \
                that one first, or use the SQLite backend, which several processes can share";
    Fault::new(BackendErrorKind::AlreadyOpen, text)
}

fn foreign() -> Fault {
    let text = "the directory holds other things; keyhasp takes a new or an empty one";
    Fault::new(BackendErrorKind::Foreign, text)
}

/// Refuses a file that is read-only by its mode. The superuser could write to it all the same.
fn expect_writable(about: &fs::Metadata) -> Result<(), Fault> {
    if about.permissions().readonly() {
        return Err(Fault::new(BackendErrorKind::ReadOnly, "its permissions forbid writing"));
    }
    Ok(())
}

fn marker_text(generation: u64) -> String {
    marker_text_of(FORMAT, generation)
}

fn marker_text_of(format: u32, generation: u64) -> String {
    let last = match generation {
        UNFINISHED => UNFINISHED_LINE.into(),
        generation => format!("generation {generation}"),
    };
    format!("{FIRST_LINE}\nformat {format}\n{last}\n")
}

/// The number in a marker that this version understands.
fn parse_marker(marker: &[u8]) -> Result<u64, Fault> {
    let damaged = || Fault::damaged("the marker is not as it was written");
    let Ok(text) = std::str::from_utf8(marker) else { return Err(foreign()) };
    let mut lines = text.lines();
    if lines.next() != Some(FIRST_LINE) {
        return Err(foreign());
    }
    let number = |line: Option<&str>, name: &str| -> Option<u64> {
        line?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()
    };
    let format: u64 = number(lines.next(), "format").ok_or_else(damaged)?;
    if format > FORMAT.into() {
        return Err(Fault::newer("the directory has a later format"));
    }
    if format == 0 {
        return Err(damaged());
    }
    if format < OLDEST_READ.into() {
        let text = "the directory has a format that was never released";
        return Err(Fault::new(BackendErrorKind::Unreleased, text));
    }
    let generation = match lines.next() {
        Some(UNFINISHED_LINE) => UNFINISHED,
        line => number(line, "generation").ok_or_else(damaged)?,
    };
    // In these formats the text follows from the numbers, byte for byte.
    let format = u32::try_from(format).map_err(|_| damaged())?;
    if text == marker_text_of(format, generation) { Ok(generation) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers() {
        use BackendErrorKind::{Corrupt, Foreign, Newer, Unreleased};
        assert_eq!(parse_marker(marker_text(7).as_bytes()).unwrap(), 7);
        assert_eq!(parse_marker(marker_text_of(OLDEST_READ, 7).as_bytes()).unwrap(), 7);
        assert_eq!(parse_marker(marker_text(UNFINISHED).as_bytes()).unwrap(), UNFINISHED);
        let kind = |text: &str| parse_marker(text.as_bytes()).unwrap_err().kind();
        for text in ["", "\n", "keyhasp", "keyhasp sled stores\nformat 1\ngeneration 1\n"] {
            assert_eq!(kind(text), Foreign, "{text:?}");
        }
        assert_eq!(parse_marker(&[0xff]).unwrap_err().kind(), Foreign);
        // A later format is understood by its number alone.
        for text in ["keyhasp sled store\nformat 6\n", "keyhasp sled store\nformat 9\nshards 3"] {
            assert_eq!(kind(text), Newer, "{text:?}");
        }
        for text in
            ["keyhasp sled store\nformat 1\n", "keyhasp sled store\nformat 3\ngeneration 1\n"]
        {
            assert_eq!(kind(text), Unreleased, "{text:?}");
        }
        for rest in ["", "format\n", "format x\n", "format 5\n", "format 0\ngeneration 1\n"] {
            assert_eq!(kind(&format!("keyhasp sled store\n{rest}")), Corrupt, "{rest:?}");
        }
        for rest in [
            "generation -1\n",
            "generation 0\n",
            "unfinished",
            "unfinished \n",
            "generation 01\n",
            "generation 1",
            "generation 1\nmore\n",
        ] {
            assert_eq!(kind(&format!("keyhasp sled store\nformat 5\n{rest}")), Corrupt, "{rest:?}");
        }
    }
}
