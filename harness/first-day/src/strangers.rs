use axum::Router;
use keyhasp::KeyLayer;
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;

/// Limits each address to 100 requests at once and 20 a second. It stands outside the keys' layer, so
/// that clients without a key count too; a key's own rate is counted inside. The service is served by
/// `into_make_service_with_connect_info::<SocketAddr>()`.
pub fn site(routes: Router, keys: KeyLayer) -> Router {
    let limit = GovernorConfigBuilder::default().per_millisecond(50).burst_size(100).finish();
    routes.layer(keys).layer(GovernorLayer::new(limit.expect("more than nothing")))
}
