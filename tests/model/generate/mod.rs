//! Generating the next call: mostly a sensible one, now and then not.

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
pub(crate) use world::{catalogue, lifetime, prefixes};
