//! Several threads at once.

use std::sync::Barrier;
use std::thread;

use super::failure::Failure;

/// Has so many threads do `work`, each given its number from 0, all beginning together; what each
/// returned, by number.
pub(super) fn together<T: Send>(
    threads: usize,
    work: impl Fn(usize) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    let (start, work) = (&Barrier::new(threads), &work);
    let begin = |number| {
        move || {
            start.wait();
            work(number)
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|number| scope.spawn(begin(number))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<T, Failure>>| {
            thread.join().unwrap_or_else(|payload| Err(Failure::of_panic(&*payload)))
        };
        // All are waited for, so that none outlives the case.
        let done: Vec<_> = running.into_iter().map(join).collect();
        done.into_iter().collect()
    })
}
