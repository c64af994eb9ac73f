//! What the example `ricloud` does that a client outside can't bring about: hours that pass, keys
//! that only an administrator makes, commits that fail. The rest is in `tests/clients`.

#[allow(dead_code, unused_imports)] // Its `main` belongs to the example.
#[path = "../../../examples/ricloud/main.rs"]
pub(crate) mod example;

mod administrator;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use keyhasp::backend::{BackendErrorKind, Memory};
use keyhasp::testing::{Failing, Fault, Moment, Target};
use keyhasp::{
    Access, AdminKeys, CreateKey, Expiry, KeyStore, ManualClock, NumericIdChoice, OwnerId, Quota,
    Rate, SetLimits,
};
use serde_json::{Value, json};

use crate::common::{HOUR, World, clock};
use crate::http::site::{Answer, send};
use example::admin::Command;
use example::shared::Place;
use example::{organisation, permissions};

/// The service on a backend of the test's, with one organisation and its first key.
pub(super) struct Ricloud {
    pub(super) world: World,
    backend: Arc<Failing<Memory>>,
    site: Router,
    pub(super) token: String,
}

impl Ricloud {
    pub(super) fn new() -> Self {
        let (clock, backend) = (clock(), Arc::new(Failing::new(Memory::new())));
        let place = Place::new(None).unwrap();
        let builder = example::store(&place, Arc::<ManualClock>::clone(&clock)).unwrap();
        let store: Arc<dyn KeyStore> =
            Arc::new(builder.open_on(Arc::clone(&backend) as _).unwrap());
        let site = example::routes(Arc::clone(&store)).unwrap();
        let world = World::of(store, clock);
        let first = organisation::with_key(sealed(CreateKey::new(Access::Full)));
        let created = world.admin.create_owner(&one(), first.unwrap()).unwrap();
        let token = created.first_key.unwrap().token.expose().to_owned();
        Self { world, backend, site, token }
    }

    pub(super) fn ask(&self, token: &str, method: Method, path: &str, body: &Value) -> Answer {
        self.send(token, method, path, body.to_string())
    }

    fn send(&self, token: &str, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("Authorization", format!("Token {token}"));
        send(&self.site, request.body(body.into()).unwrap())
    }

    fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(token, Method::GET, path, &Value::Null)
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(&self.token, Method::POST, path, body)
    }

    /// A body as it is written, which may be no JSON.
    fn post_text(&self, path: &str, body: &str) -> Answer {
        self.send(&self.token, Method::POST, path, body.to_owned())
    }

    /// Executes an administrator's command, and returns what it prints.
    fn admin<const N: usize>(&self, words: [&str; N]) -> Result<Vec<Value>, String> {
        let words = words.map(str::to_owned);
        let command = Command::read(&words).map_err(|error| error.to_string())?;
        let done = command.execute(&self.world.store, self.world.now());
        done.map_err(|error| error.to_string())
    }

    /// A key that only an administrator makes, and its token.
    pub(super) fn make(&self, key: CreateKey) -> String {
        let admin: &AdminKeys = &self.world.admin;
        admin.create(&one(), sealed(key)).unwrap().token.expose().to_owned()
    }

    pub(super) fn is_accepted(&self, token: &str) -> bool {
        self.get(token, "/key").status == StatusCode::OK
    }
}

pub(super) fn one() -> OwnerId {
    OwnerId::new("1").unwrap()
}

fn sealed(key: CreateKey) -> CreateKey {
    key.numeric_id(NumericIdChoice::Next).recoverable()
}

#[test]
fn the_previous_token_ends_after_six_hours() {
    let service = Ricloud::new();
    let rotated = service.post("/keys/1/rotate", &json!({}));
    let new = rotated.json()["token"].as_str().unwrap().to_owned();
    service.world.clock.advance(6 * HOUR - Duration::from_millis(1));
    assert!(service.is_accepted(&service.token) && service.is_accepted(&new));
    service.world.clock.advance(Duration::from_millis(1));
    assert!(!service.is_accepted(&service.token) && service.is_accepted(&new));
}

/// The documented command sends no body. A creation and an update have parameters, and say so.
#[test]
fn a_rotation_needs_no_body() {
    let service = Ricloud::new();
    let rotated = service.post_text("/keys/1/rotate", "");
    assert_eq!(rotated.status, StatusCode::OK);
    let new = rotated.json()["token"].as_str().unwrap().to_owned();
    assert!(new != service.token && service.is_accepted(&new));
    assert!(service.is_accepted(&service.token), "within the 6 hours");
    for path in ["/keys", "/keys/1"] {
        let answer = service.post_text(path, "");
        let message = "The request has no body. Without parameters, send `{}`.";
        let expected = json!({"error": "invalid-body", "message": message});
        assert_eq!((answer.status.as_u16(), answer.json()), (400, expected));
    }
    assert_eq!(service.post_text("/keys/1/rotate", " ").status, StatusCode::BAD_REQUEST);
}

/// The documented command to create a key has a comma too much. Its author learns where, and a token
/// in the body doesn't come back.
#[test]
fn a_body_that_is_not_json_is_told_what_is_wrong() {
    let service = Ricloud::new();
    let quoted = format!("{{\"storage_config\": \"{}\" 1}}", service.token);
    for (body, why) in [
        ("{\n  \"storage_config\": 2,\n}", "trailing comma at line 3 column 1"),
        ("{\"storage_config\": 2,}", "trailing comma at line 1 column 22"),
        ("{'storage_config': 2}", "key must be a string at line 1 column 2"),
        ("{\"storage_config\": ", "EOF while parsing a value at line 1 column 19"),
        (&quoted, "expected `,` or `}` at line 1 column"),
    ] {
        for path in ["/keys", "/keys/1", "/keys/1/rotate"] {
            let answer = service.post_text(path, body);
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
            assert_eq!(answer.json()["error"], "invalid-body");
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            let start = format!("The request body is not valid JSON: {why}");
            assert!(message.starts_with(&start), "{body}: {message}");
            assert!(!answer.body.contains(&service.token[8..]), "{message}");
        }
    }
    assert_eq!(service.get(&service.token, "/keys").json()["total_count"], 1);
}

/// A trial has all permissions, and a standard key what the organisation has: as its answer shows.
#[test]
fn trials_give_what_standard_keys_lack() {
    let service = Ricloud::new();
    let base = json!(["keys:read", "keys:write", "configs:read"]);
    let all = json!(["keys:read", "keys:write", "configs:read", permissions::ICLOUD_SOURCES]);
    let trial = service.make(CreateKey::trial(Access::Full, Expiry::Never));
    for (token, scopes, status) in [(&service.token, &base, 403), (&trial, &all, 200)] {
        assert_eq!(&service.get(token, "/key").json()["scopes"], scopes);
        assert_eq!(service.get(token, "/sources").status.as_u16(), status);
        let shown = service.get(token, "/organisation").json();
        let known: Vec<&str> =
            base.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        let scopes = shown["permissions"]["scopes"].as_object().unwrap();
        assert!(
            scopes.len() == 3 && known.iter().all(|name| scopes.contains_key(*name)),
            "{shown}"
        );
    }
    let lacking = service.get(&service.token, "/sources");
    assert_eq!(lacking.json()["error"], "missing-scope");
    assert!(lacking.challenges()[0].contains("scope=\"source_type:icloud.account\""));
    let listed = service.get(&trial, "/keys").json()["data"].clone();
    assert_eq!((&listed[0]["scopes"], &listed[1]["scopes"]), (&all, &base));
    // A key that goes on after its trial is like the others.
    let id = service.world.admin.find(keyhasp::NumericId::new(2).unwrap()).unwrap().id;
    service.world.admin.convert_trial(id, Expiry::Never).unwrap();
    assert_eq!(service.get(&trial, "/key").json()["scopes"], base);
    assert_eq!(service.get(&trial, "/sources").status, StatusCode::FORBIDDEN);
}

/// A key shows the configurations that it uses: its own, or its organisation's as they are now.
#[test]
fn keys_use_the_configurations_of_their_organisation() {
    let service = Ricloud::new();
    let uses = |answer: Answer| {
        let key = answer.json();
        (key["storage_config"].clone(), key["webhook_config"].clone())
    };
    let path = "/keys/2";
    assert_eq!(uses(service.post("/keys", &json!({}))), (Value::Null, Value::Null));
    let printed = service.admin(["defaults", "1", "1", "2"]).unwrap();
    assert_eq!((&printed[0]["storage_config"], printed.len()), (&json!(1), 2));
    let shown = service.get(&service.token, "/organisation").json();
    assert_eq!(shown["storage_config_default"], 1);
    assert_eq!(shown["webhook_config_default"], 2);
    assert_eq!(uses(service.get(&service.token, path)), (json!(1), json!(2)));
    assert_eq!(uses(service.post(path, &json!({"storage_config": 3}))), (json!(3), json!(2)));
    service.admin(["defaults", "1", "2", "none"]).unwrap();
    assert_eq!(uses(service.get(&service.token, path)), (json!(3), Value::Null));
    assert_eq!(uses(service.post(path, &json!({"storage_config": null}))), (json!(2), Value::Null));
    let created = service.post("/keys", &json!({"webhook_config": 1}));
    assert_eq!(uses(created), (json!(2), json!(1)));
    let rotated = service.post_text("/keys/3/rotate", "");
    assert_eq!(uses(rotated), (json!(2), json!(1)));
    let page = service.get(&service.token, "/keys").json();
    assert_eq!(page["data"][0]["webhook_config"], 1);
    assert_eq!(page["data"][2]["storage_config"], 2);
}

#[test]
fn a_scope_that_is_missing() {
    let service = Ricloud::new();
    let reader = service.make(CreateKey::new(Access::limited(["keys:read"]).unwrap()));
    assert_eq!(service.get(&reader, "/keys").status, StatusCode::OK);
    for (method, path, scope) in [
        (Method::POST, "/keys", "keys:write"),
        (Method::POST, "/keys/1", "keys:write"),
        (Method::POST, "/keys/1/rotate", "keys:write"),
        (Method::GET, "/configs/storage/1", "configs:read"),
    ] {
        let answer = service.ask(&reader, method, path, &json!({}));
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(answer.json()["error"], "missing-scope");
        let challenge =
            format!("Token realm=\"api\", error=\"insufficient_scope\", scope=\"{scope}\"");
        assert_eq!(answer.challenges(), [challenge.as_str()]);
    }
}

#[test]
fn a_trial_key_acts_for_its_organisation_until_it_is_over() {
    let service = Ricloud::new();
    let over = Expiry::At(service.world.after(HOUR));
    let trial = service.make(CreateKey::trial(Access::Full, over));
    let shown = service.get(&trial, "/key").json();
    assert_eq!((&shown["type"], &shown["state"]), (&json!("trial"), &json!("active")));
    assert_eq!(shown["date_expires"], "2026-01-01T01:00:00Z");
    let made = service.ask(&trial, Method::POST, "/keys", &json!({}));
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(made.headers["cache-control"], "no-store");
    let rotated = service.ask(&trial, Method::POST, "/keys/2/rotate", &json!({"force": true}));
    let trial = rotated.json()["token"].as_str().unwrap().to_owned();
    assert!(service.is_accepted(&trial));
    service.world.clock.advance(HOUR);
    assert!(!service.is_accepted(&trial));
}

/// A backend may say that there may be more where there is none: of what the filter fits, here.
#[test]
fn the_last_page_says_that_there_is_no_more() {
    let service = Ricloud::new();
    service.make(CreateKey::trial(Access::Full, Expiry::Never));
    for (query, has_more) in [("type=trial&limit=1", false), ("limit=1", true), ("limit=2", false)]
    {
        let page = service.get(&service.token, &format!("/keys?{query}")).json();
        assert_eq!(page["has_more"], has_more, "{query}");
    }
}

#[test]
fn a_suspended_organisation_is_told_no_more_than_a_stranger() {
    let service = Ricloud::new();
    let stranger = service.get("nobody", "/key");
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    service.world.admin.suspend_owner(&one()).unwrap();
    assert_eq!(service.get(&service.token, "/key"), stranger);
}

/// The layer has admitted the request when the key ends, and the handler answers as the layer would.
#[test]
fn a_key_that_ends_during_a_request_is_told_no_more_than_a_stranger() {
    use axum::response::IntoResponse;
    let service = Ricloud::new();
    let verified = service.world.verifier.verify(&service.token).unwrap();
    let keys = keyhasp::OwnerKeys::new(service.world.store.clone(), one(), "late").unwrap();
    service.world.admin.block(verified.key_id()).unwrap();
    let error = keys.provided(&verified).get(verified.key_id()).unwrap_err();
    let response = example::faults::Fault::from(error).into_response();
    let rejected = service.get(&service.token, "/key");
    assert_eq!(response.status(), rejected.status);
    let mut headers = response.headers().clone();
    headers.remove("content-length");
    let mut expected = rejected.headers.clone();
    expected.remove("content-length");
    assert_eq!(headers, expected);
}

/// The example sets no limits; an administrator may. None of them is an outage, or a lacking scope.
#[test]
fn limits_have_words_of_their_own() {
    let service = Ricloud::new();
    let stranger = service.get("nobody", "/key");
    let limited = |limits| service.make(CreateKey::new(Access::Full).limits(limits));
    let later = limited(SetLimits::new().not_before(service.world.after(HOUR)));
    assert_eq!(service.get(&later, "/key"), stranger);
    let elsewhere = limited(SetLimits::new().networks(["192.0.2.0/24".parse().unwrap()]));
    let answer = service.get(&elsewhere, "/key");
    let expected = json!({"error": "forbidden", "message": "The API key is not accepted."});
    assert_eq!((answer.status.as_u16(), answer.json()), (403, expected));
    let hourly = limited(SetLimits::new().rate(Rate::new(1, HOUR).unwrap()));
    assert!(service.is_accepted(&hourly));
    let spent = limited(SetLimits::new().quota(Quota::one_time(0).unwrap()));
    for (token, message, retry_after) in [
        (hourly, "Too many requests with this API key. Try again later.", Some("3600")),
        (spent, "The quota of this API key is used up.", None),
    ] {
        let answer = service.get(&token, "/key");
        let expected = json!({"error": "too-many-requests", "message": message});
        assert_eq!((answer.status.as_u16(), answer.json()), (429, expected));
        let told = answer.headers.get("retry-after").map(|value| value.to_str().unwrap());
        assert_eq!(told, retry_after);
    }
}

/// Whichever route there is or isn't, a stranger is told the same: in the headers too.
#[test]
fn a_stranger_is_not_told_what_there_is() {
    let service = Ricloud::new();
    let stranger = service.get("nobody", "/keys");
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    for (method, path) in [
        (Method::PUT, "/keys"),
        (Method::GET, "/keys/1/rotate"),
        (Method::GET, "/nothing"),
        (Method::GET, "/"),
    ] {
        assert_eq!(service.ask("nobody", method, path, &json!({})), stranger, "{path}");
    }
    let known = service.ask(&service.token, Method::PUT, "/keys", &json!({}));
    assert_eq!(known.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(known.headers["allow"], "GET,HEAD,POST");
}

/// A token in the place of a parameter's name doesn't come back.
#[test]
fn names_as_long_as_a_token_are_not_repeated() {
    let service = Ricloud::new();
    let token = &service.token;
    for answer in [
        service.post("/keys", &json!({token: 1, "other": 1})),
        service.get(token, &format!("/keys?{token}&other=1")),
    ] {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let params = answer.json()["params"].clone();
        assert!(params["other"].is_array() && params["…"].is_array(), "{params}");
        assert!(!answer.body.contains(&token[8..]));
    }
}

#[test]
fn a_closed_store_is_503_with_a_body() {
    let service = Ricloud::new();
    service.world.store.close().unwrap();
    let answer = service.get(&service.token, "/keys");
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["error"], "unavailable");
    assert_eq!(answer.headers["retry-after"], "1");
}

/// The client sends a request again at once after a 5xx: what was done, or may have been, must not
/// be answered so. Each commit of each call fails in turn, before and after it took effect.
#[test]
fn what_may_have_been_done_is_not_answered_5xx() {
    let moments = [
        Moment::After,
        Moment::Before(BackendErrorKind::OutcomeUnknown),
        Moment::Before(BackendErrorKind::Io),
    ];
    let calls = [
        ("/keys", json!({"storage_config": 2})),
        ("/keys/1", json!({"storage_config": 2})),
        ("/keys/1/rotate", json!({"force": true})),
    ];
    let mut answered = Vec::new();
    for moment in moments {
        for (path, body) in &calls {
            for nth in 1.. {
                let service = Ricloud::new();
                let before = records(&service);
                service.backend.inject(Fault {
                    target: Target::Commits,
                    nth,
                    moment,
                    lasting: false,
                });
                let answer = service.post(path, body);
                service.backend.heal();
                service.world.store.recover().unwrap();
                let changed = records(&service) != before;
                let status = answer.status;
                answered.push(status);
                if status.is_success() {
                    assert!(changed, "{path} {nth} {moment:?}");
                    // As many commits as the call makes have failed.
                    assert!(nth > 1);
                    break;
                }
                assert!(answer.json()["message"].is_string());
                if status.is_server_error() {
                    assert!(!changed, "{path} {nth} {moment:?}: {answer:?}");
                    assert_eq!(answer.headers["retry-after"], "1");
                } else {
                    assert_eq!(status, StatusCode::CONFLICT, "{path} {nth} {moment:?}: {answer:?}");
                }
            }
        }
    }
    for status in [StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE] {
        assert!(answered.contains(&status), "{status} was met");
    }
}

/// Showing a token is a commit too, of an event alone.
#[test]
fn what_only_reads_can_be_asked_again() {
    for path in ["/key", "/keys", "/keys/1"] {
        for moment in [Moment::After, Moment::Before(BackendErrorKind::Io)] {
            let service = Ricloud::new();
            let target = Target::Commits;
            service.backend.inject(Fault { target, nth: 1, moment, lasting: false });
            let answer = service.get(&service.token, path);
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path} {moment:?}");
            service.world.store.recover().unwrap();
            assert_eq!(service.get(&service.token, path).status, StatusCode::OK);
        }
    }
}

/// The keys by what a call may change of them.
fn records(service: &Ricloud) -> Vec<(Value, u32)> {
    let page = service.world.admin.list(&keyhasp::ListKeys::new()).unwrap();
    let of = |key: &keyhasp::Key| (json!(key.own_settings), key.generation.get());
    page.items.iter().map(of).collect()
}
