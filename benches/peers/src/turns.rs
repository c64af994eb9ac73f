//! Measuring all jobs in turns.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::job::Job;
use crate::measure::{median, time};

/// Number of turns of each job.
const ROUNDS: usize = 31;

/// Times of a job.
pub struct Taken {
    /// Nanoseconds of one verification, the median of all rounds.
    pub nanos: f64,
    /// How many times as long as the first job in the same round, the median of all rounds.
    pub of_first: f64,
}

/// Gives each job its turn, in another order in each round.
pub fn take(jobs: &mut [Job]) -> Vec<Taken> {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut nanos = vec![Vec::new(); jobs.len()];
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    for _ in 0..ROUNDS {
        for last in (1..order.len()).rev() {
            order.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
        }
        for &which in &order {
            let job = &mut jobs[which];
            // Run once unmeasured: the contender before has left the caches full of its own data.
            (job.run)();
            nanos[which].push(time(&mut job.run) / job.batch as f64);
        }
    }
    let first = nanos[0].clone();
    nanos
        .into_iter()
        .map(|nanos| Taken {
            of_first: median(nanos.iter().zip(&first).map(|(one, first)| one / first).collect()),
            nanos: median(nanos),
        })
        .collect()
}
