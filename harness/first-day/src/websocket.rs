use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use keyhasp::{Authenticated, KeyLayer, VerifiedKey, Verifier};

/// The time for which a key that ends meanwhile may still be listened to.
const RECHECK: Duration = Duration::from_secs(5);
/// The code for a violation of policy, by RFC 6455.
const POLICY: u16 = 1008;

pub fn site(verifier: Verifier) -> Router {
    let keys = KeyLayer::new(verifier.clone());
    let open = async move |caller: Authenticated, upgrade: WebSocketUpgrade| -> Response {
        let verified = caller.verified_key().copied();
        upgrade.on_upgrade(async move |socket| _ = echo(socket, verifier, verified).await)
    };
    Router::new().route("/echo", get(open)).layer(keys)
}

/// Answers each message, and looks now and then whether the key is still good. That takes no hash, and
/// counts as no use.
async fn echo(
    mut socket: WebSocket,
    verifier: Verifier,
    verified: Option<VerifiedKey>,
) -> Result<(), axum::Error> {
    let mut ticks = tokio::time::interval(RECHECK);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if verified.is_none_or(|verified| verifier.recheck(&verified).is_err()) {
                    let why = CloseFrame { code: POLICY, reason: "the API key has ended".into() };
                    return socket.send(Message::Close(Some(why))).await;
                }
            }
            received = socket.recv() => match received {
                Some(message) => socket.send(message?).await?,
                None => return Ok(()),
            },
        }
    }
}
