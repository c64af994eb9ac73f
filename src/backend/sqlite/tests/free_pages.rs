//! Free pages are given back in pieces.

use super::fixtures::{Fixture, at, event};
use crate::backend::{Backend, Change, Operation, Write};
use crate::event::EventKind;

const PRUNED_AT_ONCE: usize = 512;

impl Fixture {
    fn number(&self, pragma: &str) -> u64 {
        let pragma = format!("PRAGMA {pragma}");
        let number: i64 = self.raw().query_row(&pragma, [], |row| row.get(0)).unwrap();
        number.cast_unsigned()
    }

    fn write_events(&self, count: usize) {
        let note = Operation { write: Write::Nothing, event: event(EventKind::TokenRevealed) };
        for _ in 0..count.div_ceil(1_000) {
            self.commit(Change { operations: vec![note.clone(); 1_000], ..Change::default() });
        }
    }

    /// Prunes all events in steps; returns their number, and the most pages that one step gave back.
    fn prune(&self) -> (u64, u64) {
        let (mut pruned, mut most) = (0, 0);
        loop {
            let pages = self.number("page_count");
            let count = self.sqlite.prune_events(at(2), PRUNED_AT_ONCE).unwrap();
            pruned += count;
            most = most.max(pages - self.number("page_count"));
            if count < PRUNED_AT_ONCE as u64 {
                return (pruned, most);
            }
        }
    }

    /// The file's length in pages, once the log was copied.
    fn pages_on_disk(&self) -> u64 {
        let mode = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.raw().query_row(mode, [], |row| row.get::<_, i64>(0)).unwrap();
        std::fs::metadata(self.path()).unwrap().len() / 4_096
    }
}

#[test]
fn a_file_becomes_shorter_after_its_events_were_pruned() {
    let fixture = Fixture::new();
    let empty = fixture.number("page_count");
    fixture.write_events(40_000);
    let full = fixture.pages_on_disk();
    assert!(full > empty + 400, "{full} of {empty} pages");
    let (pruned, most) = fixture.prune();
    assert_eq!(pruned, 40_000);
    assert!(most <= 128, "{most} pages in one transaction");
    let left = fixture.pages_on_disk();
    assert!(left <= empty + 80, "{left} of {full} pages, {empty} at first");
    assert!(fixture.sqlite.check().unwrap().is_empty());
}

/// However many pages are free, one transaction gives back a bounded number.
#[test]
fn pages_are_given_back_in_pieces() {
    let fixture = Fixture::new();
    fixture.write_events(40_000);
    let pages = [40_001, 1, 1].map(|limit| {
        fixture.sqlite.prune_events(at(2), limit).unwrap();
        fixture.number("page_count")
    });
    assert_eq!([pages[0] - pages[1], pages[1] - pages[2]], [128; 2]);
}

/// A store that prunes as much as it writes doesn't move pages to and fro.
#[test]
fn a_share_of_the_file_stays_free() {
    let fixture = Fixture::new();
    for round in 0..4 {
        fixture.write_events(1_000);
        let (_, most) = fixture.prune();
        assert_eq!(most, 0, "round {round}");
    }
}

/// In a file without maps of pages they are used again, until an operator has it rewritten.
#[test]
fn an_older_file_is_shortened_by_vacuum() {
    let fixture = Fixture::new();
    fixture.raw().execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
    assert_eq!(fixture.number("auto_vacuum"), 0);
    fixture.write_events(20_000);
    let full = fixture.number("page_count");
    assert_eq!(fixture.prune(), (20_000, 0));
    assert_eq!(fixture.number("page_count"), full);
    fixture.raw().execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM").unwrap();
    assert_eq!(fixture.number("auto_vacuum"), 2);
    fixture.write_events(20_000);
    assert_eq!(fixture.prune().0, 20_000);
    assert!(fixture.number("page_count") < full / 2);
}
