//! A SQLite database with bits flipped, stretches zeroed and ends cut off. What is refused is left
//! as it is. What is answered is right: of a damaged file each record as it was, of a damaged
//! write-ahead log all as it was after one of the changes.

use std::sync::Arc;

use keyhasp::{AdminKeys, Error, KeyStore, ListKeys, Rotate};

use super::history::{History, database, reopen_sqlite, tempdir};
use super::input::Input;
use super::packed::{self, Files};
use super::quiet::quietly;
use super::world::{Facts, reader};

pub fn run(data: &[u8]) {
    thread_local! {
        static HISTORY: History = History::new();
    }
    quietly(|| HISTORY.with(|history| check(history, data)));
}

fn check(history: &History, data: &[u8]) {
    let mut input = Input::new(data);
    let in_log = input.flag();
    let mut files = if in_log { history.open.clone() } else { history.closed.clone() };
    let suffix = if in_log { "-wal" } else { ".db" };
    let (_, bytes) = files.iter_mut().find(|(name, _)| name.ends_with(suffix)).unwrap();
    damage(&mut input, bytes);

    let temp = tempdir();
    packed::write(temp.path(), &files);
    let store: Arc<dyn KeyStore> = match reopen_sqlite(temp.path(), reader()) {
        Ok(store) => Arc::new(store),
        Err(error) => return refused(&error, &files, &database(temp.path())),
    };
    let facts = Facts::of(&store, &history.tokens);
    if in_log {
        assert!(history.states.iter().any(|state| state.is(&facts)), "of no moment");
    } else {
        let differences = history.last().differences(&facts);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
    used(&store);
    let _ = store.close();
}

/// Flips a bit, zeroes a stretch, or cuts off the end; up to four times.
pub(super) fn damage(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    for _ in 0..4 {
        if input.is_empty() || bytes.is_empty() {
            return;
        }
        let what = input.byte();
        let at = input.below(bytes.len().max(257));
        let at = at.min(bytes.len() - 1);
        match what & 7 {
            0 => bytes.truncate(at),
            1 => {
                let end = bytes.len().min(at + 1 + usize::from(input.byte()));
                bytes[at..end].fill(0);
            }
            _ => bytes[at] ^= 1 << (what >> 3 & 7),
        }
    }
}

/// It says what is wrong, and where that is the file, nothing was written to it. A file of other
/// rules is a good one: its log is copied into it as at every close.
fn refused(error: &Error, before: &Files, after: &Files) {
    assert!(!error.to_string().is_empty());
    if !matches!(error, Error::Backend(_)) {
        return;
    }
    let names = |files: &Files| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let changed = before.iter().find(|file| !file.1.is_empty() && !after.contains(file));
    assert!(changed.is_none(), "{error}: {} was written to", changed.unwrap().0);
    let is_new = |name: &String| name.ends_with("-wal") && !names(before).contains(name);
    assert!(!names(after).iter().any(is_new), "{error}: {:?}", names(after));
}

/// Calls of other sorts end, one way or the other.
pub(super) fn used(store: &Arc<dyn KeyStore>) {
    let admin = AdminKeys::new(Arc::clone(store), "root").unwrap();
    let keys = admin.list(&ListKeys::new().limit(3));
    let _ = admin.count(&ListKeys::new());
    for key in keys.map(|page| page.items).unwrap_or_default() {
        let _ = admin.get(key.id);
        let _ = key.numeric_id.map(|id| admin.find(id));
        let _ = admin.reveal_token(key.id);
        if let Ok(issued) = admin.rotate(key.id, Rotate::new())
            && let Ok(verified) = store.verify(issued.token.expose().as_bytes())
        {
            assert_eq!(verified.key_id(), key.id);
        }
    }
}
