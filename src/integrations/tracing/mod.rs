//! Traces of a store's calls.
//!
//! Each management call is a span `keyhasp` at level INFO. Its fields are `call`, and `role`,
//! `owner`, `key` and `correlation_id` as far as the call has them; `outcome` is recorded at its
//! end. A call that fails for the store's own reasons also leaves an event at WARN. A verification
//! is no span: an accepted token leaves nothing, a rejected one an event at DEBUG with its
//! `outcome`. No field holds a token, a digest, a name that a client chose, or an actor.

mod traced;

pub use traced::Traced;
