//! Management calls as futures, on tokio's pool of blocking threads.
//!
//! A management call waits for a disk. [`AsyncKeys`] runs it where that holds nobody up;
//! [`blocking`] does the same for any other call of a store, such as
//! [`close`](crate::store::KeyStore::close). Verification reads memory alone: call it as it is.
//!
//! Dropping such a future doesn't undo what it asked for. A call that has begun goes on to its end.

mod blocking;
mod feed;
mod handles;

pub use blocking::blocking;
pub use feed::AsyncEventFeed;
pub use handles::AsyncKeys;
