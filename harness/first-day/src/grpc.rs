use keyhasp::integrations::tower::BodyFn;
use keyhasp::{KeyLayer, Verifier};
use tonic::body::Body;

/// Makes the layer for tonic's `Server::builder().layer(keys)`. A rejected call is answered by a `Status`:
/// `UNAUTHENTICATED`, `PERMISSION_DENIED` and the like. In a method, `Authenticated::of(request.extensions())`
/// is the caller.
pub fn keys(verifier: Verifier) -> KeyLayer<BodyFn<fn(String) -> Body>> {
    let body: fn(String) -> Body = Body::new;
    KeyLayer::new(verifier).error_response(|rejected| rejected.grpc()).body_with(body)
}
