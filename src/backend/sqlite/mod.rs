//! Records in a SQLite file.
//!
//! One connection writes, behind a mutex; a small pool of connections reads beside it, each read
//! in one short transaction. Every transaction first looks whether the schema is still the one
//! that this version knows. The tables are in `schema.sql`, and what a
//! later version added in `schema_5.sql`; they have real columns, so that a person can query them.
//!
//! | room | contents |
//! | --- | --- |
//! | `database` | [`Sqlite`]: each call of the contract, as a read or a write |
//! | `opening`, `options` | creating and opening; [`SqliteOptions`] |
//! | `files` | the files of a database, what is refused unopened, the lock |
//! | `file_watch`, `record_watch` | whether files and records are as this process left them |
//! | `foreign_edits` | the edits of other programs |
//! | `schema` | the identity of a database, its version, the steps from version to version |
//! | `last_commit` | the ids by which a log shows to which file it belongs |
//! | `log` | whether the write-ahead log belongs to its file |
//! | `connect` | the making of a connection |
//! | `transaction` | short read transactions; write transactions and what their ends mean |
//! | `readers`, `writer` | the pool; the one writer, and what holds after a commit went wrong |
//! | `codec` | the row codec: fields to columns and back |
//! | `metadata`, `owners`, `keys`, `events` | rows to records and back, a file for each |
//! | `usage`, `requests` | usage and requests, beside the records |
//! | `limits` | the limits of a row, read beside a scan |
//! | `state_column` | a key's state, as far as it is stored |
//! | `checksums` | checksums of records, by which damage shows |
//! | `commit` | the rules' view of a write transaction |
//! | `scan`, `scan_owner`, `pages` | walks over many rows |
//! | `free_pages` | free pages, given back in pieces |
//! | `backup` | a copy of the database of one moment |
//! | `quarantine` | entries over damaged keys |
//! | `check`, `repair` | what a check looks at beyond the records; what a repair writes |
//! | `error` | what SQLite says, without its words |

mod backup;
mod check;
mod checksums;
mod codec;
mod commit;
mod connect;
mod database;
mod error;
mod events;
mod file_watch;
mod files;
mod foreign_edits;
mod free_pages;
mod keys;
mod last_commit;
mod limits;
mod log;
mod metadata;
mod opening;
mod options;
mod owners;
mod pages;
mod quarantine;
mod readers;
mod record_watch;
mod repair;
mod requests;
mod scan;
mod scan_owner;
mod schema;
mod state_column;
mod transaction;
mod usage;
mod writer;

#[cfg(test)]
mod tests;

pub use database::Sqlite;
pub use options::SqliteOptions;
