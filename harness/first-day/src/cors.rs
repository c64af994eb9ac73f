use axum::Router;
use axum::http::{Method, header};
use keyhasp::KeyLayer;
use tower_http::cors::CorsLayer;

/// Puts CORS outside the keys, which is last: a preflight has no token.
pub fn site(routes: Router, keys: KeyLayer) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(["https://app.example.com".parse().expect("an origin")])
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::WWW_AUTHENTICATE, header::RETRY_AFTER]);
    routes.layer(keys).layer(cors)
}
