#![doc = include_str!("../README.md")]
//!
//! # Rooms
//!
//! | room | contents |
//! | --- | --- |
//! | `store` | [`Redb`]: each call of the contract |
//! | `options` | [`RedbOptions`] |
//! | `place` | the file: its lock, its creation, its copy after a sync that failed |
//! | `transaction` | a commit under way: what the rules of a commit read and write |
//! | `read` | the queries of records and events |
//! | `derived` | the index and the counts: how they are checked, and made again |
//! | `tables` | the tables, and the keys in them |
//! | `fault` | what goes wrong |

mod derived;
mod fault;
mod options;
mod place;
mod read;
mod store;
mod tables;
mod transaction;

pub use options::RedbOptions;
pub use store::Redb;
