//! The Markdown table.

use crate::lock::version;
use crate::turns::Taken;

/// Who verifies, with the version; what is kept of the secret; what it was given.
pub fn rows() -> [[String; 3]; 7] {
    let engine = format!("rusqlite {} (SQLite {})", version("rusqlite"), rusqlite::version());
    let blake3 = "keyed BLAKE3";
    let crate_ = |name: &str| format!("{name} {}", version(name));
    let row = |who: String, kept: &str, given: &str| [who, kept.to_owned(), given.to_owned()];
    [
        row(crate_("keyhasp"), blake3, "nothing; a permission is checked besides"),
        row(crate_("tollgate-auth"), "HMAC-SHA256", "the check of the expiry it returns"),
        row(
            format!("{}, again on one connection", crate_("tollgate-auth")),
            "the token itself",
            "nothing; it hashes nothing, and a revocation is another check's part",
        ),
        row(
            format!("by hand, sha2 {}", version("sha2")),
            "SHA-256",
            "a `HashMap` from hash to owner and expiry; it doesn't compare in constant time",
        ),
        row(crate_("prefixed-api-key"), "SHA-256", "a `HashMap` from short token to hash, expiry"),
        row(format!("by hand, {engine}"), blake3, "a page cache that holds every row"),
        row(crate_("api-keys-simplified"), "Argon2id", "a `HashMap` from its id to hash"),
    ]
}

/// Prints nanoseconds and ratios of everyone, a pair of columns for each number of keys.
pub fn print<const N: usize>(keys: [usize; N], columns: &[Vec<Taken>; N]) {
    println!("\nOn {}:\n", machine());
    let heads = keys.map(|keys| format!("{keys} keys, ns | times keyhasp"));
    println!("| verified by | kept of the secret | given | {} |", heads.join(" | "));
    println!("| --- | --- | --- |{}", " ---: | ---: |".repeat(N));
    for (which, row) in rows().iter().enumerate() {
        let cells = columns.each_ref().map(|column| {
            let Taken { nanos, of_first } = &column[which];
            format!("{} | {}", rounded(*nanos), rounded(*of_first))
        });
        println!("| {} | {} |", row.join(" | "), cells.join(" | "));
    }
}

/// Two digits and more, one after the point for what is small.
pub fn rounded(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// The processor and how many threads of it this process has, as far as the system tells.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {threads} threads, {}", std::env::consts::OS)
}
