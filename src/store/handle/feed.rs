//! A subscription to the event log.

use std::sync::Arc;
use std::time::Duration;

use crate::authority::Authority;
use crate::event::Event;
use crate::store::key_store::KeyStore;
use crate::store::types::{Error, ListEvents};

/// A feed of events: each once, in order, from a number on.
///
/// A subscriber stores [`position`](Self::position) together with its own results. After a restart
/// it subscribes after that position. So it gets an event again if it had not yet stored the
/// position.
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
///     FeedItem::Pruned { through } => println!("events up to {through} are lost: read all keys again"),
///     FeedItem::Damaged { number } => println!("event {number} is damaged: read all keys again"),
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

/// The answer of a feed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FeedItem {
    /// The next events, in their order. There may be more at once.
    Events(Vec<Event>),
    /// An event is damaged, and can't be shown. A subscriber that needs each event must read all
    /// state again. The feed continues after it.
    Damaged {
        /// The number of the event.
        number: u64,
    },
    /// No event came within the timeout.
    Nothing,
    /// Events were pruned before the feed returned them. A subscriber that needs each event must
    /// read all state again. The feed continues after them.
    Pruned {
        /// The number of the last pruned event.
        through: u64,
    },
}

impl EventFeed {
    /// The default number of events at once: 100.
    pub const DEFAULT_LIMIT: usize = 100;

    pub(super) fn new(store: Arc<dyn KeyStore>, by: Authority, position: u64) -> Self {
        Self { store, by, position, limit: Self::DEFAULT_LIMIT }
    }

    /// Sets the greatest number of events at once, 1 to 1,000. Defaults to 100. A number outside
    /// counts as the nearer end.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Returns the number of the last event that the feed returned, or the number after which it
    /// began.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns what comes next: at once if there is something, otherwise as soon as there is,
    /// within `timeout`. After an error the caller may call again, and no event is left out.
    ///
    /// # Errors
    /// As [`KeyStore::events`](crate::store::KeyStore::events) and
    /// [`KeyStore::wait_for_event`](crate::store::KeyStore::wait_for_event).
    pub fn next(&mut self, timeout: Duration) -> Result<FeedItem, Error> {
        let item = self.read()?;
        if item != FeedItem::Nothing || timeout.is_zero() {
            return Ok(item);
        }
        self.store.wait_for_event(self.position, timeout)?;
        self.read()
    }

    /// Reads the next page, without waiting.
    fn read(&mut self) -> Result<FeedItem, Error> {
        let query = ListEvents::new().after(self.position).limit(self.limit);
        let mut page = self.store.events(&self.by, &query)?;
        if page.pruned_through > self.position {
            self.position = page.pruned_through;
            return Ok(FeedItem::Pruned { through: page.pruned_through });
        }
        if let Some(number) = page.damaged.first().copied() {
            page.items.retain(|event| event.sequence < number);
            if page.items.is_empty() {
                self.position = number;
                return Ok(FeedItem::Damaged { number });
            }
        }
        let Some(last) = page.items.last() else { return Ok(FeedItem::Nothing) };
        self.position = last.sequence;
        Ok(FeedItem::Events(page.items))
    }
}
