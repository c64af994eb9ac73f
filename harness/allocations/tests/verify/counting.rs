//! The allocator of this test binary: the system's, with its calls counted.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// The calls of this thread, without those of other tests and background threads. Neither made
    /// lazily nor dropped, so that counting allocates nothing.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

/// Runs `work`; returns its answer and the number of its calls to allocate, reallocate and free.
pub(crate) fn calls_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = CALLS.get();
    let answer = work();
    (answer, CALLS.get() - before)
}

fn count() {
    CALLS.set(CALLS.get() + 1);
}

// SAFETY: each call is passed on unchanged to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as for this call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as for this call.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as for this call.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count();
        // SAFETY: as for this call.
        unsafe { System.dealloc(block, layout) }
    }
}
