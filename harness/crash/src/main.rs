//! Runs the checks of crashes, failing files and losses of power: see `.ci/crash` and `.ci/files`.

use std::process::ExitCode;

use keyhasp_crash::disk::Fault;
use keyhasp_crash::engine::Engine;
use keyhasp_crash::faults::Outcomes;
use keyhasp_crash::injected::{self, Caught, Injected};
use keyhasp_crash::kills::{self, Plan, Total};
use keyhasp_crash::line::Line;
use keyhasp_crash::purses::Spent;
use keyhasp_crash::random::Random;
use keyhasp_crash::work::{self, Task};
use keyhasp_crash::{faulted, faults, power};

const HELP: &str = "\
Usage: keyhasp-crash kills N [ENGINE]     kills N processes on each backend, or on one
       keyhasp-crash injected N           does so with injected bugs, each of which must be caught
       keyhasp-crash faults ENGINE [all]  lets every call on a file fail once with EIO;
                                          `all`: also with others, in part, and from then on
       keyhasp-crash power N ENGINE       loses power N times, and checks first that syncs that are
                                          left out of the record are missed
ENGINE is sqlite or sled. KEYHASP_SEED=S makes the choices of an earlier run again. KEYHASP_KEEP=DIR
keeps states in which power was lost and something is wrong.";

/// The losses of power within which a missing sync must be noticed.
const MOST_INJECTED: u64 = 500;
/// The number of findings that are printed.
const SHOWN: usize = 20;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match *args {
        ["child", engine, name, seed, close_after, bug, threads, spends, is_faulty, place] => {
            child([engine, name, seed, close_after, bug, threads, spends, is_faulty, place])
        }
        ["kills", count] => kill(count, &Engine::ALL),
        ["kills", count, engine] => engine.parse().and_then(|engine| kill(count, &[engine])),
        ["injected", count] => kill_with_bugs(count),
        ["faults", engine] => engine.parse().and_then(|engine| file_faults(engine, false)),
        ["faults", engine, "all"] => engine.parse().and_then(|engine| file_faults(engine, true)),
        ["power", count, engine] => {
            number(count).and_then(|count| lose_power(engine.parse()?, count))
        }
        ["faulted", engine, scene, nth, error, lasting, manner, of, bug, place, lines] => {
            faulted([engine, scene, nth, error, lasting, manner, of, bug, place, lines])
        }
        _ => Err(HELP.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn unless_dash<T>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    (text != "-").then(|| parse(text)).transpose()
}

fn verdict(is_caught: bool) -> &'static str {
    if is_caught { "caught" } else { "NOT CAUGHT" }
}

/// Works as a process that the parent kills.
fn child(args: [&str; 9]) -> Result<bool, String> {
    let [engine, name, seed, close_after, bug, threads, spends, is_faulty, place] = args;
    let task = Task {
        engine: engine.parse()?,
        name: name.to_owned(),
        seed: number(seed)?,
        close_after: unless_dash(close_after, number)?,
        threads: number(threads)?,
        spends: spends == "true",
        is_faulty: is_faulty == "true",
        injected: unless_dash(bug, str::parse)?,
    };
    let lines = kills::stdout_lines().map_err(|error| error.to_string())?;
    let worked = work::run(&task, place.as_ref(), &lines);
    // The parent reads the lines, and decides whether this is a failure.
    let reported = worked.or_else(|why| lines.say(&Line::Trouble(why)));
    reported.map(|()| false).map_err(|error| error.to_string())
}

/// Kills processes; returns whether nothing was lost.
fn kill(count: &str, engines: &[Engine]) -> Result<bool, String> {
    let (kills, seed) = (number(count)?, Random::seed()?);
    println!("seed {seed}");
    let mut lines = Vec::new();
    let mut is_well = true;
    for engine in engines.iter().copied() {
        let total = kills::run(&Plan { engine, kills, seed, injected: None })
            .map_err(|why| format!("{engine}, KEYHASP_SEED={seed}: {why}"))?;
        println!(
            "{engine}: {} of {} kills while opening, {} while or after closing; {} changes under way",
            total.while_opening, total.kills, total.while_closing, total.under_way
        );
        total.words.iter().take(SHOWN).for_each(|words| eprintln!("{engine}: {words}"));
        let Spent { uses, forfeited, flushes, closed } = total.spent;
        println!(
            "{engine}: {uses} uses accepted, {forfeited} of quotas forfeited; {flushes} flushes of \
             counts, {closed} closings that returned; {} overspent or miscounted",
            total.misused
        );
        is_well &= [total.lost, total.halves, total.misused] == [0; 3];
        lines.push(summary(engine, &total));
    }
    lines.iter().for_each(|line| println!("{line}"));
    if !is_well {
        eprintln!("KEYHASP_SEED={seed} makes the same choices again");
    }
    Ok(is_well)
}

fn summary(engine: Engine, total: &Total) -> String {
    format!(
        "crash {engine}: {} kills, {} acknowledged, {} acknowledged changes lost, {} half-applied",
        total.kills, total.acknowledged, total.lost, total.halves
    )
}

/// Kills processes with bugs; returns whether each bug was caught on each backend.
fn kill_with_bugs(count: &str) -> Result<bool, String> {
    let (kills, seed) = (number(count)?, Random::seed()?);
    let mut is_well = true;
    for engine in Engine::ALL {
        for (bug, name, caught) in injected::ALL {
            let total = match caught {
                Caught::Failing => continue,
                _ => kills::run(&Plan { engine, kills, seed, injected: Some(bug) })
                    .map_err(|why| format!("{engine}, {name}, KEYHASP_SEED={seed}: {why}"))?,
            };
            let (kind, found) = match caught {
                Caught::Lost => ("lost: ", total.lost),
                Caught::Half => ("half applied: ", total.halves),
                Caught::Misused | Caught::Failing => ("misused: ", total.misused),
            };
            let is_caught = found > 0;
            let what = verdict(is_caught);
            println!("injected in {engine}: {name}: {what} by kill {}", total.kills);
            let of_kind = total.words.iter().find(|words| words.contains(kind));
            // A bug that shows itself otherwise first.
            if let Some(words) = of_kind.or(total.words.first()) {
                println!("    {words}");
            }
            is_well &= is_caught;
        }
    }
    if !is_well {
        eprintln!("an injected bug was not caught, KEYHASP_SEED={seed}");
    }
    Ok(is_well)
}

/// Lets each call on files fail; returns whether the store's answers and records were right.
fn file_faults(engine: Engine, all: bool) -> Result<bool, String> {
    let injected = faults::run(engine, &faults::SYNCS, Some(Injected::Sure))?;
    let is_caught = !injected.findings.is_empty();
    let what = verdict(is_caught);
    println!("injected in {engine}: sure: {what} by case {}", injected.cases);
    let total = faults::run(engine, &faults::manners(all), None)?;
    for (scene, Outcomes { done, refused, unknown, panics }) in &total.scenes {
        println!("{scene}: {done} done, {refused} refused, {unknown} unknown, {panics} panics");
    }
    total.findings.iter().take(SHOWN).for_each(|words| eprintln!("{words}"));
    let Outcomes { done, refused, unknown, panics } =
        total.scenes.values().fold(Outcomes::default(), |sums, outcomes| sums.and(*outcomes));
    println!(
        "{engine} faults: {} cases: {done} done, {refused} refused, {unknown} unknown, \
         {panics} panics kept from the caller, {} wrong",
        total.cases,
        total.findings.len()
    );
    Ok(is_caught && total.findings.is_empty())
}

/// Plays one case of failing files.
fn faulted(args: [&str; 10]) -> Result<bool, String> {
    let [engine, scene, nth, error, lasting, manner, of, bug, place, lines] = args;
    let fault = Fault {
        nth: number(nth)?,
        number: number(error)?,
        lasting: lasting == "lasting",
        syncs: of == "syncs",
        manner: faults::manner(manner)?,
    };
    let before = faults::read_lines(lines.as_ref())?;
    let (engine, scene) = (engine.parse()?, scene.parse()?);
    let bug = unless_dash(bug, str::parse)?;
    match faulted::run(engine, &scene, &fault, bug, place.as_ref(), &before) {
        Ok(report) => print!("{}", faults::print(&report)),
        Err(why) => println!("{why}"),
    }
    Ok(true)
}

/// The files whose syncs are left out of the record to test the checks, by the ends of their paths.
fn forgettable(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Sqlite | Engine::SharedSqlite => &["", "keys.db", "keys.db-wal"],
        Engine::Sled => &[""],
    }
}

/// Loses power; returns whether what was left holds all that was acknowledged.
fn lose_power(engine: Engine, states: u64) -> Result<bool, String> {
    let seed = Random::seed()?;
    println!("seed {seed}");
    let of = |why| format!("{engine}, KEYHASP_SEED={seed}: {why}");
    let mut is_well = true;
    for end in forgettable(engine) {
        let plan = power::Plan { engine, states: MOST_INJECTED, seed, forget: Some(end) };
        let forgotten = power::run(&plan).map_err(of)?;
        let is_caught = forgotten.noticed(end);
        let (what, of) = (verdict(is_caught), if end.is_empty() { "all files" } else { end });
        let states = forgotten.states;
        println!(
            "injected in {engine}: syncs of {of} forgotten: {what} after {states} losses of power"
        );
        is_well &= is_caught;
    }
    let total = power::run(&power::Plan { engine, states, seed, forget: None }).map_err(of)?;
    total.words.iter().take(SHOWN).for_each(|words| eprintln!("{words}"));
    println!(
        "{} syncs failed while recording; power was lost {} times while opening, twice {} times",
        total.recoveries, total.opening, total.again
    );
    if engine == Engine::Sled {
        let (most, reused) = (total.segments, total.reused);
        println!("{most} segments at most, {reused} begun where another was before");
    }
    println!(
        "{engine} syncs: {} acknowledgements after a sync of the commit's file, {} without",
        total.synced, total.unsynced
    );
    println!(
        "{engine} power: {} losses of power, {} with something under way, {} acknowledged before, {} \
         acknowledged changes lost, {} half-applied, {} not opened",
        total.states, total.pending, total.acknowledged, total.lost, total.halves, total.unopened
    );
    is_well &= [total.lost, total.halves, total.unopened, total.unsynced] == [0; 4];
    if !is_well {
        eprintln!("KEYHASP_SEED={seed} makes the same choices again");
    }
    Ok(is_well)
}
