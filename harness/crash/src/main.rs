//! `.ci/crash` runs this.

use std::process::ExitCode;

use keyhasp_crash::engine::Engine;
use keyhasp_crash::kills::{self, Plan, Total};
use keyhasp_crash::planted::Planted;
use keyhasp_crash::random::Random;
use keyhasp_crash::work::{self, Task};

const HELP: &str = "\
Usage: keyhasp-crash kills N [sqlite|sled]   kills so many processes, on each backend or one
       keyhasp-crash planted N               the same with planted defects, which must be found
KEYHASP_SEED=S makes the choices of an earlier run again.";

/// How much of what was found is shown.
const SHOWN: usize = 20;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match *args {
        ["child", engine, name, seed, close_after, planted, place] => {
            child(engine, name, seed, close_after, planted, place)
        }
        ["kills", count] => kill(count, &Engine::ALL),
        ["kills", count, engine] => engine.parse().and_then(|engine| kill(count, &[engine])),
        ["planted", count] => planted(count),
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
fn child(
    engine: &str,
    name: &str,
    seed: &str,
    close_after: &str,
    planted: &str,
    place: &str,
) -> Result<bool, String> {
    let task = Task {
        engine: engine.parse()?,
        name: name.to_owned(),
        seed: number(seed)?,
        close_after: (close_after != "-").then(|| number(close_after)).transpose()?,
        planted: (planted != "-").then(|| planted.parse()).transpose()?,
    };
    let lines = kills::stdout_lines().map_err(|error| error.to_string())?;
    let worked = work::run(&task, place.as_ref(), &lines);
    if let Err(why) = &worked {
        let _ = lines.say(&keyhasp_crash::line::Line::Trouble(why.clone()));
    }
    worked.map(|()| true)
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
        is_well &= total.lost == 0 && total.halves == 0;
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
        for planted in Planted::ALL {
            let total = kills::run(&Plan { engine, kills, seed, planted: Some(planted) })
                .map_err(|why| format!("{engine}, {planted}, KEYHASP_SEED={seed}: {why}"))?;
            let is_found = match planted {
                Planted::Early => total.lost > 0,
                Planted::Halves => total.halves > 0,
            };
            let what = if is_found { "caught" } else { "NOT CAUGHT" };
            println!("planted in {engine}: {planted}: {what} by kill {}", total.kills);
            let of_kind = |words: &&String| match planted {
                Planted::Early => words.contains("lost: "),
                Planted::Halves => words.contains("half applied: "),
            };
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
