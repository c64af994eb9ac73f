//! Tags of keys and owners.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{Field, Sink, Source};
use crate::invalid::{Invalid, Problem};
use crate::serial::as_text;
use crate::text::check_size;

/// A tag, by which keys or owners are found, such as `ci`, `team:billing` or `env=prod`: 1 to 64
/// ASCII letters, digits and `_ . : / = + - @`. Case counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

impl Tag {
    /// The greatest length, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Takes a tag.
    ///
    /// # Errors
    /// [`Invalid`] when it is empty or too long, or holds another character.
    pub fn new(tag: impl AsRef<str>) -> Result<Self, Invalid> {
        let tag = tag.as_ref();
        check_size("tag", tag, Self::MAX_LEN)?;
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/=+-@".contains(&byte);
        if let Some(position) = tag.bytes().position(|byte| !is_allowed(byte)) {
            let allowed = "a-z, A-Z, 0-9 and `_ . : / = + - @`";
            return Err(Invalid::new("tag", Problem::Character { position, allowed }));
        }
        Ok(Self(tag.into()))
    }

    /// Returns the tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Tag {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::new(text)
    }
}

as_text!(Tag);

/// The tags of a key or an owner: at most 16, each once, sorted by their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Tags(Box<[Tag]>);

impl Tags {
    /// The greatest number of tags.
    pub const MAX: usize = 16;

    /// Makes the set of some tags. One that is given twice counts once.
    ///
    /// # Errors
    /// [`Invalid`] for more than 16 different tags, or a text that is no tag.
    pub fn new(tags: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, Invalid> {
        let mut parsed = tags.into_iter().map(Tag::new).collect::<Result<Vec<_>, _>>()?;
        parsed.sort_unstable();
        parsed.dedup();
        if parsed.len() > Self::MAX {
            let (given, limit) = (parsed.len(), Self::MAX);
            return Err(Invalid::new("tags", Problem::TooMany { given, limit }));
        }
        Ok(Self(parsed.into_boxed_slice()))
    }

    /// Returns whether a tag is among them.
    #[must_use]
    pub fn contains(&self, tag: &Tag) -> bool {
        self.0.binary_search(tag).is_ok()
    }

    /// Returns whether each of `others` is among them.
    #[must_use]
    pub fn contains_all(&self, others: &Self) -> bool {
        others.iter().all(|tag| self.contains(tag))
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lists the tags, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Tag> {
        self.0.iter()
    }
}

/// Tags as one text, a space between two: no tag has one.
struct Joined(Tags);

impl Joined {
    fn text(tags: &Tags) -> String {
        tags.0.iter().map(Tag::as_str).collect::<Vec<_>>().join(" ")
    }
}

impl Field for Joined {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.text(&Self::text(&self.0))
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        source.text_as(name, |text| {
            let tags = Tags::new(text.split(' ')).ok()?;
            (Self::text(&tags) == text).then_some(Self(tags))
        })
    }
}

/// Without tags a record ends before them. So a record of format 4, which had none, is the same in
/// this one. They are the last field of each record.
impl Field for Tags {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let joined = (!self.is_empty()).then(|| Joined(self.clone()));
        match joined {
            None if !S::HAS_PLACES => Ok(()),
            Some(joined) if !S::HAS_PLACES => joined.put(sink),
            joined => sink.option(joined.as_ref()),
        }
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        let joined: Option<Joined> = if S::HAS_PLACES {
            source.option(name)?
        } else if source.is_at_end() {
            None
        } else {
            Some(Joined::get(name, source)?)
        };
        Ok(joined.map(|Joined(tags)| tags).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_of_a_tag() {
        for good in ["a", "0", "Team:billing/eu", "env=prod+2@x.y-z_", &"x".repeat(64)] {
            assert_eq!(Tag::new(good).unwrap().as_str(), good);
        }
        let problem = |text: &str| Tag::new(text).unwrap_err().problem().clone();
        assert_eq!(problem(""), Problem::Empty);
        assert_eq!(problem(&"x".repeat(65)), Problem::TooLong { given: 65, limit: 64 });
        for (bad, at) in [("a b", 1), (" a", 0), ("a,", 1), ("a\n", 1), ("é", 0), ("a\0", 1)] {
            assert!(matches!(problem(bad), Problem::Character { position, .. } if position == at));
        }
    }

    #[test]
    fn sixteen_different_ones_sorted() {
        let tags = Tags::new(["b", "B", "a", "b"]).unwrap();
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["B", "a", "b"]);
        let numbered = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
        let twice = [numbered(16), numbered(16)].concat();
        assert_eq!(Tags::new(&twice).unwrap().iter().count(), 16);
        let many = Tags::new(numbered(17)).unwrap_err();
        assert_eq!(many.field(), "tags");
        assert_eq!(many.problem(), &Problem::TooMany { given: 17, limit: 16 });
        assert!(Tags::new([""; 0]).unwrap().is_empty());
    }

    #[test]
    fn all_of_some_others() {
        let tags = Tags::new(["a", "b", "c"]).unwrap();
        for (others, expected) in
            [(&[] as &[&str], true), (&["b"], true), (&["c", "a"], true), (&["a", "A"], false)]
        {
            assert_eq!(tags.contains_all(&Tags::new(others).unwrap()), expected, "{others:?}");
        }
    }
}
