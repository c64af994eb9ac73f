//! Processes that are killed while they commit, and a look at what each of them leaves.

use std::convert::Infallible;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, exit};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::ask::Ask;
use super::failure::{Failure, Tested, ensure, ensure_eq};
use super::history::History;
use crate::backend::{Backend, BackendError};
use crate::token::{RandomSource, fill};

/// Names the place to the process that is killed.
const PLACE: &str = "KEYHASP_KILLS_PLACE";
/// Begins the line of an acknowledged change, whose number follows.
const ACKNOWLEDGED: &str = "keyhasp-acknowledged ";
/// Begins the line with the reason for which a process can't go on.
const TROUBLE: &str = "keyhasp-trouble ";

/// The time after which a process that acknowledges nothing counts as hung.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest time between the acknowledgement for which a kill waits, and the kill: twice the mean time
/// of an acknowledgement, so that a kill may come at any point of a commit, and at least this.
const LEAST_AFTER: Duration = Duration::from_millis(3);
/// The greatest number of acknowledgements for which a kill waits, and the number of kills of one
/// database.
const MOST_AWAITED: u64 = 60;
const KILLS_EACH: u32 = 8;
/// After so many changes a process closes the database and opens it again.
const CLOSED_EACH: usize = 48;

/// The kills of [`assert_survives_kills`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kills {
    /// The number of processes that were killed.
    pub kills: u32,
    /// The number of changes that they had acknowledged. All of them were found.
    pub acknowledged: u64,
    /// The number of kills that met changes on their way: changes that were found, whole, though the
    /// process had not acknowledged them.
    pub under_way: u32,
}

/// Kills so many processes (`kill -9`) while they commit to a database, and opens it after each kill: all
/// changes that were acknowledged must be there, and no change by halves.
///
/// Call it from a test of a durable backend. `test` is the name of that test, as the test program prints
/// it: each process is the same program, which runs that one test, and there this function works until it
/// is killed. `open` opens the database in a directory, or makes it there.
///
/// ```no_run
/// # use std::path::PathBuf;
/// # use keyhasp::backend::{BackendError, Memory};
/// # fn open_mine(_: PathBuf) -> Result<Memory, BackendError> { Ok(Memory::new()) }
/// use keyhasp::testing::conformance;
///
/// // The body of the test `acknowledged_changes_survive_kills`.
/// let test = "acknowledged_changes_survive_kills";
/// conformance::assert_survives_kills(test, 50, |directory| {
///     Ok(Box::new(open_mine(directory.join("keys.mine"))?))
/// });
/// ```
///
/// A kill shows what a process has kept to itself: changes that it acknowledged before it wrote them, and
/// writes of one change that don't stand together. It doesn't show a missing sync, since what was given to
/// the system outlives the process. For that, cut the power, or let a test drop the writes that no sync
/// followed.
///
/// The environment variable `KEYHASP_SEED` makes the choices of an earlier run again. The moments of the
/// kills still differ.
///
/// # Panics
/// When an acknowledged change is missing, a change is there in part, the database doesn't open again, or
/// a process ends by itself. The message says which, and the seed.
pub fn assert_survives_kills(
    test: &str,
    kills: u32,
    open: impl Fn(&Path) -> Result<Box<dyn Backend>, BackendError>,
) -> Kills {
    if let Some(place) = env::var_os(PLACE) {
        let Err(failure) = work(Path::new(&place), &open);
        // Fails only if the one that kills is gone.
        let _ = say(TROUBLE, &failure);
        exit(1);
    }
    let seed = seed();
    let run = seed.and_then(|seed| run(test, kills, seed, &open));
    let failure = run.as_ref().err().map(ToString::to_string);
    assert!(
        failure.is_none(),
        "the backend doesn't survive kills: {}",
        failure.unwrap_or_default()
    );
    run.unwrap_or_default()
}

fn seed() -> Result<u64, Failure> {
    match env::var("KEYHASP_SEED") {
        Ok(seed) => Ok(seed.parse()?),
        Err(_) => {
            let mut random = getrandom::SysRng;
            let random: &mut dyn RandomSource = &mut random;
            Ok(u64::from_le_bytes(fill(random)?))
        }
    }
}

/// Commits until the process is killed. Returns if it can't go on.
fn work(
    place: &Path,
    open: &impl Fn(&Path) -> Result<Box<dyn Backend>, BackendError>,
) -> Result<Infallible, Failure> {
    let mut backend = open(place)?;
    let mut history = History::new();
    history.go_to(backend.last_event()?)?;
    let mut next = history.changes();
    loop {
        let count = 1 + next % 3;
        let batch = (next..next + count).map(History::change).collect::<Result<Vec<_>, _>>()?;
        backend.apply_all(&batch)?;
        next += count;
        say(ACKNOWLEDGED, &next)?;
        if next % CLOSED_EACH < count {
            backend.close()?;
            drop(backend);
            backend = open(place)?;
        }
    }
}

/// Writes a line to the one that kills.
fn say(what: &str, value: &dyn std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    // Behind what the test program has written into the same line.
    writeln!(out, "{what}{value}")?;
    out.flush()
}

fn run(
    test: &str,
    kills: u32,
    seed: u64,
    open: &impl Fn(&Path) -> Result<Box<dyn Backend>, BackendError>,
) -> Result<Kills, Failure> {
    let mut random = Random(seed);
    let mut total = Kills::default();
    let mut database = Database::new(seed, 0)?;
    for number in 0..kills {
        if number > 0 && number % KILLS_EACH == 0 {
            database = Database::new(seed, number)?;
        }
        let of = |failure: Failure| {
            Failure::new(format!("kill {number}, KEYHASP_SEED={seed}: {failure}"))
        };
        let before = database.history.changes();
        let acknowledged = database.kill(test, &mut random).map_err(of)?.unwrap_or(before);
        database.check(acknowledged, open).map_err(of)?;
        let found = database.history.changes();
        total.kills += 1;
        total.acknowledged += acknowledged.saturating_sub(before) as u64;
        total.under_way += u32::from(found > acknowledged);
    }
    Ok(total)
}

/// A database whose processes are killed, and the changes that must be in it.
struct Database {
    place: PathBuf,
    history: History,
}

impl Database {
    fn new(seed: u64, number: u32) -> Result<Self, Failure> {
        let name = format!("keyhasp-kills-{}-{seed:x}-{number}", std::process::id());
        let place = env::temp_dir().join(name);
        fs::create_dir(&place)?;
        Ok(Self { place, history: History::new() })
    }

    /// Starts a process, and kills it at a moment of chance. Returns the number of changes that the
    /// database then holds by its word, if it said anything.
    fn kill(&self, test: &str, random: &mut Random) -> Result<Option<usize>, Failure> {
        let awaited = random.below(MOST_AWAITED);
        let part = random.below(1_000);
        let started = Instant::now();
        let mut process = Process::start(test, &self.place)?;
        let mut acknowledged = None;
        for _ in 0..awaited {
            match process.lines.recv_timeout(PATIENCE) {
                Ok(line) => acknowledged = line?.or(acknowledged),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::new(format!(
                        "a process has acknowledged nothing for {PATIENCE:?}"
                    )));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(process.ended(test)),
            }
        }
        let mean = started.elapsed() / u32::try_from(awaited + 1).unwrap_or(u32::MAX);
        let after = (mean * 2).max(LEAST_AFTER) * u32::try_from(part).unwrap_or(0) / 1_000;
        let at = Instant::now() + after;
        while let Ok(line) =
            process.lines.recv_timeout(at.saturating_duration_since(Instant::now()))
        {
            acknowledged = line?.or(acknowledged);
        }
        process.kill()?;
        // Until the end of what it has written.
        for line in &process.lines {
            acknowledged = line?.or(acknowledged);
        }
        Ok(acknowledged)
    }

    /// Opens the database, and compares it with the changes that must be in it.
    fn check(
        &mut self,
        acknowledged: usize,
        open: &impl Fn(&Path) -> Result<Box<dyn Backend>, BackendError>,
    ) -> Tested {
        let backend = open(&self.place)
            .map_err(|error| Failure::new(format!("the database doesn't open: {error}")))?;
        let last = backend.last_event()?;
        self.history.go_to(last)?;
        let found = self.history.changes();
        ensure!(
            found >= acknowledged,
            "{acknowledged} changes were acknowledged, and {found} are there: lost is {}",
            History::named(found)
        );
        self.history.compare(&*backend)?;
        backend.close()?;
        let again = open(&self.place)?;
        ensure_eq!(again.last_event()?, last, "the last event after another opening");
        again.close()?;
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // What stays is small, and the system clears it.
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// A process that works until it is killed.
struct Process {
    child: Child,
    /// Its acknowledgements; `None` for lines that say nothing.
    lines: Receiver<Result<Option<usize>, Failure>>,
}

impl Process {
    fn start(test: &str, place: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(env::current_exe()?)
            .args(["--exact", test, "--nocapture", "--include-ignored"])
            .env(PLACE, place)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let Some(stdout) = child.stdout.take() else {
            return Err(Failure::new("the process has no output"));
        };
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let said = line.map_err(Failure::from).and_then(|line| heard(&line));
                // Lines of the test program itself count for nothing.
                if matches!(said, Ok(None)) {
                    continue;
                }
                if sender.send(said).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Says that it ended by itself.
    fn ended(&mut self, test: &str) -> Failure {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |it| it.to_string());
        Failure::new(format!(
            "a process has ended by itself ({status}); is `{test}` the whole name of the test that calls this?"
        ))
    }
}

impl Drop for Process {
    /// Leaves no process behind where a check has failed.
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Reads a line: the number of changes that are acknowledged.
fn heard(line: &str) -> Result<Option<usize>, Failure> {
    if let Some(at) = line.find(TROUBLE) {
        return Err(Failure::new(format!("a process: {}", &line[at + TROUBLE.len()..])));
    }
    match line.find(ACKNOWLEDGED) {
        Some(at) => Ok(Some(line[at + ACKNOWLEDGED.len()..].trim().parse()?)),
        None => Ok(None),
    }
}

/// Numbers that a seed decides (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        assert_eq!(heard("test a::b ... keyhasp-acknowledged 12").unwrap(), Some(12));
        assert_eq!(heard("running 1 test").unwrap(), None);
        let trouble = heard("keyhasp-trouble no room").unwrap_err();
        assert_eq!(trouble.message(), "a process: no room");
        assert!(heard("keyhasp-acknowledged x").is_err());
    }

    #[test]
    fn a_seed_decides_the_choices() {
        let drawn = |seed| {
            let mut random = Random(seed);
            [(); 6].map(|()| random.below(60))
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert!(drawn(3).iter().all(|number| *number < 60));
    }
}
