//! The versions that were really built.

const LOCK: &str = include_str!("../Cargo.lock");

/// The version of a package.
///
/// # Panics
/// If there is no such package.
pub fn version(package: &str) -> &'static str {
    let head = format!("name = \"{package}\"\nversion = \"");
    let (_, rest) = LOCK.split_once(&head).expect("the package is in the lock file");
    rest.split_once('"').expect("a version ends").0
}
