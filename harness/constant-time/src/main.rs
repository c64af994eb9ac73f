//! Runs verifications under valgrind's memcheck, to which the secret part of the presented token
//! and the stored digests are unknown: a branch that depends on them, or an address, is an error.
//! `docs/constant-time.md` says what that proves, and `.ci/constant-time` runs all of it.

mod cases;
mod leaks;
mod memcheck;
mod world;

use std::process::ExitCode;

use blake3::platform::Platform;
use cases::{Case, Secret};
use world::World;

const USAGE: &str = "\
routine  names the BLAKE3 routine that runs here
cases    wants no error in any case; the library must be built with keyhasp_constant_time
shipped  wants no error but one for each comparison's answer; the library must be as it is shipped
injected wants errors in each case that compares; the library must have a leak";

fn main() -> ExitCode {
    let asked = std::env::args().nth(1).unwrap_or_default();
    if asked == "routine" {
        println!("{:?}", Platform::detect());
        return ExitCode::SUCCESS;
    }
    if !memcheck::is_there() {
        eprintln!("this proves nothing outside of memcheck: run .ci/constant-time");
        return ExitCode::FAILURE;
    }
    let is_good = match (asked.as_str(), gives_free()) {
        ("cases", true) => clean(),
        ("injected", true) => injected(),
        ("shipped", false) => shipped(),
        _ => {
            eprintln!("{USAGE}");
            false
        }
    };
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Installs the function that declassifies the answers of comparisons, if the library was built for
/// it.
fn gives_free() -> bool {
    #[cfg(keyhasp_constant_time)]
    keyhasp::store::set_declassifier(cases::declassify);
    cfg!(keyhasp_constant_time)
}

/// Tells whether every case is clean, and loading too.
fn clean() -> bool {
    let world = World::new();
    let ((verifier, digests), errors) = memcheck::errors_of(|| world.secretive());
    println!("loading {digests} digests: {errors} errors");
    let mut is_clean = errors == 0;
    let cases = cases::cases(&world);
    for case in &cases {
        let outcome = case.present(&verifier, Secret::Token);
        let (errors, given_free) = (outcome.errors, outcome.given_free);
        println!("{}: {errors} errors, {given_free} answers given free", case.name);
        is_clean &= errors == 0 && is_right(case, outcome.fault);
    }
    if is_clean {
        println!("{} cases clean", cases.len() + 1);
    }
    is_clean
}

/// Tells whether the shipped library acts on each comparison's answer once, and on nothing else
/// that is secret. The answer depends on the token and on the stored digest. It is an error too
/// with only one of them secret, so the marks of both reach the comparison.
fn shipped() -> bool {
    let world = World::new();
    let (secretive, _) = world.secretive();
    let mut is_good = true;
    for case in &cases::cases(&world) {
        let decisions = case.decisions();
        let expected = decisions.min(1)..=decisions;
        let ways = [
            ("both", &secretive, Secret::Token),
            ("token", &world.plain, Secret::Token),
            ("digests", &secretive, Secret::Nothing),
        ];
        let mut shown = Vec::new();
        for (name, verifier, secret) in ways {
            let outcome = case.present(verifier, secret);
            shown.push(format!("{} with {name} secret", outcome.errors));
            is_good &= expected.contains(&outcome.errors) && is_right(case, outcome.fault);
        }
        println!("{}: {} (at most {decisions})", case.name, shown.join(", "));
    }
    for (name, errors) in leaks::leaks() {
        println!("{name}: {errors} errors");
        is_good &= errors > 0;
    }
    if is_good {
        println!("nothing but comparisons' answers acted upon");
    }
    is_good
}

/// Tells whether each case that compares shows the injected leak.
fn injected() -> bool {
    let world = World::new();
    let (verifier, _) = world.secretive();
    let (mut is_seen, mut count) = (true, 0);
    for case in cases::cases(&world).iter().filter(|case| case.decisions() > 0) {
        count += 1;
        let outcome = case.present(&verifier, Secret::Token);
        println!("{}: {} errors", case.name, outcome.errors);
        is_seen &= outcome.errors > 0 && is_right(case, outcome.fault);
    }
    if is_seen {
        println!("injected leak seen in all {count} cases that compare");
    }
    is_seen
}

/// Tells whether a case has no other fault.
fn is_right(case: &Case, fault: Option<String>) -> bool {
    if let Some(fault) = &fault {
        println!("{}: {fault}", case.name);
    }
    fault.is_none()
}
