//! Names, patterns and accesses: what is taken, what matches, and "within" against brute force
//! over catalogues.

use std::collections::BTreeSet;

use keyhasp::permission::{Pattern, PermissionName};
use keyhasp::{Access, Catalogue};

/// More lines than this are left out: brute force takes the square of them.
const LINES: usize = 5;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<&str> = text.lines().take(LINES).collect();
    lines.iter().for_each(|line| taken(line));
    let patterns: Vec<Pattern> = lines.iter().filter_map(|line| Pattern::new(line).ok()).collect();
    for outer in &patterns {
        patterns.iter().for_each(|inner| within(inner, outer));
    }
    let accesses: Vec<Access> = lines.iter().filter_map(|line| line.parse().ok()).collect();
    let limited = Access::limited(patterns.iter().map(Pattern::as_str)).ok();
    let accesses: Vec<Access> = accesses.into_iter().chain(limited).collect();
    for outer in &accesses {
        accesses.iter().for_each(|inner| access_within(inner, outer));
    }
}

/// What is a name and what is a pattern, and that an access is parsed, printed and parsed.
fn taken(line: &str) {
    let good = |wildcards: bool| {
        let segment = |segment: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            wildcards && segment == "*" || !segment.is_empty() && segment.chars().all(allowed)
        };
        line.len() <= 64 && line.split(':').all(segment)
    };
    assert_eq!(PermissionName::new(line).is_ok(), good(false), "{line:?} as a name");
    assert_eq!(Pattern::new(line).is_ok(), good(true), "{line:?} as a pattern");
    if let Ok(access) = line.parse::<Access>() {
        let printed = access.to_string();
        assert_eq!(printed.parse::<Access>().unwrap(), access, "{printed}");
        let Access::Limited(limited) = &access else { return };
        assert!(limited.patterns().windows(2).all(|pair| pair[0] < pair[1]), "{printed}");
    }
}

/// Segment that stands for all that no pattern names.
const FRESH: &str = "zz";

/// Every name over the segments that occur, and a fresh one.
fn names(patterns: &[Pattern]) -> Vec<PermissionName> {
    let segments = patterns.iter().flat_map(|pattern| pattern.as_str().split(':'));
    let mut segments: BTreeSet<&str> = segments.filter(|segment| *segment != "*").collect();
    segments.insert(FRESH);
    let mut counts: BTreeSet<usize> =
        patterns.iter().map(|pattern| pattern.as_str().split(':').count()).collect();
    counts.insert(1);
    let mut found = Vec::new();
    for count in counts {
        // Too many to try them all.
        if segments.len().saturating_pow(u32::try_from(count).unwrap()) > 125 {
            continue;
        }
        let mut texts = vec![String::new()];
        for at in 0..count {
            let colon = if at == 0 { "" } else { ":" };
            let longer = |text: &String| {
                let longer = |segment| format!("{text}{colon}{segment}");
                segments.iter().map(longer).collect::<Vec<_>>()
            };
            texts = texts.iter().flat_map(longer).collect();
        }
        found.extend(texts.into_iter().filter_map(|text| PermissionName::new(text).ok()));
    }
    found
}

fn matches(pattern: &Pattern, name: &PermissionName) -> bool {
    let pattern: Vec<&str> = pattern.as_str().split(':').collect();
    let name: Vec<&str> = name.as_str().split(':').collect();
    pattern.len() == name.len() && pattern.iter().zip(name).all(|(p, n)| *p == "*" || *p == n)
}

/// Whether the name was tried that tells whether a pattern is within others: it has the fresh
/// segment wherever the pattern leaves one open.
fn is_tried(pattern: &Pattern, names: &[PermissionName]) -> bool {
    let witness = pattern.as_str().replace('*', FRESH);
    !pattern.as_str().split(':').any(|segment| segment == FRESH)
        && names.iter().any(|name| name.as_str() == witness)
}

fn within(inner: &Pattern, outer: &Pattern) {
    let mut escapes = None;
    let names = names(&[inner.clone(), outer.clone()]);
    for name in &names {
        let (i, o) = (matches(inner, name), matches(outer, name));
        assert_eq!((inner.matches(name), outer.matches(name)), (i, o), "{name}");
        if i && !o {
            escapes = Some(name);
        }
    }
    if inner.is_within(outer) {
        assert_eq!(escapes, None, "{inner} within {outer}");
    } else if is_tried(inner, &names) && is_tried(outer, &names) {
        assert!(escapes.is_some(), "{inner} not within {outer}");
    }
}

fn access_within(inner: &Access, outer: &Access) {
    let patterns = [inner, outer].into_iter().filter_map(|access| match access {
        Access::Limited(limited) => Some(limited.patterns()),
        _ => None,
    });
    let patterns: Vec<Pattern> = patterns.flatten().cloned().collect();
    let names = names(&patterns);
    let mut escapes = false;
    // Enough catalogues for a witness: all names marked so, and all otherwise.
    for read in [true, false] {
        for names in names.chunks(Catalogue::MAX_LEN) {
            let declare = |builder: keyhasp::permission::CatalogueBuilder,
                           name: &PermissionName| {
                if read { builder.read(name.as_str()) } else { builder.write(name.as_str()) }
            };
            let catalogue = names.iter().fold(Catalogue::builder(), declare).build().unwrap();
            for (permission, name) in catalogue.iter() {
                let allows = |access: &Access| match access {
                    Access::Full => true,
                    Access::ReadOnly => read,
                    Access::Limited(limited) => limited.patterns().iter().any(|p| matches(p, name)),
                };
                for access in [inner, outer] {
                    let compiled = access.compile(&catalogue).contains(permission);
                    assert_eq!(compiled, allows(access), "{access} and {name}");
                }
                escapes |= allows(inner) && !allows(outer);
            }
        }
    }
    assert!(!(inner.is_within(outer) && escapes), "{inner} in {outer}");
    // Of lists, a name shows what is not within; `full` and `read_only` also speak of what is
    // still to come.
    if let (Access::Limited(_), Access::Limited(_)) = (inner, outer)
        && patterns.iter().all(|pattern| is_tried(pattern, &names))
    {
        assert_eq!(inner.is_within(outer), !escapes, "{inner} in {outer}");
    }
}
