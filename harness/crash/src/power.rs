//! Losses of power at many moments: a process's writes are recorded while it works. A disk that
//! keeps of them what it must is then opened and compared with the acknowledgements up to that
//! moment.

use crate::engine::Engine;
use crate::random::Random;
use crate::recording::{Kind, Recording, Total, Used};

/// The number of moments at which each recording loses power.
const MOMENTS: u64 = 20;

/// A series of losses.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The backend.
    pub engine: Engine,
    /// The number of losses.
    pub states: u64,
    /// The seed of all choices.
    pub seed: u64,
    /// Leaves syncs of files whose paths end so out of the record, until the checks notice. An
    /// empty end matches every file.
    pub forget: Option<&'static str>,
}

/// Records, loses power and checks, as often as planned.
///
/// # Errors
/// The harness itself failed.
pub fn run(plan: &Plan) -> Result<Total, String> {
    let mut random = Random::new(plan.seed);
    let mut total = Total::default();
    let used = match plan.forget {
        Some(_) => None,
        None => Some(Used::make(plan.engine, &mut random)?),
    };
    for number in 0.. {
        if total.states >= plan.states {
            break;
        }
        let count = MOMENTS.min(plan.states - total.states);
        let kind = match (plan.forget, number % 3) {
            (Some(end), _) => Kind::Forgets(end),
            (None, 0) => Kind::Single,
            (None, 1) => Kind::Many,
            (None, _) => Kind::Faulty,
        };
        // Every other round on a database that was used for long.
        let used = used.as_ref().filter(|_| number % 6 >= 3);
        let engine = match plan.engine {
            Engine::Sqlite if random.percent(25) => Engine::SharedSqlite,
            engine => engine,
        };
        let recording = Recording::make(engine, kind, used, &mut random)?;
        if kind.threads() == 1 {
            recording.count_syncs(&mut total);
        }
        total.recoveries += recording.recoveries();
        if engine == Engine::Sled {
            recording.count_segments(&mut total);
        }
        recording.lose_power(count, &mut random, &mut total)?;
        if plan.forget.is_some_and(|end| total.noticed(end)) {
            break;
        }
    }
    Ok(total)
}
