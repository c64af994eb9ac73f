//! The permissions of keys.

use keyhasp::permission::PermissionSet;
use keyhasp::{Catalogue, Invalid};

pub(crate) const READ_API_KEYS: &str = "READ_API_KEYS";
pub(crate) const WRITE_API_KEYS: &str = "WRITE_API_KEYS";

/// The resources, each with a permission to read and a permission to write.
const RESOURCES: [&str; 7] =
    ["DEVICES", "API_KEYS", "TENANTS", "PIPELINES", "MEASUREMENTS", "USER_WORKERS", "PROJECTS"];

/// Returns the catalogue of SensorBucket's 15 permissions.
pub(crate) fn catalogue() -> Result<Catalogue, Invalid> {
    let both = |builder: keyhasp::permission::CatalogueBuilder, resource| {
        builder.read(format!("READ_{resource}")).write(format!("WRITE_{resource}"))
    };
    RESOURCES.into_iter().fold(Catalogue::builder(), both).read("READ_TRACING").build()
}

/// Returns the names of these permissions, in the catalogue's order.
pub(crate) fn names(catalogue: &Catalogue, permissions: &PermissionSet) -> Vec<String> {
    let held = catalogue.iter().filter(|(permission, _)| permissions.contains(*permission));
    held.map(|(_, name)| name.as_str().to_owned()).collect()
}
