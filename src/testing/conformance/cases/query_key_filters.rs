//! Keys are found by name, prefix, permission, expiry and tags.

use super::query_keys::{all, expect_shown, expected, mixed, store};
use crate::backend::{KeyFilter, StateSet};
use crate::clock::Timestamp;
use crate::key::{PrefixNumber, Tags};
use crate::permission::{Catalogue, PermissionFilter};
use crate::testing::conformance::Failure;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::conformance::walk;
use crate::testing::sample;

list![
    query_keys_are_those_whose_names_begin_so,
    query_keys_are_those_with_a_prefix,
    query_keys_are_those_that_grant_a_permission,
    query_keys_are_those_that_expire_before_a_moment,
    query_keys_are_those_with_tags,
];

/// Tries filters, each of which must meet some keys and not others: alone, in one owner's keys and
/// among those that a key created, page by page and counted.
fn tried(lab: &Lab<'_>, filters: &[KeyFilter]) -> Tested {
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    for filter in filters {
        let found = expected(&keys, filter).len();
        ensure!(found > 0, "no sample key is of {filter:?}");
        ensure!(found < keys.len(), "all sample keys are of {filter:?}");
        let owner = Some(sample::owner_id("acme2")?);
        let created_by_key = Some(sample::key_id(1));
        for filter in [
            filter.clone(),
            KeyFilter { owner, ..filter.clone() },
            KeyFilter { created_by_key, ..filter.clone() },
            KeyFilter { states: StateSet::UNREVOKED, ..filter.clone() },
        ] {
            let expected = expected(&keys, &filter);
            for bounds in walk::NARROW.into_iter().chain([walk::WIDE]) {
                let shown = walk::keys(&*backend, &filter, bounds)?;
                ensure_eq!(shown, expected, "keys of {filter:?} by pages of {bounds:?}");
            }
            let count = backend.count_keys(&filter)?;
            ensure_eq!(count, expected.len() as u64, "how many keys of {filter:?}");
        }
    }
    Ok(())
}

/// Byte for byte: neither case nor accents are folded. Every name begins with nothing, and what has
/// no name is left out.
fn query_keys_are_those_whose_names_begin_so(lab: &Lab<'_>) -> Tested {
    let begin = |start: &str| KeyFilter { name_start: Some(start.into()), ..all() };
    let starts =
        ["", "b", "build", "Build", "build server", "build server 9", "b\u{fc}", "nightly"];
    tried(lab, &starts.map(begin))?;
    let backend = store(lab, &mixed()?)?;
    for start in ["server", "builds", "bu\u{308}", "build server 99", "%", "_uild", "b*"] {
        let shown = walk::keys(&*backend, &begin(start), walk::WIDE)?;
        ensure_eq!(shown.len(), 0, "keys whose names begin with {start:?}");
        ensure_eq!(backend.count_keys(&begin(start))?, 0, "how many begin with {start:?}");
    }
    Ok(())
}

/// Any of several prefixes, of the current token alone.
fn query_keys_are_those_with_a_prefix(lab: &Lab<'_>) -> Tested {
    let of = |numbers: &[u8]| -> Result<_, Failure> {
        let numbers = numbers.iter().map(|number| PrefixNumber::new(*number));
        Ok(KeyFilter { prefixes: Some(numbers.collect::<Result<_, _>>()?), ..all() })
    };
    tried(lab, &[of(&[0])?, of(&[1])?, of(&[1, 63])?])?;
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    for numbers in [&[] as &[u8], &[2], &[0, 1]] {
        expect_shown(&backend, &keys, &of(numbers)?)?;
    }
    Ok(())
}

fn query_keys_are_those_that_grant_a_permission(lab: &Lab<'_>) -> Tested {
    let catalogue = Catalogue::builder().read("links:read").write("links:write").read("other");
    let catalogue = catalogue.write("users:write").build()?;
    let of = |name| -> Result<_, Failure> {
        let permission = Some(PermissionFilter::new(name, &catalogue)?);
        Ok(KeyFilter { permission, ..all() })
    };
    tried(lab, &[of("links:write")?, of("users:write")?, of("other")?])?;
    let keys = mixed()?;
    expect_shown(&store(lab, &keys)?, &keys, &of("links:read")?)
}

/// To the millisecond, and never those without an expiry.
fn query_keys_are_those_that_expire_before_a_moment(lab: &Lab<'_>) -> Tested {
    let millisecond = std::time::Duration::from_millis(1);
    let before = |end| KeyFilter { expires_before: Some(end), ..all() };
    let ends = [sample::at(41), sample::at(44), sample::at(44).saturating_add(millisecond)];
    tried(lab, &ends.map(before))?;
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    for end in [sample::at(40), Timestamp::MAX] {
        expect_shown(&backend, &keys, &before(end))?;
    }
    Ok(())
}

/// Those that have each of the tags, whole and byte for byte.
fn query_keys_are_those_with_tags(lab: &Lab<'_>) -> Tested {
    let with =
        |tags: &[&str]| -> Result<_, Failure> { Ok(KeyFilter { tags: Tags::new(tags)?, ..all() }) };
    tried(
        lab,
        &[with(&["ci"])?, with(&["env=prod"])?, with(&["ci", "env=prod"])?, with(&["CI"])?],
    )?;
    let keys = mixed()?;
    let backend = store(lab, &keys)?;
    for tags in [["c", "ci"], ["env=", "ci"], ["ci", "CI"], ["ci", "env=test"]] {
        expect_shown(&backend, &keys, &with(&tags)?)?;
    }
    Ok(())
}
