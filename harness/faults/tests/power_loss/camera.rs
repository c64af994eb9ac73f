//! Takes pictures of what a power cut would leave, at random moments.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keyhasp_faults::file_record::Chance;
use keyhasp_faults::medium::{Image, Medium};
use keyhasp_faults::vfs::{AlertSettings, Call, Operation, Verdict};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Seeded chance.
#[derive(Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
}

impl Chance for Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }
}

/// A medium that is photographed.
#[derive(Debug)]
pub struct Camera {
    pub medium: Medium,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    chance: Random,
    /// Before one in so many operations that change anything.
    one_in: u64,
    pictures: Vec<Picture>,
}

/// What would be left.
#[derive(Debug)]
pub struct Picture {
    pub image: Image,
    /// Before which operation.
    pub before: String,
}

impl Camera {
    pub fn new(medium: Medium, seed: u64, one_in: u64) -> Self {
        let state = State { chance: Random::new(seed), one_in, pictures: Vec::new() };
        Self { medium, state: Mutex::new(state) }
    }

    /// Takes a picture before one in so many operations from now on.
    pub fn pace(&self, one_in: u64) {
        self.lock().one_in = one_in;
    }

    /// The pictures taken since the last time.
    pub fn pictures(&self) -> Vec<Picture> {
        mem::take(&mut self.lock().pictures)
    }

    /// One more, now.
    pub fn shoot(&self) {
        let mut state = self.lock();
        let image = self.medium.after_loss(&mut state.chance);
        state.pictures.push(Picture { image, before: "the next call".to_owned() });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AlertSettings for Camera {
    fn before(&self, call: &Call<'_>) -> Verdict {
        use Operation as O;
        let changes = matches!(
            call.operation,
            O::Delete { .. }
                | O::Open { create: true }
                | O::Sync
                | O::Truncate { .. }
                | O::Write { .. }
        );
        let mut state = self.lock();
        let one_in = state.one_in;
        if changes && state.chance.one_in(one_in) {
            let image = self.medium.after_loss(&mut state.chance);
            let before = match call.operation {
                O::Write { offset, data } => {
                    format!("write of {} bytes at {offset} of {}", data.len(), call.file)
                }
                other => format!("{other:?} of {}", call.file),
            };
            state.pictures.push(Picture { image, before });
        }
        drop(state);
        self.medium.before(call)
    }

    fn after(&self, call: &Call<'_>) {
        self.medium.after(call);
    }
}
