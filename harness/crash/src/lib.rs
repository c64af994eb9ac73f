//! What happens to a database whose process is killed, whose files fail, or whose machine loses
//! power, held against what was acknowledged.
//!
//! - [`random`]: choices that a seed repeats.
//! - [`engine`]: the durable backends, and a store on one of them.
//! - [`operation`]: what is done to a store, as a line of text and as a call.
//! - [`limits`]: limits that say a number, as settings and names do.
//! - [`line`]: what a process says of what it does, one write for each line.
//! - [`work`]: many threads that do all of it at once, until somebody kills them.
//! - [`spending`]: a few beside them that use keys with quotas.
//! - [`ledger`]: what must be there, by the acknowledgements alone.
//! - [`found`]: what is there.
//! - [`check`]: the one held against the other.
//! - [`purses`]: the same of quotas, and of uses that are counted.
//! - [`kills`]: the loop that starts, kills and checks.
//! - [`disk`], [`record`], [`replay`]: a process whose files fail when told, what it did to them, and
//!   what is left of that when the power fails.
//! - [`faults`], [`faulted`]: every call on a file failing once, and what that does to a store.
//! - [`power`]: power lost at many moments.
//! - [`planted`]: defects to be caught, so that this is known to find any.

pub mod check;
pub mod disk;
pub mod engine;
pub mod faulted;
pub mod faults;
pub mod files;
pub mod found;
pub mod kills;
pub mod ledger;
pub mod limits;
pub mod line;
pub mod operation;
pub mod planted;
pub mod power;
pub mod purses;
pub mod random;
pub mod record;
pub mod replay;
pub mod spending;
pub mod work;
