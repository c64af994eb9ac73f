//! The example's routes, from its first token to a customer's key, and after a restart.

#[allow(dead_code)] // Its `main` belongs to the example.
#[path = "../../../examples/axum_service.rs"]
pub(crate) mod axum_service;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use keyhasp::backend::Memory;
use keyhasp::{AdminKeys, Catalogue, KeyStore, Store, UpdateOwner};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_core::{TryCryptoRng, TryRng};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{owner, prefix};
use crate::http::site::{Answer, fetch, send, with_token};
use axum_service::shared::{Arguments, Door, Place};
use axum_service::{first_token, open, routes, run};

fn issue(site: &Router, token: &str, body: &Value) -> Answer {
    let request = Request::post("/admin/keys")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json");
    send(site, request.body(Body::from(body.to_string())).unwrap())
}

#[test]
fn from_the_first_token_to_a_customers() {
    let directory = TempDir::new().unwrap();
    let db = directory.path().join("keys.db").display().to_string();
    let place = || Place::new(Some(db.clone())).unwrap();
    let store = open(&place()).unwrap();
    let admin = first_token(&store).unwrap().unwrap();
    let site = routes(store.clone()).unwrap();
    assert_eq!(fetch(&site, "/ping", &[]).body, "pong");
    assert_eq!(fetch(&site, "/v1/ping", &[]).status, StatusCode::UNAUTHORIZED);
    // It asks for more than its owner's maximum access gives.
    let wish = json!({"owner": "linden", "access": ["links:read", "keys:issue"], "name": "site"});
    let issued = issue(&site, &admin, &wish);
    assert_eq!(issued.status, StatusCode::CREATED);
    let token = issued.json()["token"].as_str().unwrap().to_owned();
    let links = json!({"owner": "linden", "links": []});
    assert_eq!(with_token(&site, "/v1/links", &token).json(), links);
    let bearer = format!("Bearer {token}");
    let post = crate::http::site::request(
        Method::POST,
        "/v1/links",
        &[(AUTHORIZATION.as_str(), bearer.as_bytes())],
    );
    assert_eq!(send(&site, post).status, StatusCode::FORBIDDEN);
    assert_eq!(issue(&site, &token, &wish).status, StatusCode::FORBIDDEN);
    // A key that issues keys makes no second one that does.
    for access in [["keys:issue"], ["links:read"]] {
        let own = json!({"owner": "service", "access": access, "name": "second"});
        assert_eq!(issue(&site, &admin, &own).status, StatusCode::FORBIDDEN);
    }
    let bad = json!({"owner": "linden", "access": ["nothing"], "name": "site"});
    assert_eq!(issue(&site, &admin, &bad).status, StatusCode::BAD_REQUEST);
    // A token where something else belongs doesn't come back.
    for member in ["owner", "access", "name"] {
        let mut slip = wish.clone();
        slip[member] = if member == "access" { json!(token) } else { json!([token]) };
        for slip in [slip, json!({ member: token }), json!(token)] {
            let answer = issue(&site, &admin, &slip);
            assert!(answer.status.is_client_error() && !answer.body.is_empty(), "{answer:?}");
            assert!(!answer.body.contains(&token), "{answer:?}");
        }
    }
    let operator = AdminKeys::new(store.clone(), "operator").unwrap();
    operator.update_owner(&owner("linden"), UpdateOwner::new().max_keys(1)).unwrap();
    let full = issue(&site, &admin, &wish);
    assert_eq!(
        (full.status, &full.json()["code"]),
        (StatusCode::CONFLICT, &json!("too_many_keys"))
    );
    store.close().unwrap();
    assert_eq!(with_token(&site, "/v1/ping", &token).status, StatusCode::SERVICE_UNAVAILABLE);

    drop((site, store));
    let store = open(&place()).unwrap();
    assert!(first_token(&store).unwrap().is_none());
    let site = routes(store).unwrap();
    assert_eq!(with_token(&site, "/v1/ping", &token).body, "pong");
}

/// Randomness until it is told to dry up; from then on the same byte, of which no secret is made.
struct Source(ChaCha20Rng, Arc<AtomicBool>);

impl TryRng for Source {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        if self.1.load(Ordering::SeqCst) {
            bytes.fill(0xff);
            return Ok(());
        }
        self.0.try_fill_bytes(bytes)
    }
}

impl TryCryptoRng for Source {}

/// Faults of the service aren't blamed on the client.
#[test]
fn the_services_own_faults() {
    let dry = Arc::new(AtomicBool::new(false));
    let catalogue =
        Catalogue::builder().write("links:write").write("keys:issue").read("links:read");
    let source = Source(ChaCha20Rng::seed_from_u64(1), Arc::clone(&dry));
    let builder = Store::builder(catalogue.build().unwrap(), [prefix("acme")]).random(source);
    let store: Arc<dyn KeyStore> = Arc::new(builder.open(Memory::new()).unwrap());
    let admin = first_token(&store).unwrap().unwrap();
    let site = routes(store).unwrap();
    let wish = json!({"owner": "linden", "access": ["links:read"], "name": "site"});
    dry.store(true, Ordering::SeqCst);
    assert_eq!(issue(&site, &admin, &wish).status, StatusCode::SERVICE_UNAVAILABLE);
    dry.store(false, Ordering::SeqCst);
    assert_eq!(issue(&site, &admin, &wish).status, StatusCode::CREATED);
}

fn wait<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(future)
}

/// A client that never ends its body doesn't keep the service from stopping, flushing and closing.
#[test]
fn it_stops_while_a_body_is_open() {
    let directory = TempDir::new().unwrap();
    let place = Place::new(Some(directory.path().join("keys.db").display().to_string())).unwrap();
    let store = open(&place).unwrap();
    let admin = first_token(&store).unwrap().unwrap();
    wait(async {
        let door = Door::open("127.0.0.1:0").await.unwrap();
        let address = door.url().strip_prefix("http://").unwrap().to_owned();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let site = routes(Arc::clone(&store)).unwrap();
        let stopping = async move { stopped.await.unwrap() };
        let serving = door.serve_until(stopping, site, Arc::clone(&store), json!({}));
        let client = async {
            let connection = tokio::net::TcpStream::connect(address).await.unwrap();
            let head = format!(
                "POST /admin/keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {admin}\r\n\
                content-type: application/json\r\ncontent-length: 1000\r\nexpect: 100-continue\r\n\r\n"
            );
            connection.writable().await.unwrap();
            assert_eq!(connection.try_write(head.as_bytes()).unwrap(), head.len());
            // It asks for the body, so the request is on its way.
            connection.readable().await.unwrap();
            let mut answer = [0; 64];
            let read = connection.try_read(&mut answer).unwrap();
            assert!(answer[..read].starts_with(b"HTTP/1.1 100"), "{answer:?}");
            let began = tokio::time::Instant::now();
            stop.send(()).unwrap();
            (connection, began)
        };
        let (served, (connection, began)) = tokio::join!(serving, client);
        served.unwrap();
        let took = began.elapsed();
        assert!(took.as_secs() == 10, "{took:?}");
        drop(connection);
    });
    let site = routes(store).unwrap();
    assert_eq!(with_token(&site, "/v1/ping", &admin).status, StatusCode::SERVICE_UNAVAILABLE);
}

/// The administrator's token is in a file, and can be made again when it is lost.
#[test]
fn the_administrators_token_is_kept_and_made_again() {
    let directory = TempDir::new().unwrap();
    let db = directory.path().join("keys.db").display().to_string();
    let file = directory.path().join("keys.db.admin-token");
    let read = || std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let ask = |token: &str| {
        let store = open(&Place::new(Some(db.clone())).unwrap()).unwrap();
        let answer = with_token(&routes(Arc::clone(&store)).unwrap(), "/v1/ping", token);
        store.close().unwrap();
        answer.status
    };
    let make = || wait(run(Arguments::of(["--db", &db, "--new-admin-token"])));
    make().unwrap();
    let first = read();
    assert_eq!(ask(&first), StatusCode::OK);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0);
    }
    make().unwrap();
    let second = read();
    assert_eq!((ask(&first), ask(&second)), (StatusCode::UNAUTHORIZED, StatusCode::OK));
    // Each slip of an operator is told in a sentence.
    let said = |arguments: Arguments| wait(run(arguments)).unwrap_err().to_string();
    assert_eq!(said(Arguments::of(["--new-admin-token"])), "--new-admin-token needs --db FILE");
    assert!(said(Arguments::of(["--port", "1"])).starts_with("--port is no option"));
    assert!(said(Arguments::of(["--db"])).starts_with("--db needs 1 value"));
    assert!(said(Arguments::of(["--listen", "nowhere"])).starts_with("--listen nowhere: "));
    wait(run(Arguments::of(["--help"]))).unwrap();
}
