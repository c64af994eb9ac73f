//! Records in a SQLite file.
//!
//! One connection writes, behind a mutex; a small pool of connections reads beside it, each read
//! in one short transaction. Every transaction first looks whether the schema is still the one
//! that this version knows. The tables are drawn in `schema.sql` and told in
//! `docs/storage-format.md`; they have real columns, so that a person can query them.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `database` | [`Sqlite`]: each call of the contract, as a read or a write |
//! | `options` | [`SqliteOptions`] |
//! | `files` | which files there are, what is refused unopened, the lock |
//! | `schema` | whose database it is, its version, the steps from version to version |
//! | `connect` | how a connection is made |
//! | `transaction` | short read transactions; write transactions and what their ends mean |
//! | `readers`, `writer` | the pool; the one writer, and what holds after a commit went wrong |
//! | `cells`, `metadata`, `owners`, `keys`, `events` | rows to records and back, a file for each |
//! | `usage` | what was used, beside the records |
//! | `limits` | the columns of limits, which keys and owners have |
//! | `standing` | a key's state, as far as it is stored |
//! | `sums` | checksums of records, by which damage shows |
//! | `commit` | the rules' view of a write transaction |
//! | `scan`, `pages` | what walks over many rows |
//! | `error` | what SQLite says, without its words |

mod checksums;
mod codec;
mod commit;
mod connect;
mod database;
mod error;
mod events;
mod files;
mod keys;
mod limits;
mod metadata;
mod options;
mod owners;
mod pages;
mod readers;
mod scan;
mod schema;
mod state_column;
mod transaction;
mod usage;
mod writer;

#[cfg(test)]
mod tests;

pub use database::Sqlite;
pub use options::SqliteOptions;
