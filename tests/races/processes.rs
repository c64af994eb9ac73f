//! Several processes on one file: this test starts itself again as the others.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write, stdin};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::{KeyStore, Store, SystemClock};
use rustix::time::{ClockId, clock_gettime};

use crate::book::Book;
use crate::check::{Found, check};
use crate::common::{builder, clock};
use crate::history::{Ask, Entry, History};
use crate::play::{Desk, OWNERS, Plan};
use crate::{HISTORIES, number, rules};

/// Within what the processes are to know of each other: much less than a history takes.
const BOUND: Duration = Duration::from_millis(50);

/// The plan of a history of processes.
#[derive(Clone, Copy)]
struct Several {
    plan: Plan,
    /// How many there are beside this one.
    others: usize,
    /// The bound with which they open the database: the one above, unless a defect is planted.
    bound: Duration,
    /// The test that does this.
    test: &'static str,
}

/// What the other processes are told: where, which they are, and the plan.
const OTHER: &str = "KEYHASP_TEST_RACES_OTHER";

/// A moment that means the same in all processes.
fn moment() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap()
}

fn open(directory: &Path, bound: Duration, seed: u64) -> Arc<Store> {
    let options = SqliteOptions::shared(bound).unwrap().sync_off_for_tests();
    // No process holds it for long, but a loaded machine may stop one that does.
    let options = options.busy_timeout(Duration::from_secs(300)).unwrap();
    let backend = Sqlite::open_or_create(directory.join("keys.db"), options).unwrap().0;
    let builder = builder(&clock(), seed).rules(rules()).clock(Arc::new(SystemClock::new()));
    Arc::new(builder.open(backend).unwrap())
}

fn desk<'a>(process: usize, store: &Arc<Store>, book: &'a Book) -> Desk<'a> {
    let store = Arc::clone(store) as Arc<dyn KeyStore>;
    let lag = Some(u64::try_from(BOUND.as_nanos()).unwrap());
    Desk { process, store, book, moment: &moment, lag }
}

fn entries_of(directory: &Path, process: usize) -> std::path::PathBuf {
    directory.join(format!("entries.{process}"))
}

/// What another process does, if this is one.
fn be_other() -> bool {
    let Ok(told) = std::env::var(OTHER) else { return false };
    let (numbers, directory) = told.split_once(' ').unwrap();
    let numbers: Vec<u64> = numbers.split(',').map(|number| number.parse().unwrap()).collect();
    let [process, bound, seed, threads, calls] = numbers.try_into().unwrap();
    let (directory, process) = (Path::new(directory), usize::try_from(process).unwrap());
    let store = open(directory, Duration::from_millis(bound), seed * 100 + process as u64);
    let book = Book::shared(&directory.join("tokens"));
    let wait = || stdin().read_line(&mut String::new()).unwrap();
    let desk = desk(process, &store, &book);
    println!("\nready");
    wait();
    let (threads, calls) = (threads as usize, calls as usize);
    let mut entries = desk.play(Plan { seed, threads, calls });
    println!("\nplayed");
    wait();
    entries.extend(desk.look());
    fs::write(entries_of(directory, process), serde_json::to_vec(&entries).unwrap()).unwrap();
    true
}

fn start_other(directory: &Path, process: usize, several: Several) -> Child {
    let Several { plan: Plan { seed, threads, calls }, bound, test, .. } = several;
    let (bound, directory) = (bound.as_millis(), directory.display());
    let told = format!("{process},{bound},{seed},{threads},{calls} {directory}");
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(OTHER, told)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Another process, as seen from this one.
struct Other {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(directory: &Path, process: usize, several: Several) -> Other {
        let mut child = start_other(directory, process, several);
        let says = BufReader::new(child.stdout.take().unwrap()).lines();
        Other { child, says }
    }

    fn hear(&mut self, word: &str) {
        assert!(self.says.any(|line| line.unwrap() == word), "another process isn't {word}");
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    fn end(mut self) {
        let said: Vec<String> = self.says.map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success(), "another process: {said:#?}");
    }
}

/// Changes all there is, and comes back when every process has to know: those that write nothing
/// themselves learn it from their polls alone.
fn change_all(desk: &Desk<'_>) -> Vec<Entry> {
    let ask = |owner: &&str| Ask::RevokeAll { owner: (*owner).to_owned() };
    let asks = OWNERS.iter().map(ask).enumerate();
    let entries = asks.map(|(nth, ask)| desk.perform(format!("0.last.{nth}"), ask)).collect();
    let changed = moment();
    while moment() - changed < 2 * u64::try_from(BOUND.as_nanos()).unwrap() {
        desk.look();
    }
    entries
}

/// A history of this process and others.
fn history(several: Several) -> History {
    let Several { plan, others, bound, .. } = several;
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let store = open(directory, bound, plan.seed * 100);
    let book = Book::shared(&directory.join("tokens"));
    let desk = desk(0, &store, &book);
    desk.set_up(3);
    let start = |process| Other::start(directory, process, several);
    let mut others: Vec<Other> = (1..=others).map(start).collect();
    others.iter_mut().for_each(|other| other.hear("ready"));
    others.iter_mut().for_each(Other::go_on);
    let mut entries = desk.play(plan);
    others.iter_mut().for_each(|other| other.hear("played"));
    entries.extend(change_all(&desk));
    others.iter_mut().for_each(Other::go_on);
    for (other, process) in others.into_iter().zip(1..) {
        other.end();
        let written = fs::read(entries_of(directory, process)).unwrap();
        entries.extend(serde_json::from_slice::<Vec<Entry>>(&written).unwrap());
    }
    // From here on nothing is too new to be known.
    store.refresh().unwrap();
    entries.extend(Desk { lag: Some(0), ..desk }.look());
    let store = Arc::clone(&store) as Arc<dyn KeyStore>;
    let log = Desk { process: 0, store, book: &book, moment: &moment, lag: None }.log();
    History { entries, log }
}

fn hold(seed: u64, history: &History, found: &mut Found) {
    if let Err(what) = check(history, found) {
        panic!("{what}\nmake it again with KEYHASP_SEED={seed}");
    }
}

#[test]
fn histories_of_processes() {
    if be_other() {
        return;
    }
    let seeds = match number("KEYHASP_SEED") {
        Some(seed) => vec![seed; 10],
        None => (0..(number("KEYHASP_HISTORIES").unwrap_or(HISTORIES) / 2_000).max(1)).collect(),
    };
    let mut found = Found::default();
    for seed in &seeds {
        let plan = Plan { seed: *seed, threads: 3, calls: 1_000 };
        let test = "processes::histories_of_processes";
        let several = Several { plan, others: 2, bound: BOUND, test };
        hold(*seed, &history(several), &mut found);
    }
    let longest = Duration::from_nanos(found.longest_delay);
    println!("{} histories of 3 processes: {:#?}", seeds.len(), found.tally);
    println!("within {BOUND:?}; the longest that another process didn't know: {longest:?}");
}

/// Processes that poll more seldom than they say are found out.
#[test]
fn planted_staleness_is_found() {
    if be_other() {
        return;
    }
    let test = "processes::planted_staleness_is_found";
    let bound = 1_000 * BOUND;
    let find = |seed| {
        let plan = Plan { seed, threads: 3, calls: 1_000 };
        check(&history(Several { plan, others: 2, bound, test }), &mut Found::default()).err()
    };
    let what = (0..3).find_map(find).expect("it was not found");
    println!("polls seldom: {}", what.split(':').next().unwrap_or_default());
}

/// No caller gets an error for a busy database, however many call from however many processes.
#[test]
fn sixty_four_callers_in_four_processes() {
    if be_other() {
        return;
    }
    let plan = Plan { seed: 64, threads: 16, calls: 8 };
    let mut found = Found::default();
    let test = "processes::sixty_four_callers_in_four_processes";
    hold(64, &history(Several { plan, others: 3, bound: BOUND, test }), &mut found);
    println!("64 callers in 4 processes: {:#?}", found.tally);
}
