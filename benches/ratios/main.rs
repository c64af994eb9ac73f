//! Every figure that the project promises, as ratios measured in turns within one run.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout
)]

#[cfg(any(feature = "sqlite", feature = "sled"))]
mod engine;
#[cfg(any(feature = "sqlite", feature = "sled"))]
mod filled;
mod growth;
#[cfg(feature = "axum")]
mod layer;
mod measure;
#[cfg(feature = "sled")]
mod on_sled;
#[cfg(feature = "sqlite")]
mod on_sqlite;
#[cfg(feature = "sqlite")]
mod owners;
#[cfg(feature = "sqlite")]
mod quotas;
mod synthetic;
mod usage;
mod verification;

fn main() {
    // `cargo bench` passes `--bench`; anything else narrows the run.
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part));
    println!("processor {}", processor());
    growth::run(&wanted);
    verification::run(&wanted);
    usage::run(&wanted);
    #[cfg(feature = "sqlite")]
    on_sqlite::run(&wanted);
    #[cfg(feature = "sqlite")]
    owners::run(&wanted);
    #[cfg(feature = "sqlite")]
    quotas::run(&wanted);
    #[cfg(feature = "sled")]
    on_sled::run(&wanted);
    #[cfg(feature = "axum")]
    layer::run(&wanted);
}

/// The processor's own name, if the kernel tells it.
fn processor() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name| {
        let line = told.lines().find_map(|line: &str| line.strip_prefix(name));
        line.map(|line| line.trim_start_matches([' ', '\t', ':']).to_owned()).unwrap_or_default()
    };
    format!("{}, family {}, model {}", field("model name"), field("cpu family"), field("model\t"))
}
