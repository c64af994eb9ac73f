//! Everyone who verifies.

mod api_keys_simplified;
mod by_hand;
mod keyhasp;
mod prefixed_api_key;
mod sha256_map;
mod tollgate_auth;
mod tollgate_session;

use crate::job::Job;

/// Number of verifications in one measurement.
const BATCH: usize = 20_000;

/// Everyone, keyhasp first, each with so many keys.
pub fn all(keys: usize) -> Vec<Job> {
    vec![
        Job::new("keyhasp", BATCH, keyhasp::trial(keys)),
        Job::new("tollgate-auth", BATCH, tollgate_auth::trial(keys)),
        Job::new("tollgate-session", BATCH, tollgate_session::trial(keys)),
        Job::new("sha256-map", BATCH, sha256_map::trial(keys)),
        Job::new("prefixed-api-key", BATCH, prefixed_api_key::trial(keys)),
        Job::new("sqlite-by-hand", BATCH / 4, by_hand::trial(keys)),
        Job::new("api-keys-simplified", 1, api_keys_simplified::trial(keys)),
    ]
}
