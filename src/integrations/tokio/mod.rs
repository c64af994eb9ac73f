//! Management calls as futures, on tokio's pool of blocking threads.
//!
//! A management call waits for a disk. [`AsyncKeys`] runs it on a thread that may wait;
//! [`blocking`] does the same for any other call of a store, such as
//! [`close`](crate::store::KeyStore::close). Verification calls no database: call
//! [`Verifier::verify_async`](crate::Verifier::verify_async) directly.
//!
//! Dropping such a future doesn't undo its call. A call that has begun goes on to its end.

mod blocking;
mod bulk;
mod feed;
mod handles;

pub use blocking::blocking;
pub use bulk::AsyncBulk;
pub use feed::AsyncEventFeed;
pub use handles::AsyncKeys;
