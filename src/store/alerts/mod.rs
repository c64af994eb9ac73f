//! Events that come with time, and from the use of tokens.
//!
//! | room | what stands there |
//! | --- | --- |
//! | `deadlines` | when something about a key may be due |
//! | `noticed` | what was noticed since the last scan: deadlines, late uses, rejections |
//! | `rejections` | how often keys are rejected |
//! | `scan` | looking at what is due, and writing its alert |
//!
//! Each alert is written once, also by several processes on one database: its commit writes down,
//! beside the key's usage, that it was.

mod deadlines;
mod noticed;
mod rejections;
mod scan;

pub(super) use noticed::Noticed;
pub(super) use scan::AlertScanner;
