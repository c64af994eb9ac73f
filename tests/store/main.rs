//! A store as its callers see it, mostly in memory.

#[path = "../common/mod.rs"]
mod common;

mod acting;
mod alerts;
mod authority;
mod clocks;
mod damage;
mod each;
mod eyes;
mod feed;
mod foreign_writer;
mod health;
mod incarnations;
mod key_retention;
mod lapses;
mod large_owners;
mod leaked;
mod lifetimes;
mod limited;
mod limits;
mod lists;
mod names;
mod once;
mod opening;
mod pepper_retirement;
mod pinning;
mod provided;
mod pruning;
mod read_only;
mod recovery;
mod recovery_keys;
mod rotation;
mod secrets;
mod settings;
mod shared;
mod shown;
mod sweeps;
mod texts;
mod usage;
mod verification;
