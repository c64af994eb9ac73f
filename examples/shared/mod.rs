//! What the example services have alike: how they are started, where their data lie, how they read
//! a body, and how they are served until they are told to stop.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `arguments` | [`Arguments`] of the command line |
//! | `place` | [`Place`]: the database, and the secrets that are kept beside it |
//! | `body` | [`JsonBody`], whatever its content type says |
//! | `serving` | [`Door`]: an address, the first line, an end that loses nothing |

#![allow(dead_code, reason = "each service uses the part of it that it needs")]

mod arguments;
mod body;
mod place;
mod serving;

pub(crate) use arguments::Arguments;
#[allow(unused_imports, reason = "as above")]
pub(crate) use body::{BodyFault, JsonBody};
pub(crate) use place::Place;
pub(crate) use serving::Door;

/// What goes wrong before a service is up, or at its end, for whoever started it.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
