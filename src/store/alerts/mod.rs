//! Alerts: events that the store writes by itself, as time passes and as tokens are used.
//!
//! | room | contents |
//! | --- | --- |
//! | `deadlines` | the times at which an alert of a key may be due |
//! | `noticed` | observations since the last scan: deadlines, late uses, rejections |
//! | `rejections` | counts of rejections by key |
//! | `scan` | checking what is due, and writing its alerts |
//!
//! Each alert is written once, also if several processes use one database: the commit that writes
//! the alert records it beside the key's usage.

mod deadlines;
mod noticed;
mod rejections;
mod scan;

pub(super) use noticed::Noticed;
pub(super) use scan::AlertScanner;
