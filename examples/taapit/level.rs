//! What a key of taap.it may do: its permission level, as the API shows it and as keyhasp keeps it.

use keyhasp::permission::Limited;
use keyhasp::{Access, Catalogue, Invalid};
use serde_json::{Map, Value};

/// What limited keys choose from.
pub(crate) const RESOURCES: [&str; 5] = ["domains", "links", "projects", "workspaces", "analytics"];
/// What only a full-access key may: no level names it, and it isn't marked as reading.
pub(crate) const MANAGE_KEYS: &str = "api_keys:manage";

pub(crate) const FORM: &str =
    "full_access, read_only, or such as limited:links=write,analytics=read";

/// What the API's keys can be allowed.
pub(crate) fn catalogue() -> Result<Catalogue, Invalid> {
    let declare = |known: keyhasp::permission::CatalogueBuilder, resource: &&str| {
        known.read(reading(resource)).write(writing(resource))
    };
    RESOURCES.iter().fold(Catalogue::builder(), declare).write(MANAGE_KEYS).build()
}

pub(crate) fn reading(resource: &str) -> String {
    format!("{resource}:read")
}

pub(crate) fn writing(resource: &str) -> String {
    format!("{resource}:write")
}

/// A level as the command line writes it; [`FORM`] says how.
pub(crate) fn parse(level: &str) -> Option<Access> {
    match level {
        "full_access" => Some(Access::Full),
        "read_only" => Some(Access::ReadOnly),
        _ => limited(level.strip_prefix("limited:")?),
    }
}

/// Who may write may also read.
fn limited(choice: &str) -> Option<Access> {
    let mut allowed = Vec::new();
    for (resource, level) in
        choice.split(',').map(|one| one.split_once('=')).collect::<Option<Vec<_>>>()?
    {
        let known = RESOURCES.contains(&resource);
        match level {
            "none" if known => {}
            "read" if known => allowed.push(reading(resource)),
            "write" if known => allowed.extend([reading(resource), writing(resource)]),
            _ => return None,
        }
    }
    Access::limited(allowed).ok()
}

pub(crate) fn name(access: &Access) -> &'static str {
    match access {
        Access::Full => "full_access",
        Access::ReadOnly => "read_only",
        Access::Limited(_) => "limited",
    }
}

/// `write`, `read` or `none` for each resource.
pub(crate) fn permissions(access: &Access) -> Map<String, Value> {
    let level = |resource: &str| match access {
        Access::Full => "write",
        Access::ReadOnly => "read",
        Access::Limited(limited) if has(limited, &writing(resource)) => "write",
        Access::Limited(limited) if has(limited, &reading(resource)) => "read",
        Access::Limited(_) => "none",
    };
    RESOURCES.iter().map(|resource| ((*resource).to_owned(), level(resource).into())).collect()
}

fn has(limited: &Limited, name: &str) -> bool {
    limited.patterns().iter().any(|pattern| pattern.as_str() == name)
}
