//! Power lost at many moments: sled's writes are written down while a process works, and a disk that
//! keeps of them what it must is opened and held against what was acknowledged until then.

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

/// How many moments are looked at of each recording.
const MOMENTS: u64 = 20;
/// How many processes follow each other in a recording: one makes the database, the others find it
/// as it was left.
const PROCESSES: u64 = 3;

/// How many processes use a database for long, and how much each does.
const USED_BY: u64 = 3;
const USES: u64 = 1_000;
/// Who looks whether something could be lost leaves these out: what is noted there need not last.
const LOCK: &str = ".lock";
/// The length of a segment of sled's log.
const SEGMENT: u64 = 512 << 10;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often power is lost.
    pub states: u64,
    /// By which choices.
    pub seed: u64,
    /// As if nobody had asked for a sync; until that is found.
    pub forget_syncs: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// How often power was lost.
    pub states: u64,
    /// How often something could be lost then.
    pub pending: u64,
    /// How many acknowledgements stood before those moments, in all.
    pub acknowledged: u64,
    /// How many were not there.
    pub lost: u64,
    /// How much was there in part.
    pub halves: u64,
    /// After how many losses the database couldn't be opened.
    pub unopened: u64,
    /// How often it was lost again, while what was left was being opened.
    pub again: u64,
    /// How many failed syncs the recordings have.
    pub recoveries: u64,
    /// The most segments that a data file had.
    pub segments: u64,
    /// How often one was begun in a place that another had before.
    pub reused: u64,
    /// How many acknowledgements a sync preceded.
    pub synced: u64,
    /// How many none did.
    pub unsynced: u64,
    /// What was found, in words.
    pub words: Vec<String>,
}

/// Records, loses power and looks as often as planned.
///
/// # Errors
/// Something else went wrong than what is looked for.
pub fn run(plan: &Plan) -> Result<Total, String> {
    let mut random = Random::new(plan.seed);
    let mut total = Total::default();
    let used = if plan.forget_syncs { None } else { Some(Used::make(&mut random)?) };
    for number in 0.. {
        if total.states >= plan.states {
            break;
        }
        let count = MOMENTS.min(plan.states - total.states);
        let kind = match (plan.forget_syncs, number % 3) {
            (true, _) => Kind::ForgetsSyncs,
            (false, 0) => Kind::Single,
            (false, 1) => Kind::Many,
            (false, _) => Kind::Faulty,
        };
        // Every other round on a database that was used for long.
        let used = used.as_ref().filter(|_| number % 6 >= 3);
        let recording = Recording::make(kind, used, &mut random)?;
        if kind.threads() == 1 {
            recording.count_syncs(&mut total);
        }
        total.recoveries += recording.recoveries();
        recording.count_segments(&mut total);
        recording.lose_power(count, &mut random, &mut total)?;
        if plan.forget_syncs && total.lost > 0 && total.unsynced > 0 {
            break;
        }
    }
    Ok(total)
}

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One thread, so that each acknowledgement has its own sync.
    Single,
    /// Many threads, whose commits are joined.
    Many,
    /// Many, and a call that fails.
    Faulty,
    /// One, with syncs that are not noted.
    ForgetsSyncs,
}

impl Kind {
    fn threads(self) -> u64 {
        match self {
            Self::Single | Self::ForgetsSyncs => 1,
            Self::Many | Self::Faulty => THREADS,
        }
    }
}

fn task(name: String, random: &mut Random) -> Task {
    let seed = random.number();
    let (engine, planted) = (Engine::Sled, None);
    Task {
        engine,
        name,
        seed,
        close_after: None,
        threads: 1,
        spends: false,
        is_faulty: false,
        planted,
    }
}

/// A database that was used until sled's log had grown and places in it were used again.
struct Used {
    dir: TempDir,
    ledger: Ledger,
}

impl Used {
    fn make(random: &mut Random) -> Result<Self, String> {
        let dir = TempDir::with_prefix("keyhasp-used").map_err(|error| error.to_string())?;
        let (place, copy) = (dir.path().join("original"), dir.path().join("copy"));
        fs::create_dir(&place).map_err(|error| error.to_string())?;
        let mut ledger = Ledger::default();
        for number in 0..USED_BY {
            let moment = Moment::Closed(USES);
            let close_after = moment.close_after();
            let task =
                Task { close_after, threads: THREADS, ..task(format!("used-{number}"), random) };
            let said = Said::of(kill(&task, &place, moment, None)?.lines)?;
            copy_tree(&place, &copy).map_err(|error| error.to_string())?;
            let findings = look(&copy, &mut ledger, &said, random)?;
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

/// What some processes did, one after the other, and what was there after each.
struct Recording {
    dir: TempDir,
    /// What was there before them.
    found: replay::Disk,
    entries: Vec<Entry>,
    /// What must be there when each began, once it has opened; and what the one before it said.
    before: Vec<(Ledger, Vec<Line>)>,
}

impl Recording {
    fn make(kind: Kind, used: Option<&Used>, random: &mut Random) -> Result<Self, String> {
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
        let mut said = Vec::new();
        for number in 0..PROCESSES {
            before.push((ledger.clone(), std::mem::take(&mut said)));
            // Some are killed while they close, and the next finds what they left.
            let after = 20 + random.below(150);
            let moment = match random.below(3) {
                0 => Moment::Acknowledged(after),
                1 => Moment::Closing(after, Duration::ZERO),
                _ => Moment::Closed(after),
            };
            let task = Task {
                close_after: moment.close_after(),
                threads: kind.threads(),
                is_faulty: kind == Kind::Faulty,
                ..task(format!("p{number}"), random)
            };
            let control = dir.path().join("control");
            Control::create(&control).map_err(|error| error.to_string())?;
            let disk = Disk {
                dir: place.clone(),
                control: Some(control.clone()),
                log: Some(log.clone()),
                lines: true,
                forget_syncs: kind == Kind::ForgetsSyncs,
            };
            // In the midst of it one call fails, which makes the store recover.
            let fault = Fault {
                nth: 1 + random.below(8),
                number: EIO,
                lasting: false,
                manner: if random.percent(50) { Manner::Deadly } else { Manner::Nothing },
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
            let findings = look(&copy, &mut ledger, &of_process, random)?;
            if let Some(words) = findings.words().next() {
                return Err(format!("with its power on: {words}"));
            }
        }
        let entries = record::read(&log).map_err(|error| error.to_string())?;
        Ok(Self { dir, found, entries, before })
    }

    /// Loses power at some moments, where something could be lost rather than elsewhere.
    fn lose_power(&self, count: u64, random: &mut Random, total: &mut Total) -> Result<(), String> {
        let mut disk = self.found.clone();
        let (mut quiet, mut pending, mut opening) = (Vec::new(), Vec::new(), Vec::new());
        let mut heard = Heard::default();
        for (at, entry) in self.entries.iter().enumerate() {
            disk.apply(entry)?;
            heard.hear(entry)?;
            match (disk.is_pending(LOCK), heard.is_open) {
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
                total.pending += u64::from(disk.is_pending(LOCK));
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
        let keep = Keep::before(&left)?;
        let found_before = total.unopened + total.lost + total.halves;
        let process = heard.processes.saturating_sub(1);
        // Until it was open, nothing rested on what became of what the one before had under way.
        let (mut ledger, lines) = match heard.is_open || process == 0 {
            true => (self.before[process].0.clone(), heard.lines.clone()),
            false => (self.before[process - 1].0.clone(), self.before[process].1.clone()),
        };
        let said = Said::of(lines)?;
        total.acknowledged += ledger.operations.len() as u64 + said.done.len() as u64;
        let of = |what: String| {
            format!("process {process}, entry {at} of {}: {what}", self.entries.len())
        };
        if random.percent(20) {
            total.again += 1;
            if let Err(why) = lose_power_again(&left, random) {
                total.unopened += 1;
                total.words.push(of(why));
                keep.now(&self.dir.path().join("log"), at, total.states)?;
                return fs::remove_dir_all(&left).map_err(|error| error.to_string());
            }
        }
        match look(&left, &mut ledger, &said, random) {
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
        if total.unopened + total.lost + total.halves > found_before {
            keep.now(&self.dir.path().join("log"), at, total.states)?;
        }
        // What can't be opened is left there by whoever was refused.
        let _ = fs::remove_dir_all(&left);
        Ok(())
    }

    /// Before each acknowledgement of the one thread sled's data file was written, and then synced,
    /// and not written again.
    fn count_syncs(&self, total: &mut Total) {
        let (mut is_written, mut is_synced) = (false, false);
        for entry in &self.entries {
            match entry {
                Entry::Write(path, ..) if path.ends_with("/db") => {
                    (is_written, is_synced) = (true, false);
                }
                Entry::Sync(path) if path.ends_with("/db") => is_synced = true,
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

    /// How far the recording got into sled's ways: segments that fill up, and places used again.
    fn count_segments(&self, total: &mut Total) {
        let (mut greatest, mut last) = (0, 0);
        for entry in &self.entries {
            if let Entry::Write(path, offset, _) = entry
                && path.ends_with("/db")
            {
                let segment = offset / SEGMENT;
                total.reused += u64::from(segment < greatest && segment != last);
                greatest = greatest.max(segment);
                last = segment;
            }
        }
        total.segments = total.segments.max(greatest + 1);
    }

    fn recoveries(&self) -> u64 {
        let failed = |entry: &&Entry| matches!(entry, Entry::SyncFailed(_));
        self.entries.iter().filter(failed).count() as u64
    }
}

/// Opens what is left, and loses power at some moment before it is open.
fn lose_power_again(left: &Path, random: &mut Random) -> Result<(), String> {
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
    let task = task("again".to_owned(), random);
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

/// Where states in which something is wrong are kept, if `KEYHASP_KEEP` says so.
struct Keep(Option<PathBuf>);

impl Keep {
    /// Copies a state as it is before anybody opens it.
    fn before(left: &Path) -> Result<Self, String> {
        let Some(dir) = std::env::var_os("KEYHASP_KEEP").map(PathBuf::from) else {
            return Ok(Self(None));
        };
        let copy = dir.join("state");
        let _ = fs::remove_dir_all(&copy);
        copy_tree(left, &copy).map_err(|error| format!("KEYHASP_KEEP: {error}"))?;
        Ok(Self(Some(dir)))
    }

    /// Keeps it, with the recording and the entry of it after which power was lost.
    fn now(&self, log: &Path, at: usize, number: u64) -> Result<(), String> {
        let Some(dir) = &self.0 else { return Ok(()) };
        let kept = dir.join(format!("state-{number}-after-entry-{at}"));
        let text = |error: std::io::Error| format!("KEYHASP_KEEP: {error}");
        fs::rename(dir.join("state"), &kept).map_err(text)?;
        fs::copy(log, kept.with_extension("log")).map_err(text)?;
        Ok(())
    }
}

/// What was said until now, by the process of now.
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

/// Opens what is there and holds it against what was said.
fn look(
    place: &Path,
    ledger: &mut Ledger,
    said: &Said,
    random: &mut Random,
) -> Result<Findings, String> {
    let store = Engine::Sled.open(place).map_err(keyhasp::Error::from).and_then(engine::store);
    let store = store.map_err(|error| format!("it can't be opened: {error}"))?;
    let held = hold(&store, ledger, said, random);
    // There alone.
    let wrong = go_on(&store, &mut ledger.clone());
    let closed = store.close();
    drop(store);
    let _ = fs::remove_dir_all(place);
    let mut findings = held.map_err(|error| format!("it can't be read: {error}"))?;
    findings.halves.extend(wrong.map_err(|error| format!("it can't be written: {error}"))?);
    closed.map_err(|error| format!("it can't be closed: {error}"))?;
    Ok(findings)
}
