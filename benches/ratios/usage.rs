//! The cost of recording usage.

use std::hint::black_box;
use std::sync::Arc;

use keyhasp::Verifier;
use keyhasp::backend::Sharing;
use keyhasp::store::UsageSettings;

use crate::measure::{figure, ratio};
use crate::synthetic::{Synthetic, builder};
use crate::verification::{batches, open, tokens, two_threads};

const KEYS: u64 = 1_000_000;

pub fn run(wanted: &dyn Fn(&str) -> bool) {
    let kinds = [
        ("verify_hit_1m_last_used", UsageSettings::new()),
        ("verify_hit_1m_counted", UsageSettings::new().counts()),
    ];
    for (name, settings) in kinds {
        if wanted(name) {
            let (plain, noting) = (open(KEYS, false, Sharing::Exclusive), open_with(settings));
            let drawn = tokens(KEYS, 1);
            let hits = |verifier: &Verifier| {
                let verifier = verifier.clone();
                batches(&drawn, move |token| assert!(black_box(verifier.verify(token)).is_ok()))
            };
            figure(name, ratio(hits(&noting), hits(&plain)), "x_plain_hit");
        }
    }
    if wanted("verify_two_threads_same_key_counted") {
        let verifier = open_with(UsageSettings::new().counts());
        let same = vec![tokens(KEYS, 1)[0].clone(); 20_000];
        let value = two_threads(&verifier, &same, &same);
        figure("verify_two_threads_same_key_counted", value, "x_one_thread");
    }
    #[cfg(feature = "sqlite")]
    if wanted("usage_write_1m") {
        write::run();
    }
}

/// As [`open`], noting what is used.
fn open_with(settings: UsageSettings) -> Verifier {
    Verifier::new(Arc::new(builder().usage(settings).open(Synthetic::new(KEYS)).unwrap()))
}

#[cfg(feature = "sqlite")]
mod write {
    use std::hint::black_box;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
    use keyhasp::backend::{Backend, UsageChange};
    use keyhasp::key::Used;
    use keyhasp::store::UsageSettings;
    use keyhasp::{KeyId, KeyStore, Timestamp, Verifier};
    use rusqlite::Connection;
    use tempfile::TempDir;

    use crate::filled::{KEYS, fill};
    use crate::measure::{Longest, figure, ratio_of, time};
    use crate::synthetic::{builder, token};

    const ROUNDS: usize = 5;
    /// As many as the store writes at once, where the disk is fast.
    const BATCH: usize = 8_192;

    /// A million keys' last uses in batches, over a bulk update by one prepared statement in one
    /// transaction; both where all have been used before.
    pub fn run() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("many.db");
        let open = || Sqlite::open_or_create(&path, SqliteOptions::exclusive()).unwrap().0;
        fill(KEYS, open);
        let backend = open();
        let raw = Connection::open(&path).unwrap();
        raw.pragma_update(None, "synchronous", "FULL").unwrap();
        let ids: Vec<[u8; 16]> = raw
            .prepare("SELECT id FROM keys ORDER BY id")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let mut now = 1_000;
        let mut by_backend = || {
            now += 1;
            let last_used_at = Some(Timestamp::from_millis(now).unwrap());
            let used = Used { last_used_at, ..Used::default() };
            time(|| {
                for some in ids.chunks(BATCH) {
                    let change = |id: &[u8; 16]| UsageChange::Add(KeyId::from_bytes(*id), used);
                    let batch: Vec<_> = some.iter().map(change).collect();
                    backend.record_usage(&batch).unwrap();
                }
            })
        };
        // The first time there are no rows yet.
        let first = by_backend();
        let mut at = 0_i64;
        let mut by_hand = || {
            at += 1;
            time(|| {
                raw.execute_batch("BEGIN IMMEDIATE").unwrap();
                let sql = "UPDATE key_usage SET last_used_at = ? WHERE key_id = ?";
                let mut statement = raw.prepare_cached(sql).unwrap();
                for id in &ids {
                    assert_eq!(statement.execute((at, id)).unwrap(), 1);
                }
                raw.execute_batch("COMMIT").unwrap();
            })
        };
        let unit = by_hand();
        figure("usage_write_1m_first", first / unit, "x_bulk_update");
        figure("usage_write_1m", ratio_of(ROUNDS, by_backend, by_hand), "x_bulk_update");
        drop((backend, raw));
        longest(open());
    }

    /// The longest verification while a million keys are used one after the other, and written. The
    /// scheduler takes cores away for longer than any verification takes: the longest pause of a
    /// loop that does nothing, measured in turns with it, says how much of the figure that is.
    fn longest(backend: Sqlite) {
        let store = builder().usage(UsageSettings::new()).open(backend).unwrap();
        let store = Arc::new(store);
        let verifier = Verifier::new(Arc::clone(&store) as Arc<dyn KeyStore>);
        let tokens: Vec<String> = (0..KEYS).map(|number| token(number, 1)).collect();
        let (mut verifications, mut pauses) = (Longest::default(), Longest::default());
        let mut some = |tokens: &[String]| {
            for token in tokens {
                verifications.time(|| _ = black_box(verifier.verify(token)));
            }
            for _ in tokens {
                pauses.time(|| black_box(()));
            }
        };
        tokens.chunks(1_000).for_each(&mut some);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                store.flush_usage().unwrap();
                done.store(true, Ordering::Relaxed);
            });
            for tokens in tokens.chunks(1_000).cycle() {
                some(tokens);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        figure("verify_longest_while_writing_usage", verifications.longest(), "us");
        figure("nothing_longest_while_writing_usage", pauses.longest(), "us");
    }
}
