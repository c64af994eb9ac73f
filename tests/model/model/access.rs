//! Access: lists of permission names, searched one by one.

use std::collections::BTreeSet;

use keyhasp::Access;
use serde_json::Value;

/// An access as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Full,
    Limited(BTreeSet<String>),
    ReadOnly,
}

/// The permissions that the service declares, each marked as read-only or not.
pub(crate) type Names = Vec<(&'static str, bool)>;

impl Reach {
    pub(crate) fn limited(patterns: &[&str]) -> Self {
        Self::Limited(patterns.iter().map(ToString::to_string).collect())
    }

    pub(crate) fn access(&self) -> Access {
        match self {
            Self::Full => Access::Full,
            Self::Limited(patterns) => Access::limited(patterns).unwrap(),
            Self::ReadOnly => Access::ReadOnly,
        }
    }

    pub(crate) fn shown(&self) -> Value {
        match self {
            Self::Full => "full".into(),
            Self::Limited(patterns) => patterns.iter().map(|name| Value::from(&**name)).collect(),
            Self::ReadOnly => "read_only".into(),
        }
    }

    pub(crate) fn grants(&self, name: &str, is_read: bool) -> bool {
        match self {
            Self::Full => true,
            Self::Limited(patterns) => patterns.iter().any(|pattern| covers(pattern, name)),
            Self::ReadOnly => is_read,
        }
    }

    /// Returns whether it names a permission that the catalogue lacks.
    pub(crate) fn names_unknown(&self, catalogue: &Names) -> bool {
        match self {
            Self::Limited(patterns) => patterns
                .iter()
                .any(|pattern| !catalogue.iter().any(|(name, _)| covers(pattern, name))),
            _ => false,
        }
    }

    /// Returns whether it allows nothing that `outer` doesn't, in any catalogue.
    pub(crate) fn is_within(&self, outer: &Self) -> bool {
        match (self, outer) {
            (_, Self::Full) => true,
            (Self::ReadOnly, Self::ReadOnly) => true,
            (Self::Limited(inner), Self::Limited(outer)) => {
                inner.iter().all(|inner| outer.iter().any(|outer| covers(outer, inner)))
            }
            _ => false,
        }
    }
}

/// Returns whether a name matches a pattern: as many segments, each equal or met by a `*`.
fn covers(pattern: &str, name: &str) -> bool {
    let pattern: Vec<&str> = pattern.split(':').collect();
    let name: Vec<&str> = name.split(':').collect();
    pattern.len() == name.len()
        && pattern.iter().zip(&name).all(|(pattern, segment)| *pattern == "*" || pattern == segment)
}
