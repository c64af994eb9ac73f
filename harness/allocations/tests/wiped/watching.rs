//! The allocator of this test binary: the system's, which looks into each block that is given back.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Alerts = Alerts;

/// How many bytes of a secret in a row give it away.
const PART: usize = 16;

thread_local! {
    /// What this thread looks for, and in how many blocks it was found. Neither made lazily nor
    /// dropped: looking allocates nothing.
    static SECRET: Cell<Option<&'static [u8]>> = const { Cell::new(None) };
    static FOUND: Cell<u64> = const { Cell::new(0) };
}

struct Alerts;

/// How many blocks were given back during `work` with a part of the secret still in them.
pub(crate) fn leaks_of<T>(secret: &[u8], work: impl FnOnce() -> T) -> (T, u64) {
    assert!(secret.len() >= PART);
    // Stays for ever, so that no block of its own is given back.
    let secret: &'static [u8] = Vec::leak(secret.to_vec());
    FOUND.set(0);
    SECRET.set(Some(secret));
    let answer = work();
    SECRET.set(None);
    (answer, FOUND.get())
}

fn look(block: &[u8]) {
    // A part at whatever place it begins stands in a whole window of the secret.
    if let Some(secret) = SECRET.get()
        && secret.windows(PART).step_by(PART / 2).any(|part| holds(block, part))
    {
        FOUND.set(FOUND.get() + 1);
    }
}

fn holds(block: &[u8], part: &[u8]) -> bool {
    block.windows(PART).any(|window| window[0] == part[0] && window == part)
}

/// # Safety
/// `block` was given out with this layout, and isn't used by anybody else.
unsafe fn look_into(block: *mut u8, layout: Layout) {
    if SECRET.get().is_some() {
        // SAFETY: all of it was zeroed when it was given out, so all of it can be read.
        look(unsafe { std::slice::from_raw_parts(block, layout.size()) });
    }
}

// SAFETY: each call is passed on as it came to an allocator that keeps the contract; a block is
// only read, and before it is given back.
unsafe impl GlobalAlloc for Alerts {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that what is read of a block later was written to it.
        // SAFETY: as for this call.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for this call.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as for this call.
        unsafe {
            look_into(block, layout);
            System.dealloc(block, layout);
        }
    }

    // `realloc` is the trait's own: a new block, a copy, and `dealloc` of the old one.
}
