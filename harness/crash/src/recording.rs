//! Recordings of processes on their files, and the checks of what a loss of power leaves of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::check::{Findings, Said, go_on, hold};
use crate::disk::{Control, Disk, EIO, Fault, Manner};
use crate::engine::{self, Engine};
use crate::files::copy_tree;
use crate::kills::{Moment, kill, kill_hearing};
use crate::ledger::Ledger;
use crate::line::Line;
use crate::random::Random;
use crate::record::{self, Entry};
use crate::replay;
use crate::work::{THREADS, Task};

/// The number of processes in a recording: one makes the database, each other one finds it as the
/// process before left it.
const PROCESSES: u64 = 3;

/// The number of processes that use a database for long, and the changes that each makes.
const USED_BY: u64 = 3;
const USES: u64 = 1_000;
/// The ends of paths whose files need not last: locks, and the index of SQLite's log.
const NEED_NOT_LAST: [&str; 2] = [".lock", "-shm"];
/// The end of the paths that a recording doesn't see: mapped memory is written past the library.
const MAPPED: &str = "-shm";
/// The length of a segment of sled's log.
const SEGMENT: u64 = 512 << 10;

/// The results of losses of power.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// The number of losses.
    pub states: u64,
    /// Losses at a moment when something could be lost.
    pub pending: u64,
    /// Losses before the database was open, or before it was made.
    pub opening: u64,
    /// Acknowledgements before those moments, in all.
    pub acknowledged: u64,
    /// Acknowledged changes that were gone.
    pub lost: u64,
    /// Changes that were there in part.
    pub halves: u64,
    /// Losses after which the database couldn't be opened.
    pub unopened: u64,
    /// Losses followed by a second one while the database was opened.
    pub again: u64,
    /// Failed syncs in the recordings.
    pub recoveries: u64,
    /// The most segments that a data file of sled's had.
    pub segments: u64,
    /// Segments of sled's that were begun in the place of another one.
    pub reused: u64,
    /// Acknowledgements after a sync.
    pub synced: u64,
    /// Acknowledgements without a sync.
    pub unsynced: u64,
    /// The findings in words.
    pub words: Vec<String>,
}

impl Total {
    pub(crate) fn wrong(&self) -> u64 {
        self.unopened + self.lost + self.halves
    }

    /// Tells whether the checks noticed that syncs were forgotten.
    #[must_use]
    pub fn noticed(&self, forget: &str) -> bool {
        // Of all syncs, the missing ones themselves must be seen too.
        self.wrong() > 0 && (!forget.is_empty() || self.unsynced > 0)
    }
}

/// A kind of recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One thread, so that each acknowledgement has its own sync.
    Single,
    /// Many threads, whose commits are joined.
    Many,
    /// Many threads, and a call that fails.
    Faulty,
    /// One thread, with syncs that are not recorded, of files whose paths end so.
    Forgets(&'static str),
}

impl Kind {
    pub(crate) fn threads(self) -> u64 {
        match self {
            Self::Single | Self::Forgets(_) => 1,
            Self::Many | Self::Faulty => THREADS,
        }
    }
}

fn task(engine: Engine, name: String, random: &mut Random) -> Task {
    let seed = random.number();
    let (spends, is_faulty) = (false, false);
    Task { engine, name, seed, close_after: None, threads: 1, spends, is_faulty, injected: None }
}

/// A database that was used until its log had grown and places in it were used again.
pub(crate) struct Used {
    dir: TempDir,
    ledger: Ledger,
}

impl Used {
    pub(crate) fn make(engine: Engine, random: &mut Random) -> Result<Self, String> {
        let dir = TempDir::with_prefix("keyhasp-used").map_err(|error| error.to_string())?;
        let (place, copy) = (dir.path().join("original"), dir.path().join("copy"));
        fs::create_dir(&place).map_err(|error| error.to_string())?;
        let mut ledger = Ledger::default();
        for number in 0..USED_BY {
            let moment = Moment::Closed(USES);
            let close_after = moment.close_after();
            let name = format!("used-{number}");
            let task = Task { close_after, threads: THREADS, ..task(engine, name, random) };
            let said = Said::of(kill(&task, &place, moment, None)?.lines)?;
            copy_tree(&place, &copy).map_err(|error| error.to_string())?;
            let findings = look(engine, &copy, &mut ledger, &said, random)?;
            if let Some(words) = findings.words().chain(said.trouble).next() {
                return Err(format!("while it was used: {words}"));
            }
        }
        Ok(Self { dir, ledger })
    }

    fn place(&self) -> PathBuf {
        self.dir.path().join("original")
    }
}

/// The changes that processes made to files, one process after the other.
pub(crate) struct Recording {
    engine: Engine,
    dir: TempDir,
    /// The disk before the first process.
    found: replay::Disk,
    entries: Vec<Entry>,
    /// The ledger of the processes before each one, and the lines of the one right before.
    before: Vec<(Ledger, Vec<Line>)>,
}

impl Recording {
    pub(crate) fn make(
        engine: Engine,
        kind: Kind,
        used: Option<&Used>,
        random: &mut Random,
    ) -> Result<Self, String> {
        let dir = TempDir::with_prefix("keyhasp-power").map_err(|error| error.to_string())?;
        let place = dir.path().join("original");
        fs::create_dir(&place).map_err(|error| error.to_string())?;
        let log = dir.path().join("log");
        let (mut ledger, mut before) = (Ledger::default(), Vec::new());
        let mut found = replay::Disk::default();
        if let Some(used) = used {
            fs::remove_dir(&place)
                .and_then(|()| copy_tree(&used.place(), &place))
                .map_err(|error| error.to_string())?;
            found = replay::Disk::holding(&place).map_err(|error| error.to_string())?;
            ledger = used.ledger.clone();
        }
        // The log of a shared database isn't copied at the next opening, since other processes may
        // have it open. A process that is killed after a failed sync and before its recovery may
        // leave a gap there, which `docs/reliability.md` names as a limit. So none is killed then.
        let may_leave_gap = engine == Engine::SharedSqlite && kind == Kind::Faulty;
        let mut said = Vec::new();
        for number in 0..PROCESSES {
            before.push((ledger.clone(), std::mem::take(&mut said)));
            // Some are killed while they close, and the next finds what they left.
            let after = 20 + random.below(150);
            let moment = match random.below(3) {
                _ if may_leave_gap => Moment::Closed(after),
                0 => Moment::Acknowledged(after),
                1 => Moment::Closing(after, Duration::ZERO),
                _ => Moment::Closed(after),
            };
            let task = Task {
                close_after: moment.close_after(),
                threads: kind.threads(),
                is_faulty: kind == Kind::Faulty,
                ..task(engine, format!("p{number}"), random)
            };
            let control = dir.path().join("control");
            Control::create(&control).map_err(|error| error.to_string())?;
            let disk = Disk {
                dir: place.clone(),
                control: Some(control.clone()),
                log: Some(log.clone()),
                lines: true,
                forget: match kind {
                    Kind::Forgets(end) => Some(end),
                    _ => None,
                },
            };
            // While the process works one call fails, which makes the store recover.
            let syncs = random.percent(50);
            let fault = Fault {
                nth: 1 + random.below(if syncs { 2 } else { 8 }),
                number: EIO,
                lasting: false,
                syncs,
                manner: match random.percent(50) && !may_leave_gap {
                    true => Manner::Deadly,
                    false => Manner::Nothing,
                },
            };
            let mut until_fault = random.below(after);
            let mut arm = |line: &Line| {
                if kind == Kind::Faulty && matches!(line, Line::Done(..)) {
                    if until_fault == 0 {
                        let armed = Control::of(&control).and_then(|control| control.arm(&fault));
                        armed.map_err(|error| error.to_string())?;
                    }
                    until_fault = until_fault.wrapping_sub(1);
                }
                Ok(())
            };
            said = kill_hearing(&task, &place, moment, Some(&disk), &mut arm)?.lines;
            let copy = dir.path().join("copy");
            copy_tree(&place, &copy).map_err(|error| error.to_string())?;
            let of_process = Said::of(said.iter().cloned())?;
            if !of_process.trouble.is_empty() {
                return Err(of_process.trouble.join("; "));
            }
            let findings = look(engine, &copy, &mut ledger, &of_process, random)?;
            if let Some(words) = findings.words().next() {
                return Err(format!("with its power on: {words}"));
            }
        }
        let entries = record::read(&log).map_err(|error| error.to_string())?;
        let recording = Self { engine, dir, found, entries, before };
        recording.is_as_recorded(&place)?;
        Ok(recording)
    }

    /// Compares the files with the record of them: a write that the library missed would prove
    /// nothing.
    fn is_as_recorded(&self, place: &Path) -> Result<(), String> {
        let mut recorded = self.found.clone();
        self.entries.iter().try_for_each(|entry| recorded.apply(entry))?;
        let there = replay::Disk::holding(place).map_err(|error| error.to_string())?;
        let seen = |disk: &replay::Disk| {
            let mut files = disk.current();
            files.retain(|path, _| !path.ends_with(MAPPED));
            files
        };
        let (recorded, there) = (seen(&recorded), seen(&there));
        let paths = recorded.keys().chain(there.keys());
        match paths.into_iter().find(|path| recorded.get(*path) != there.get(*path)) {
            Some(path) => Err(format!("{path} isn't as it was recorded")),
            None => Ok(()),
        }
    }

    /// Loses power at some moments, mostly where something could be lost.
    pub(crate) fn lose_power(
        &self,
        count: u64,
        random: &mut Random,
        total: &mut Total,
    ) -> Result<(), String> {
        let mut disk = self.found.clone();
        let (mut quiet, mut pending, mut opening) = (Vec::new(), Vec::new(), Vec::new());
        let mut heard = Heard::default();
        for (at, entry) in self.entries.iter().enumerate() {
            disk.apply(entry)?;
            heard.hear(entry)?;
            match (disk.is_pending(&NEED_NOT_LAST), heard.is_open) {
                (true, true) => pending.push(at),
                (true, false) => opening.push(at),
                (false, _) => quiet.push(at),
            }
        }
        let mut moments: Vec<usize> = (0..count)
            .filter_map(|_| {
                let from = match random.below(10) {
                    0 => &quiet,
                    1..4 => &opening,
                    _ => &pending,
                };
                random.pick(from).copied()
            })
            .collect();
        moments.sort_unstable();
        let mut moments = moments.into_iter().peekable();
        let mut disk = self.found.clone();
        let mut heard = Heard::default();
        for (at, entry) in self.entries.iter().enumerate() {
            disk.apply(entry)?;
            heard.hear(entry)?;
            while moments.next_if_eq(&at).is_some() {
                let mut random = Random::new(random.number());
                total.states += 1;
                total.opening += u64::from(!heard.is_open);
                total.pending += u64::from(disk.is_pending(&NEED_NOT_LAST));
                self.lose_power_now(at, &disk, &heard, &mut random, total)?;
            }
        }
        Ok(())
    }

    fn lose_power_now(
        &self,
        at: usize,
        disk: &replay::Disk,
        heard: &Heard,
        random: &mut Random,
        total: &mut Total,
    ) -> Result<(), String> {
        let left = self.dir.path().join("left");
        disk.lose_power(random, &left).map_err(|error| error.to_string())?;
        if self.engine != Engine::Sled {
            leave_rubbish(&left, random).map_err(|error| error.to_string())?;
        }
        let keep = Keep::before(&left)?;
        let wrong_before = total.wrong();
        let process = heard.processes.saturating_sub(1);
        // Until it was open, no answer rested on the outcome of what the process before had begun.
        let (mut ledger, lines) = match heard.is_open || process == 0 {
            true => (self.before[process].0.clone(), heard.lines.clone()),
            false => (self.before[process - 1].0.clone(), self.before[process].1.clone()),
        };
        let said = Said::of(lines)?;
        total.acknowledged += ledger.operations.len() as u64 + said.done.len() as u64;
        let of = |what: String| {
            let (engine, all) = (self.engine, self.entries.len());
            format!("{engine}, process {process}, entry {at} of {all}: {what}")
        };
        if random.percent(20) {
            total.again += 1;
            if let Err(why) = lose_power_again(self.engine, &left, random) {
                total.unopened += 1;
                total.words.push(of(why));
                keep.now(&self.dir.path().join("log"), at, total.states)?;
                return fs::remove_dir_all(&left).map_err(|error| error.to_string());
            }
        }
        match look(self.engine, &left, &mut ledger, &said, random) {
            Ok(findings) => {
                total.lost += findings.lost.len() as u64;
                total.halves += findings.halves.len() as u64;
                total.words.extend(findings.words().map(of));
            }
            Err(why) => {
                total.unopened += 1;
                total.words.push(of(why));
            }
        }
        if total.wrong() > wrong_before {
            keep.now(&self.dir.path().join("log"), at, total.states)?;
        }
        // A database that can't be opened is still there.
        let _ = fs::remove_dir_all(&left);
        Ok(())
    }

    /// Counts acknowledgements of the one thread before which the file of commits was written, then
    /// synced. What is written between that and the acknowledgement may be usage, which a thread of the
    /// store writes each second.
    pub(crate) fn count_syncs(&self, total: &mut Total) {
        let (mut is_written, mut is_synced) = (false, false);
        let file = self.engine.commits_to();
        for entry in &self.entries {
            match entry {
                Entry::Write(path, ..) if path.ends_with(file) => {
                    is_written = true;
                }
                Entry::Sync(path) if path.ends_with(file) => is_synced = is_written,
                Entry::Said(text) => match Line::parse(text.trim_end()) {
                    Ok(Line::Intent(..)) => (is_written, is_synced) = (false, false),
                    Ok(Line::Done(..)) if is_written && is_synced => total.synced += 1,
                    Ok(Line::Done(name, _)) => {
                        total.unsynced += 1;
                        total.words.push(format!("no sync before {name} was acknowledged"));
                    }
                    _ => {}
                },
                _ => {}
            }
        }
    }

    /// Counts segments of sled's log that fill up, and places that are used again.
    pub(crate) fn count_segments(&self, total: &mut Total) {
        let (mut greatest, mut last) = (0, 0);
        for entry in &self.entries {
            if let Entry::Write(path, offset, _) = entry
                && path.ends_with(self.engine.commits_to())
            {
                let segment = offset / SEGMENT;
                total.reused += u64::from(segment < greatest && segment != last);
                greatest = greatest.max(segment);
                last = segment;
            }
        }
        total.segments = total.segments.max(greatest + 1);
    }

    pub(crate) fn recoveries(&self) -> u64 {
        let failed = |entry: &&Entry| matches!(entry, Entry::SyncFailed(_));
        self.entries.iter().filter(failed).count() as u64
    }
}

/// Leaves what may lie beside a database of SQLite's after a loss: an index of the log, which means
/// nothing then, and a copy of the log that was not finished.
fn leave_rubbish(left: &Path, random: &mut Random) -> std::io::Result<()> {
    if random.percent(33) {
        fs::write(left.join("keys.db-shm"), vec![0x5a; 32_768])?;
    }
    if random.percent(12) {
        fs::write(left.join("keys.db-wal.renewed"), vec![0x37; 5_000])?;
    }
    Ok(())
}

/// Opens what a loss left, and loses power at some moment before the database is open.
fn lose_power_again(engine: Engine, left: &Path, random: &mut Random) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut disk = replay::Disk::holding(left).map_err(text)?;
    let log = left.with_extension("log");
    let _ = fs::remove_file(&log);
    let control = left.with_extension("control");
    Control::create(&control).map_err(text)?;
    let recorded = Disk {
        dir: left.to_owned(),
        control: Some(control),
        log: Some(log.clone()),
        lines: true,
        ..Disk::default()
    };
    let task = task(engine, "again".to_owned(), random);
    let killed = kill(&task, left, Moment::Opened(Duration::ZERO), Some(&recorded))?;
    if let Some(Line::Trouble(why)) = killed.lines.first() {
        return Err(format!("it can't be opened: {why}"));
    }
    let entries = record::read(&log).map_err(text)?;
    let is_open = |entry: &Entry| matches!(entry, Entry::Said(text) if text == "open\n");
    let opening = entries.iter().position(is_open).ok_or("it was never open")?;
    let moment = random.below(opening as u64 + 1) as usize;
    entries[..moment].iter().try_for_each(|entry| disk.apply(entry))?;
    fs::remove_dir_all(left).map_err(text)?;
    disk.lose_power(random, left).map_err(text)
}

/// The directory in which states with findings are kept, if `KEYHASP_KEEP` names one.
struct Keep(Option<PathBuf>);

impl Keep {
    /// Copies a state before it is opened.
    fn before(left: &Path) -> Result<Self, String> {
        let Some(dir) = std::env::var_os("KEYHASP_KEEP").map(PathBuf::from) else {
            return Ok(Self(None));
        };
        let copy = dir.join("state");
        let _ = fs::remove_dir_all(&copy);
        copy_tree(left, &copy).map_err(|error| format!("KEYHASP_KEEP: {error}"))?;
        Ok(Self(Some(dir)))
    }

    /// Keeps the copy, with the recording and the number of the entry after which power was lost.
    fn now(&self, log: &Path, at: usize, number: u64) -> Result<(), String> {
        let Some(dir) = &self.0 else { return Ok(()) };
        let kept = dir.join(format!("state-{number}-after-entry-{at}"));
        let text = |error: std::io::Error| format!("KEYHASP_KEEP: {error}");
        fs::rename(dir.join("state"), &kept).map_err(text)?;
        fs::copy(log, kept.with_extension("log")).map_err(text)?;
        Ok(())
    }
}

/// The lines of the process that runs at a moment, up to that moment.
#[derive(Default)]
struct Heard {
    processes: usize,
    is_open: bool,
    lines: Vec<Line>,
}

impl Heard {
    fn hear(&mut self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::Process => {
                self.processes += 1;
                self.is_open = false;
                self.lines.clear();
            }
            Entry::Said(text) => {
                let line = Line::parse(text.trim_end())?;
                self.is_open |= line == Line::Open;
                self.lines.push(line);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Opens a database, compares it with the ledger and the lines, and removes it.
fn look(
    engine: Engine,
    place: &Path,
    ledger: &mut Ledger,
    said: &Said,
    random: &mut Random,
) -> Result<Findings, String> {
    let store = engine.open(place).and_then(engine::store);
    let store = store.map_err(|error| format!("it can't be opened: {error}"))?;
    let held = hold(&store, ledger, said, random);
    // The ledger of the other states isn't concerned.
    let wrong = go_on(&store, &mut ledger.clone());
    let closed = store.close();
    drop(store);
    let _ = fs::remove_dir_all(place);
    let mut findings = held.map_err(|error| format!("it can't be read: {error}"))?;
    findings.halves.extend(wrong.map_err(|error| format!("it can't be written: {error}"))?);
    closed.map_err(|error| format!("it can't be closed: {error}"))?;
    Ok(findings)
}
