//! The permission levels of keys: the API's names, and keyhasp's access.

use keyhasp::permission::Limited;
use keyhasp::{Access, Catalogue, Invalid};
use serde_json::{Map, Value};

/// The resources of a limited key.
pub(crate) const RESOURCES: [&str; 5] = ["domains", "links", "projects", "workspaces", "analytics"];
/// The permission that only a full-access key has: no level names it, and it isn't marked as
/// read-only.
pub(crate) const MANAGE_KEYS: &str = "api_keys:manage";

pub(crate) const FORM: &str =
    "full_access, read_only, or such as limited:links=write,analytics=read";

/// Returns the catalogue of the API's permissions.
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

/// Parses a level of the command line, in the form of [`FORM`].
pub(crate) fn parse(level: &str) -> Option<Access> {
    match level {
        "full_access" => Some(Access::Full),
        "read_only" => Some(Access::ReadOnly),
        _ => limited(level.strip_prefix("limited:")?),
    }
}

/// Parses the resources of a limited level. Permission to write includes permission to read.
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

/// Returns `write`, `read` or `none` for each resource.
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
