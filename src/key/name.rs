//! A key's label.

use crate::text::bounded_text;

bounded_text!(
    /// A label for people: 1 to 255 bytes, without white space at its ends. It holds no characters
    /// that would make it look like another label: control, separator, bidi and invisible characters.
    KeyName, "name", 255
);
