//! The runbook, whose code is compiled with the doctests.
#![doc = include_str!("../../docs/operations.md")]
