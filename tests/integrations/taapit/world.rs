//! The service on a file of its own, and requests to it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, StatusCode};
use keyhasp::backend::Memory;
use keyhasp::backend::sqlite::SqliteOptions;
use keyhasp::integrations::http::PeerAddress;
use keyhasp::{
    AdminKeys, Clock, CreateKey, CreateOwner, Issued, KeyStore, ManualClock, Network, OwnerId,
    Store, SystemClock,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use crate::taapit::example::shared::Place;
use crate::taapit::example::users::{Demonstration, create_on_demand, demonstrate, store};
use crate::taapit::example::{alerts, api, level};

pub(crate) struct World {
    pub(crate) store: Arc<dyn KeyStore>,
    /// Stands still, so that a rate is used up however slow the machine is.
    pub(crate) clock: Arc<ManualClock>,
    site: Router,
    runtime: Runtime,
    /// Kept: a store whose file goes answers nothing more.
    _place: Option<TempDir>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The code of a refusal, which is an object of a code and a message and nothing else.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String) {
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
        let body = self.json();
        let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["code", "message"]);
        assert!(!body["message"].as_str().unwrap().is_empty());
        (self.status.as_u16(), body["code"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    pub(crate) fn is_refused(&self, status: u16, code: &str) {
        assert_eq!(self.refusal(), (status, code.to_owned()), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn is_ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.json()
    }
}

/// A user by its number.
pub(crate) fn user(number: u32) -> OwnerId {
    OwnerId::new(format!("user_{number}")).unwrap()
}

/// A new place on disk, which goes away with the value.
pub(crate) fn place() -> TempDir {
    TempDir::new().unwrap()
}

impl World {
    /// The service on the file in a place, exclusive so that nothing depends on the time of a poll.
    pub(crate) fn at(place: &TempDir) -> (Self, Option<Demonstration>) {
        Self::behind(place, api::connection())
    }

    /// The same, which takes a request's address from there.
    pub(crate) fn behind(place: &TempDir, peer: PeerAddress) -> (Self, Option<Demonstration>) {
        let file = place.path().join("taapit.db").display().to_string();
        let place = Place::new(Some(file)).unwrap();
        let clock = Arc::new(ManualClock::new(SystemClock::new().now()));
        let builder = store().unwrap().clock(Arc::<ManualClock>::clone(&clock));
        let store = place.open_as(builder, SqliteOptions::exclusive()).unwrap();
        Self::on(store, clock, peer)
    }

    fn on(
        store: Arc<dyn KeyStore>,
        clock: Arc<ManualClock>,
        peer: PeerAddress,
    ) -> (Self, Option<Demonstration>) {
        let shown = demonstrate(&store).unwrap();
        let site = api::routes(store.clone(), peer).unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        (Self { store, clock, site, runtime, _place: None }, shown)
    }

    /// The service in memory, whose store scans for alerts when the test says so.
    pub(crate) fn watched() -> (Self, Demonstration, Arc<Store>) {
        let clock = Arc::new(ManualClock::new(SystemClock::new().now()));
        let builder = store().unwrap().alerts(alerts::settings().only_when_asked());
        let builder = builder.clock(Arc::<ManualClock>::clone(&clock));
        let store = Arc::new(builder.open(Memory::new()).unwrap());
        let (world, shown) = Self::on(Arc::clone(&store) as _, clock, api::connection());
        (world, shown.unwrap(), store)
    }

    /// The service on a temporary file.
    pub(crate) fn new() -> (Self, Demonstration) {
        let place = place();
        let (world, shown) = Self::at(&place);
        (Self { _place: Some(place), ..world }, shown.unwrap())
    }

    /// A further key of the demonstration's user.
    pub(crate) fn key(&self, name: &str, level: &str) -> Issued {
        self.key_of(user(1), name, level)
    }

    /// A further key of a user, who may be new.
    pub(crate) fn key_of(&self, user: OwnerId, name: &str, level: &str) -> Issued {
        create_on_demand(&self.store, user, name, level::parse(level).unwrap(), None).unwrap()
    }

    /// The same, accepted from these networks alone.
    pub(crate) fn key_from(&self, name: &str, level: &str, networks: &[&str]) -> Issued {
        let networks: Vec<Network> = networks.iter().map(|text| text.parse().unwrap()).collect();
        let access = level::parse(level).unwrap();
        create_on_demand(&self.store, user(1), name, access, Some(networks)).unwrap()
    }

    /// A full-access key of another user.
    pub(crate) fn stranger(&self) -> Issued {
        let admin = AdminKeys::new(self.store.clone(), "test").unwrap();
        let wish = CreateOwner::with_key(CreateKey::new(keyhasp::Access::Full).name("theirs"));
        let created = admin.create_owner(&user(2), wish).unwrap();
        created.first_key.unwrap()
    }

    pub(crate) fn send(&self, request: Request<Body>) -> Answer {
        self.read(self.runtime.block_on(self.site.clone().oneshot(request)).unwrap())
    }

    pub(crate) fn read(&self, response: Response) -> Answer {
        let (parts, body) = response.into_parts();
        let body = self.runtime.block_on(to_bytes(body, usize::MAX)).unwrap();
        let body = String::from_utf8(body.into()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A request without a body.
    pub(crate) fn ask(&self, method: &Method, uri: &str, token: &str) -> Answer {
        self.send(request(method, uri, token).body(Body::empty()).unwrap())
    }

    /// The same, from this address.
    pub(crate) fn ask_from(&self, from: &str, method: &Method, uri: &str, token: &str) -> Answer {
        let peer = SocketAddr::new(from.parse().unwrap(), 4711);
        let request = request(method, uri, token).extension(ConnectInfo(peer));
        self.send(request.body(Body::empty()).unwrap())
    }

    pub(crate) fn get(&self, uri: &str, token: &str) -> Answer {
        self.ask(&Method::GET, uri, token)
    }

    pub(crate) fn delete(&self, uri: &str, token: &str) -> Answer {
        self.ask(&Method::DELETE, uri, token)
    }

    pub(crate) fn post(&self, uri: &str, token: &str, body: impl Into<Body>) -> Answer {
        self.send(request(&Method::POST, uri, token).body(body.into()).unwrap())
    }

    pub(crate) fn patch(&self, uri: &str, token: &str, body: impl Into<Body>) -> Answer {
        self.send(request(&Method::PATCH, uri, token).body(body.into()).unwrap())
    }
}

fn request(method: &Method, uri: &str, token: &str) -> http::request::Builder {
    Request::builder().method(method).uri(uri).header(AUTHORIZATION, format!("Bearer {token}"))
}
