//! The event log, as subscribers follow it.

use std::sync::Arc;
use std::time::Duration;

use crate::authority::Authority;
use crate::event::Event;
use crate::store::key_store::KeyStore;
use crate::store::types::error::Error;
use crate::store::types::request::ListEvents;

/// Follows the log from an event on, each event once and in its order.
///
/// A subscriber keeps [`position`](Self::position) with whatever it has made of the events, and
/// begins anew after it: what it had been given and had not yet kept it is given again.
///
/// ```
/// # fn f(keys: keyhasp::AdminKeys) -> Result<(), keyhasp::Error> {
/// use std::time::Duration;
/// use keyhasp::store::FeedItem;
///
/// # let kept = 0;
/// let mut feed = keys.subscribe(kept);
/// match feed.next(Duration::from_secs(30))? {
///     FeedItem::Events(events) => println!("{} events, up to {}", events.len(), feed.position()),
///     FeedItem::Pruned { through } => println!("events up to {through} are lost: look at all anew"),
///     FeedItem::Nothing => {}
///     _ => {}
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct EventFeed {
    store: Arc<dyn KeyStore>,
    by: Authority,
    position: u64,
    limit: usize,
}

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FeedItem {
    /// Events that came after those before, in their order; there may be more at once.
    Events(Vec<Event>),
    /// Nothing happened in the time that was given.
    Nothing,
    /// Events were pruned before they were given out: whoever depends on each of them has to look
    /// at everything anew. The feed goes on after them.
    Pruned {
        /// The number of the last one that is gone.
        through: u64,
    },
}

impl EventFeed {
    /// How many events are given at once, unless told otherwise.
    pub const DEFAULT_LIMIT: usize = 100;

    pub(super) fn new(store: Arc<dyn KeyStore>, by: Authority, position: u64) -> Self {
        Self { store, by, position, limit: Self::DEFAULT_LIMIT }
    }

    /// At most so many events at once: 1 to 1,000, and what lies outside is taken as the nearer
    /// end.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The number of the last event that was given out, or after which the feed began.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What comes next: at once if there is something, else as soon as there is, for `timeout` at
    /// most. After an error it is asked for again; nothing is left out.
    ///
    /// # Errors
    /// As [`KeyStore::events`](crate::store::KeyStore::events) and
    /// [`KeyStore::wait_for_event`](crate::store::KeyStore::wait_for_event).
    pub fn next(&mut self, timeout: Duration) -> Result<FeedItem, Error> {
        let item = self.look()?;
        if item != FeedItem::Nothing || timeout.is_zero() {
            return Ok(item);
        }
        self.store.wait_for_event(self.position, timeout)?;
        self.look()
    }

    fn look(&mut self) -> Result<FeedItem, Error> {
        let query = ListEvents::new().after(self.position).limit(self.limit);
        let page = self.store.events(&self.by, &query)?;
        if page.pruned_through > self.position {
            self.position = page.pruned_through;
            return Ok(FeedItem::Pruned { through: page.pruned_through });
        }
        let Some(last) = page.items.last() else { return Ok(FeedItem::Nothing) };
        self.position = last.sequence;
        Ok(FeedItem::Events(page.items))
    }
}
