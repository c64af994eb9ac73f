//! Stores in processes that fork. The tests are in `tests/forks`.
