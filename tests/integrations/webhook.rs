//! The webhook's example beside a damaged event.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used)] // It is a test.

#[allow(dead_code)] // Its `main` belongs to the example.
#[path = "../../examples/webhook.rs"]
mod example;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::{DamagedRecord, Memory};
use keyhasp::testing::Failing;
use keyhasp::{AdminKeys, Catalogue, CreateOwner, KeyStore, Store};
use serde_json::json;

use crate::common::{owner, prefix};

/// The others are delivered, the position is stored behind it, and the receiver learns its number.
#[test]
fn it_goes_on_after_a_damaged_event() {
    let backend = Arc::new(Failing::new(Memory::new()));
    let catalogue = Catalogue::builder().build().unwrap();
    let store = Store::builder(catalogue, [prefix("acme")]).open_on(Arc::clone(&backend) as _);
    let store: Arc<dyn KeyStore> = Arc::new(store.unwrap());
    let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
    for id in ["linden", "harbour", "mill"] {
        admin.create_owner(&owner(id), CreateOwner::without_key()).unwrap();
    }
    for damaged in [2, 4] {
        backend.damage(DamagedRecord::Event(damaged));
    }

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("delivered");
    let received = std::thread::scope(|scope| {
        let bodies = || std::iter::from_fn(|| example::answer(listener.accept().ok()?.0).ok());
        let received =
            scope.spawn(move || bodies().take_while(|it| it != "end").collect::<Vec<_>>());
        let feed = admin.subscribe(example::position(&kept).unwrap());
        let done = example::forward(feed, &url, &kept, Duration::ZERO);
        ureq::post(&url).content_type("application/json").send("\"end\"").unwrap();
        done.unwrap();
        received.join().unwrap()
    });
    assert_eq!(received.len(), 4, "{received:?}");
    assert_eq!(received[0]["events"][0]["sequence"], 1);
    assert_eq!(received[1], json!({"damaged": 2}));
    assert_eq!(received[2]["events"][0]["owner"], "harbour");
    assert_eq!(received[3], json!({"damaged": 4}));
    assert_eq!(example::position(&kept).unwrap(), 4);
    store.close().unwrap();
}
