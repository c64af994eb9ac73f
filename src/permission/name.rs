//! Names of permissions, and patterns over them.

use std::fmt;

use crate::invalid::{Invalid, Problem};

/// The separator between the segments of a name.
const SEPARATOR: char = ':';
/// The segment that matches any single segment.
const WILDCARD: &str = "*";
const ALLOWED: &str = "a-z, A-Z, 0-9, `_`, `-`, `.`, and `:` between segments";

/// The name of a permission, such as `links:read` or `WRITE_DEVICES`. It has 1 to 64 bytes: one or
/// more segments of ASCII letters, digits, `_`, `-` and `.`, with `:` between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PermissionName(Box<str>);

/// A pattern over names, in which whole segments may be `*`.
///
/// A pattern matches a name with as many segments, each of them equal to that of the pattern or
/// matched by a `*`. So `links:*` matches `links:read`, but neither `links` nor `links:read:own`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Box<str>);

impl PermissionName {
    /// The greatest length, in bytes, of a name and of a pattern.
    pub const MAX_LEN: usize = 64;

    /// Checks and takes a name of 1 to 64 bytes.
    ///
    /// # Errors
    /// [`Invalid`] when it is empty or too long, or has an empty segment or a character that isn't
    /// allowed.
    pub fn new(name: impl AsRef<str>) -> Result<Self, Invalid> {
        check("permission", name.as_ref(), false)?;
        Ok(Self(name.as_ref().into()))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Pattern {
    /// Checks and takes a name or a pattern of 1 to 64 bytes.
    ///
    /// # Errors
    /// [`Invalid`] when it is empty or too long, or has an empty segment, a character that isn't
    /// allowed, or a `*` that isn't a whole segment.
    pub fn new(pattern: impl AsRef<str>) -> Result<Self, Invalid> {
        check("access", pattern.as_ref(), true)?;
        Ok(Self(pattern.as_ref().into()))
    }

    /// Returns the pattern's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tests whether the pattern matches the name.
    #[must_use]
    pub fn matches(&self, name: &PermissionName) -> bool {
        covers(&self.0, &name.0)
    }

    /// Tests whether `outer` matches every name that this pattern matches, in any catalogue.
    #[must_use]
    pub fn is_within(&self, outer: &Self) -> bool {
        // A `*` of this pattern also stands for names that no catalogue has yet, so only a `*`
        // covers it.
        covers(&outer.0, &self.0)
    }
}

/// Compares segment by segment: each is equal, or `outer` has a wildcard there.
fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split(SEPARATOR), inner.split(SEPARATOR));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) => return true,
            (Some(o), Some(i)) if o == WILDCARD || o == i => {}
            _ => return false,
        }
    }
}

fn check(field: &'static str, text: &str, wildcards: bool) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, Problem::Empty));
    }
    if text.len() > PermissionName::MAX_LEN {
        let (given, limit) = (text.len(), PermissionName::MAX_LEN);
        return Err(Invalid::new(field, Problem::TooLong { given, limit }));
    }
    let mut position = 0;
    for segment in text.split(SEPARATOR) {
        let wrong =
            segment.bytes().position(|b| !(b.is_ascii_alphanumeric() || b"_-.".contains(&b)));
        let wrong = if segment.is_empty() { Some(0) } else { wrong };
        if let Some(at) = wrong
            && !(wildcards && segment == WILDCARD)
        {
            let position = position + at;
            return Err(Invalid::new(field, Problem::Character { position, allowed: ALLOWED }));
        }
        position += segment.len() + 1;
    }
    Ok(())
}

impl From<PermissionName> for Pattern {
    fn from(name: PermissionName) -> Self {
        Self(name.0)
    }
}

impl fmt::Display for PermissionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(&PermissionName::new(name).unwrap())
    }

    #[test]
    fn wildcards_stand_for_one_whole_segment() {
        let table = [
            ("links:read", "links:read", true),
            ("links:*", "links:read", true),
            ("*:read", "links:read", true),
            ("*:*", "links:read", true),
            ("links:*", "links", false),
            ("links:*", "links:read:own", false),
            ("links:*:own", "links:read:own", true),
            ("*", "READ_DEVICES", true),
            ("*", "links:read", false),
            ("links:read", "links:reader", false),
            ("link:*", "links:read", false),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn texts_that_are_refused() {
        for text in ["", ":", "a:", ":a", "a::b", "a b", "a*", "*a:b", "é", "a,b"] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
        assert!(PermissionName::new("links:*").is_err());
        assert!(PermissionName::new("x".repeat(64)).is_ok());
        assert!(PermissionName::new("x".repeat(65)).is_err());
        let invalid = Pattern::new("ab:c d").unwrap_err();
        assert!(matches!(invalid.problem(), Problem::Character { position: 4, .. }), "{invalid}");
    }

    /// Names and patterns over so few segments that they often meet.
    fn segments(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(choices), 1..4).prop_map(|s| s.join(":"))
    }

    proptest! {
        /// The law of "within": no name, of those known or not yet thought of, tells them apart.
        #[test]
        fn within_is_matching_fewer_names(
            inner in segments(&["a", "b", "*"]),
            outer in segments(&["a", "b", "*"]),
            names in prop::collection::vec(segments(&["a", "b", "new"]), 0..20),
        ) {
            let within = Pattern::new(&inner).unwrap().is_within(&Pattern::new(&outer).unwrap());
            if within {
                for name in &names {
                    prop_assert!(!matches(&inner, name) || matches(&outer, name), "{inner} {outer} {name}");
                }
            } else {
                // The witness: a fresh word wherever the inner pattern leaves a segment open.
                let witness = inner.replace('*', "new");
                prop_assert!(matches(&inner, &witness) && !matches(&outer, &witness));
            }
        }
    }
}
