//! What to ask for next: mostly what makes sense, now and then what doesn't.

mod calls;
mod clock;
mod limits;
mod mood;
mod queries;
mod values;
mod world;

pub(crate) use calls::Generator;
pub(crate) use clock::next_moment;
pub(crate) use limits::presented;
pub(crate) use mood::Mood;
pub(crate) use world::{catalogue, prefixes};
