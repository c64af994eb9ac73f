//! The guide, whose code is compiled and run with the doctests.
#![doc = include_str!("../../docs/writing-a-backend.md")]
