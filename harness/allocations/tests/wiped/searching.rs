//! The allocator of this test binary: the system's, with a search of each freed block.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Searching = Searching;

/// The number of bytes in a row that count as a part of a secret.
const PART: usize = 16;

thread_local! {
    /// The secret that this thread searches, and the blocks in which it was found. Neither is made
    /// lazily or dropped, so that a search allocates nothing.
    static SECRET: Cell<Option<&'static [u8]>> = const { Cell::new(None) };
    static FOUND: Cell<u64> = const { Cell::new(0) };
}

struct Searching;

/// Runs `work`; returns its answer, and the blocks that it freed with a part of the secret in them.
pub(crate) fn leaks_of<T>(secret: &[u8], work: impl FnOnce() -> T) -> (T, u64) {
    assert!(secret.len() >= PART);
    // Never freed, so that it isn't found itself.
    let secret: &'static [u8] = Vec::leak(secret.to_vec());
    FOUND.set(0);
    SECRET.set(Some(secret));
    let answer = work();
    SECRET.set(None);
    (answer, FOUND.get())
}

fn look(block: &[u8]) {
    // Any 24 bytes of the secret in a row contain one of these windows.
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
/// `block` was allocated with this layout, and no other code uses it.
unsafe fn look_into(block: *mut u8, layout: Layout) {
    if SECRET.get().is_some() {
        // SAFETY: all of it was zeroed when it was allocated, so all of it can be read.
        look(unsafe { std::slice::from_raw_parts(block, layout.size()) });
    }
}

// SAFETY: each call is passed on unchanged to an allocator that keeps the contract; a block is only
// read, before it is freed.
unsafe impl GlobalAlloc for Searching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that the search reads no uninitialised byte.
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

    // The trait's own `realloc` allocates, copies and calls `dealloc`.
}
