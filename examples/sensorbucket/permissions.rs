//! What a key can be allowed.

use keyhasp::permission::PermissionSet;
use keyhasp::{Catalogue, Invalid};

pub(crate) const READ_API_KEYS: &str = "READ_API_KEYS";
pub(crate) const WRITE_API_KEYS: &str = "WRITE_API_KEYS";

/// Each of these is read under one permission and written under another.
const RESOURCES: [&str; 7] =
    ["DEVICES", "API_KEYS", "TENANTS", "PIPELINES", "MEASUREMENTS", "USER_WORKERS", "PROJECTS"];

/// The 15 permissions of SensorBucket.
pub(crate) fn catalogue() -> Result<Catalogue, Invalid> {
    let both = |builder: keyhasp::permission::CatalogueBuilder, resource| {
        builder.read(format!("READ_{resource}")).write(format!("WRITE_{resource}"))
    };
    RESOURCES.into_iter().fold(Catalogue::builder(), both).read("READ_TRACING").build()
}

/// The names of these permissions, in the catalogue's order.
pub(crate) fn names(catalogue: &Catalogue, permissions: &PermissionSet) -> Vec<String> {
    let held = catalogue.iter().filter(|(permission, _)| permissions.contains(*permission));
    held.map(|(_, name)| name.as_str().to_owned()).collect()
}
