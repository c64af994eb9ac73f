//! Pages of owners are in order and complete, and look at no more than they may.

use crate::backend::OwnerPageQuery;
use crate::id::OwnerId;
use crate::key::{OwnerRecord, Tags};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

use crate::testing::conformance::instance::Instance;
use crate::testing::conformance::walk;

list![
    query_owners_come_in_ascending_order,
    query_owners_are_suspended_or_not,
    query_owners_are_those_with_tags,
    query_owners_are_those_after_a_bound,
    query_pages_of_owners_show_every_field,
    query_pages_of_owners_keep_to_their_limit,
    query_pages_of_owners_examine_no_more_than_told,
    query_pages_of_owners_are_complete,
    query_pages_of_no_owners_are_empty,
];

/// Ids in the order of their bytes, not of case, language or number. Every third is suspended.
const ASCENDING: [&str; 14] =
    [" a", "10", "9", "A", "B", "Z", "_", "a", "a b", "aa", "ab", "b", "é", "😀"];

fn ascending() -> Result<Vec<OwnerRecord>, Failure> {
    let mut owners = Vec::new();
    for (id, n) in ASCENDING.into_iter().zip(0..) {
        let suspended = if n % 3 == 2 { Some(sample::switch(n)?) } else { None };
        let tags = match n % 4 {
            0 => Tags::default(),
            1 => Tags::new(["trial"])?,
            _ => Tags::new(["plan=gold", "trial"])?,
        };
        owners.push(OwnerRecord { suspended, tags, ..sample::owner(id)? });
    }
    Ok(owners)
}

/// A store with these owners, created in an order that no query uses.
fn store<'a>(lab: &Lab<'a>) -> Result<Instance<'a>, Failure> {
    let backend = lab.fresh()?;
    let mut owners = ascending()?;
    owners.rotate_left(5);
    owners.swap(0, 3);
    let create: Vec<_> = owners.iter().map(sample::create_owner).collect::<Result<_, _>>()?;
    backend.apply_all(&create)?;
    Ok(backend)
}

fn expected(suspended: Option<bool>) -> Result<Vec<OwnerId>, Failure> {
    let owners = ascending()?.into_iter();
    let meant = |owner: &OwnerRecord| suspended.is_none_or(|s| s == owner.suspended.is_some());
    Ok(owners.filter(meant).map(|owner| owner.id).collect())
}

fn query_owners_come_in_ascending_order(lab: &Lab<'_>) -> Tested {
    let backend = store(lab)?;
    ensure_eq!(walk::owners(&*backend, (None, false), walk::WIDE)?, expected(None)?, "owners");
    Ok(())
}

fn query_owners_are_suspended_or_not(lab: &Lab<'_>) -> Tested {
    let backend = store(lab)?;
    for suspended in [Some(true), Some(false)] {
        let shown = walk::owners(&*backend, (suspended, false), walk::WIDE)?;
        ensure_eq!(shown, expected(suspended)?, "owners where suspended is {suspended:?}");
    }
    Ok(())
}

/// Those that have each of the tags; also among the suspended, and page by page.
fn query_owners_are_those_with_tags(lab: &Lab<'_>) -> Tested {
    let backend = store(lab)?;
    for tags in [&["trial"] as &[&str], &["trial", "plan=gold"], &["plan"], &["Trial"]] {
        let tags = Tags::new(tags)?;
        for suspended in [None, Some(true), Some(false)] {
            let has_tags = |owner: &OwnerRecord| owner.tags.contains_all(&tags);
            let has_them: Vec<OwnerId> =
                ascending()?.into_iter().filter(has_tags).map(|owner| owner.id).collect();
            let mut expected = expected(suspended)?;
            expected.retain(|id| has_them.contains(id));
            for bounds in walk::NARROW.into_iter().chain([walk::WIDE]) {
                let shown = walk::tagged_owners(&*backend, (suspended, false), &tags, bounds)?;
                ensure_eq!(shown, expected, "owners with {tags:?} by pages of {bounds:?}");
            }
        }
    }
    Ok(())
}

/// The bound itself is not shown, and need not be an owner that is there.
fn query_owners_are_those_after_a_bound(lab: &Lab<'_>) -> Tested {
    let backend = store(lab)?;
    for after in ASCENDING.into_iter().chain(["!", "C", "a\u{a0}", "zzz", "\u{10ffff}"]) {
        let bound = sample::owner_id(after)?;
        let query = OwnerPageQuery { after: Some(bound), ..OwnerPageQuery::all(100) };
        let shown: Vec<OwnerId> =
            backend.page_owners(&query)?.owners.iter().map(|owner| owner.id).collect();
        let mut expected = expected(None)?;
        expected.retain(|id| *id > bound);
        ensure_eq!(shown, expected, "owners after {after:?}");
    }
    Ok(())
}

fn query_pages_of_owners_show_every_field(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let owners = [sample::owner("a")?, sample::largest_owner("b")?];
    backend.apply_all(&[sample::create_owner(&owners[0])?, sample::create_owner(&owners[1])?])?;
    let query = OwnerPageQuery::all(9);
    let page = backend.page_owners(&query)?;
    ensure_eq!(page.owners.len(), 2, "owners on the page");
    for (shown, owner) in page.owners.iter().zip(&owners) {
        let differing = crate::testing::differences::of_owners(shown, owner);
        ensure!(differing.is_empty(), "owner {} differs in {differing:?}", owner.id);
    }
    Ok(())
}

fn query_pages_of_owners_keep_to_their_limit(lab: &Lab<'_>) -> Tested {
    let backend = store(lab)?;
    for suspended in [None, Some(true), Some(false)] {
        let expected = expected(suspended)?;
        for limit in [1, 2, expected.len() - 1] {
            let query = OwnerPageQuery { suspended, examine: 1_000, ..OwnerPageQuery::all(limit) };
            let page = backend.page_owners(&query)?;
            let shown: Vec<OwnerId> = page.owners.iter().map(|owner| owner.id).collect();
            ensure_eq!(shown, expected[..limit], "a page of at most {limit}");
            ensure!(page.next.is_some(), "a page that was cut doesn't say so");
        }
    }
    Ok(())
}

fn query_pages_of_owners_examine_no_more_than_told(lab: &Lab<'_>) -> Tested {
    let backend = store(lab)?;
    let expected = expected(None)?;
    for examine in [1, 3, 9] {
        let query = OwnerPageQuery { examine, ..OwnerPageQuery::all(100) };
        let page = backend.page_owners(&query)?;
        let shown: Vec<OwnerId> = page.owners.iter().map(|owner| owner.id).collect();
        ensure_eq!(shown, expected[..examine], "a page that looks at {examine}");
        ensure!(page.next.is_some(), "a page that ended early doesn't say so");
    }
    Ok(())
}

fn query_pages_of_owners_are_complete(lab: &Lab<'_>) -> Tested {
    let backend = store(lab)?;
    for suspended in [None, Some(true), Some(false)] {
        for bounds in walk::NARROW {
            let shown = walk::owners(&*backend, (suspended, false), bounds)?;
            ensure_eq!(shown, expected(suspended)?, "owners by pages of {bounds:?}");
        }
    }
    Ok(())
}

fn query_pages_of_no_owners_are_empty(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    for after in [None, Some(sample::owner_id("acme")?)] {
        let query = OwnerPageQuery { after, ..OwnerPageQuery::all(9) };
        let page = backend.page_owners(&query)?;
        ensure_eq!(page.owners.len(), 0, "owners of an empty store");
        ensure_eq!(page.next, None, "what comes after nothing");
    }
    Ok(())
}
