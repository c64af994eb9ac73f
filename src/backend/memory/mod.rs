//! Records in memory: the reference, and the backend for tests and for keys that need not outlive
//! the process.
//!
//! | room | contents |
//! | --- | --- |
//! | `store` | [`Memory`]: each call of the contract |
//! | `data` | the records, and the rules' view of them |
//! | `keys` | the keys, and their places in each order |

mod data;
mod keys;
mod store;

pub use store::Memory;
