//! The access of a key, as it is stored, and its compilation to a set.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Catalogue, Pattern, PermissionSet};
use crate::invalid::{Invalid, Problem};
use crate::serial::parse;

/// The access of a key: an expression over permission names. It has no default: each creation of a
/// key states it.
///
/// Its text is `full`, `read_only`, or `limited:` and the patterns with commas between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// All permissions of the catalogue, also those that the service adds to it later.
    Full,
    /// The permissions whose names match one of these patterns.
    Limited(Limited),
    /// All permissions that the catalogue marks as read-only, also those that the service adds
    /// later.
    ReadOnly,
}

/// A list of 1 to 256 patterns, sorted and without repeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limited(Box<[Pattern]>);

impl Limited {
    /// Returns the patterns, sorted.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.0
    }
}

const FULL: &str = "full";
const READ_ONLY: &str = "read_only";
const LIMITED: &str = "limited:";

impl Access {
    /// The greatest number of patterns in a limited access.
    pub const MAX_PATTERNS: usize = 256;

    /// Creates an access to the listed names and wildcards (`links:*`, `*:read`).
    ///
    /// # Errors
    /// [`Invalid`] for an empty list, more than 256 different entries, or a malformed pattern.
    pub fn limited<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, Invalid> {
        let mut parsed = patterns.into_iter().map(Pattern::new).collect::<Result<Vec<_>, _>>()?;
        parsed.sort_unstable();
        parsed.dedup();
        if parsed.is_empty() {
            return Err(Invalid::new("access", Problem::Empty));
        }
        if parsed.len() > Self::MAX_PATTERNS {
            let (given, limit) = (parsed.len(), Self::MAX_PATTERNS);
            return Err(Invalid::new("access", Problem::TooMany { given, limit }));
        }
        Ok(Self::Limited(Limited(parsed.into_boxed_slice())))
    }

    /// Checks that each name is in the catalogue, and that each wildcard matches one of its names.
    ///
    /// # Errors
    /// [`Invalid`] with the first name or wildcard that fails.
    pub fn check(&self, catalogue: &Catalogue) -> Result<(), Invalid> {
        let Self::Limited(limited) = self else { return Ok(()) };
        let unknown = |pattern: &&Pattern| !catalogue.iter().any(|(_, name)| pattern.matches(name));
        match limited.0.iter().find(unknown) {
            Some(pattern) => {
                Err(Invalid::new("access", Problem::Unknown { name: pattern.to_string() }))
            }
            None => Ok(()),
        }
    }

    /// Returns the permissions that this access grants in a catalogue. A name that the catalogue
    /// lacks grants nothing.
    #[must_use]
    pub fn compile(&self, catalogue: &Catalogue) -> PermissionSet {
        match self {
            Self::Full => catalogue.all(),
            Self::ReadOnly => catalogue.read_only(),
            Self::Limited(limited) => {
                let earlier = catalogue.aliases().map(|(name, permission)| (permission, name));
                let named = catalogue.iter().chain(earlier);
                named
                    .filter(|(_, name)| limited.0.iter().any(|pattern| pattern.matches(name)))
                    .map(|(permission, _)| permission)
                    .collect()
            }
        }
    }

    /// Replaces earlier names of permissions by those that the catalogue declares now. Wildcards stay.
    #[must_use]
    pub fn renamed(&self, catalogue: &Catalogue) -> Self {
        let Self::Limited(limited) = self else { return self.clone() };
        let now = |pattern: &Pattern| {
            let name = catalogue.renamed(pattern.as_str());
            name.map_or_else(|| pattern.clone(), |name| Pattern::from(name.clone()))
        };
        Self::sorted(limited.0.iter().map(now).collect())
    }

    /// Adds to the names of each permission all others that it has or had, so that
    /// [`is_within`](Self::is_within) holds for whichever of them the inner access has. Grants the same.
    pub(crate) fn with_all_names(&self, catalogue: &Catalogue) -> Self {
        let Self::Limited(limited) = self else { return self.clone() };
        let mut patterns = limited.0.to_vec();
        let has = |name| limited.0.iter().any(|pattern| pattern.matches(name));
        let names = |permission| {
            let earlier = catalogue.aliases().filter(move |(_, of)| *of == permission);
            earlier.map(|(name, _)| name).chain(catalogue.name(permission))
        };
        for (earlier, permission) in catalogue.aliases() {
            if names(permission).any(has) {
                patterns.push(Pattern::from(earlier.clone()));
                patterns.extend(catalogue.name(permission).cloned().map(Pattern::from));
            }
        }
        Self::sorted(patterns)
    }

    /// Lists the patterns that match neither a name of the catalogue nor an earlier one, ascending: they
    /// grant nothing.
    pub fn unmatched<'a>(&'a self, catalogue: &'a Catalogue) -> impl Iterator<Item = &'a Pattern> {
        let patterns = match self {
            Self::Limited(limited) => limited.patterns(),
            Self::Full | Self::ReadOnly => &[],
        };
        patterns.iter().filter(|pattern| !catalogue.is_matched_by(pattern))
    }

    /// Makes a limited access of at least one pattern.
    fn sorted(mut patterns: Vec<Pattern>) -> Self {
        patterns.sort_unstable();
        patterns.dedup();
        Self::Limited(Limited(patterns.into_boxed_slice()))
    }

    /// Tests whether this access grants at most as much as `outer`, in any catalogue. `Full` lies
    /// only within `Full`, `ReadOnly` within itself and `Full`, and a pattern within an equal or
    /// wider one.
    #[must_use]
    pub fn is_within(&self, outer: &Self) -> bool {
        match (self, outer) {
            (_, Self::Full) | (Self::ReadOnly, Self::ReadOnly) => true,
            (Self::Limited(inner), Self::Limited(outer)) => {
                inner.0.iter().all(|i| outer.0.iter().any(|o| i.is_within(o)))
            }
            _ => false,
        }
    }
}

impl Access {
    /// Returns the text of `Full` and `ReadOnly`, which is a constant. `None` for a limited access.
    pub(crate) fn as_word(&self) -> Option<&'static str> {
        match self {
            Self::Full => Some(FULL),
            Self::ReadOnly => Some(READ_ONLY),
            Self::Limited(_) => None,
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(limited) => {
                let names: Vec<&str> = limited.0.iter().map(Pattern::as_str).collect();
                f.pad(&format!("{LIMITED}{}", names.join(",")))
            }
            _ => f.pad(self.as_word().unwrap_or_default()),
        }
    }
}

impl FromStr for Access {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            FULL => Ok(Self::Full),
            READ_ONLY => Ok(Self::ReadOnly),
            _ => match text.strip_prefix(LIMITED) {
                Some(names) => Self::limited(names.split(',')),
                None => Err(Invalid::new(
                    "access",
                    Problem::Malformed { expected: "`full`, `read_only` or `limited:` and names" },
                )),
            },
        }
    }
}

impl Serialize for Access {
    /// Serializes `Full` and `ReadOnly` as their words, and a limited access as the list of its
    /// names; to formats that aren't for people, as the text of `Display`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Limited(limited) if serializer.is_human_readable() => {
                serializer.collect_seq(limited.0.iter().map(Pattern::as_str))
            }
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Access {
    /// Deserializes a list of names, or a text as [`FromStr`] does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Formats that aren't for people don't say what comes.
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(TextOrNames);
        }
        parse(deserializer)
    }
}

struct TextOrNames;

impl<'de> Visitor<'de> for TextOrNames {
    type Value = Access;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`full`, `read_only` or a list of permissions")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Access, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Access, A::Error> {
        let mut listed: Vec<String> = Vec::new();
        while let Some(name) = names.next_element()? {
            listed.push(name);
        }
        Access::limited(listed).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limited(patterns: &[&str]) -> Access {
        Access::limited(patterns).unwrap()
    }

    #[test]
    fn within_by_kind() {
        let table = [
            (Access::Full, Access::Full, true),
            (Access::Full, Access::ReadOnly, false),
            (Access::Full, limited(&["*", "*:*"]), false),
            (Access::ReadOnly, Access::Full, true),
            (Access::ReadOnly, Access::ReadOnly, true),
            (Access::ReadOnly, limited(&["*:read"]), false),
            (limited(&["links:read"]), Access::Full, true),
            // Marked read-only today, perhaps not tomorrow.
            (limited(&["links:read"]), Access::ReadOnly, false),
            (limited(&["links:read", "a"]), limited(&["links:*", "a"]), true),
            (limited(&["links:*"]), limited(&["links:read", "links:write"]), false),
            (limited(&["links:read", "b"]), limited(&["links:*", "a"]), false),
        ];
        for (inner, outer, expected) in table {
            assert_eq!(inner.is_within(&outer), expected, "{inner} within {outer}");
        }
    }

    #[test]
    fn a_format_of_bytes_gives_it_back() {
        for access in [Access::Full, Access::ReadOnly, limited(&["links:read", "a"])] {
            let bytes = postcard::to_allocvec(&access).unwrap();
            assert_eq!(postcard::from_bytes::<Access>(&bytes).unwrap(), access);
        }
    }

    /// Two permissions with three names of before; `old:c` was a name of the first, and `old:d` is none.
    fn renamed_catalogue() -> Catalogue {
        let builder = Catalogue::builder().read("new:a").write("new:b");
        let builder = builder.alias("old:a", "new:a").alias("old:c", "new:a");
        builder.alias("old:b", "new:b").build().unwrap()
    }

    #[test]
    fn earlier_names_grant_and_are_replaced() {
        let catalogue = renamed_catalogue();
        let names = |access: &Access| -> Vec<String> {
            let set = access.compile(&catalogue);
            let granted = catalogue.iter().filter(|(permission, _)| set.contains(*permission));
            granted.map(|(_, name)| name.to_string()).collect()
        };
        let table: [(&[&str], &[&str], &[&str]); 6] = [
            (&["old:a"], &["new:a"], &["new:a"]),
            (&["old:a", "old:c", "new:a"], &["new:a"], &["new:a"]),
            (&["old:*"], &["new:a", "new:b"], &["old:*"]),
            (&["*:b"], &["new:b"], &["*:b"]),
            (&["old:d", "old:b"], &["new:b"], &["new:b", "old:d"]),
            (&["gone"], &[], &["gone"]),
        ];
        for (patterns, granted, renamed) in table {
            let access = limited(patterns);
            assert_eq!(names(&access), granted);
            assert_eq!(access.renamed(&catalogue), limited(renamed));
        }
        let unmatched = limited(&["gone", "old:a", "old:d", "old:*", "*"]);
        let unmatched: Vec<&str> = unmatched.unmatched(&catalogue).map(Pattern::as_str).collect();
        assert_eq!(unmatched, ["*", "gone", "old:d"]);
        assert_eq!(Access::Full.unmatched(&catalogue).count(), 0);
    }

    #[test]
    fn an_earlier_name_is_within_a_new_one_and_the_other_way_round() {
        let catalogue = renamed_catalogue();
        let within = |inner: &str, outer: &[&str]| {
            limited(&[inner]).is_within(&limited(outer).with_all_names(&catalogue))
        };
        for (inner, outer, is_within) in [
            ("old:a", &["new:a"][..], true),
            ("new:a", &["old:a"], true),
            ("old:c", &["old:a"], true),
            ("new:a", &["old:*"], true),
            ("old:a", &["new:*"], true),
            ("old:*", &["new:*"], false),
            ("new:b", &["old:a"], false),
            ("old:b", &["new:a", "old:c"], false),
        ] {
            assert_eq!(within(inner, outer), is_within, "{inner} in {outer:?}");
        }
    }

    #[test]
    fn bad_lists() {
        assert_eq!(Access::limited([""; 0]).unwrap_err().problem(), &Problem::Empty);
        assert!(Access::limited(["a", ""]).is_err());
        let names: Vec<String> = (0..257).map(|i| format!("p{i}")).collect();
        assert!(Access::limited(&names[..256]).is_ok());
        assert!(Access::limited(&names).is_err());
        for text in ["", "Full", "limited", "limited:", "limited:a,,b", "other"] {
            assert!(text.parse::<Access>().is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_names_are_named() {
        let catalogue = Catalogue::builder().read("links:read").build().unwrap();
        assert!(limited(&["links:*", "links:read"]).check(&catalogue).is_ok());
        for name in ["links:write", "domains:*"] {
            let invalid = limited(&["links:read", name]).check(&catalogue).unwrap_err();
            assert_eq!(invalid.problem(), &Problem::Unknown { name: name.into() });
        }
    }

    fn accesses() -> impl Strategy<Value = Access> {
        let pattern = prop::collection::vec(prop::sample::select(&["a", "b", "*"][..]), 1..3)
            .prop_map(|segments| segments.join(":"));
        prop_oneof![
            Just(Access::Full),
            Just(Access::ReadOnly),
            prop::collection::vec(pattern, 1..4).prop_map(|p| Access::limited(p).unwrap()),
        ]
    }

    /// Every catalogue over three words (one of them in no pattern), in one of two markings.
    fn catalogues() -> impl Strategy<Value = Catalogue> {
        let names: Vec<String> = ["a", "b", "new"]
            .iter()
            .flat_map(|x| ["", ":a", ":b", ":new"].map(|y| format!("{x}{y}")))
            .collect();
        prop::collection::vec(prop::option::of(any::<bool>()), names.len()).prop_map(move |marks| {
            let mut builder = Catalogue::builder();
            for (name, mark) in names.iter().zip(marks) {
                builder = match mark {
                    Some(true) => builder.read(name),
                    Some(false) => builder.write(name),
                    None => builder,
                };
            }
            builder.build().unwrap()
        })
    }

    /// Such a catalogue in which some of the names that it lacks are earlier names of others.
    fn renaming_catalogues() -> impl Strategy<Value = Catalogue> {
        let names = ["a", "b", "new"].map(|x| ["", ":a", ":b", ":new"].map(|y| format!("{x}{y}")));
        let names = names.as_flattened().to_vec();
        let marks = prop::collection::vec(prop::option::of(any::<bool>()), names.len());
        let targets =
            prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), names.len());
        (marks, targets).prop_map(move |(marks, targets)| {
            let declared: Vec<&String> = names
                .iter()
                .zip(&marks)
                .filter(|(_, mark)| mark.is_some())
                .map(|(name, _)| name)
                .collect();
            let mut builder = Catalogue::builder();
            for ((name, mark), target) in names.iter().zip(&marks).zip(targets) {
                builder = match (mark, target) {
                    (Some(true), _) => builder.read(name),
                    (Some(false), _) => builder.write(name),
                    (None, Some(target)) if !declared.is_empty() => {
                        builder.alias(name, *target.get(&declared))
                    }
                    (None, _) => builder,
                };
            }
            builder.build().unwrap()
        })
    }

    proptest! {
        /// Renaming neither gives nor takes, and what is within by any name is within.
        #[test]
        fn earlier_names_grant_as_new_ones(a in accesses(), b in accesses(), catalogue in renaming_catalogues()) {
            let compile = |access: &Access| access.compile(&catalogue);
            prop_assert_eq!(compile(&a.renamed(&catalogue)), compile(&a));
            prop_assert_eq!(compile(&a.with_all_names(&catalogue)), compile(&a));
            if a.is_within(&b.with_all_names(&catalogue)) {
                prop_assert!(compile(&b).is_superset(&compile(&a)), "{a} within {b}");
            }
            if a.renamed(&catalogue).is_within(&b.renamed(&catalogue)) {
                prop_assert!(a.is_within(&b.with_all_names(&catalogue)), "{a} within {b}");
            }
        }

        #[test]
        fn within_holds_for_every_catalogue(a in accesses(), b in accesses(), catalogue in catalogues()) {
            if a.is_within(&b) {
                prop_assert!(b.compile(&catalogue).is_superset(&a.compile(&catalogue)), "{a} within {b}");
            }
        }

        #[test]
        fn what_is_not_within_shows_in_some_catalogue(a in accesses(), b in accesses()) {
            if !a.is_within(&b) {
                let names = ["a", "b", "new"].map(|x| ["", ":a", ":b", ":new"].map(|y| format!("{x}{y}")));
                let mut names = names.as_flattened().to_vec();
                // A name of a shape that no pattern here has.
                names.push("new:new:new".into());
                let all = |read: bool| names.iter().fold(Catalogue::builder(), |c, n| if read { c.read(n) } else { c.write(n) }).build().unwrap();
                let wider = |c: &Catalogue| !b.compile(c).is_superset(&a.compile(c));
                prop_assert!(wider(&all(true)) || wider(&all(false)), "{a} not within {b}");
            }
        }

        #[test]
        fn within_is_a_preorder(a in accesses(), b in accesses(), c in accesses()) {
            prop_assert!(a.is_within(&a));
            prop_assert!(!(a.is_within(&b) && b.is_within(&c)) || a.is_within(&c));
        }

        #[test]
        fn text_and_back(a in accesses()) {
            prop_assert_eq!(a.to_string().parse::<Access>().unwrap(), a);
        }
    }
}
