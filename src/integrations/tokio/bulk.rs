//! Bulk changes as a future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::vec;

use super::blocking::blocking;
use crate::store::{Bulk, Error};

/// A [`Bulk`] whose pieces are made on the pool of blocking threads.
///
/// A piece goes on to its end also if the future of [`next`](Self::next) is dropped, and a later call
/// returns its outcomes.
#[must_use = "the changes are made while this is read"]
pub struct AsyncBulk<T> {
    state: State<T>,
    ready: vec::IntoIter<Result<T, Error>>,
}

/// A piece that is made on the pool: the changes after it, and its outcomes.
type Piece<T> = Pin<Box<dyn Future<Output = Result<Made<T>, Error>> + Send>>;

type Made<T> = (Bulk<T>, Option<Vec<Result<T, Error>>>);

enum State<T> {
    /// Between two pieces.
    Between(Bulk<T>),
    /// A piece is being made.
    Making(Piece<T>),
    /// After the last piece.
    Done,
}

impl<T> From<Bulk<T>> for AsyncBulk<T> {
    fn from(bulk: Bulk<T>) -> Self {
        Self { state: State::Between(bulk), ready: Vec::new().into_iter() }
    }
}

impl<T: Send + 'static> AsyncBulk<T> {
    /// Returns the outcome of the next change, as [`Bulk`] does: the changes' own errors, and once
    /// `Unavailable` if the runtime was shut down before a piece began.
    ///
    /// # Panics
    /// As [`blocking`] does.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        loop {
            if let Some(outcome) = self.ready.next() {
                return Some(outcome);
            }
            if let State::Making(piece) = &mut self.state {
                // The piece stays in its place while it is awaited, for this future may be dropped.
                match piece.await {
                    Ok((bulk, Some(outcomes))) => {
                        self.ready = outcomes.into_iter();
                        self.state = State::Between(bulk);
                    }
                    Ok((_, None)) => self.state = State::Done,
                    Err(error) => {
                        self.state = State::Done;
                        return Some(Err(error));
                    }
                }
                continue;
            }
            match std::mem::replace(&mut self.state, State::Done) {
                State::Between(mut bulk) => {
                    self.state = State::Making(Box::pin(blocking(move || {
                        let outcomes = bulk.next_piece();
                        Ok((bulk, outcomes))
                    })));
                }
                State::Making(_) | State::Done => return None,
            }
        }
    }
}

impl<T> fmt::Debug for AsyncBulk<T> {
    /// Shows no outcome: a creation's holds a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncBulk").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}
