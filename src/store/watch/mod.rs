//! Events that no call makes: what comes with time, and what tokens are used for.
//!
//! [`settings`] says what is looked out for, [`deadlines`] when the next of it may be due, and
//! [`round`] looks. Each thing is told once, also by several processes on one database: beside the
//! key's usage it is written down, in the same commit, up to what it was told.

mod deadlines;
mod refusals;
mod round;
mod settings;

pub(super) use round::Watching;
pub use settings::Watch;
