//! Metrics of a layer's requests.

use metrics::{Counter, counter};

use super::names;
use crate::integrations::http::AuthError;
use crate::integrations::outcomes::{verification_outcome, verification_outcomes};
use crate::integrations::tower::KeyLayer;

/// The outcomes that no verification has.
const OTHERS: [&str; 4] = ["missing", "multiple", "forbidden", "defect"];

/// Counts the requests of this layer and its guards by outcome, with the recorder that is installed
/// now. A request that the layer lets in and a guard rejects counts as both.
///
/// ```
/// # use keyhasp::{KeyLayer, Verifier, integrations::metrics::count_requests};
/// # fn f(verifier: Verifier) -> KeyLayer {
/// count_requests(KeyLayer::new(verifier))
/// # }
/// ```
pub fn count_requests<M>(layer: KeyLayer<M>) -> KeyLayer<M> {
    names::describe_layer();
    let request = |outcome| counter!(names::REQUESTS, names::OUTCOME => outcome);
    let accepted = request("accepted");
    let all = verification_outcomes().chain(OTHERS);
    let counters: Vec<(&str, Counter)> = all.map(|name| (name, request(name))).collect();
    layer.on_verified(move |_, _| accepted.increment(1)).on_rejected(move |rejected| {
        let outcome = outcome(&rejected.cause());
        if let Some((_, counter)) = counters.iter().find(|(name, _)| *name == outcome) {
            counter.increment(1);
        }
    })
}

fn outcome(error: &AuthError<'_>) -> &'static str {
    match error {
        AuthError::Missing => "missing",
        AuthError::Multiple => "multiple",
        AuthError::Permission(_)
        | AuthError::AnyPermission(_)
        | AuthError::NotAllowed
        | AuthError::NeedsKey
        | AuthError::NeedsSession
        | AuthError::ReadOnly => "forbidden",
        AuthError::NoLayer | AuthError::OtherCatalogue => "defect",
        AuthError::Verify(error) => verification_outcome::<()>(&Err(*error)),
    }
}
