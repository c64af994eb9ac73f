//! Several processes on one file that use one key with a quota, beside an administrator who changes
//! it: this test starts itself again as the others.

use keyhasp::RejectReason;
use std::io::{BufRead, BufReader, Write, stdin};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, UsageSubject};
use keyhasp::store::{Unavailable, UsageSettings};
use keyhasp::{
    Access, AdminKeys, Clock, CreateKey, CreateOwner, KeyStore, Quota, SetLimits, Store,
    SystemClock, UpdateKey, VerifyError, VerifyRequest,
};

use crate::common::{builder, clock, owner};

/// Within what the processes are to know of each other.
const BOUND: Duration = Duration::from_millis(50);
/// The number of processes beside this one, of threads that use the key in each, and how
/// often each tries.
const OTHERS: usize = 2;
const THREADS: usize = 2;
const TRIES: usize = 4_000;

/// What another process is told: the token, and where.
const OTHER: &str = "KEYHASP_TEST_RACES_TOGETHER";
const TEST: &str = "together::a_quota_of_processes";

fn sqlite(directory: &Path) -> Sqlite {
    let options = SqliteOptions::shared(BOUND).unwrap().sync_off_for_tests();
    // No process holds it for long, but a loaded machine may stop one that does.
    let options = options.busy_timeout(Duration::from_secs(300)).unwrap();
    Sqlite::open_or_create(directory.join("keys.db"), options).unwrap().0
}

fn open(directory: &Path, seed: u64) -> Arc<Store> {
    let usage = UsageSettings::new().counts().interval(Duration::from_secs(1));
    let builder = builder(&clock(), seed).clock(Arc::new(SystemClock::new())).usage(usage);
    Arc::new(builder.open(sqlite(directory)).unwrap())
}

/// Uses the key from several threads; how many uses were accepted.
fn use_key(store: &Store, token: &str) -> u64 {
    let accepted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let request = VerifyRequest::new(token.as_bytes());
                for _ in 0..TRIES {
                    match store.verify_request(&request) {
                        Ok(_) => _ = accepted.fetch_add(1, Ordering::Relaxed),
                        // Also where it changes all the time, or the machine stood still.
                        Err(
                            VerifyError::Rejected(RejectReason::QuotaExhausted { .. })
                            | VerifyError::Unavailable(
                                Unavailable::Quota { .. } | Unavailable::Stale,
                            ),
                        ) => std::thread::yield_now(),
                        Err(other) => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    accepted.into_inner()
}

/// What another process does, if this is one.
fn be_other() -> bool {
    let Ok(told) = std::env::var(OTHER) else { return false };
    let (token, directory) = told.split_once(' ').unwrap();
    let store = open(Path::new(directory), 1);
    println!("\nready");
    stdin().read_line(&mut String::new()).unwrap();
    let accepted = use_key(&store, token);
    store.close().unwrap();
    println!("\naccepted {accepted}");
    true
}

fn start(directory: &Path, token: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(OTHER, format!("{token} {}", directory.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until another process says a line that begins so; what follows.
fn hear(says: &mut impl Iterator<Item = std::io::Result<String>>, word: &str) -> String {
    let rest = |line: std::io::Result<String>| line.unwrap().strip_prefix(word).map(str::to_owned);
    says.find_map(rest).unwrap_or_else(|| panic!("another process isn't {word}"))
}

/// What came of it when all have closed.
#[derive(Debug)]
struct Answered {
    accepted: u64,
    counted: u64,
    /// Of the last quota.
    left: u64,
    quotas: Vec<u64>,
}

/// Everybody uses the key, and the quota is changed meanwhile or not.
fn play(first: u64, changes: bool) -> Answered {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let store = open(directory, 0);
    let admin = AdminKeys::new(Arc::<Store>::clone(&store), "root").unwrap();
    let once = |uses| SetLimits::new().quota(Quota::one_time(uses).unwrap());
    let request = CreateOwner::with_key(CreateKey::new(Access::Full).limits(once(first)));
    let created = admin.create_owner(&owner("org"), request).unwrap().first_key.unwrap();
    let (key, token) = (created.key.id, created.token.expose().to_owned());
    let mut others: Vec<_> = (0..OTHERS).map(|_| start(directory, &token)).collect();
    let mut says: Vec<_> = others
        .iter_mut()
        .map(|other| BufReader::new(other.stdout.take().unwrap()).lines())
        .collect();
    says.iter_mut().for_each(|says| drop(hear(says, "ready")));
    for other in &mut others {
        other.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
    let mut quotas = vec![first];
    let accepted: u64 = std::thread::scope(|scope| {
        let own = scope.spawn(|| use_key(&store, &token));
        let heard: Vec<_> = says
            .iter_mut()
            .map(|says| scope.spawn(|| hear(says, "accepted ").parse::<u64>().unwrap()))
            .collect();
        if changes {
            let is_at_work = || !own.is_finished() || heard.iter().any(|one| !one.is_finished());
            while is_at_work() {
                let uses = 1 + quotas.len() as u64 * 37 % 400;
                quotas.push(uses);
                drop(admin.update(key, UpdateKey::new().limits(once(uses))).unwrap());
                for _ in 0..200 {
                    std::thread::yield_now();
                }
            }
        }
        let others: u64 = heard.into_iter().map(|one| one.join().unwrap()).sum();
        own.join().unwrap() + others
    });
    for mut other in others {
        assert!(other.wait().unwrap().success());
    }
    store.close().unwrap();
    let backend = sqlite(directory);
    let usage = backend.usage(&[UsageSubject::Key(key)]).unwrap()[0];
    let quota = backend.key(key).unwrap().unwrap().limits.quota.unwrap().value;
    let left = quota.state_at(usage.quota, SystemClock::new().now()).left;
    Answered { accepted, counted: usage.used.accepted, left, quotas }
}

/// What doesn't go together.
fn check(told: &Answered) -> Result<(), String> {
    let Answered { accepted, counted, left, quotas } = told;
    let all: u64 = quotas.iter().sum();
    if accepted > &all || (quotas.len() == 1 && accepted + left != all) {
        return Err(format!("{accepted} uses of {all} in {} quotas, {left} left", quotas.len()));
    }
    if accepted != counted {
        return Err(format!("{counted} uses are counted of {accepted}"));
    }
    Ok(())
}

#[test]
fn a_quota_of_processes() {
    if be_other() {
        return;
    }
    for (first, changes) in [(3_000, false), (100_000, false), (500, true)] {
        let told = play(first, changes);
        let Answered { accepted, counted, left, quotas } = &told;
        println!(
            "{} processes: {accepted} uses accepted, {counted} counted, {left} left, {} quotas",
            OTHERS + 1,
            quotas.len()
        );
        check(&told).unwrap();
        for planted in [
            Answered { accepted: accepted + 1, quotas: quotas.clone(), ..told },
            Answered { counted: counted - 1, quotas: quotas.clone(), ..told },
        ] {
            check(&planted).unwrap_err();
        }
    }
}
