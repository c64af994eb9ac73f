//! Panics that the backends catch are sled's way of saying that its files are damaged: the fuzzer
//! must not take them for crashes. One that is not caught is told, and ends the run.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs the body of a target in which panics may be caught.
pub(super) fn quietly(body: impl FnOnce()) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |about| {
            let thread = std::thread::current();
            let is_sleds = about.location().is_some_and(|place| {
                // Of sled itself, or of the standard library on its behalf.
                place.file().contains("sled-0.34") || place.file().contains("/library/")
            });
            if !is_sleds && !cfg!(fuzzing) {
                return before(about);
            }
            let name = thread.name().unwrap_or("?").to_owned();
            LAST.with_borrow_mut(|last| *last = format!("{name}: {about}"));
        }));
    });
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(body)) {
        LAST.with_borrow(|last| eprintln!("{last}"));
        panic::resume_unwind(panic);
    }
}
