//! Nothing of its own: `tests/soak` keeps a store in use for a while.
