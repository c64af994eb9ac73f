//! What the processor and the kernel are told in advance.
//!
//! Both are hints: nothing depends on their being heard, and where there is no way to give them,
//! nothing is done. They are the crate's only `unsafe` code, and worth it: of 10 million keys, a
//! verification without them takes twice as long.

#![allow(unsafe_code)]

/// Asks for the cache line in which a value lies, and goes on.
///
/// A slot of a large index is seldom in a cache. Asking for it before the token is hashed hides
/// its way from memory behind the hash; an ordinary load would not, since a processor doesn't get
/// far past a load that it waits for.
#[inline]
pub(in crate::store::index) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the pointer comes from a reference, and a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Asks for huge pages where these values will lie: to be called before the first is written.
///
/// A slot is looked for in a place that the processor hasn't seen lately, so it must first find
/// out where the page lies; with pages of 2 MiB it mostly knows.
pub(in crate::store::index) fn prefer_huge_pages<T>(room: &mut Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        const HUGE: usize = 2 << 20;
        let room = room.spare_capacity_mut();
        let begin = room.as_ptr().addr().next_multiple_of(HUGE);
        let end = (room.as_ptr().addr() + size_of_val(room)) / HUGE * HUGE;
        if begin < end {
            let pages = room.as_mut_ptr().with_addr(begin).cast();
            // SAFETY: the pages lie within memory that this vector owns, and this advice changes
            // no content.
            let _ = unsafe { madvise(pages, end - begin, Advice::LinuxHugepage) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = room;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_change_nothing() {
        let mut room: Vec<u64> = Vec::with_capacity(1 << 20);
        prefer_huge_pages(&mut room);
        room.extend(0..1 << 20);
        room.iter().step_by(1 << 10).for_each(prefetch);
        assert!(room.iter().copied().eq(0..1 << 20));
        prefer_huge_pages(&mut Vec::<u8>::new());
    }
}
