//! The law: a file and a log from any two moments are refused, or show exactly the contents of one
//! moment, no earlier than those of both. `KEYHASP_HISTORIES` tries more; `KEYHASP_SEED` makes the
//! choices of one again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind as Kind};
use rusqlite::Connection;

use super::history::{Copy, History, contents_of, lay, place};
use crate::sqlite::support::{contents, quick, shared};

const HISTORIES: u64 = 5;
const STEPS: usize = 40;

/// The numbers of mixes that were refused and opened.
#[derive(Debug, Default)]
struct Counts {
    refused: usize,
    opened: usize,
    halves: usize,
}

#[test]
fn every_mix_is_refused_or_one_moment() {
    let mut counts = Counts::default();
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let (seed, histories) = (number("KEYHASP_SEED"), number("KEYHASP_HISTORIES"));
    for seed in seed.map_or(0..histories.unwrap_or(HISTORIES), |seed| seed..seed + 1) {
        let run = catch_unwind(AssertUnwindSafe(|| try_history(seed, &mut counts)));
        run.unwrap_or_else(|panic| {
            eprintln!("make it again with KEYHASP_SEED={seed}");
            resume_unwind(panic)
        });
    }
    // Shown with `--nocapture`.
    eprintln!("{counts:?}");
    if seed.is_none() {
        assert!(counts.refused > 300 && counts.opened > 100 && counts.halves > 20, "{counts:?}");
    }
}

fn try_history(seed: u64, counts: &mut Counts) {
    let mut history = History::run(seed, STEPS);
    let (files, logs) = (history.files.clone(), history.logs.clone());
    for file in &files {
        for log in &logs {
            let options = if history.percent(50) { quick() } else { shared() };
            let is_looked_at = history.percent(30);
            try_mix(&history, (file, log), is_looked_at.then_some(()).ok_or(options), counts);
        }
    }
    for log in &logs {
        let Some(file) = files.iter().find(|file| file.step == log.step) else { continue };
        let half = half_copied(&mut history, file, log);
        let before = contents_of(&place(&lay(&file.bytes, &log.bytes)));
        let directory = lay(&half, &log.bytes);
        Sqlite::open(place(&directory), quick()).unwrap().close().unwrap();
        assert_eq!(contents_of(&place(&directory)), before, "half copied, step {}", log.step);
        assert_whole(&directory);
        counts.halves += 1;
    }
}

/// Opens a mix for good, or only to look.
fn try_mix(
    history: &History,
    (file, log): (&Copy, &Copy),
    how: Result<(), SqliteOptions>,
    counts: &mut Counts,
) {
    let what = format!("file of step {}, log of step {}", file.step, log.step);
    let directory = lay(&file.bytes, &log.bytes);
    let before = contents(directory.path());
    let opened = match how {
        Ok(()) => Sqlite::open_read_only(place(&directory), SqliteOptions::MIN_STALENESS),
        Err(options) => Sqlite::open(place(&directory), options),
    };
    match opened {
        Ok(sqlite) => {
            sqlite.close().unwrap();
            assert_whole(&directory);
            let shown = contents_of(&place(&directory));
            let moment = history.moments.iter().rposition(|moment| *moment == shown);
            let Some(moment) = moment else { panic!("{what}: a mixture") };
            assert!(moment >= file.proves.max(log.proves), "{what}: something is gone");
            counts.opened += 1;
        }
        // A file in which there is nothing yet.
        Err(error) if error.kind() == Kind::Missing && file.proves == 0 => {}
        Err(error) => {
            assert_eq!(error.kind(), Kind::ForeignLog, "{what}: {error}");
            assert_ne!(file.step, log.step, "{what}: they belong together");
            let mut after = contents(directory.path());
            after.remove("keys.db.lock");
            assert_eq!(after, before, "{what}");
            counts.refused += 1;
        }
    }
}

fn assert_whole(directory: &tempfile::TempDir) {
    let connection = Connection::open(place(directory)).unwrap();
    let check: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

/// The file as a loss of power leaves it while the log is copied: some pages are there.
fn half_copied(history: &mut History, file: &Copy, log: &Copy) -> Vec<u8> {
    const HEADER: usize = 32;
    const FRAME: usize = 24 + 4096;
    let mut pages = BTreeMap::new();
    let mut under_way = BTreeMap::new();
    for frame in log.bytes.get(HEADER..).unwrap_or_default().chunks_exact(FRAME) {
        if frame[8..16] != log.bytes[16..24] {
            break;
        }
        let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        under_way.insert(number(0) as usize, &frame[24..]);
        if number(4) != 0 {
            pages.append(&mut under_way);
        }
    }
    let mut half = file.bytes.clone();
    for (page, content) in pages {
        if history.percent(50) {
            let start = (page - 1) * 4096;
            half.resize(half.len().max(start + 4096), 0);
            half[start..start + 4096].copy_from_slice(content);
        }
    }
    half
}
