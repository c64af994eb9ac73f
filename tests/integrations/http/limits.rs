//! What is answered to the holder of a key that may not now, not from there, or not any more; what
//! a request costs, and what is told of what is left.

use keyhasp::RejectReason;
use std::time::Duration;

use axum::body::Body;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request};
use keyhasp::integrations::http::RateHeaders;
use keyhasp::key::{LimitHolder, QuotaStatus, RateLimited, RateStatus};
use keyhasp::{Rate, Timestamp, VerifyError};
use proptest::prelude::*;
use serde_json::json;

use crate::common::{HOUR, World};
use crate::http::double::Stage;
use crate::http::site::{request, with_token};
use crate::http::structured::list;

fn get() -> Request<Body> {
    request(http::Method::GET, "/", &[])
}

fn status(count: u32, per_ms: u64, burst: u32, remaining: u32, reset_ms: u64) -> RateStatus {
    let rate = Rate::new(count, Duration::from_millis(per_ms)).unwrap().with_burst(burst).unwrap();
    let (holder, reset_after) = (LimitHolder::Key, Duration::from_millis(reset_ms));
    RateStatus { holder, rate, remaining, reset_after }
}

fn limited(retry_after: Option<u64>) -> RateLimited {
    let status = status(10, 1_000, 10, 0, 1_000);
    RateLimited { status, retry_after: retry_after.map(Duration::from_millis) }
}

/// What each refusal is answered: status, what everybody is told, what is told to holders if the
/// service tells them, and when to come again.
#[test]
fn each_refusal_has_its_answer() {
    let stage = Stage::new();
    let now = stage.world.now();
    let not_accepted = "The API key is not accepted.";
    let used_up = "The quota of this API key is used up.";
    let later = "Too many requests with this API key. Try again later.";
    let too_dear = "This request is more than this API key may do at once.";
    let exhausted = |refilled_at| {
        let holder = LimitHolder::Key;
        VerifyError::Rejected(RejectReason::QuotaExhausted { holder, refilled_at })
    };
    let hours = now.saturating_add(2 * HOUR);
    let odd = now.saturating_add(Duration::from_millis(1_001));
    for (refusal, status, told, told_to_holders, retry_after) in [
        (
            VerifyError::Rejected(RejectReason::NotYet(hours)),
            401,
            not_accepted,
            "The API key is not accepted yet.",
            None,
        ),
        (
            VerifyError::Rejected(RejectReason::AddressMissing),
            403,
            not_accepted,
            "The API key is limited to some addresses, and that of this request is not known.",
            None,
        ),
        (
            VerifyError::Rejected(RejectReason::AddressRejected),
            403,
            not_accepted,
            "The API key is not accepted from this address.",
            None,
        ),
        (
            VerifyError::Rejected(RejectReason::RateLimited(limited(Some(1)))),
            429,
            later,
            later,
            Some("1"),
        ),
        (
            VerifyError::Rejected(RejectReason::RateLimited(limited(Some(1_000)))),
            429,
            later,
            later,
            Some("1"),
        ),
        (
            VerifyError::Rejected(RejectReason::RateLimited(limited(Some(1_001)))),
            429,
            later,
            later,
            Some("2"),
        ),
        (
            VerifyError::Rejected(RejectReason::RateLimited(limited(None))),
            403,
            too_dear,
            too_dear,
            None,
        ),
        (exhausted(None), 429, used_up, used_up, None),
        (exhausted(Some(hours)), 429, used_up, used_up, Some("7200")),
        (exhausted(Some(odd)), 429, used_up, used_up, Some("2")),
        (exhausted(Some(now)), 429, used_up, used_up, Some("1")),
    ] {
        stage.reject(refusal);
        let (title, error) = match status {
            401 => ("Unauthorized", Some("invalid_token")),
            403 => ("Forbidden", None),
            _ => ("Too Many Requests", None),
        };
        let challenges = error.map(|error| format!("Bearer realm=\"api\", error=\"{error}\""));
        let challenges: Vec<&str> = challenges.iter().map(String::as_str).collect();
        let off = stage.site(|layer| layer.rate_headers(RateHeaders::off()));
        let telling = stage.site(|layer| layer.disclose_reason().rate_headers(RateHeaders::off()));
        for (site, detail) in [(off, told), (telling, told_to_holders)] {
            let answer = stage.ask(&site, get());
            let above = "https://docs.rs/keyhasp/latest/keyhasp/integrations/http/index.html\
                #cost-above-burst";
            let problem = if detail == too_dear { above } else { "about:blank" };
            let mut expected = json!({"type": problem, "title": title, "status": status,
                "detail": detail});
            if let Some(error) = error {
                expected["error"] = error.into();
            }
            answer.is_problem(&expected, &challenges);
            let told = answer.headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(told, retry_after, "{refusal:?}");
        }
    }
}

/// The headers of a request rejected for its rate say when the same one is allowed.
#[test]
fn a_refused_rate_is_told_in_the_services_headers() {
    let stage = Stage::new();
    stage.reject(VerifyError::Rejected(RejectReason::RateLimited(limited(Some(101)))));
    let draft = stage.ask(&stage.site(|layer| layer), get());
    assert_eq!(draft.headers["ratelimit-policy"], "\"key\";q=10;w=1");
    assert_eq!(draft.headers["ratelimit"], "\"key\";r=0;t=1");
    assert_eq!(draft.headers[RETRY_AFTER], "1");
    let own = RateHeaders::named("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset");
    let own = own.unwrap();
    stage.reject(VerifyError::Rejected(RejectReason::RateLimited(limited(Some(2_500)))));
    let named = stage.ask(&stage.site(|layer| layer.rate_headers(own)), get());
    let told = |name: &str| named.headers[name].to_str().unwrap().to_owned();
    assert_eq!(
        ["limit", "remaining", "reset"].map(|name| told(&format!("x-ratelimit-{name}"))),
        ["10", "0", "3"]
    );
    assert!(!named.headers.contains_key("ratelimit") && named.headers[RETRY_AFTER] == "3");
    // A quota has a name of its own, and a time if it is ever refilled.
    let now = stage.world.now();
    for (refilled_at, told) in [
        (None, "\"owner-quota\";r=0"),
        (Some(now.saturating_add(HOUR)), "\"owner-quota\";r=0;t=3600"),
        // A refill that is due now: no client comes again at once.
        (Some(now), "\"owner-quota\";r=0;t=1"),
    ] {
        let holder = LimitHolder::Owner;
        stage.reject(VerifyError::Rejected(RejectReason::QuotaExhausted { holder, refilled_at }));
        let answer = stage.ask(&stage.site(|layer| layer), get());
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["ratelimit"]),
            (429, &told.parse().unwrap())
        );
        assert!(!answer.headers.contains_key("ratelimit-policy"));
    }
    // What is never allowed has no time; the rate has.
    stage.reject(VerifyError::Rejected(RejectReason::RateLimited(limited(None))));
    let never = stage.ask(&stage.site(|layer| layer), get());
    assert_eq!(never.status.as_u16(), 403);
    assert_eq!(never.headers["ratelimit"], "\"key\";r=0;t=1");
    assert!(!never.headers.contains_key(RETRY_AFTER));
    // An API's own shape has its own say.
    let shape = |refused: &keyhasp::integrations::http::ErrorResponse<'_>| {
        let mut answer = refused.json(&json!({}));
        answer.headers_mut().insert("ratelimit", "\"mine\";r=0".parse().unwrap());
        answer
    };
    let shaped = stage.ask(&stage.site(|layer| layer.error_response(shape)), get());
    assert_eq!(shaped.headers["ratelimit"], "\"mine\";r=0");
    assert!(!shaped.headers.contains_key("ratelimit-policy"));
}

#[test]
fn a_request_costs_what_the_service_says() {
    let stage = Stage::new();
    let heard = stage.heard(&stage.site(|layer| layer), get());
    assert!(heard.contains("cost: 1"), "{heard}");
    let by_method = |parts: &http::request::Parts| {
        if parts.method == http::Method::GET { 0 } else { 5 }
    };
    let site = stage.site(|layer| layer.cost_by(by_method));
    let heard = stage.heard(&site, get());
    assert!(heard.contains("cost: 0"), "{heard}");
    let heard = stage.heard(&site, request(http::Method::POST, "/", &[]));
    assert!(heard.contains("cost: 5"), "{heard}");
}

#[test]
fn the_names_of_headers() {
    assert!(RateHeaders::named("a", "b", "c").is_ok());
    for bad in
        [["", "b", "c"], ["a", "b b", "c"], ["a", "b", "ü"], ["a", "b", "A"], ["a", "a", "c"]]
    {
        let [limit, remaining, reset] = bad;
        let refused = RateHeaders::named(limit, remaining, reset).unwrap_err();
        assert_eq!(refused.field(), "header", "{bad:?}");
    }
}

#[test]
fn headers_that_stand_there_stay() {
    let rate = Some(status(10, 1_000, 10, 9, 100));
    let quota = Some(QuotaStatus { holder: LimitHolder::Key, remaining: 7, refilled_at: None });
    let own = RateHeaders::named("limit", "remaining", "reset").unwrap();
    for (headers, name) in [
        (RateHeaders::draft(), "ratelimit"),
        (RateHeaders::draft(), "ratelimit-policy"),
        (own, "reset"),
    ] {
        let mut map = HeaderMap::new();
        map.insert(name, "7".parse().unwrap());
        let before = map.clone();
        for rate in [rate, None] {
            headers.add(rate, quota, Timestamp::MIN, &mut map);
            assert_eq!(map, before);
        }
    }
    let mut map = HeaderMap::new();
    RateHeaders::off().add(rate, quota, Timestamp::MIN, &mut map);
    assert!(map.is_empty());
}

proptest! {
    /// The headers promise no key more than it has: the policy shown allows no more than the rate,
    /// what remains is within it, and no time is shorter than it is.
    #[test]
    fn no_more_is_promised_than_there_is(
        count in 1..=Rate::MAX_COUNT, per in 1..100_000_000_u64, burst in 1..=Rate::MAX_COUNT,
        used in any::<prop::sample::Index>(),
    ) {
        // A burst of which so much was just used.
        let used = u64::try_from(used.index(burst as usize + 1)).unwrap();
        let reset = (used * per).div_ceil(count.into());
        let remaining = burst - u32::try_from(used).unwrap();
        let status = status(count, per, burst, remaining, reset);
        let mut headers = HeaderMap::new();
        RateHeaders::draft().add(Some(status), None, Timestamp::MIN, &mut headers);
        let item = |name: &str, parameters: [&str; 2]| {
            let [item] = &list(headers[name].to_str().unwrap()).unwrap()[..] else { panic!("{name}") };
            assert_eq!((&*item.name, item.parameters.len()), ("key", 2));
            parameters.map(|key| item.get(key).unwrap())
        };
        let [q, w] = item("ratelimit-policy", ["q", "w"]);
        let [r, t] = item("ratelimit", ["r", "t"]);
        prop_assert!(w >= 1 && r <= q && t <= w);
        prop_assert!(u128::from(q) * u128::from(per) <= u128::from(w) * 1_000 * u128::from(count));
        prop_assert!(r == u64::from(remaining) && t * 1_000 >= reset && t * 1_000 < reset + 1_000);
    }
}

/// A key without a rate is told nothing of rates.
#[test]
fn no_rate_no_headers() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let site = crate::http::site::site(&world, |layer| layer);
    let answer = with_token(&site, "/", issued.token.expose());
    assert_eq!(answer.status, 200);
    assert!(answer.headers.keys().all(|name| !name.as_str().contains("ratelimit")), "{answer:?}");
}
