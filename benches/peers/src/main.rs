//! Verification by keyhasp and by others, each doing the same job in turns within one run: take the
//! token apart, find the key among so many, check the secret and the expiry, say whose it is.
//!
//! It prints the figures and a table. `-- --svg FILE` writes a picture of the table too.

mod chart;
mod contender;
mod drawn;
mod job;
mod lock;
// The measuring and the synthetic store are those of keyhasp's own ratios; not all of it is used.
#[allow(dead_code)]
#[path = "../../ratios/measure.rs"]
mod measure;
#[allow(dead_code)]
#[path = "../../ratios/synthetic.rs"]
mod synthetic;
mod table;
mod turns;

use measure::figure;

/// Number of keys of each contender, and the suffix of the figures' names.
const SIZES: [(usize, &str); 2] = [(1_000, "1k"), (1_000_000, "1m")];

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).skip_while(|argument| argument != "--svg");
    let picture = arguments.nth(1);
    let columns = SIZES.map(|(keys, suffix)| {
        let mut jobs = contender::all(keys);
        let taken = turns::take(&mut jobs);
        for (job, taken) in jobs.iter().zip(&taken) {
            let name = job.name.replace('-', "_");
            figure(&format!("peer_{name}_{suffix}"), taken.of_first, "x_keyhasp");
        }
        taken
    });
    let keys = SIZES.map(|(keys, _)| keys);
    table::print(keys, &columns);
    picture.map_or(Ok(()), |path| chart::write(path.as_ref(), keys, &columns))
}
