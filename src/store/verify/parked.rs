//! A verification that parks its thread while it waits.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::lease_waits::LeaseWait;

/// A thread that is parked until its wait is over.
#[derive(Debug)]
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until there is an answer, and parks this thread in between.
#[inline]
pub(in crate::store) fn parked<T>(
    mut poll: impl FnMut(&mut Option<LeaseWait>, &mut Context<'_>) -> Poll<T>,
) -> T {
    let mut wait = None;
    // Nearly always the first poll answers, and needs no waker.
    match poll(&mut wait, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => park(wait, poll),
    }
}

#[cold]
fn park<T>(
    mut wait: Option<LeaseWait>,
    mut poll: impl FnMut(&mut Option<LeaseWait>, &mut Context<'_>) -> Poll<T>,
) -> T {
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match poll(&mut wait, &mut context) {
            Poll::Ready(answer) => return answer,
            // May end early, which costs one poll.
            Poll::Pending => thread::park(),
        }
    }
}
