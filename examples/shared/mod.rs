//! The common parts of the example services: arguments, the place of their data, JSON bodies, and
//! serving until a signal stops them.
//!
//! | file | contents |
//! | --- | --- |
//! | `arguments` | [`Arguments`] of the command line |
//! | `place` | [`Place`]: the database, and the secrets beside it |
//! | `body` | [`JsonBody`], read without regard to its content type |
//! | `serving` | [`Door`]: a listening address, the first line of output, a graceful shutdown |

#![allow(dead_code, reason = "each service uses the part of it that it needs")]

use std::io::Write;
use std::process::ExitCode;

use axum::response::Response;
use keyhasp::integrations::http::no_store;

mod arguments;
mod body;
mod place;
mod serving;

pub(crate) use arguments::Arguments;
#[allow(unused_imports, reason = "as above")]
pub(crate) use body::{BodyFault, JsonBody};
pub(crate) use place::Place;
#[allow(unused_imports, reason = "as above")]
pub(crate) use place::problems;
pub(crate) use serving::Door;

/// Ends a service with what became of it: an operator gets the error's sentences, not its fields.
pub(crate) fn exit(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without standard error, the exit code alone reports the problem.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps an answer out of every cache, since it may hold a token.
pub(crate) async fn unstored(mut answer: Response) -> Response {
    no_store(answer.headers_mut());
    answer
}

/// The result of starting or stopping a service, for its operator.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
