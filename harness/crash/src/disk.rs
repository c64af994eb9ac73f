//! A process whose files fail when told, and whose writes are written down.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The preloaded library, as it was built with this crate.
const SHIM: &str = env!("KEYHASP_DISK_SHIM");
/// How many numbers its control file holds, and where they lie.
const WORDS: usize = 8;
const SEEN: usize = 1;
const FAILED: usize = 6;
const PRESENT: usize = 7;

/// Where a process finds the control file.
const CONTROL: &str = "KEYHASP_DISK_CONTROL";

/// Which call on a file fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The how manieth from now on, counted from 1.
    pub nth: u64,
    /// With which errno.
    pub number: u64,
    /// And all after it.
    pub lasting: bool,
    /// What a write that fails does.
    pub manner: Manner,
}

/// What a call that fails does, a write mostly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nothing.
    Nothing,
    /// It writes half, and says so: no error at all.
    Short,
    /// It writes half, and fails.
    Torn,
    /// Nothing; and the process is killed before it learns of a sync that failed.
    Deadly,
}

/// EIO.
pub const EIO: u64 = 5;
/// ENOSPC.
pub const ENOSPC: u64 = 28;

/// What is preloaded into a process.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Files below it are watched.
    pub dir: PathBuf,
    /// Where to fail is said here.
    pub control: Option<PathBuf>,
    /// Changes are written down here.
    pub log: Option<PathBuf>,
    /// And what is said on the standard output, among them.
    pub lines: bool,
    /// Syncs are not noted: as if the process had asked for none.
    pub forget_syncs: bool,
}

impl Disk {
    /// Has a process run on it.
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
        if self.forget_syncs {
            command.env("KEYHASP_DISK_FORGET", "1");
        }
    }
}

/// Says what is to fail.
#[derive(Debug)]
pub struct Control(File);

impl Control {
    /// Makes a control file that says nothing.
    ///
    /// # Errors
    /// As the system says.
    pub fn create(path: &Path) -> io::Result<()> {
        std::fs::write(path, [0; WORDS * 8])
    }

    /// That of this process.
    ///
    /// # Errors
    /// It has none.
    pub fn of_process() -> io::Result<Self> {
        let path = std::env::var_os(CONTROL).ok_or_else(|| io::Error::other("no control file"))?;
        Self::of(path.as_ref())
    }

    /// That of a process that has begun.
    ///
    /// # Errors
    /// It is no file, or the process isn't watched.
    pub fn of(path: &Path) -> io::Result<Self> {
        let control = Self(File::options().read(true).write(true).open(path)?);
        // Without the library nothing fails, and every test would pass.
        match control.number(PRESENT)? {
            1 => Ok(control),
            _ => Err(io::Error::other("the library that lets calls fail is not loaded")),
        }
    }

    /// From now on calls are counted, and fail so.
    ///
    /// # Errors
    /// As the system says.
    pub fn arm(&self, fault: &Fault) -> io::Result<()> {
        let manner = match fault.manner {
            Manner::Nothing => 0,
            Manner::Short => 1,
            Manner::Torn => 2,
            Manner::Deadly => 3,
        };
        // Not armed before all of it is said.
        self.put(&[0, 0, fault.nth, fault.number, fault.lasting.into(), manner, 0])?;
        self.put(&[1])
    }

    /// Nothing fails from now on: how many calls were counted, and how many of them failed.
    ///
    /// # Errors
    /// As the system says.
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
