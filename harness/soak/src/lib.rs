//! An empty library: the tests in `tests` are all there is.
