//! `.ci/crash` runs this.

use std::process::ExitCode;

use keyhasp_crash::disk::Fault;
use keyhasp_crash::engine::Engine;
use keyhasp_crash::faults::AlertState;
use keyhasp_crash::kills::{self, Plan, Total};
use keyhasp_crash::line::Line;
use keyhasp_crash::planted::Planted;
use keyhasp_crash::purses::Spent;
use keyhasp_crash::random::Random;
use keyhasp_crash::work::{self, Task};
use keyhasp_crash::{faulted, faults, power};

const HELP: &str = "\
Usage: keyhasp-crash kills N [sqlite|sled]   kills so many processes, on each backend or one
       keyhasp-crash planted N               the same with planted defects, which must be found
       keyhasp-crash sled-faults [all]       every call on a file of sled's fails once with EIO;
                                             `all`: also with others, in part, and from then on
       keyhasp-crash sled-power N            loses power so often under sled, and first looks that
                                             syncs that are forgotten are missed
KEYHASP_SEED=S makes the choices of an previous run again.";

/// How often power is lost until forgotten syncs must have been missed.
const MOST_PLANTED: u64 = 500;
/// How much of what was found is shown.
const SHOWN: usize = 20;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match *args {
        ["child", engine, name, seed, close_after, planted, threads, spends, is_faulty, place] => {
            child([engine, name, seed, close_after, planted, threads, spends, is_faulty, place])
        }
        ["kills", count] => kill(count, &Engine::ALL),
        ["kills", count, engine] => engine.parse().and_then(|engine| kill(count, &[engine])),
        ["planted", count] => planted(count),
        ["sled-faults"] => sled_faults(false),
        ["sled-faults", "all"] => sled_faults(true),
        ["sled-power", count] => number(count).and_then(sled_power),
        ["faulted", scene, nth, error, lasting, manner, planted, place, lines] => {
            faulted([scene, nth, error, lasting, manner, planted, place, lines])
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

/// A process to be killed.
fn child(args: [&str; 9]) -> Result<bool, String> {
    let [engine, name, seed, close_after, planted, threads, spends, is_faulty, place] = args;
    let task = Task {
        engine: engine.parse()?,
        name: name.to_owned(),
        seed: number(seed)?,
        close_after: (close_after != "-").then(|| number(close_after)).transpose()?,
        threads: number(threads)?,
        spends: spends == "true",
        is_faulty: is_faulty == "true",
        planted: (planted != "-").then(|| planted.parse()).transpose()?,
    };
    let lines = kills::stdout_lines().map_err(|error| error.to_string())?;
    let worked = work::run(&task, place.as_ref(), &lines);
    // To whoever reads the lines, and nobody else.
    let told = worked.or_else(|why| lines.say(&Line::Trouble(why)));
    told.map(|()| false).map_err(|error| error.to_string())
}

/// Whether nothing was lost.
fn kill(count: &str, engines: &[Engine]) -> Result<bool, String> {
    let (kills, seed) = (number(count)?, Random::seed()?);
    println!("seed {seed}");
    let mut lines = Vec::new();
    let mut is_well = true;
    for engine in engines.iter().copied() {
        let total = kills::run(&Plan { engine, kills, seed, planted: None })
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

/// Whether each planted defect was found on each backend.
fn planted(count: &str) -> Result<bool, String> {
    let (kills, seed) = (number(count)?, Random::seed()?);
    let mut is_well = true;
    for engine in Engine::ALL {
        for planted in Planted::OF_KILLS {
            let total = kills::run(&Plan { engine, kills, seed, planted: Some(planted) })
                .map_err(|why| format!("{engine}, {planted}, KEYHASP_SEED={seed}: {why}"))?;
            let (kind, found) = match planted {
                Planted::Early => ("lost: ", total.lost),
                Planted::Halves => ("half applied: ", total.halves),
                _ => ("misused: ", total.misused),
            };
            let is_found = found > 0;
            let what = if is_found { "caught" } else { "NOT CAUGHT" };
            println!("planted in {engine}: {planted}: {what} by kill {}", total.kills);
            let of_kind = |words: &&String| words.contains(kind);
            if let Some(words) = total.words.iter().find(of_kind) {
                println!("    {words}");
            }
            is_well &= is_found;
        }
    }
    if !is_well {
        eprintln!("a planted defect was not caught, KEYHASP_SEED={seed}");
    }
    Ok(is_well)
}

/// Whether a store on sled's files is right whatever call on them fails.
fn sled_faults(all: bool) -> Result<bool, String> {
    let planted = faults::run(&faults::manners(false), Some(Planted::Sure))?;
    let is_found = !planted.findings.is_empty();
    let what = if is_found { "caught" } else { "NOT CAUGHT" };
    println!("planted: an unknown outcome called none: {what} by case {}", planted.cases);
    let total = faults::run(&faults::manners(all), None)?;
    for (scene, AlertState { done, refused, unknown, panics }) in &total.scenes {
        println!("{scene}: {done} done, {refused} refused, {unknown} unknown, {panics} panics");
    }
    total.findings.iter().take(SHOWN).for_each(|words| eprintln!("{words}"));
    let AlertState { done, refused, unknown, panics } =
        total.scenes.values().fold(AlertState::default(), |sums, told| sums.and(*told));
    println!(
        "sled faults: {} cases: {done} done, {refused} refused, {unknown} unknown, \
         {panics} panics kept from the caller, {} wrong",
        total.cases,
        total.findings.len()
    );
    Ok(is_found && total.findings.is_empty())
}

/// One case of it.
fn faulted(args: [&str; 8]) -> Result<bool, String> {
    let [scene, nth, error, lasting, manner, planted, place, lines] = args;
    let fault = Fault {
        nth: number(nth)?,
        number: number(error)?,
        lasting: lasting == "lasting",
        manner: faults::manner(manner)?,
    };
    let before = faults::read_lines(lines.as_ref())?;
    let planted = (planted != "-").then(|| planted.parse()).transpose()?;
    match faulted::run(&scene.parse()?, &fault, planted, place.as_ref(), &before) {
        Ok(report) => print!("{}", faults::print(&report)),
        Err(why) => println!("{why}"),
    }
    Ok(true)
}

/// Whether what sled leaves when the power fails holds what was acknowledged.
fn sled_power(states: u64) -> Result<bool, String> {
    let seed = Random::seed()?;
    println!("seed {seed}");
    let of = |why| format!("KEYHASP_SEED={seed}: {why}");
    let forgotten =
        power::run(&power::Plan { states: MOST_PLANTED, seed, forget_syncs: true }).map_err(of)?;
    let is_found = forgotten.lost > 0 && forgotten.unsynced > 0;
    let what = if is_found { "caught" } else { "NOT CAUGHT" };
    println!("planted: syncs forgotten: {what} after {} losses of power", forgotten.states);
    let total = power::run(&power::Plan { states, seed, forget_syncs: false }).map_err(of)?;
    total.words.iter().take(SHOWN).for_each(|words| eprintln!("{words}"));
    println!(
        "{} syncs failed while recording; power was lost twice {} times; {} segments at most, {} begun \
         where another was before",
        total.recoveries, total.again, total.segments, total.reused
    );
    println!(
        "sled syncs: {} acknowledgements after a sync of the data file, {} without",
        total.synced, total.unsynced
    );
    println!(
        "sled power: {} losses of power, {} with something under way, {} acknowledged before, {} \
         acknowledged changes lost, {} half-applied, {} not opened",
        total.states, total.pending, total.acknowledged, total.lost, total.halves, total.unopened
    );
    let is_well = [total.lost, total.halves, total.unopened, total.unsynced] == [0; 4];
    if !is_well {
        eprintln!("KEYHASP_SEED={seed} makes the same choices again");
    }
    Ok(is_found && is_well)
}
