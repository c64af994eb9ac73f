//! The loop that lets each call on a database's files fail in turn.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::disk::{Control, Disk, EIO, ENOSPC, Fault, Manner};
use crate::engine::Engine;
use crate::faulted::{self, Outcome, Report, Scene};
use crate::files::copy_tree;
use crate::injected::Injected;
use crate::line::{Line, Lines};

/// The time that one case may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// More calls than any scene makes, unless it never ends.
const MOST_CALLS: u64 = 2_000;

/// The results of all cases.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// The number of cases.
    pub cases: u64,
    /// The outcomes by scene.
    pub scenes: BTreeMap<String, Outcomes>,
    /// The findings in words.
    pub findings: Vec<String>,
}

/// The outcomes of the cases of a scene.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcomes {
    /// Cases in which the call succeeded.
    pub done: u64,
    /// Cases in which the call reported that nothing happened.
    pub refused: u64,
    /// Cases of unknown outcome.
    pub unknown: u64,
    /// Panics of threads.
    pub panics: u64,
}

impl Outcomes {
    /// Adds two of them.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            done: self.done + other.done,
            refused: self.refused + other.refused,
            unknown: self.unknown + other.unknown,
            panics: self.panics + other.panics,
        }
    }
}

const ONCE: Fault =
    Fault { nth: 1, number: EIO, lasting: false, syncs: false, manner: Manner::Nothing };
/// Part of the list only where all manners are tried.
const THOROUGH: Fault = Fault { number: ENOSPC, ..ONCE };

/// The faults that show [`Injected::Sure`] soonest: after a failed sync a change may have taken
/// effect.
pub const SYNCS: [Fault; 1] = [Fault { syncs: true, ..ONCE }];

/// Returns the faults to try: those of CI, or all.
#[must_use]
pub fn manners(all: bool) -> Vec<Fault> {
    if !all {
        return vec![ONCE, Fault { lasting: true, ..ONCE }];
    }
    vec![
        ONCE,
        THOROUGH,
        Fault { manner: Manner::Short, ..ONCE },
        Fault { manner: Manner::Torn, ..ONCE },
        Fault { number: ENOSPC, manner: Manner::Torn, ..ONCE },
        Fault { lasting: true, ..ONCE },
        Fault { number: ENOSPC, lasting: true, manner: Manner::Torn, ..ONCE },
    ]
}

/// Plays every scene with each call failing in turn, by each of these faults; with a bug, until the
/// checks catch it.
///
/// # Errors
/// The harness itself failed.
pub fn run(engine: Engine, manners: &[Fault], injected: Option<Injected>) -> Result<Total, String> {
    let dir = TempDir::with_prefix("keyhasp-faults").map_err(|error| error.to_string())?;
    let base = dir.path().join("base");
    fs::create_dir(&base).map_err(|error| error.to_string())?;
    let made = faulted::make(engine, &base)?;
    let lines = dir.path().join("lines");
    let file = fs::File::create(&lines).map_err(|error| error.to_string())?;
    let to = Lines::to(file);
    made.iter().try_for_each(|line| to.say(line)).map_err(|error| error.to_string())?;
    let mut total = Total::default();
    for scene in faulted::scenes(&made)? {
        for manner in manners {
            // CI tries lasting faults only where the database is made, opened or closed.
            let is_change = matches!(scene, Scene::Mutation(_));
            if is_change && manner.lasting && !manners.contains(&THOROUGH) {
                continue;
            }
            for nth in 1..=MOST_CALLS {
                let fault = Fault { nth, ..*manner };
                let report = one(dir.path(), engine, &scene, &fault, injected)?;
                if report.failed == 0 {
                    break;
                }
                total.cases += 1;
                let outcomes = total.scenes.entry(scene.to_string()).or_default();
                outcomes.panics += report.panics;
                *match report.outcome {
                    Outcome::Done => &mut outcomes.done,
                    Outcome::Refused => &mut outcomes.refused,
                    Outcome::Unknown => &mut outcomes.unknown,
                } += 1;
                let words = report.findings.iter();
                total.findings.extend(words.map(|words| format!("{scene}, {fault:?}: {words}")));
                if injected.is_some() && !total.findings.is_empty() {
                    return Ok(total);
                }
            }
        }
    }
    Ok(total)
}

/// Plays one case in a process of its own.
fn one(
    dir: &Path,
    engine: Engine,
    scene: &Scene,
    fault: &Fault,
    injected: Option<Injected>,
) -> Result<Report, String> {
    let (place, control, lines) = (dir.join("place"), dir.join("control"), dir.join("lines"));
    let text = |error: std::io::Error| error.to_string();
    if *scene == Scene::Create {
        fs::create_dir(&place).map_err(text)?;
        fs::write(dir.join("none"), "").map_err(text)?;
    } else {
        copy_tree(&dir.join("base"), &place).map_err(text)?;
    }
    Control::create(&control).map_err(text)?;
    let lines = if *scene == Scene::Create { dir.join("none") } else { lines };
    let manner = ["nothing", "short", "torn", "deadly"][fault.manner as usize];
    let mut command = Command::new(std::env::current_exe().map_err(text)?);
    command
        .args(["faulted", &engine.to_string()])
        .args([&scene.to_string(), &fault.nth.to_string(), &fault.number.to_string()])
        .args([if fault.lasting { "lasting" } else { "once" }, manner])
        .arg(if fault.syncs { "syncs" } else { "calls" })
        .arg(injected.map_or_else(|| "-".to_owned(), |bug| bug.to_string()))
        .args([&place, &lines])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let disk = Disk { dir: place.clone(), control: Some(control), ..Disk::default() };
    disk.under(&mut command);
    let mut child = command.spawn().map_err(text)?;
    let (sender, receiver) = channel();
    let stdout = child.stdout.take();
    thread::spawn(move || {
        let mut said = String::new();
        let read = stdout.map(|mut stdout| stdout.read_to_string(&mut said));
        let _ = sender.send(read.map(|_| said));
    });
    let said = receiver.recv_timeout(PATIENCE);
    // It has ended, or hangs.
    let _ = child.kill();
    let status = child.wait().map_err(text)?;
    fs::remove_dir_all(&place).map_err(text)?;
    let said = match said {
        Ok(said) => said.unwrap_or_default(),
        Err(_) => return Ok(failure("it hangs".to_owned())),
    };
    parse(&said).or_else(|_| Ok(failure(format!("it ended with {status}: {}", said.trim()))))
}

fn failure(what: String) -> Report {
    Report { outcome: Outcome::Unknown, seen: 0, failed: 1, panics: 0, findings: vec![what] }
}

/// Prints a report as text for [`run`].
#[must_use]
pub fn print(report: &Report) -> String {
    let Report { outcome, seen, failed, panics, findings } = report;
    let mut text = format!("report {} {seen} {failed} {panics}\n", *outcome as usize);
    for finding in findings {
        text += &format!("finding {}\n", finding.replace('\n', " "));
    }
    text + "end\n"
}

fn parse(text: &str) -> Result<Report, String> {
    let none = || "no report".to_owned();
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().ok_or_else(none)?.split(' ').collect();
    let ["report", outcome, seen, failed, panics] = *head else { return Err(none()) };
    let number = |text: &str| text.parse::<u64>().map_err(|_| none());
    let outcome = match outcome {
        "0" => Outcome::Done,
        "1" => Outcome::Refused,
        _ => Outcome::Unknown,
    };
    let of_line = |line: &str| line.strip_prefix("finding ").unwrap_or(line).to_owned();
    let mut findings: Vec<String> = lines.map(of_line).collect();
    if findings.pop().as_deref() != Some("end") {
        return Err(none());
    }
    let (seen, failed, panics) = (number(seen)?, number(failed)?, number(panics)?);
    Ok(Report { outcome, seen, failed, panics, findings })
}

/// Reads the lines in a file.
///
/// # Errors
/// The file can't be read, or holds other text.
pub fn read_lines(path: &Path) -> Result<Vec<Line>, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.lines().map(Line::parse).collect()
}

/// Parses the manner of an argument.
///
/// # Errors
/// The word names no manner.
pub fn manner(word: &str) -> Result<Manner, String> {
    match word {
        "nothing" => Ok(Manner::Nothing),
        "short" => Ok(Manner::Short),
        "torn" => Ok(Manner::Torn),
        _ => Err(format!("`{word}` is no manner of failing")),
    }
}
