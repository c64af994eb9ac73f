//! Posts the events of a store to a webhook: each once it is durable, in order, and at least once.
//!
//! `cargo run --example webhook` plays both sides: a store with some events, and a receiver that
//! prints what arrives. `-- http://127.0.0.1:3000/hook` posts to a receiver of your own instead.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::Memory;
use keyhasp::store::{EventFeed, FeedItem};
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, KeyStore, OwnerId, Prefix, Rotate, Store,
};
use serde_json::{Value, json};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Forwards events until none has come for `patience`.
pub(crate) fn forward(mut feed: EventFeed, url: &str, kept: &Path, patience: Duration) -> Outcome {
    loop {
        let body = match feed.next(patience)? {
            FeedItem::Events(events) => json!({ "events": events }),
            // A receiver that needs each change must read all keys again.
            FeedItem::Pruned { through } => json!({ "lost_through": through }),
            // It needs to do so here too. Its operator looks at `health().damaged`.
            FeedItem::Damaged { number } => {
                eprintln!("event {number} is damaged, and was not delivered");
                json!({ "damaged": number })
            }
            FeedItem::Nothing => return Ok(()),
            other => return Err(format!("{other:?} is nothing that this example knows").into()),
        };
        post(url, &body)?;
        // The position is stored after the delivery. After a crash between the two, the receiver
        // gets the events again, and recognises them by their `sequence`.
        fs::write(kept, feed.position().to_string())?;
    }
}

/// Returns the number of the last event that was delivered.
pub(crate) fn position(kept: &Path) -> Outcome<u64> {
    match fs::read_to_string(kept) {
        Ok(text) => Ok(text.parse()?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Delivers with up to five attempts. A real service tries for longer, then alerts its operator.
fn post(url: &str, body: &Value) -> Outcome {
    let mut pause = Duration::from_millis(100);
    for _ in 0..5 {
        match ureq::post(url).content_type("application/json").send(body.to_string()) {
            Ok(_) => return Ok(()),
            Err(error) => eprintln!("not delivered, next attempt in {pause:?}: {error}"),
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
    Err("the receiver took none of 5 attempts; check its URL".into())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => receiver()?,
    };
    let catalogue = Catalogue::builder().read("links:read").write("links:write").build()?;
    let store = Store::builder(catalogue, [Prefix::new("acme")?]).open(Memory::new())?;
    let store: Arc<dyn KeyStore> = Arc::new(store);
    let admin = AdminKeys::new(Arc::clone(&store), "webhook example")?;

    let directory = tempfile::tempdir()?;
    let kept = directory.path().join("delivered");
    let owner = OwnerId::new("linden")?;
    let first = CreateOwner::with_key(CreateKey::new(Access::Full).name("website"));
    let created = admin.create_owner(&owner, first)?;
    forward(admin.subscribe(position(&kept)?), &url, &kept, Duration::ZERO)?;

    // A second feed continues where the first stopped.
    if let Some(issued) = created.first_key {
        admin.rotate(issued.key.id, Rotate::new())?;
        admin.block(issued.key.id)?;
    }
    forward(admin.subscribe(position(&kept)?), &url, &kept, Duration::ZERO)?;
    Ok(store.close()?)
}

/// Starts a receiver that prints each event, and returns its URL.
fn receiver() -> Outcome<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if let Err(error) = receive(stream) {
                eprintln!("received no valid request: {error}");
            }
        }
    });
    Ok(url)
}

fn receive(stream: TcpStream) -> Outcome {
    let body = answer(stream)?;
    for event in body["events"].as_array().into_iter().flatten() {
        let (sequence, kind, owner) = (&event["sequence"], &event["kind"], &event["owner"]);
        let (kind, owner) = (kind.as_str().unwrap_or("?"), owner.as_str().unwrap_or("-"));
        writeln!(std::io::stdout(), "{sequence}  {kind}  {owner}")?;
    }
    Ok(())
}

/// Reads a request's body, and answers it.
pub(crate) fn answer(mut stream: TcpStream) -> Outcome<Value> {
    let mut request = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    while request.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    request.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body)?;
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")?;
    Ok(body)
}
