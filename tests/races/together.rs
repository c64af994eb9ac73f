//! Several processes on one file that use one key with a quota, and change the quota meanwhile: this
//! test starts itself again as the others.

use keyhasp::RejectReason;
use std::collections::BTreeMap;
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
    Access, AdminKeys, Clock, CreateKey, CreateOwner, KeyId, KeyStore, Quota, SetLimits, Store,
    SystemClock, UpdateKey, VerifyError, VerifyRequest,
};
use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::common::{builder, clock, owner};

/// Within what the processes are to know of each other.
const BOUND: Duration = Duration::from_millis(50);
/// The number of processes beside this one, of threads that use the key in each, and how
/// often each tries.
const OTHERS: usize = 2;
const THREADS: usize = 2;
const TRIES: usize = 4_000;

/// The variable that tells another process its part, and where.
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

/// The changes of the quota that every process makes while the key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Mix {
    None,
    /// Other quotas and additions, which keep the count.
    Kept,
    /// Refills too, which begin another count.
    Refilled,
}

/// A change of the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Action {
    Set(u64),
    Add(u64),
    Refill,
}

/// The part of one process: what it is told, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    seed: u64,
    mix: Mix,
    key: String,
    token: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Done {
    accepted: u64,
    /// Each change, with the version of the key that it made.
    changes: Vec<(u64, Action)>,
}

/// Uses the key, and changes its quota as long as it is used here.
fn take_part(store: &Arc<Store>, part: &Part) -> Done {
    let admin = AdminKeys::new(Arc::<Store>::clone(store), "root").unwrap();
    let (mut chance, key) = (Chance::new(part.seed), part.key.parse::<KeyId>().unwrap());
    let mut changes = Vec::new();
    let accepted = std::thread::scope(|scope| {
        let uses = scope.spawn(|| use_key(store, &part.token));
        while part.mix != Mix::None && !uses.is_finished() {
            let action = match chance.below(if part.mix == Mix::Refilled { 4 } else { 3 }) {
                0 => Action::Set(1 + chance.below(600) as u64),
                3 => Action::Refill,
                _ => Action::Add(1 + chance.below(40) as u64),
            };
            let changed = match action {
                Action::Set(uses) => admin.update(key, UpdateKey::new().limits(once(uses))),
                Action::Add(uses) => admin.add_to_quota(key, uses),
                Action::Refill => admin.refill_quota(key),
            };
            changes.push((changed.unwrap().version.get(), action));
            for _ in 0..chance.below(200) {
                std::thread::yield_now();
            }
        }
        uses.join().unwrap()
    });
    Done { accepted, changes }
}

/// What another process does, if this is one.
fn be_other() -> bool {
    let Ok(told) = std::env::var(OTHER) else { return false };
    let (part, directory) = told.split_once('\n').unwrap();
    let part = serde_json::from_str(part).unwrap();
    let store = open(Path::new(directory), 1);
    println!("\nready");
    stdin().read_line(&mut String::new()).unwrap();
    let done = take_part(&store, &part);
    store.close().unwrap();
    println!("\ndone {}", serde_json::to_string(&done).unwrap());
    true
}

fn start(directory: &Path, part: &Part) -> Child {
    let part = serde_json::to_string(part).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(OTHER, format!("{part}\n{}", directory.display()))
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

fn once(uses: u64) -> SetLimits {
    SetLimits::new().quota(Quota::one_time(uses).unwrap())
}

/// What came of it when all have closed.
#[derive(Clone, Debug)]
struct Answered {
    /// The uses of the first quota.
    first: u64,
    accepted: u64,
    counted: u64,
    /// The rest, less the uses beyond it.
    balance: i64,
    /// The changes of all, in the order of the versions of the key that they made.
    changes: Vec<Action>,
}

/// Everybody uses the key, and changes its quota or not.
fn play(first: u64, mix: Mix, seed: u64) -> Answered {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let store = open(directory, 0);
    let admin = AdminKeys::new(Arc::<Store>::clone(&store), "root").unwrap();
    let request = CreateOwner::with_key(CreateKey::new(Access::Full).limits(once(first)));
    let created = admin.create_owner(&owner("org"), request).unwrap().first_key.unwrap();
    let (key, token) = (created.key.id, created.token.expose().to_owned());
    let part =
        |nth| Part { seed: seed * 100 + nth, mix, key: key.to_string(), token: token.clone() };
    let mut others: Vec<_> = (1..=OTHERS as u64).map(|nth| start(directory, &part(nth))).collect();
    let mut says: Vec<_> = others
        .iter_mut()
        .map(|other| BufReader::new(other.stdout.take().unwrap()).lines())
        .collect();
    says.iter_mut().for_each(|says| drop(hear(says, "ready")));
    for other in &mut others {
        other.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
    let mut done = vec![take_part(&store, &part(0))];
    done.extend(
        says.iter_mut().map(|says| serde_json::from_str::<Done>(&hear(says, "done ")).unwrap()),
    );
    for mut other in others {
        assert!(other.wait().unwrap().success());
    }
    store.close().unwrap();
    let backend = sqlite(directory);
    let usage = backend.usage(&[UsageSubject::Key(key)]).unwrap()[0];
    let record = backend.key(key).unwrap().unwrap();
    let quota = record.limits.quota.unwrap().value;
    let state = quota.state_at(usage.quota, SystemClock::new().now());
    let changes = in_order(done.iter().flat_map(|done| done.changes.iter().copied()));
    assert_eq!(changes.len() as u64 + 1, record.version.get(), "a change is lost");
    Answered {
        first,
        accepted: done.iter().map(|done| done.accepted).sum(),
        counted: usage.used.accepted,
        balance: i64::try_from(state.left).unwrap() - i64::try_from(state.debt).unwrap(),
        changes,
    }
}

/// The changes in the order of their versions. A quota that was set to what it was makes no version;
/// it is told the one that was there.
fn in_order(changes: impl Iterator<Item = (u64, Action)>) -> Vec<Action> {
    let mut in_order: BTreeMap<u64, Action> = BTreeMap::new();
    for (version, action) in changes {
        let is_set = matches!(action, Action::Set(_));
        in_order
            .entry(version)
            .and_modify(|other| {
                assert!(is_set || matches!(other, Action::Set(_)), "two changes in one version");
                *other = if is_set { *other } else { action };
            })
            .or_insert(action);
    }
    // The creation's own version, and what was told of it.
    in_order.remove(&1);
    in_order.into_values().collect()
}

/// Finds answers that don't go together. A count that isn't begun again loses no use and gains none, however
/// often it was set and added to.
fn check(told: &Answered) -> Result<(), String> {
    let Answered { first, accepted, counted, balance, changes } = told;
    let signed = |uses: u64| i64::try_from(uses).unwrap();
    // Of the counts that ended by a refill: the most that each ever had. Of the last: what it has.
    let (mut ended, mut all, mut most, mut quota) =
        (0, signed(*first), signed(*first), signed(*first));
    for change in changes {
        match change {
            Action::Set(uses) => {
                all += signed(*uses) - quota;
                quota = signed(*uses);
            }
            Action::Add(uses) => all += signed(*uses),
            Action::Refill => (ended, all, most) = (ended + most, quota, quota),
        }
        most = most.max(all);
    }
    let used = signed(*accepted) + balance;
    let is_refilled = changes.contains(&Action::Refill);
    if used > ended + all || !is_refilled && used != all {
        return Err(format!("{accepted} uses and {balance} left, of {ended} and {all}"));
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
    for (seed, (first, mix)) in
        [(3_000, Mix::None), (100_000, Mix::None), (500, Mix::Kept), (500, Mix::Refilled)]
            .into_iter()
            .enumerate()
    {
        let told = play(first, mix, seed as u64);
        println!(
            "{} processes, {mix:?}: {} uses accepted, {} left, {} changes",
            OTHERS + 1,
            told.accepted,
            told.balance,
            told.changes.len()
        );
        check(&told).unwrap();
        // Of a count that was begun again, less may be left than there was.
        let is_exact = mix != Mix::Refilled;
        let much = if is_exact { 1 } else { 1_000_000 };
        let with_balance = |balance| Answered { balance, ..told.clone() };
        let mut planted = vec![
            Answered { accepted: told.accepted + 1, ..told.clone() },
            Answered { counted: told.counted - 1, ..told.clone() },
            with_balance(told.balance + much),
        ];
        planted.extend(is_exact.then(|| with_balance(told.balance - 1)));
        for planted in planted {
            check(&planted).unwrap_err();
        }
    }
}
