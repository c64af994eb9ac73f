//! A store that traces what it is asked.
//!
//! Each management call is a span `keyhasp` at level INFO, with the fields `call`, `role`, `owner`,
//! `key` and `correlation_id` as far as the call has them, and `outcome`, recorded at its end. A call
//! that failed for the store's own reasons also leaves an event at WARN. A verification is no span: an
//! accepted one leaves nothing at all, a refused one an event at DEBUG with its `outcome`. No field
//! holds a token, a digest, a name that a client chose, or an actor.

mod traced;

pub use traced::{Spans, Traced};
