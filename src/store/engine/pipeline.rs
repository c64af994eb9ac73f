//! Two threads, one of which makes what the other uses.

use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};

/// How many items are handed over at once.
const BATCH: usize = 512;
/// How many batches wait to be used at most.
const WAITING: usize = 4;

/// Runs `make`, which hands over items one by one, and shows them in their order, in batches, to
/// `uses` on another thread; returns what `make` returned, and what `uses` has gathered.
///
/// Few items, and all of them where no thread is to be had, are used on this thread.
pub(in crate::store) fn pipeline<T: Send, U: Default + Send, R>(
    make: impl FnOnce(&mut dyn FnMut(T)) -> R,
    uses: impl Fn(&mut U, Vec<T>) + Sync,
) -> (R, U) {
    scope(|scope| {
        let mut batch = Vec::with_capacity(BATCH);
        let mut user = User::NotYet;
        let made = make(&mut |item| {
            batch.push(item);
            if batch.len() == BATCH {
                user.take(scope, &uses, std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
            }
        });
        (made, user.finish(&uses, batch))
    })
}

/// Who uses the batches.
enum User<'s, T, U> {
    NotYet,
    /// This thread.
    Here(U),
    There {
        batches: SyncSender<Vec<T>>,
        thread: ScopedJoinHandle<'s, U>,
    },
}

impl<'s, T: Send + 's, U: Default + Send + 's> User<'s, T, U> {
    fn take<'e>(
        &mut self,
        scope: &'s Scope<'s, 'e>,
        uses: &'s (impl Fn(&mut U, Vec<T>) + Sync),
        batch: Vec<T>,
    ) {
        if let Self::NotYet = self {
            *self = Self::start(scope, uses);
        }
        match self {
            Self::Here(gathered) => uses(gathered, batch),
            // Refused only if the other thread has panicked, which is told at the end.
            Self::There { batches, .. } => _ = batches.send(batch),
            Self::NotYet => {}
        }
    }

    fn start<'e>(scope: &'s Scope<'s, 'e>, uses: &'s (impl Fn(&mut U, Vec<T>) + Sync)) -> Self {
        let (batches, waiting) = sync_channel::<Vec<T>>(WAITING);
        let work = move || {
            let mut gathered = U::default();
            waiting.into_iter().for_each(|batch| uses(&mut gathered, batch));
            gathered
        };
        match Builder::new().name("keyhasp-load".into()).spawn_scoped(scope, work) {
            Ok(thread) => Self::There { batches, thread },
            Err(_) => Self::Here(U::default()),
        }
    }

    /// Has the last items used, and returns what all of them led to.
    fn finish(self, uses: &impl Fn(&mut U, Vec<T>), last: Vec<T>) -> U {
        let mut gathered = match self {
            Self::NotYet => U::default(),
            Self::Here(gathered) => gathered,
            Self::There { batches, thread } => {
                let _ = batches.send(last);
                drop(batches);
                return thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        };
        uses(&mut gathered, last);
        gathered
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    #[test]
    fn all_are_used_once_and_in_order() {
        for count in [0, 1, BATCH - 1, BATCH, BATCH + 1, 20 * BATCH + 7] {
            let make = |hand: &mut dyn FnMut(usize)| {
                (0..count).for_each(hand);
                "made"
            };
            let uses = |used: &mut Vec<usize>, batch| used.extend::<Vec<usize>>(batch);
            let (made, used) = pipeline(make, uses);
            assert_eq!((made, used), ("made", (0..count).collect()));
        }
    }

    #[test]
    fn few_are_used_here_and_many_there() {
        let here = thread::current().id();
        for (count, is_here) in [(BATCH - 1, true), (BATCH, false)] {
            let make = |hand: &mut dyn FnMut(usize)| (0..count).for_each(hand);
            let uses = |used: &mut Vec<bool>, _| used.push(thread::current().id() == here);
            let ((), used) = pipeline(make, uses);
            assert!(!used.is_empty() && used.into_iter().all(|used| used == is_here));
        }
    }

    #[test]
    fn a_panic_on_either_side_ends_both() {
        for maker_fails in [true, false] {
            let both = || {
                pipeline(
                    |hand: &mut dyn FnMut(usize)| {
                        // More than there is room for while nobody uses them.
                        (0..BATCH * (WAITING + 3)).for_each(hand);
                        assert!(!maker_fails, "the maker failed");
                    },
                    |(): &mut (), _| assert!(maker_fails, "the user failed"),
                )
            };
            let panic = catch_unwind(AssertUnwindSafe(both)).unwrap_err();
            let expected = if maker_fails { "the maker failed" } else { "the user failed" };
            assert_eq!(panic.downcast_ref(), Some(&expected));
        }
    }
}
