//! What the example `sensorbucket` does that a client outside can't bring about: moments in time, a
//! tenant that is archived, a store that fails, a start that was interrupted. The rest is in
//! `tests/clients`.

#[allow(dead_code, unused_imports)] // Its `main` belongs to the example.
#[path = "../../../examples/sensorbucket/main.rs"]
pub(crate) mod example;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use keyhasp::backend::{BackendErrorKind, Memory};
use keyhasp::testing::{Failing, Fault, Moment, Target};
use keyhasp::{
    Access, CreateKey, CreateOwner, Error, KeyStore, ListKeys, ManualClock, Period, Quota, Rate,
    SetLimits, State,
};
use serde_json::{Value, json};

use crate::common::{HOUR, World, clock, owner};
use crate::http::site::{Answer, send};
use example::demonstration::{self, OTHER_TENANT, TENANT};
use example::sessions::Sessions;
use example::{public_url, routes, service};

/// The service on a backend of the test's, with its demonstration.
struct SensorBucket {
    world: World,
    backend: Arc<Failing<Memory>>,
    site: Router,
    bearer: (&'static str, String),
    cookie: (&'static str, String),
}

impl SensorBucket {
    fn new() -> Self {
        Self::at(None)
    }

    /// The service at a public URL.
    fn at(public_url: Option<&str>) -> Self {
        let (world, backend) = empty();
        let token = demonstration::fill(&world.store).unwrap().unwrap();
        let permissions = world.store.catalogue().all();
        let (sessions, cookie) =
            Sessions::of_one(&[7; 32], &[TENANT, OTHER_TENANT], permissions).unwrap();
        let clock = Arc::<ManualClock>::clone(&world.clock);
        let store = Arc::clone(&world.store);
        let link_base = public_url::link_base(public_url.map(str::to_owned)).unwrap();
        let service = service::Service::new(store, sessions, clock, link_base);
        let site = routes::site(service.unwrap()).unwrap();
        let bearer = ("authorization", format!("Bearer {}", token.expose()));
        Self { world, backend, site, bearer, cookie: ("cookie", format!("SID={cookie}")) }
    }

    /// A request with one credential, or with none.
    fn ask(&self, by: Option<&(&str, String)>, method: &Method, path: &str, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/api{path}"));
        request = request.header("content-type", "application/json");
        if let Some((name, value)) = by {
            request = request.header(*name, value);
        }
        send(&self.site, request.body(Body::from(body.to_owned())).unwrap())
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(Some(&self.bearer), &Method::GET, path, "")
    }

    fn delete(&self, path: &str) -> Answer {
        self.ask(Some(&self.bearer), &Method::DELETE, path, "")
    }

    fn create(&self, wish: &Value) -> Answer {
        self.ask(Some(&self.bearer), &Method::POST, "/api-keys", &wish.to_string())
    }

    /// A key's path, and its credential.
    fn made(&self, wish: &Value) -> (String, (&'static str, String)) {
        let answer = self.create(wish);
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        assert_eq!(answer.headers["cache-control"], "no-store");
        let bearer = format!("Bearer {}", answer.json()["api_key"].as_str().unwrap());
        let newest = &self.get("/api-keys").json()["data"][0];
        assert_eq!(newest["name"], wish["name"]);
        (format!("/api-keys/{}", newest["id"]), ("authorization", bearer))
    }

    fn authenticate(&self, by: &(&str, String)) -> Answer {
        self.ask(Some(by), &Method::GET, "/api-keys/authenticate", "")
    }

    /// Counts the keys in this state.
    fn count(&self, state: State) -> u64 {
        self.world.admin.count(&ListKeys::new().states([state])).unwrap()
    }
}

/// The store of the service, with nothing in it yet.
fn empty() -> (World, Arc<Failing<Memory>>) {
    let (clock, backend) = (clock(), Arc::new(Failing::new(Memory::new())));
    let builder = service::store(Arc::<ManualClock>::clone(&clock)).unwrap();
    let store: Arc<dyn KeyStore> = Arc::new(builder.open_on(Arc::clone(&backend) as _).unwrap());
    (World::of(store, clock), backend)
}

fn wish(name: &str, end: Option<&str>) -> Value {
    json!({
        "name": name,
        "tenant_id": 2,
        "permissions": ["READ_API_KEYS", "WRITE_API_KEYS"],
        "expiration_date": end,
    })
}

#[track_caller]
fn is(answer: &Answer, status: u16, body: &Value) {
    assert_eq!((answer.status.as_u16(), &answer.json()), (status, body));
    assert_eq!(answer.headers["content-type"], "application/json");
}

fn internal() -> Value {
    json!({"message": "Internal server error"})
}

#[test]
fn an_end_is_later_than_now_and_comes_to_the_millisecond() {
    let service = SensorBucket::new();
    let past = json!({"message": "expiration_date must be set in the future"});
    for end in ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2025-12-31T23:59:59.999Z"] {
        is(&service.create(&wish("late", Some(end))), 400, &past);
    }
    let (path, key) = service.made(&wish("short", Some("2026-01-01T01:00:00.001+00:00")));
    let (_, next) = service.made(&wish("next", Some("2026-01-01T00:00:00.001Z")));
    service.world.clock.advance(HOUR);
    is(&service.authenticate(&next), 401, &json!({}));
    let extra = service.authenticate(&key).json()["extra"].clone();
    assert_eq!((&extra["exp"], &extra["tid"]), (&json!(1_767_229_200), &json!(2)));
    assert_eq!(service.get(&path).json()["expiration_date"], "2026-01-01T01:00:00.001Z");
    service.world.clock.advance(Duration::from_millis(1));
    // Rejected, but not gone yet: no client has sent it.
    let refused = service.ask(Some(&key), &Method::GET, "/api-keys", "");
    is(&refused, 401, &json!({"message": "Unauthorized", "code": "UNAUTHORIZED"}));
    assert_eq!((service.count(State::Expired), service.count(State::Revoked)), (1, 1));
    is(&service.authenticate(&key), 401, &json!({}));
    assert_eq!((service.count(State::Expired), service.count(State::Revoked)), (0, 2));
}

/// A proxy's or a stranger's headers don't say where a client goes next with its key.
#[test]
fn links_are_relative_or_follow_the_public_url() {
    for (public_url, start) in [
        (None, "/api/api-keys?limit=1&cursor="),
        (
            Some("https://sensorbucket.nl/api"),
            "https://sensorbucket.nl/api/api-keys?limit=1&cursor=",
        ),
        (Some("http://[::1]:3000/"), "http://[::1]:3000/api-keys?limit=1&cursor="),
    ] {
        let service = SensorBucket::at(public_url);
        assert_eq!(service.create(&wish("second", None)).status, StatusCode::CREATED);
        for name in ["host", "x-forwarded-host", "forwarded"] {
            let request = Request::get("/api/api-keys?limit=1").header(name, "elsewhere.example");
            let (credential, value) = &service.bearer;
            let request = request.header(*credential, value).body(Body::empty()).unwrap();
            let page = send(&service.site, request).json();
            let next = page["links"]["next"].as_str().unwrap();
            assert!(next.starts_with(start), "{name}: {next}");
            let (_, query) = next.split_once('?').unwrap();
            let last = service.get(&format!("/api-keys?{query}")).json();
            assert_eq!((&last["page_size"], &last["links"]["next"]), (&json!(1), &json!("")));
        }
    }
}

#[test]
fn public_urls_that_are_not_taken() {
    let link_base = |url: &str| public_url::link_base(Some(url.to_owned()));
    assert_eq!(link_base("HTTPS://Host:8443/a/b/").unwrap(), "HTTPS://Host:8443/a/b");
    for url in [
        "",
        "/api",
        "sensorbucket.nl/api",
        "ftp://sensorbucket.nl",
        "https://",
        "https:///api",
        "https://user@sensorbucket.nl",
        "https://sensorbucket.nl/api?x=1",
        "https://sensorbucket.nl/api#x",
        "https://sensorbucket.nl/a b",
        "javascript:alert(1)",
    ] {
        let said = link_base(url).unwrap_err();
        assert!(said.starts_with("--public-url needs a URL such as https://"), "{url}: {said}");
    }
}

/// JSON in UTF-8, however a client says so, and nothing else.
#[test]
fn content_types_of_a_body() {
    let service = SensorBucket::new();
    let post = |content_type: &[u8]| {
        let (credential, value) = &service.bearer;
        let request = Request::post("/api/api-keys").header(*credential, value);
        let request = request.header("content-type", content_type);
        let body = Body::from(wish("", None).to_string());
        send(&service.site, request.body(body).unwrap())
    };
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON ; Charset=\"utf-8\"",
        "application/json;",
    ] {
        let answer = post(content_type.as_bytes());
        is(&answer, 400, &json!({"message": "name cannot be empty"}));
    }
    let refused = json!({"message": "Invalid content type", "code": "INVALID_CONTENT_TYPE"});
    for content_type in [
        "",
        "text/plain",
        "text/plain; application/json",
        "application/json; charset=latin1",
        "application/json; charset",
        "application/json; charset=\"utf-8",
        "application/json; charset=utf-8; charset=latin1",
        "application/json; boundary=x",
        "application/json, text/plain",
        "application/jsonx",
        "application/problem+json",
    ] {
        is(&post(content_type.as_bytes()), 400, &refused);
    }
    is(&post(b"application/json; charset=\xff"), 400, &refused);
}

/// An expired key is rejected whether it can be taken away or not.
#[test]
fn an_expired_key_that_stays() {
    let service = SensorBucket::new();
    let (path, key) = service.made(&wish("short", Some("2026-01-01T00:00:01Z")));
    service.world.clock.advance(HOUR);
    let moment = Moment::Before(BackendErrorKind::Io);
    service.backend.inject(Fault { target: Target::Commits, nth: 1, moment, lasting: true });
    is(&service.authenticate(&key), 401, &json!({}));
    let not_found = json!({"message": "API Key not found", "code": "ERR_API_KEY_NOT_FOUND"});
    is(&service.get(&path), 404, &not_found);
    assert_eq!(service.count(State::Expired), 1);
    service.backend.heal();
    is(&service.get(&path), 404, &not_found);
    assert_eq!(service.count(State::Expired), 0);
}

/// The example sets no limits; an administrator may. None of them is an error of the service's, and
/// a gateway isn't told that a key is bad which may just not now.
#[test]
fn limits_have_words_of_their_own() {
    let service = SensorBucket::new();
    let limited = |name, limits| {
        let key = CreateKey::new(Access::Full).name(name).limits(limits);
        let issued = service.world.admin.create(&TENANT.owner().unwrap(), key).unwrap();
        ("authorization", format!("Bearer {}", issued.token.expose()))
    };
    let list = |by: &_| service.ask(Some(by), &Method::GET, "/api-keys", "");
    let problem = |message: &str, code: &str| json!({"message": message, "code": code});
    let later = SetLimits::new().not_before(service.world.after(HOUR));
    let later = limited("later", later);
    is(&list(&later), 401, &problem("Unauthorized", "UNAUTHORIZED"));
    is(&service.authenticate(&later), 401, &json!({}));
    let elsewhere = SetLimits::new().networks(["192.0.2.0/24".parse().unwrap()]);
    let elsewhere = limited("elsewhere", elsewhere);
    is(&list(&elsewhere), 403, &problem("Forbidden", "FORBIDDEN"));
    is(&service.authenticate(&elsewhere), 401, &json!({}));
    let hourly = limited("hourly", SetLimits::new().rate(Rate::new(1, HOUR).unwrap()));
    assert_eq!(service.authenticate(&hourly).status, StatusCode::OK);
    let daily = limited("daily", SetLimits::new().quota(Quota::each(1, Period::Day).unwrap()));
    assert_eq!(list(&daily).status, StatusCode::OK);
    for (by, retry_after) in [(hourly, "3600"), (daily, "86400")] {
        for answer in [list(&by), service.authenticate(&by)] {
            is(&answer, 429, &problem("Too many requests", "TOO_MANY_REQUESTS"));
            assert_eq!(answer.headers["retry-after"], retry_after);
        }
    }
}

#[test]
fn an_archived_tenant() {
    let service = SensorBucket::new();
    let (path, key) = service.made(&wish("one", None));
    assert_eq!(service.authenticate(&key).status, StatusCode::OK);
    service.world.admin.suspend_owner(&owner("2")).unwrap();
    is(&service.authenticate(&key), 401, &json!({}));
    let not_found = json!({"message": "API Key not found", "code": "ERR_API_KEY_NOT_FOUND"});
    is(&service.get(&path), 404, &not_found);
    let archived = json!({"message": "Organisation does not exist or has been archived"});
    is(&service.create(&wish("two", None)), 404, &archived);
    // A caller that manages it sees its keys, and may still end them.
    assert_eq!(service.get("/api-keys?tenant_id=2").json()["data"][0]["name"], "one");
    service.world.admin.resume_owner(&owner("2")).unwrap();
    assert_eq!(service.authenticate(&key).status, StatusCode::OK);
    service.world.admin.suspend_owner(&owner("2")).unwrap();
    is(&service.delete(&path), 200, &json!({"message": "API key has been revoked"}));
}

/// The list stays in order where the clock was set back.
#[test]
fn newest_first_whatever_the_clock_does() {
    let service = SensorBucket::new();
    service.made(&wish("first", None));
    service.world.clock.set(service.world.now().saturating_sub(HOUR));
    assert_eq!(service.create(&wish("second", None)).status, StatusCode::CREATED);
    let data = service.get("/api-keys?tenant_id=2").json()["data"].clone();
    assert_eq!((&data[0]["name"], &data[1]["name"]), (&json!("first"), &json!("second")));
    assert!(data[0]["created"].as_str() > data[1]["created"].as_str());
}

#[test]
fn a_store_that_is_closed_is_500() {
    let service = SensorBucket::new();
    service.world.store.close().unwrap();
    let body = wish("x", None).to_string();
    for (method, path) in [
        (Method::GET, "/api-keys"),
        (Method::POST, "/api-keys"),
        (Method::GET, "/api-keys/3"),
        (Method::DELETE, "/api-keys/3"),
    ] {
        for by in [&service.bearer, &service.cookie] {
            let answer = service.ask(Some(by), &method, path, &body);
            is(&answer, 500, &internal());
        }
        let nobody = service.ask(None, &method, path, &body);
        is(&nobody, 401, &json!({"message": "Unauthorized", "code": "UNAUTHORIZED"}));
    }
    is(&service.authenticate(&service.bearer), 500, &internal());
}

/// A list of so many owners can't be had at once, and the answer says what can.
#[test]
fn who_manages_more_tenants_than_a_list_has() {
    let service = SensorBucket::new();
    for (count, status) in [(64, 200), (65, 400)] {
        let manages: Vec<u64> = (1..=count).collect();
        let key = CreateKey::new(Access::Full).settings(json!({ "manages": manages }));
        let issued = service.world.admin.create(&owner("1"), key).unwrap();
        let bearer = ("authorization", format!("Bearer {}", issued.token.expose()));
        let all = service.ask(Some(&bearer), &Method::GET, "/api-keys", "");
        assert_eq!(all.status.as_u16(), status, "{count}");
        if status == 400 {
            let message = "more than 64 tenants: name up to 64 of them by tenant_id";
            is(&all, 400, &json!({ "message": message }));
        }
        let one = service.ask(Some(&bearer), &Method::GET, "/api-keys?tenant_id=4", "");
        assert_eq!(one.json()["data"][0]["name"], "weather station");
    }
}

/// Whichever route there is or isn't, a stranger is told the same: in the headers too.
#[test]
fn a_stranger_is_not_told_what_there_is() {
    let service = SensorBucket::new();
    let stranger = service.ask(None, &Method::GET, "/api-keys", "");
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    for path in ["/api-keys", "/api-keys/1", "/nothing", ""] {
        assert_eq!(service.ask(None, &Method::PUT, path, ""), stranger, "{path}");
    }
    let known = service.ask(Some(&service.bearer), &Method::PUT, "/api-keys", "");
    assert_eq!(known.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(known.headers["allow"], "GET,HEAD,POST");
}

/// Each operation of the database that a call needs fails in turn: the answer says so.
#[test]
fn a_database_that_fails_is_500() {
    let body = wish("new", None).to_string();
    for (method, path) in [
        (Method::GET, "/api-keys"),
        (Method::GET, "/api-keys?tenant_id=1&tenant_id=99"),
        (Method::POST, "/api-keys"),
        (Method::GET, "/api-keys/4"),
        (Method::DELETE, "/api-keys/4"),
    ] {
        for nth in 1.. {
            let service = SensorBucket::new();
            assert_eq!(service.made(&wish("one", None)).0, "/api-keys/4");
            let moment = Moment::Before(BackendErrorKind::Io);
            service.backend.inject(Fault { target: Target::Any, nth, moment, lasting: false });
            let answer = service.ask(Some(&service.bearer), &method, path, &body);
            if answer.status.is_success() {
                assert!(nth > 1, "{method} {path} asks nothing of the database");
                break;
            }
            is(&answer, 500, &internal());
            assert!(nth < 20, "{method} {path} fails without a fault");
        }
    }
}

/// A key that may have been made isn't shown: no caller got its token.
#[test]
fn an_outcome_that_is_not_known_is_500() {
    let service = SensorBucket::new();
    let fault = Fault { target: Target::Commits, nth: 1, moment: Moment::After, lasting: false };
    service.backend.inject(fault);
    is(&service.create(&wish("new", None)), 500, &internal());
    service.world.store.recover().unwrap();
    let data = service.get("/api-keys?tenant_id=2").json()["data"].clone();
    assert_eq!(data[0]["name"], "new");
    is(
        &service.create(&wish("new", None)),
        400,
        &json!({
            "message": "API Key with name already exists for this tenant",
            "code": "API_KEY_NAME_TENANT_COMBO_NOT_UNIQUE",
        }),
    );
}

/// Whatever a start had done when it ended, the next makes the rest, and its token is there once.
#[test]
fn a_first_start_that_was_interrupted() {
    for nth in 1.. {
        let (world, backend) = empty();
        let moment = Moment::Before(BackendErrorKind::Io);
        backend.inject(Fault { target: Target::Commits, nth, moment, lasting: false });
        let first = demonstration::fill(&world.store);
        backend.heal();
        let second = demonstration::fill(&world.store).unwrap();
        let (token, done) = match first {
            Ok(token) => (token, true),
            Err(_) => (second, false),
        };
        assert!(token.is_some_and(|token| world.verifier.verify(token.expose()).is_ok()));
        assert!(demonstration::fill(&world.store).unwrap().is_none());
        let archived = world.admin.owner(&owner("3")).unwrap();
        assert!(archived.suspended.is_some());
        assert_eq!(world.admin.count(&ListKeys::new()).unwrap(), 3);
        let exists = world.admin.create_owner(&owner("4"), CreateOwner::without_key());
        assert!(matches!(exists, Err(Error::OwnerExists)));
        if done {
            assert_eq!(nth, 6, "four tenants, one of them archived");
            break;
        }
    }
}
