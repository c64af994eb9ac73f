//! Verification by keyhasp and by others, each doing the same job in turns within one run: take the
//! token apart, find the key among so many, check the secret and the expiry, say whose it is.

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

fn main() {
    let columns = SIZES.map(|(keys, suffix)| {
        let mut jobs = contender::all(keys);
        let taken = turns::take(&mut jobs);
        for (job, taken) in jobs.iter().zip(&taken) {
            let name = job.name.replace('-', "_");
            figure(&format!("peer_{name}_{suffix}"), taken.of_first, "x_keyhasp");
        }
        taken
    });
    table::print(SIZES.map(|(keys, _)| keys), &columns);
}
