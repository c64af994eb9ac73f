//! Alerts about a user's keys, which the store writes by itself as events: keys that are unused, and
//! tokens whose use is suspicious.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use keyhasp::store::ListEvents;
use keyhasp::{AlertSettings, Authenticated, DelegatedKeys, Error, Event, EventKind};
use serde_json::{Value, json};

use super::api::Site;
use super::keys::{Answer, handle, shown_id, shown_time};
use super::page::{Asked, PageQuery};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);
/// The number of rejections in a minute that a key may have without an alert.
const MAX_REJECTIONS: u64 = 10;
/// The greatest number of alerts that are shown: the newest.
const MAX_ALERTS: usize = 1_000;

/// The kinds of alerts, each with its words for the user.
const KINDS: [(EventKind, &str); 3] = [
    (EventKind::KeyUnused, "This key was not used for 30 days. Deactivate it if nothing needs it."),
    (
        EventKind::PreviousTokenUsed,
        "A token from before a rotation of this key is still used, within the last hour of its \
         validity. If that is not yours, rotate the key with force.",
    ),
    (
        EventKind::KeyRejected,
        "This key was rejected more than 10 times within a minute, by its state or its limits, \
         although its token was right. It may have been stolen.",
    ),
];

/// Returns the settings of the store's alerts.
pub(crate) fn settings() -> AlertSettings {
    AlertSettings::new()
        .keys_unused_for(30 * DAY)
        .previous_tokens_used_within(HOUR)
        .rejections(MAX_REJECTIONS, MINUTE)
}

/// Answers `GET /api-keys/alerts`, newest first.
pub(crate) async fn list(State(site): State<Site>, caller: Authenticated, asked: Asked) -> Answer {
    let query = PageQuery::parse(asked)?;
    let alerts = handle(&site, &caller)?.call(newest).await?;
    Ok(Json(query.envelope(&alerts, |(event, _)| event.sequence.into(), shown)))
}

/// Reads the newest alerts about the keys of a user. A user's handle reaches no other events.
fn newest(keys: &DelegatedKeys) -> Result<Vec<(Event, &'static str)>, Error> {
    let mut all = Vec::new();
    for (kind, message) in KINDS {
        let mut newest = VecDeque::new();
        let mut after = 0;
        loop {
            let page = keys.events(&ListEvents::new().kind(kind).after(after).limit(MAX_ALERTS))?;
            newest.extend(page.items);
            newest.drain(..newest.len().saturating_sub(MAX_ALERTS));
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        all.extend(newest.into_iter().map(|event| (event, message)));
    }
    all.sort_by_key(|(event, _)| Reverse(event.sequence));
    all.truncate(MAX_ALERTS);
    Ok(all)
}

fn shown((event, message): &(Event, &'static str)) -> Value {
    json!({
        "id": format!("alert_{}", event.sequence),
        "kind": event.kind.name(),
        "key_id": event.key.map(shown_id),
        "message": message,
        "created_at": shown_time(event.at),
    })
}
