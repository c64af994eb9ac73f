//! The caller of a request on the current span of `tracing`, if that feature is on.

use crate::id::{KeyId, OwnerId};

/// Records a key and its owner in the fields `keyhasp.key.id` and `keyhasp.owner.id` of the current
/// span, if the service has declared them there.
#[cfg(feature = "tracing")]
#[inline]
pub(super) fn record(key: Option<KeyId>, owner: Option<&OwnerId>) {
    let span = tracing::Span::current();
    if span.is_disabled() {
        return;
    }
    if let Some(key) = key {
        span.record("keyhasp.key.id", tracing::field::display(key));
    }
    if let Some(owner) = owner {
        span.record("keyhasp.owner.id", tracing::field::display(owner));
    }
}

/// Records nothing: the feature `tracing` is off.
#[cfg(not(feature = "tracing"))]
#[inline]
pub(super) fn record(_: Option<KeyId>, _: Option<&OwnerId>) {}
