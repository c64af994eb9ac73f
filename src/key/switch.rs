//! Settings that remember who made them.

use serde::Serialize;

use super::{Field, Sink, Source, words};
use crate::authority::{Actor, Reason};
use crate::clock::Timestamp;

/// The role that set something last. An owner may narrow what an administrator has set, never
/// widen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SetBy {
    /// An administrator.
    Administrator,
    /// The owner, or a delegate of it.
    Owner,
}

words! { SetBy { Administrator = 0, "administrator"; Owner = 1, "owner"; } }

/// A switch that is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Switch {
    /// The moment at which it was set.
    pub at: Timestamp,
    /// The actor who set it.
    pub by: Actor,
    /// The reason, if the actor gave one.
    pub reason: Option<Reason>,
}

impl Field for Switch {
    const WIDTH: usize = 3;

    fn columns(name: &str, columns: &mut Vec<String>) {
        columns.extend(["at", "by", "reason"].map(|part| format!("{name}_{part}")));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { at, by, reason } = self;
        at.put(sink)?;
        by.put(sink)?;
        reason.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            at: Field::get(name, source)?,
            by: Field::get(name, source)?,
            reason: Field::get(name, source)?,
        })
    }
}
