//! Keeps a wait in sled from lasting for ever.
//!
//! A flush in sled waits for writes that other threads make. Most of them wake it when they fail,
//! but the one that begins a transaction only leaves its error where the next caller finds it. So
//! somebody looks from time to time while we wait, and calls.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(100);

/// Does `work`; if it takes long, another thread asks `has_failed` again and again, and calls
/// `wake` whenever that says yes.
pub(super) fn watched<T>(
    has_failed: impl Fn() -> bool + Send,
    wake: impl Fn() + Send,
    work: impl FnOnce() -> T,
) -> T {
    thread::scope(|scope| {
        let (done, is_done) = channel::<()>();
        let watch = move || {
            while let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(INTERVAL) {
                if has_failed() {
                    wake();
                }
            }
        };
        // Without a thread to spare, nobody watches: the work is no less right.
        let _ = thread::Builder::new().name("keyhasp-sled-watch".into()).spawn_scoped(scope, watch);
        let result = work();
        drop(done);
        result
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn work_that_waits_for_a_failed_write_is_woken() {
        let (wake, woken) = channel();
        let wake = Mutex::new(wake);
        let word = watched(
            || true,
            || wake.lock().unwrap().send("woken").unwrap(),
            || woken.recv_timeout(Duration::from_secs(60)),
        );
        assert_eq!(word, Ok("woken"));
    }

    #[test]
    fn work_that_only_takes_long_is_left_alone() {
        let (look, looked) = channel();
        let look = Mutex::new(look);
        let has_failed = || look.lock().unwrap().send(()).is_err();
        let work = || looked.recv_timeout(Duration::from_secs(60));
        assert_eq!(watched(has_failed, || unreachable!("nothing failed"), work), Ok(()));
    }
}
