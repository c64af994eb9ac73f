//! A process under the preloaded library: calls on its files fail on request, and its writes are
//! recorded.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The preloaded library, as `build.rs` built it.
const SHIM: &str = env!("KEYHASP_DISK_SHIM");
/// The number of words in the control file, and the places of those that are read here.
const WORDS: usize = 9;
const SEEN: usize = 1;
const FAILED: usize = 7;
const PRESENT: usize = 8;

/// Names the control file to a process.
const CONTROL: &str = "KEYHASP_DISK_CONTROL";

/// A call on a file that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its number from now on, counted from 1.
    pub nth: u64,
    /// The errno.
    pub number: u64,
    /// Whether all calls after it fail too.
    pub lasting: bool,
    /// Whether only syncs are counted and fail.
    pub syncs: bool,
    /// Effects of the failing call.
    pub manner: Manner,
}

/// Effects of a failing call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nothing is done.
    Nothing,
    /// A write writes half and returns that length, which is no error.
    Short,
    /// A write writes half and returns the error.
    Torn,
    /// A failing sync kills the process before it learns of the error.
    Deadly,
}

/// EIO.
pub const EIO: u64 = 5;
/// ENOSPC.
pub const ENOSPC: u64 = 28;

/// Settings of the preloaded library.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// The directory whose files are watched.
    pub dir: PathBuf,
    /// The control file, if calls are to fail.
    pub control: Option<PathBuf>,
    /// The file to which changes are recorded.
    pub log: Option<PathBuf>,
    /// Whether lines on the standard output are recorded among them.
    pub lines: bool,
    /// Leaves syncs out of the record, of files whose paths end so.
    pub forget: Option<&'static str>,
}

impl Disk {
    /// Sets a command's environment so that the library is loaded.
    pub fn under(&self, command: &mut Command) {
        command.env("LD_PRELOAD", SHIM).env("KEYHASP_DISK_DIR", &self.dir);
        for (name, path) in [(CONTROL, &self.control), ("KEYHASP_DISK_LOG", &self.log)] {
            if let Some(path) = path {
                command.env(name, path);
            }
        }
        if self.lines {
            command.env("KEYHASP_DISK_LINES", "1");
        }
        if let Some(end) = self.forget {
            command.env("KEYHASP_DISK_FORGET", end);
        }
    }
}

/// A control file, by which calls of a running process are made to fail.
#[derive(Debug)]
pub struct Control(File);

impl Control {
    /// Makes a control file under which nothing fails.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(path: &Path) -> io::Result<()> {
        std::fs::write(path, [0; WORDS * 8])
    }

    /// Opens the control file of this process.
    ///
    /// # Errors
    /// This process has none.
    pub fn of_process() -> io::Result<Self> {
        let path = std::env::var_os(CONTROL).ok_or_else(|| io::Error::other("no control file"))?;
        Self::of(path.as_ref())
    }

    /// Opens the control file of a process that has started.
    ///
    /// # Errors
    /// The file can't be opened, or the process runs without the library.
    pub fn of(path: &Path) -> io::Result<Self> {
        let control = Self(File::options().read(true).write(true).open(path)?);
        // Without the library nothing fails, and every test would pass.
        match control.number(PRESENT)? {
            1 => Ok(control),
            _ => Err(io::Error::other("the library that lets calls fail is not loaded")),
        }
    }

    /// Counts calls from now on, and lets them fail by this fault.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn arm(&self, fault: &Fault) -> io::Result<()> {
        let manner = match fault.manner {
            Manner::Nothing => 0,
            Manner::Short => 1,
            Manner::Torn => 2,
            Manner::Deadly => 3,
        };
        let Fault { nth, number, lasting, syncs, .. } = *fault;
        // The library reads the other words only after the first one says that it is armed.
        self.put(&[0, 0, nth, number, lasting.into(), manner, syncs.into(), 0])?;
        self.put(&[1])
    }

    /// Ends the failing; returns how many calls were counted and how many of them failed.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn disarm(&self) -> io::Result<(u64, u64)> {
        self.put(&[0])?;
        Ok((self.number(SEEN)?, self.number(FAILED)?))
    }

    fn put(&self, words: &[u64]) -> io::Result<()> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.0.write_all_at(&bytes, 0)
    }

    fn number(&self, word: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, word as u64 * 8)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}
