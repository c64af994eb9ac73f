//! A pipeline of two threads: one produces items, the other consumes them.

use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};

/// Number of items that are passed on at once.
const BATCH: usize = 512;
/// Largest number of batches that wait to be consumed. Without a bound, a backend that is read
/// faster than its records are indexed would fill the memory.
const MAX_QUEUED: usize = 4;

/// Runs `produce`, which emits items one by one, and passes them in order and in batches to
/// `consume` on another thread. Returns the result of `produce`, and what `consume` has gathered.
///
/// This thread consumes the items itself if they are fewer than a batch, or if no thread can be
/// started.
pub(in crate::store) fn pipeline<T: Send, U: Default + Send, R>(
    produce: impl FnOnce(&mut dyn FnMut(T)) -> R,
    consume: impl Fn(&mut U, Vec<T>) + Sync,
) -> (R, U) {
    scope(|scope| {
        let mut batch = Vec::with_capacity(BATCH);
        let mut consumer = Consumer::NotStarted;
        let produced = produce(&mut |item| {
            batch.push(item);
            if batch.len() == BATCH {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                consumer.pass(scope, &consume, full);
            }
        });
        (produced, consumer.finish(&consume, batch))
    })
}

/// The thread that consumes the batches.
enum Consumer<'s, T, U> {
    NotStarted,
    ThisThread(U),
    OtherThread { batches: SyncSender<Vec<T>>, thread: ScopedJoinHandle<'s, U> },
}

impl<'s, T: Send + 's, U: Default + Send + 's> Consumer<'s, T, U> {
    fn pass<'e>(
        &mut self,
        scope: &'s Scope<'s, 'e>,
        consume: &'s (impl Fn(&mut U, Vec<T>) + Sync),
        batch: Vec<T>,
    ) {
        if let Self::NotStarted = self {
            *self = Self::start(scope, consume);
        }
        match self {
            Self::ThisThread(gathered) => consume(gathered, batch),
            // Fails only if the other thread has panicked; `finish` passes that panic on.
            Self::OtherThread { batches, .. } => _ = batches.send(batch),
            Self::NotStarted => {}
        }
    }

    fn start<'e>(scope: &'s Scope<'s, 'e>, consume: &'s (impl Fn(&mut U, Vec<T>) + Sync)) -> Self {
        let (batches, queued) = sync_channel::<Vec<T>>(MAX_QUEUED);
        let work = move || {
            let mut gathered = U::default();
            queued.into_iter().for_each(|batch| consume(&mut gathered, batch));
            gathered
        };
        match Builder::new().name("keyhasp-load".into()).spawn_scoped(scope, work) {
            Ok(thread) => Self::OtherThread { batches, thread },
            Err(_) => Self::ThisThread(U::default()),
        }
    }

    /// Consumes the last items, and returns what `consume` has gathered.
    fn finish(self, consume: &impl Fn(&mut U, Vec<T>), last: Vec<T>) -> U {
        let mut gathered = match self {
            Self::NotStarted => U::default(),
            Self::ThisThread(gathered) => gathered,
            Self::OtherThread { batches, thread } => {
                let _ = batches.send(last);
                drop(batches);
                return thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        };
        consume(&mut gathered, last);
        gathered
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    #[test]
    fn all_are_consumed_once_and_in_order() {
        for count in [0, 1, BATCH - 1, BATCH, BATCH + 1, 20 * BATCH + 7] {
            let produce = |emit: &mut dyn FnMut(usize)| {
                (0..count).for_each(emit);
                "produced"
            };
            let consume = |consumed: &mut Vec<usize>, batch| consumed.extend::<Vec<usize>>(batch);
            let (produced, consumed) = pipeline(produce, consume);
            assert_eq!((produced, consumed), ("produced", (0..count).collect()));
        }
    }

    #[test]
    fn few_are_consumed_on_this_thread_and_many_on_another() {
        let here = thread::current().id();
        for (count, is_here) in [(BATCH - 1, true), (BATCH, false)] {
            let produce = |emit: &mut dyn FnMut(usize)| (0..count).for_each(emit);
            let consume = |places: &mut Vec<bool>, _| places.push(thread::current().id() == here);
            let ((), places) = pipeline(produce, consume);
            assert!(!places.is_empty() && places.into_iter().all(|place| place == is_here));
        }
    }

    #[test]
    fn a_panic_on_either_side_ends_both() {
        for producer_fails in [true, false] {
            let run = || {
                pipeline(
                    |emit: &mut dyn FnMut(usize)| {
                        // More than the queue holds if no thread consumes them.
                        (0..BATCH * (MAX_QUEUED + 3)).for_each(emit);
                        assert!(!producer_fails, "the producer failed");
                    },
                    |(): &mut (), _| assert!(producer_fails, "the consumer failed"),
                )
            };
            let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            let expected =
                if producer_fails { "the producer failed" } else { "the consumer failed" };
            assert_eq!(panic.downcast_ref(), Some(&expected));
        }
    }
}
