//! Every call on a file of sled's failing once, and what that does to a store.

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
use crate::faulted::{self, Outcome, Report, Scene};
use crate::files::copy_tree;
use crate::line::{Line, Lines};
use crate::planted::Planted;

/// How long one case may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// No scene has more calls; one that goes on for ever does.
const MOST_CALLS: u64 = 2_000;

/// What came of all cases.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// How many.
    pub cases: u64,
    /// What was told, by scene.
    pub scenes: BTreeMap<String, AlertState>,
    /// What must not be.
    pub findings: Vec<String>,
}

/// What was told in the cases of a scene.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlertState {
    /// How often it was done.
    pub done: u64,
    /// How often nothing happened.
    pub refused: u64,
    /// How often nobody knew.
    pub unknown: u64,
    /// How many threads panicked.
    pub panics: u64,
}

impl AlertState {
    /// Both.
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

/// Only where all manners are tried.
const THOROUGH: Fault = Fault { nth: 1, number: ENOSPC, lasting: false, manner: Manner::Nothing };

/// The ways in which calls fail: those that CI tries, or all.
#[must_use]
pub fn manners(all: bool) -> Vec<Fault> {
    let once = Fault { nth: 1, number: EIO, lasting: false, manner: Manner::Nothing };
    if !all {
        return vec![once, Fault { lasting: true, ..once }];
    }
    vec![
        once,
        THOROUGH,
        Fault { manner: Manner::Short, ..once },
        Fault { manner: Manner::Torn, ..once },
        Fault { number: ENOSPC, manner: Manner::Torn, ..once },
        Fault { lasting: true, ..once },
        Fault { number: ENOSPC, lasting: true, manner: Manner::Torn, ..once },
    ]
}

/// Plays every scene with each call failing in turn, in each of these manners; with a defect, until
/// it is found.
///
/// # Errors
/// Something else went wrong than what is looked for.
pub fn run(manners: &[Fault], planted: Option<Planted>) -> Result<Total, String> {
    let dir = TempDir::with_prefix("keyhasp-faults").map_err(|error| error.to_string())?;
    let base = dir.path().join("base");
    fs::create_dir(&base).map_err(|error| error.to_string())?;
    let made = faulted::make(&base)?;
    let lines = dir.path().join("lines");
    let file = fs::File::create(&lines).map_err(|error| error.to_string())?;
    let to = Lines::to(file);
    made.iter().try_for_each(|line| to.say(line)).map_err(|error| error.to_string())?;
    let mut total = Total::default();
    for scene in faulted::scenes(&made)? {
        for manner in manners {
            // Where the database comes and goes, what fails for good matters most.
            let is_change = matches!(scene, Scene::Mutation(_));
            if is_change && manner.lasting && !manners.contains(&THOROUGH) {
                continue;
            }
            for nth in 1..=MOST_CALLS {
                let fault = Fault { nth, ..*manner };
                let report = one(dir.path(), &scene, &fault, planted)?;
                if report.failed == 0 {
                    break;
                }
                total.cases += 1;
                let told = total.scenes.entry(scene.to_string()).or_default();
                told.panics += report.panics;
                *match report.outcome {
                    Outcome::Done => &mut told.done,
                    Outcome::Refused => &mut told.refused,
                    Outcome::Unknown => &mut told.unknown,
                } += 1;
                let words = report.findings.iter();
                total.findings.extend(words.map(|words| format!("{scene}, {fault:?}: {words}")));
                if planted.is_some() && !total.findings.is_empty() {
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
    scene: &Scene,
    fault: &Fault,
    planted: Option<Planted>,
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
        .args(["faulted", &scene.to_string(), &fault.nth.to_string(), &fault.number.to_string()])
        .args([if fault.lasting { "lasting" } else { "once" }, manner])
        .arg(planted.map_or_else(|| "-".to_owned(), |planted| planted.to_string()))
        .args([&place, &lines])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let disk = Disk { dir: place.clone(), control: Some(control), ..Disk::default() };
    disk.under(&mut command);
    let mut child = command.spawn().map_err(text)?;
    let (tell, told) = channel();
    let stdout = child.stdout.take();
    thread::spawn(move || {
        let mut said = String::new();
        let read = stdout.map(|mut stdout| stdout.read_to_string(&mut said));
        let _ = tell.send(read.map(|_| said));
    });
    let said = told.recv_timeout(PATIENCE);
    // Ended already, or never to end.
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

/// A report as the text of a process.
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

/// The lines in a file.
///
/// # Errors
/// It can't be read, or holds others.
pub fn read_lines(path: &Path) -> Result<Vec<Line>, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.lines().map(Line::parse).collect()
}

/// The manner of an argument.
///
/// # Errors
/// It is none.
pub fn manner(word: &str) -> Result<Manner, String> {
    match word {
        "nothing" => Ok(Manner::Nothing),
        "short" => Ok(Manner::Short),
        "torn" => Ok(Manner::Torn),
        _ => Err(format!("`{word}` is no manner of failing")),
    }
}
