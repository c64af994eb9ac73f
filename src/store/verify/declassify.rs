//! The point after which code may depend on the answer of a comparison.
//!
//! Before it, no branch and no address depends on a byte of the secret or of a digest. After it,
//! they may depend on one bit: whether the token is accepted as this generation.
//! `docs/constant-time.md` explains the proof.

#[cfg(keyhasp_constant_time)]
use std::sync::OnceLock;

/// Declassifies an answer. Does nothing: it marks the place for the proof.
#[cfg(not(keyhasp_constant_time))]
// `inline(always)`: otherwise a build might pay for a call that does nothing.
#[inline(always)]
pub(in crate::store) fn declassified(answer: bool) -> bool {
    answer
}

/// Passes an answer to the declassifier of the proof.
#[cfg(keyhasp_constant_time)]
pub(in crate::store) fn declassified(answer: bool) -> bool {
    DECLASSIFIER.get().map_or(answer, |declassify| declassify(answer))
}

#[cfg(keyhasp_constant_time)]
static DECLASSIFIER: OnceLock<fn(bool) -> bool> = OnceLock::new();

/// Sets the declassifier of all later answers. The first one stays. This exists only under the cfg
/// `keyhasp_constant_time`, which only `.ci/constant-time` sets.
#[cfg(keyhasp_constant_time)]
pub fn set_declassifier(declassify: fn(bool) -> bool) {
    DECLASSIFIER.get_or_init(|| declassify);
}
