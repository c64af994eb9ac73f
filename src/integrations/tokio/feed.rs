//! Who follows what happens, without holding up a task.

use std::time::Duration;

use super::blocking::blocking;
use crate::store::{Error, EventFeed, FeedItem};

/// An [`EventFeed`] whose waiting is a future.
///
/// While it waits it has a thread of tokio's blocking pool. A future that is dropped has given out
/// nothing: the feed stays where it was, and that thread is free again when the time is over.
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
    /// See [`EventFeed::limit`].
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        self.feed.limit(limit).into()
    }

    /// See [`EventFeed::position`].
    #[must_use]
    pub fn position(&self) -> u64 {
        self.feed.position()
    }

    /// [`EventFeed::next`], as a future.
    ///
    /// # Errors
    /// Those of its namesake, and that of [`blocking`].
    pub async fn next(&mut self, timeout: Duration) -> Result<FeedItem, Error> {
        let mut feed = self.feed.clone();
        let (feed, news) = blocking(move || {
            let news = feed.next(timeout)?;
            Ok((feed, news))
        })
        .await?;
        self.feed = feed;
        Ok(news)
    }
}
