//! Requests to memcheck: mark bytes as undefined, and count the branches and addresses that depend
//! on them.

use std::cell::Cell;
use std::hint::black_box;

use crabgrind::memcheck::{MemState, mark_memory, vbits};
use crabgrind::valgrind::count_errors;

/// Tells whether the process runs under memcheck.
pub fn is_there() -> bool {
    let byte = black_box([0]);
    mark(&byte, MemState::Undefined) && is_secret(&byte)
}

/// Makes bytes secret, and all that is computed from them: a branch or an address that depends on
/// them is an error from now on. Their values stay.
pub fn make_secret(bytes: &[u8]) {
    assert!(mark(bytes, MemState::Undefined), "memcheck isn't there");
    assert!(is_secret(bytes), "marked, and known all the same");
}

/// Declassifies an answer.
#[cfg_attr(not(keyhasp_constant_time), allow(dead_code))]
pub fn give_free(answer: bool) -> bool {
    let byte = Cell::new(u8::from(answer));
    assert!(mark_memory(byte.as_ptr().cast(), 1, MemState::Defined).is_ok());
    black_box(&byte).get() != 0
}

/// Tells whether memcheck takes every bit of these bytes for undefined.
pub fn is_secret(bytes: &[u8]) -> bool {
    let mut unknown = vec![0; bytes.len()];
    let asked = vbits(bytes.as_ptr().cast(), black_box(&mut unknown));
    asked.is_ok() && black_box(unknown).iter().all(|byte| *byte == 0xff)
}

/// Runs `work`; returns its answer, and the number of errors that memcheck saw meanwhile.
pub fn errors_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = count_errors();
    let answer = work();
    (answer, count_errors() - before)
}

fn mark(bytes: &[u8], state: MemState) -> bool {
    mark_memory(black_box(bytes).as_ptr().cast(), bytes.len(), state).is_ok()
}
