//! The targets.

use super::{
    alike, cursor, damaged_sled, damaged_sqlite, permissions, settings, sled_records, sqlite_rows,
    token,
};

/// A target by its name, which is also that of its program and of the directory of its seeds.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("alike", alike::run),
    ("cursor", cursor::run),
    ("damaged_sled", damaged_sled::run),
    ("damaged_sqlite", damaged_sqlite::run),
    ("permissions", permissions::run),
    ("settings", settings::run),
    ("sled_records", sled_records::run),
    ("sqlite_rows", sqlite_rows::run),
    ("token", token::run),
];
