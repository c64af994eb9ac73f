//! The loop that starts processes, kills them and checks what they leave.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use keyhasp::KeyStore;
use tempfile::TempDir;

use crate::check::{Findings, Said, go_on, hold};
use crate::disk::Disk;
use crate::engine::{self, Engine};
use crate::files::copy_tree;
use crate::injected::Injected;
use crate::ledger::Ledger;
use crate::line::{Line, Lines};
use crate::purses::{Purses, Spent, Uses};
use crate::random::Random;
use crate::work::{THREADS, Task};

/// The signal that no process can catch.
const SIGKILL: i32 = 9;
/// The time after which a process that writes no line counts as hung.
const PATIENCE: Duration = Duration::from_secs(300);
/// The mean number of kills of one database.
const KILLS_EACH: u64 = 12;

/// A series of kills.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The backend.
    pub engine: Engine,
    /// The number of kills.
    pub kills: u64,
    /// The seed of all choices.
    pub seed: u64,
    /// A bug of the processes.
    pub injected: Option<Injected>,
}

/// The results of a series.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// The number of kills.
    pub kills: u64,
    /// Kills before the database was open.
    pub while_opening: u64,
    /// Kills while it was being closed, or right after.
    pub while_closing: u64,
    /// Acknowledged changes.
    pub acknowledged: u64,
    /// Changes that were begun and not answered.
    pub under_way: u64,
    /// Acknowledged changes that were gone.
    pub lost: u64,
    /// Changes that were there in part.
    pub halves: u64,
    /// The uses of keys.
    pub spent: Spent,
    /// Quotas and counts that were wrong.
    pub misused: u64,
    /// The findings in words.
    pub words: Vec<String>,
}

/// The moment at which a process is killed.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// A time after its start.
    Started(Duration),
    /// A time after it opened the database.
    Opened(Duration),
    /// After a number of acknowledgements.
    Acknowledged(u64),
    /// A time after it began to close, which it does after a number of acknowledgements.
    Closing(u64, Duration),
    /// After it has closed, which it does after a number of acknowledgements.
    Closed(u64),
}

impl Moment {
    /// Returns the number of acknowledgements after which the process closes the database.
    #[must_use]
    pub fn close_after(self) -> Option<u64> {
        match self {
            Self::Closing(after, _) | Self::Closed(after) => Some(after),
            _ => None,
        }
    }
}

/// Starts, kills and checks as often as planned; with a bug, until the checks catch it.
///
/// # Errors
/// The harness itself failed.
pub fn run(plan: &Plan) -> Result<Total, String> {
    let mut random = Random::new(plan.seed);
    let mut total = Total::default();
    let mut database = Database::new()?;
    // The last time that opening took: a kill while opening falls within it.
    let mut opening = Duration::from_millis(30);
    for number in 0..plan.kills {
        if number > 0 && random.below(KILLS_EACH) == 0 {
            database = Database::new()?;
        }
        let moment = match database.ledger.operations.is_empty() && random.percent(50) {
            // Being made, a database passes through more states than later.
            true => Moment::Started(random.duration(opening)),
            // The bug shows only then.
            false if plan.injected == Some(Injected::Hoards) => Moment::Closed(random.below(150)),
            false => choose(&mut random, opening),
        };
        let task = Task {
            engine: plan.engine,
            name: format!("k{number}"),
            seed: random.number(),
            close_after: moment.close_after(),
            threads: THREADS,
            spends: true,
            is_faulty: false,
            injected: plan.injected,
        };
        let killed = kill(&task, &database.place, moment, None)?;
        opening = killed.opening.unwrap_or(opening);
        total.kills += 1;
        total.while_opening += u64::from(killed.opening.is_none());
        total.while_closing += u64::from(killed.lines.contains(&Line::Closing));
        let uses = Uses::of(&killed.lines);
        let said = Said::of(killed.lines)?;
        if !said.trouble.is_empty() {
            return Err(format!("kill {number}: {}", said.trouble.join("; ")));
        }
        total.acknowledged += said.done.len() as u64;
        total.under_way += said.open.len() as u64;
        let findings = database
            .check(plan.engine, &said, &uses, &mut total.spent, &mut random)
            .map_err(|error| format!("after kill {number} ({moment:?}): {error}"))?;
        if !findings.is_empty() {
            total.lost += findings.lost.len() as u64;
            total.halves += findings.halves.len() as u64;
            total.misused += findings.misused.len() as u64;
            let of = |what| format!("kill {number} ({moment:?}): {what}");
            total.words.extend(findings.words().map(of));
            if plan.injected.is_some() {
                break;
            }
            // Otherwise the same finding would be counted after every further kill.
            database = Database::new()?;
        }
    }
    Ok(total)
}

fn choose(random: &mut Random, opening: Duration) -> Moment {
    match random.below(10) {
        0..3 => Moment::Started(random.duration(opening)),
        3..6 => Moment::Opened(random.duration(Duration::from_millis(250))),
        6..8 => Moment::Acknowledged(random.below(300)),
        8 => Moment::Closing(random.below(150), random.duration(Duration::from_millis(20))),
        _ => Moment::Closed(random.below(150)),
    }
}

/// A database whose processes are killed, and the ledger of what must be in it.
struct Database {
    dir: TempDir,
    place: PathBuf,
    ledger: Ledger,
    purses: Purses,
}

impl Database {
    fn new() -> Result<Self, String> {
        let dir = TempDir::with_prefix("keyhasp-crash").map_err(|error| error.to_string())?;
        let place = dir.path().join("original");
        fs::create_dir(&place).map_err(|error| error.to_string())?;
        Ok(Self { dir, place, ledger: Ledger::default(), purses: Purses::default() })
    }

    /// Opens a copy and compares it with the ledger. The original stays as the kill left it, for
    /// the next process.
    fn check(
        &mut self,
        engine: Engine,
        said: &Said,
        uses: &Uses,
        spent: &mut Spent,
        random: &mut Random,
    ) -> Result<Findings, String> {
        let copy = self.dir.path().join("copy");
        copy_tree(&self.place, &copy).map_err(|error| error.to_string())?;
        let open = || engine.open(&copy).map_err(|error| format!("it can't be opened: {error}"));
        let backend = open()?;
        let counting = engine::counting(Arc::clone(&backend))
            .map_err(|error| format!("the database can't be opened: {error}"))?;
        let store = Arc::clone(&counting) as Arc<dyn KeyStore>;
        let mut findings = hold(&store, &mut self.ledger, said, random)
            .map_err(|error| format!("the database can't be read: {error}"))?;
        // What the pieces have yet to write changes no answer, and then nothing is left to write.
        counting.finish_sweeps().map_err(|error| format!("a piece can't be written: {error}"))?;
        let finished = hold(&store, &mut self.ledger, &Said::default(), random)
            .map_err(|error| format!("the database can't be read: {error}"))?;
        findings.lost.extend(finished.lost);
        findings.halves.extend(finished.halves);
        findings.halves.extend(finished.pending);
        let misused = self.purses.hold(&*backend, &self.ledger, uses, spent);
        findings.misused = misused.map_err(|error| format!("usage can't be read: {error}"))?;
        // The change is made in the copy alone.
        let wrong = go_on(&store, &mut self.ledger.clone());
        findings.halves.extend(wrong.map_err(|error| format!("it can't be written: {error}"))?);
        let used = self.purses.clone().spend(&store, &self.ledger);
        store.close().map_err(|error| format!("the database can't be closed: {error}"))?;
        drop((store, counting, backend));
        let left = used.hold_closed(&*open()?, &self.ledger);
        findings.misused.extend(left.map_err(|error| format!("usage can't be read: {error}"))?);
        fs::remove_dir_all(&copy).map_err(|error| error.to_string())?;
        Ok(findings)
    }
}

/// A process that was killed.
#[derive(Debug)]
pub struct Killed {
    /// The time that it took to open, if it got that far.
    pub opening: Option<Duration>,
    /// The lines that it wrote.
    pub lines: Vec<Line>,
}

/// Starts a process, under the preloaded library if `disk` is given, and kills it at a moment.
///
/// # Errors
/// The process ended by itself, or hung.
pub fn kill(
    task: &Task,
    place: &Path,
    moment: Moment,
    disk: Option<&Disk>,
) -> Result<Killed, String> {
    kill_hearing(task, place, moment, disk, &mut |_| Ok(()))
}

/// Does the same, and calls a listener with each line as it comes.
///
/// # Errors
/// Those of [`kill`] and of the listener.
pub fn kill_hearing(
    task: &Task,
    place: &Path,
    moment: Moment,
    disk: Option<&Disk>,
    listener: &mut dyn FnMut(&Line) -> Result<(), String>,
) -> Result<Killed, String> {
    let started = Instant::now();
    let mut child = start(task, place, disk).map_err(|error| format!("no child: {error}"))?;
    let heard = listen(&mut child);
    let mut lines = Vec::new();
    let mut opening = None;
    let mut deadline = match moment {
        Moment::Started(after) => Some(started + after),
        _ => None,
    };
    let mut acknowledged = 0;
    let ended = loop {
        let wait = match deadline {
            Some(at) => at.saturating_duration_since(Instant::now()),
            None => PATIENCE,
        };
        match heard.recv_timeout(wait) {
            Ok((at, line)) => {
                listener(&line)?;
                match (&line, moment) {
                    (Line::Open, _) => {
                        opening = Some(at - started);
                        if let Moment::Opened(after) = moment {
                            deadline = Some(at + after);
                        }
                    }
                    (Line::Closing, Moment::Closing(_, after)) => deadline = Some(at + after),
                    (Line::Done(..), Moment::Acknowledged(count)) => {
                        acknowledged += 1;
                        if acknowledged > count {
                            deadline = Some(at);
                        }
                    }
                    (Line::Closed, Moment::Closed(_)) | (Line::Trouble(_), _) => {
                        deadline = Some(at);
                    }
                    _ => {}
                }
                lines.push(line);
            }
            Err(RecvTimeoutError::Timeout) if deadline.is_some() => break Ok(()),
            Err(RecvTimeoutError::Timeout) => break Err("the process makes no progress"),
            Err(RecvTimeoutError::Disconnected) => break Err("the process ended by itself"),
        }
        if deadline.is_some_and(|at| at <= Instant::now()) {
            break Ok(());
        }
    };
    // Without the lock the kill could fall between a call on a file and its record.
    let held = disk.and_then(|disk| disk.control.as_ref()).map(File::open);
    let held = held.transpose().map_err(|error| error.to_string())?;
    held.as_ref().map_or(Ok(()), File::lock).map_err(|error| error.to_string())?;
    child.kill().map_err(|error| error.to_string())?;
    let status = child.wait().map_err(|error| error.to_string())?;
    // Lines that it wrote before the kill are still in the pipe.
    for (at, line) in heard {
        if line == Line::Open {
            opening = Some(at - started);
        }
        lines.push(line);
    }
    // A process that reported trouble may end by itself.
    if lines.iter().any(|line| matches!(line, Line::Trouble(_))) {
        return Ok(Killed { opening, lines });
    }
    // A failing sync may have killed it.
    if status.signal() == Some(SIGKILL) && task.is_faulty {
        return Ok(Killed { opening, lines });
    }
    ended?;
    if status.signal() != Some(SIGKILL) {
        return Err(format!("the process was not killed: {status}"));
    }
    Ok(Killed { opening, lines })
}

fn start(task: &Task, place: &Path, disk: Option<&Disk>) -> io::Result<Child> {
    let close_after = task.close_after.map_or_else(|| "-".to_owned(), |after| after.to_string());
    let injected = task.injected.map_or_else(|| "-".to_owned(), |bug| bug.to_string());
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(disk) = disk {
        disk.under(&mut command);
    }
    command
        .args(["child", &task.engine.to_string(), &task.name, &task.seed.to_string()])
        .args([&close_after, &injected, &task.threads.to_string()])
        .args([&task.spends.to_string(), &task.is_faulty.to_string()])
        .arg(place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

/// Reads a process's lines in a thread, each with the time at which it came.
fn listen(child: &mut Child) -> Receiver<(Instant, Line)> {
    let (sender, receiver) = channel();
    let stdout = child.stdout.take();
    thread::spawn(move || {
        let Some(stdout) = stdout else { return };
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| error.to_string()).and_then(|line| Line::parse(&line));
            let line = line.unwrap_or_else(Line::Trouble);
            if sender.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Opens the standard output of this process for lines, without a buffer.
///
/// # Errors
/// Those of the operating system.
pub fn stdout_lines() -> io::Result<Lines> {
    use std::os::fd::AsFd;
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(Lines::to(File::from(stdout)))
}
