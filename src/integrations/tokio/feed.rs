//! The event feed as a future.

use std::time::Duration;

use super::blocking::blocking;
use crate::store::{Error, EventFeed, FeedItem};

/// An [`EventFeed`] whose waiting is a future.
///
/// While it waits it holds a thread of tokio's blocking pool. If the future is dropped, the feed
/// keeps its position, and the thread is free when the timeout is over.
#[derive(Clone, Debug)]
pub struct AsyncEventFeed {
    feed: EventFeed,
}

impl From<EventFeed> for AsyncEventFeed {
    fn from(feed: EventFeed) -> Self {
        Self { feed }
    }
}

impl AsyncEventFeed {
    /// Sets the limit as [`EventFeed::limit`] does.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        self.feed.limit(limit).into()
    }

    /// Returns the position as [`EventFeed::position`] does.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.feed.position()
    }

    /// Returns the next item as [`EventFeed::next`] does.
    ///
    /// # Errors
    /// Those of its namesake and of [`blocking`].
    pub async fn next(&mut self, timeout: Duration) -> Result<FeedItem, Error> {
        let mut feed = self.feed.clone();
        let (feed, item) = blocking(move || {
            let item = feed.next(timeout)?;
            Ok((feed, item))
        })
        .await?;
        self.feed = feed;
        Ok(item)
    }
}
