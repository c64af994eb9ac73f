//! A subscriber gets each event once, in order.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::common::{HOUR, World};
use keyhasp::event::Event;
use keyhasp::store::{EventFeed, FeedItem, ListEvents};
use keyhasp::{Error, Rotate};
use proptest::prelude::*;

/// As long as only a defect takes.
const LONG: Duration = Duration::from_secs(600);

fn log(world: &World) -> Vec<Event> {
    world.admin.events(&ListEvents::new().limit(1_000)).unwrap().items
}

/// All that there is by now.
fn drain(feed: &mut EventFeed) -> Vec<Event> {
    let mut all = Vec::new();
    while let FeedItem::Events(events) = feed.next(Duration::ZERO).unwrap() {
        all.extend(events);
    }
    all
}

proptest! {
    /// Holds for any number of events at once, and wherever a feed restarts.
    #[test]
    fn each_event_is_given_once_and_in_order(
        steps in prop::collection::vec((1..8_usize, 0..4_usize, any::<bool>()), 1..12),
    ) {
        let world = World::new();
        let (keys, issued) = world.owner("org");
        let mut feed = world.admin.subscribe(0);
        let mut given = Vec::new();
        for (limit, changes, subscribes) in steps {
            for _ in 0..changes {
                keys.rotate(issued.key.id, Rotate::new()).unwrap();
            }
            if subscribes {
                feed = world.admin.subscribe(feed.position());
            }
            feed = feed.limit(limit);
            if let FeedItem::Events(events) = feed.next(Duration::ZERO).unwrap() {
                prop_assert!(events.len() <= limit);
                given.extend(events);
            }
            prop_assert_eq!(feed.position(), given.len() as u64);
        }
        given.extend(drain(&mut feed));
        prop_assert_eq!(given, log(&world));
    }
}

#[test]
fn who_waits_is_woken() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let mut feed = world.admin.subscribe(0);
    drain(&mut feed);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| feed.next(LONG).unwrap());
        let revoked = keys.revoke(issued.key.id).unwrap().whole().unwrap();
        let FeedItem::Events(events) = waiting.join().unwrap() else { panic!("no events") };
        assert_eq!(events[0].version, revoked.version);
    });
    assert_eq!(feed.next(Duration::ZERO).unwrap(), FeedItem::Nothing);
}

#[test]
fn what_was_pruned_is_told_once_and_the_rest_follows() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let mut early = world.admin.subscribe(0);
    world.clock.advance(HOUR);
    keys.rotate(issued.key.id, Rotate::new()).unwrap();
    let before = log(&world).len() as u64;
    assert_eq!(world.admin.prune_events(world.now()).unwrap(), before - 1);
    let through = before - 1;
    assert_eq!(early.next(LONG).unwrap(), FeedItem::Pruned { through });
    assert_eq!(drain(&mut early), log(&world));
    // Who was there already has lost nothing.
    assert_eq!(drain(&mut world.admin.subscribe(through)), log(&world));
}

#[test]
fn an_error_leaves_nothing_out() {
    let world = World::new();
    world.owner("org");
    let mut feed = world.admin.subscribe(1);
    world.store.close().unwrap();
    assert!(matches!(feed.next(LONG), Err(Error::Unavailable(_))));
    assert_eq!(feed.position(), 1);
}

/// Before it waits, while it begins to, or as it does.
#[test]
fn closing_wakes_who_waits_for_events() {
    for pause in 0..50 {
        let world = World::new();
        let store = Arc::clone(&world.store);
        let (begins, begun) = mpsc::channel();
        let waiting = thread::spawn(move || {
            begins.send(()).unwrap();
            store.wait_for_event(1_000, LONG)
        });
        begun.recv().unwrap();
        (0..pause * 20).for_each(|_| thread::yield_now());
        world.store.close().unwrap();
        assert!(waiting.join().unwrap().is_err());
    }
}
