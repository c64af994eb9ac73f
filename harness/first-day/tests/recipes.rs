//! Calls each recipe as its clients would.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::test as actix_test;
use actix_web::{App, web};
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::{Extension, Router};
use http::{Request, StatusCode};
use keyhasp::backend::Memory;
use keyhasp::{
    Access, AdminKeys, Authenticated, Catalogue, CreateKey, CreateOwner, Issued, KeyLayer, OwnerId,
    Prefix, Store, Verifier,
};
use keyhasp_first_day::{
    actix, basic, cors, grpc, openapi, poem as on_poem, sender, strangers, websocket,
};
use poem::{EndpointExt as _, Route, handler};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceExt as _;
use utoipa::OpenApi as _;

struct World {
    admin: AdminKeys,
    verifier: Verifier,
    issued: Issued,
}

fn world() -> World {
    let catalogue = Catalogue::builder().read("links:read").write("links:write").build().unwrap();
    let builder = Store::builder(catalogue, [Prefix::new("acme").unwrap()]);
    let store = Arc::new(builder.open(Memory::new()).unwrap());
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    let with_key = CreateOwner::with_key(CreateKey::new(Access::Full));
    let created = admin.create_owner(&OwnerId::new("org").unwrap(), with_key).unwrap();
    World { admin, verifier: Verifier::new(store), issued: created.first_key.unwrap() }
}

impl World {
    fn token(&self) -> &str {
        self.issued.token.expose()
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token())
    }
}

fn routes() -> Router {
    Router::new().route("/", get(|caller: Authenticated| async move { caller.owner().to_string() }))
}

async fn status(site: &Router, request: http::request::Builder) -> StatusCode {
    site.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
}

#[tokio::test]
async fn a_preflight_passes_without_a_token_and_a_page_can_read_a_rejection() {
    let world = world();
    let site = cors::site(routes(), KeyLayer::new(world.verifier.clone()));
    let origin = "https://app.example.com";
    let ask = Request::options("/").header("origin", origin);
    let ask = ask.header("access-control-request-method", "GET");
    assert_eq!(status(&site, ask).await, StatusCode::OK);
    let request = Request::get("/").header("origin", origin);
    let answer = site.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["access-control-allow-origin"], origin);
    let request = Request::get("/").header("authorization", world.bearer());
    assert_eq!(status(&site, request).await, StatusCode::OK);
}

#[tokio::test]
async fn the_password_of_basic_is_the_token() {
    use base64::Engine as _;
    let world = world();
    let site = routes().layer(basic::layer(world.verifier.clone()).unwrap());
    let basic = |pair: String| {
        let encoded = base64::prelude::BASE64_STANDARD.encode(pair);
        Request::get("/").header("authorization", format!("Basic {encoded}"))
    };
    assert_eq!(status(&site, basic(format!("git:{}", world.token()))).await, StatusCode::OK);
    assert_eq!(status(&site, basic(world.token().into())).await, StatusCode::UNAUTHORIZED);
    let request = Request::get("/").body(Body::empty()).unwrap();
    let answer = site.clone().oneshot(request).await.unwrap();
    let challenges: Vec<_> = answer.headers().get_all("www-authenticate").iter().collect();
    assert!(challenges.iter().any(|value| value.as_bytes().starts_with(b"Basic ")));
}

async fn whose(caller: actix::Caller) -> String {
    caller.0.owner_id().to_string()
}

#[tokio::test]
async fn an_actix_handler_gets_the_caller() {
    let world = world();
    let app = App::new().app_data(web::Data::new(world.verifier.clone()));
    let app = actix_test::init_service(app.route("/", web::get().to(whose))).await;
    for (bearer, status) in
        [(Some(world.bearer()), 200), (Some("Bearer x".into()), 401), (None, 401)]
    {
        let mut request = actix_test::TestRequest::get().uri("/");
        if let Some(bearer) = bearer {
            request = request.insert_header(("authorization", bearer));
        }
        let answer = actix_test::call_service(&app, request.to_request()).await;
        assert_eq!(answer.status().as_u16(), status);
        let has_challenge = answer.headers().contains_key("www-authenticate");
        assert_eq!(has_challenge, status == 401);
        let body = actix_test::read_body(answer).await;
        assert_eq!(&*body == b"org", status == 200);
    }
}

#[handler]
fn whose_in_poem(caller: on_poem::Caller) -> String {
    caller.0.owner_id().to_string()
}

#[tokio::test]
async fn a_poem_handler_gets_the_caller() {
    use poem::Endpoint as _;
    let world = world();
    let app = Route::new().at("/", poem::get(whose_in_poem)).data(world.verifier.clone());
    for (bearer, status) in
        [(Some(world.bearer()), 200), (Some("Bearer x".into()), 401), (None, 401)]
    {
        let mut request = poem::Request::builder();
        if let Some(bearer) = &bearer {
            request = request.header("authorization", bearer);
        }
        let answer = app.get_response(request.finish()).await;
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(answer.headers().contains_key("www-authenticate"), status == 401);
    }
}

/// With a real client, over a connection.
#[tokio::test]
async fn a_grpc_client_gets_a_status() {
    let world = world();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (_reporter, health) = tonic_health::server::health_reporter();
    let mut server = tonic::transport::Server::builder().layer(grpc::keys(world.verifier.clone()));
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tokio::spawn(server.add_service(health).serve_with_incoming(incoming));
    let channel = tonic::transport::Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    for (bearer, code) in [
        (Some(world.bearer()), tonic::Code::Ok),
        (Some("Bearer x".into()), tonic::Code::Unauthenticated),
        (None, tonic::Code::Unauthenticated),
    ] {
        let mut request = tonic::Request::new(HealthCheckRequest { service: String::new() });
        if let Some(bearer) = bearer {
            request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        }
        let answer = HealthClient::new(channel.clone()).check(request).await;
        assert_eq!(answer.map_or_else(|status| status.code(), |_| tonic::Code::Ok), code);
    }
    server.abort();
}

#[tokio::test]
async fn strangers_of_one_address_are_limited() {
    let world = world();
    let site = strangers::site(routes(), KeyLayer::new(world.verifier.clone()));
    let site = site.layer(Extension(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 9)))));
    for _ in 0..100 {
        assert_eq!(status(&site, Request::get("/")).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(status(&site, Request::get("/")).await, StatusCode::TOO_MANY_REQUESTS);
}

#[test]
fn one_sender_is_elected() {
    let dir = tempfile::tempdir().unwrap();
    let lock = dir.path().join("sender.lock");
    let first = sender::elect(&lock).unwrap();
    assert!(first.is_some());
    assert!(sender::elect(&lock).unwrap().is_none());
    drop(first);
    assert!(sender::elect(&lock).unwrap().is_some());
}

#[test]
fn the_description_names_the_scheme() {
    let document = serde_json::to_value(openapi::Api::openapi()).unwrap();
    assert_eq!(document["components"]["securitySchemes"]["api_key"]["scheme"], "bearer");
    let needed = &document["paths"]["/links"]["get"]["security"][0]["api_key"][0];
    assert_eq!(needed, "links:read");
}

/// With a real client, over a connection.
#[tokio::test(start_paused = true)]
async fn a_websocket_ends_with_its_key() {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
    let world = world();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let site = websocket::site(world.verifier.clone());
    let server = tokio::spawn(async move { axum::serve(listener, site).await });
    let mut request = format!("ws://{address}/echo").into_client_request().unwrap();
    request.headers_mut().insert("authorization", world.bearer().parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket.send(Message::text("one")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("one"));
    world.admin.revoke(world.issued.key.id).unwrap();
    let closed = loop {
        if let Message::Close(closed) = socket.next().await.unwrap().unwrap() {
            break closed.unwrap();
        }
    };
    assert_eq!((u16::from(closed.code), &*closed.reason), (1008, "the API key has ended"));
    server.abort();
}
