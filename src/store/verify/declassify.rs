//! Where the answer of a comparison may be acted upon.
//!
//! Before it, no branch and no address depends on a byte of the secret or of a digest; after it,
//! one bit may: whether the token is accepted as this generation. `docs/constant-time.md` says how
//! that is proved.

#[cfg(keyhasp_constant_time)]
use std::sync::OnceLock;

/// Gives an answer free. Nothing happens here: it marks the place.
#[cfg(not(keyhasp_constant_time))]
#[inline(always)]
pub(in crate::store) fn declassified(answer: bool) -> bool {
    answer
}

/// Hands the answer to whoever proves that nothing else of the secret is acted upon.
#[cfg(keyhasp_constant_time)]
pub(in crate::store) fn declassified(answer: bool) -> bool {
    DECLASSIFIER.get().map_or(answer, |declassify| declassify(answer))
}

#[cfg(keyhasp_constant_time)]
static DECLASSIFIER: OnceLock<fn(bool) -> bool> = OnceLock::new();

/// What each answer goes through from now on; the first one stays. There only under the cfg
/// `keyhasp_constant_time`, which nothing but `.ci/constant-time` sets.
#[cfg(keyhasp_constant_time)]
pub fn set_declassifier(declassify: fn(bool) -> bool) {
    DECLASSIFIER.get_or_init(|| declassify);
}
