//! Hints to the processor and the kernel about memory that will be used.
//!
//! No result depends on a hint, and a platform without a way to give one does nothing. The hints
//! are the crate's only `unsafe` code. Without them a verification among 10 million keys takes
//! twice as long.

#![allow(unsafe_code)]

/// Asks the processor for the cache line of a value, and doesn't wait for it.
///
/// A slot of a large index is seldom in a cache. A prefetch before the token is hashed hides the
/// slot's way from memory behind the hash. An ordinary load wouldn't: the processor doesn't get far
/// past a load that it waits for.
#[inline]
pub(in super::super) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the pointer comes from a reference, and a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Asks the kernel for huge pages under a vector's spare capacity, before the first value is
/// written.
///
/// Searches jump about in memory, so the processor must translate a new address for nearly each of
/// them. With pages of 2 MiB the translation is mostly cached.
pub(in super::super) fn prefer_huge_pages<T>(values: &mut Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        const HUGE: usize = 2 << 20;
        let spare = values.spare_capacity_mut();
        let begin = spare.as_ptr().addr().next_multiple_of(HUGE);
        let end = (spare.as_ptr().addr() + size_of_val(spare)) / HUGE * HUGE;
        if begin < end {
            let pages = spare.as_mut_ptr().with_addr(begin).cast();
            // SAFETY: the pages lie within memory that this vector owns, and the advice changes no
            // content.
            let _ = unsafe { madvise(pages, end - begin, Advice::LinuxHugepage) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = values;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_change_nothing() {
        let mut values: Vec<u64> = Vec::with_capacity(1 << 20);
        prefer_huge_pages(&mut values);
        values.extend(0..1 << 20);
        values.iter().step_by(1 << 10).for_each(prefetch);
        assert!(values.iter().copied().eq(0..1 << 20));
        prefer_huge_pages(&mut Vec::<u8>::new());
    }
}
