//! A key's label.

use crate::text::bounded_text;

bounded_text!(
    /// A label for people: 1 to 255 bytes without control characters.
    KeyName, "name", 255
);
