//! Settings that remember who made them.

use serde::Serialize;

use super::{Field, Sink, Source, words};
use crate::authority::{Actor, Authority, Reason, Role, Viewer};
use crate::clock::Timestamp;
use crate::serial::as_word;

/// The role that set something last. An owner may narrow what an administrator has set, never
/// widen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetBy {
    /// An administrator.
    Administrator,
    /// The owner, or a delegate of it.
    Owner,
}

impl SetBy {
    /// Returns the setter in this role.
    #[must_use]
    pub fn of(role: &Role) -> Self {
        match role.viewer() {
            Viewer::Administrator => Self::Administrator,
            Viewer::Owner => Self::Owner,
        }
    }
}

words! { SetBy { Administrator = 0, "administrator"; Owner = 1, "owner"; } }
as_word!(SetBy, "role", "`administrator` or `owner`");

/// A switch that is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Switch {
    /// The moment at which it was set.
    pub at: Timestamp,
    /// The actor who set it.
    pub by: Actor,
    /// The reason, if the actor gave one.
    pub reason: Option<Reason>,
    /// The role in which the actor set it.
    pub set_by: SetBy,
    /// Whether an administrator gave the reason for the owner's eyes too.
    pub reason_for_owner: bool,
}

impl Switch {
    /// Makes a switch that is set now.
    #[must_use]
    pub fn new(at: Timestamp, by: &Authority) -> Self {
        Self {
            at,
            by: by.actor.clone(),
            reason: by.reason.clone(),
            set_by: SetBy::of(&by.role),
            reason_for_owner: by.reason_for_owner,
        }
    }

    /// Returns the switch as it is shown to a viewer.
    #[must_use]
    pub fn shown_to(self, viewer: Viewer) -> Self {
        let is_administrator = self.set_by == SetBy::Administrator;
        let shows_reason =
            viewer == Viewer::Administrator || !is_administrator || self.reason_for_owner;
        Self {
            by: self.by.shown_to(viewer, is_administrator),
            reason: self.reason.filter(|_| shows_reason),
            ..self
        }
    }
}

impl Field for Switch {
    const WIDTH: usize = 5;

    fn columns(name: &str, columns: &mut Vec<String>) {
        columns.extend(
            ["at", "by", "reason", "set_by", "reason_for_owner"]
                .map(|part| format!("{name}_{part}")),
        );
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { at, by, reason, set_by, reason_for_owner } = self;
        at.put(sink)?;
        by.put(sink)?;
        reason.put(sink)?;
        set_by.put(sink)?;
        reason_for_owner.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            at: Field::get(name, source)?,
            by: Field::get(name, source)?,
            reason: Field::get(name, source)?,
            set_by: Field::get(name, source)?,
            reason_for_owner: Field::get(name, source)?,
        })
    }
}
