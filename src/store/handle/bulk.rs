//! Many changes by one call.

use std::fmt;
use std::vec;

use crate::store::types::Error;
use crate::store::types::bulk::PIECE;

/// Many changes that don't depend on each other, made while it is iterated: the outcome of each, in the
/// order in which they were asked for.
///
/// The store makes them in pieces of 64, each of which is one durable write, and other callers commit
/// between two pieces. A piece begins when the first of its outcomes is asked for. So the outcomes so far
/// are the progress, and a caller that drops this leaves the later pieces undone.
///
/// Each change has its own outcome: one that fails leaves all others as they are. After
/// [`Error::OutcomeUnknown`] it is indeterminate whether this change took effect; it is the outcome of
/// each change of a piece whose write may have happened.
///
/// ```
/// # use keyhasp::{AdminKeys, Error, KeyId};
/// # fn f(admin: &AdminKeys, leaked: Vec<KeyId>) {
/// let total = leaked.len();
/// for ((done, id), outcome) in (1..).zip(leaked.clone()).zip(admin.revoke_many(leaked)) {
///     match outcome {
///         Ok(_) => println!("{done} of {total}"),
///         Err(error) => println!("{id}: {error}"),
///     }
/// }
/// # }
/// ```
#[must_use = "the changes are made while this is iterated"]
pub struct Bulk<T> {
    next_piece: Box<dyn FnMut() -> Vec<Result<T, Error>> + Send>,
    ready: vec::IntoIter<Result<T, Error>>,
}

impl<T> Bulk<T> {
    /// Makes bulk changes of items, a piece of which `call` gives to the store.
    pub(super) fn new<I: 'static>(
        items: impl IntoIterator<Item = I, IntoIter: Send + 'static>,
        call: impl Fn(&[I]) -> Result<Vec<Result<T, Error>>, Error> + Send + 'static,
    ) -> Self {
        let mut items = items.into_iter().fuse();
        let next_piece = move || {
            let piece: Vec<I> = items.by_ref().take(PIECE).collect();
            if piece.is_empty() {
                return Vec::new();
            }
            call(&piece).unwrap_or_else(|error| {
                // A store around the store has refused the whole call.
                piece.iter().map(|_| Err(error.clone())).collect()
            })
        };
        Self { next_piece: Box::new(next_piece), ready: Vec::new().into_iter() }
    }

    /// Makes the changes of the next piece, and returns their outcomes: at most 64, and `None` at the
    /// end. Outcomes of the piece before that weren't read come first, alone.
    pub fn next_piece(&mut self) -> Option<Vec<Result<T, Error>>> {
        let left: Vec<_> = self.ready.by_ref().collect();
        let piece = if left.is_empty() { (self.next_piece)() } else { left };
        (!piece.is_empty()).then_some(piece)
    }
}

impl<T> Iterator for Bulk<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.len() == 0 {
            self.ready = (self.next_piece)().into_iter();
        }
        self.ready.next()
    }
}

impl<T> fmt::Debug for Bulk<T> {
    /// Shows no outcome: a creation's holds a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}
