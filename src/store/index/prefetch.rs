//! The one intrinsic.
//!
//! A slot of a large index is seldom in a cache. Asking for it before the token is hashed hides
//! its way from memory behind the hash; an ordinary load would not, since a processor doesn't get
//! far past a load that it waits for.

#![allow(unsafe_code)]

/// Asks for the cache line in which a value lies, and goes on. Where there is no such instruction,
/// does nothing.
#[inline]
pub(super) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the pointer comes from a reference, and a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
