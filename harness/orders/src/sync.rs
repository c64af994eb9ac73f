//! Atomics and locks for the sources, in place of the standard library's.

use std::cell::Cell;
use std::fmt;

use loom::sync::atomic::{AtomicBool, Ordering};
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};

loom::thread_local! {
    static IS_WRITER: Cell<bool> = Cell::new(false);
}

/// Makes this thread the one writer.
pub(crate) fn be_writer() {
    IS_WRITER.with(|is_writer| is_writer.set(true));
}

/// Atomics whose loads by the one writer are no accesses to loom.
///
/// Loom remembers only the last access to an atomic. If the writer loaded an atomic before it
/// stores there, loom would forget the readers that loaded before, and never try the orders in
/// which the store comes first. The writer's loads need no trying: it sees its own last store. Loom
/// checks that too: such a load beside another thread's store fails the model.
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{Ordering, fence};

    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            #[derive(Debug, Default)]
            pub(crate) struct $name(loom::sync::atomic::$name);

            #[allow(dead_code)] // Each has all.
            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }

                #[track_caller]
                #[allow(unsafe_code)]
                pub(crate) fn load(&self, order: Ordering) -> $value {
                    if super::IS_WRITER.with(std::cell::Cell::get) {
                        // SAFETY: this is loom's own object, which is safe to read so. It fails the
                        // model if the program may not.
                        return unsafe { self.0.unsync_load() };
                    }
                    self.0.load(order)
                }

                #[track_caller]
                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.0.store(value, order);
                }

                #[track_caller]
                pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_and(value, order)
                }

                #[track_caller]
                pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_or(value, order)
                }

                #[track_caller]
                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.0.swap(value, order)
                }

                #[track_caller]
                pub(crate) fn compare_exchange(
                    &self,
                    seen: $value,
                    next: $value,
                    done: Ordering,
                    failed: Ordering,
                ) -> Result<$value, $value> {
                    self.0.compare_exchange(seen, next, done, failed)
                }

                #[track_caller]
                pub(crate) fn compare_exchange_weak(
                    &self,
                    seen: $value,
                    next: $value,
                    done: Ordering,
                    failed: Ordering,
                ) -> Result<$value, $value> {
                    self.0.compare_exchange_weak(seen, next, done, failed)
                }

                #[track_caller]
                pub(crate) fn fetch_update(
                    &self,
                    done: Ordering,
                    read: Ordering,
                    next: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    self.0.fetch_update(done, read, next)
                }
            }
        };
    }

    atomic!(AtomicU8, u8);
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
}

/// A cell that is written once, with the standard library's ordering. A thread that gets the value
/// sees all that came before its making. A thread that isn't ordered after that may get none.
pub(crate) struct OnceLock<T> {
    is_set: AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { is_set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if IS_WRITER.with(Cell::get) || self.is_set.load(Ordering::Acquire) {
            self.value.get()
        } else {
            None
        }
    }

    /// For one writer at a time.
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if self.value.get().is_none() {
            let _ = self.value.set(make());
            self.is_set.store(true, Ordering::Release);
        }
        self.value.get().expect("it was set")
    }
}

impl<T> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceLock").finish_non_exhaustive()
    }
}
