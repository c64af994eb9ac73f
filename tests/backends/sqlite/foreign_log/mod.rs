//! A file beside a write-ahead log: they belong together, or are refused.

mod history;
mod mixes;
mod refusals;
