use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(paths(links), modifiers(&ApiKey))]
pub struct Api;

/// The scheme by which the paths name what they need.
struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("API key");
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::Http(scheme.build()));
    }
}

#[utoipa::path(
    get,
    path = "/links",
    security(("api_key" = ["links:read"])),
    responses(
        (status = 200, description = "The links", body = [String]),
        (status = 401, description = "No API key, or one that isn't accepted"),
        (status = 403, description = "The API key lacks the permission"),
        (status = 429, description = "The rate or the quota of the API key is used up"),
        (status = 503, description = "API keys can't be checked at the moment"),
    )
)]
pub async fn links() -> axum::Json<Vec<String>> {
    axum::Json(Vec::new())
}
