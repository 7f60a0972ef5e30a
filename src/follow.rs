//! Records as they are committed, by whatever process.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::{deadline, has_passed};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::query::Scope;
use crate::queue::Queue;
use crate::record::{Place, RecordCursor, RecordFilter, UsageRecord};
use crate::store::{Search, Store, to_error};

/// How often the file is looked at for what other processes have committed.
const PAUSE: Duration = Duration::from_millis(50);

/// Records as they are committed: see [`StatsQuery::follow`](crate::StatsQuery::follow).
///
/// Holds the tracker as a [`WeakTokenTracker`](crate::WeakTokenTracker) does: it keeps nothing open, and may be kept
/// in a task or thread of its own. While it waits it has no connection and no lock.
///
/// ```
/// # use std::time::Duration;
/// # use token_tracker::{ErrorKind, NewToken, TokenTracker};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
/// let mut follow = tracker.stats().all().follow()?;
/// let (sender, stream) = std::sync::mpsc::channel();
/// let thread = std::thread::spawn(move || loop {
///     match follow.next(Duration::from_secs(15)) {
///         Ok(records) => records.into_iter().for_each(|record| sender.send(record).unwrap()),
///         Err(error) if error.kind() == ErrorKind::Closed => return follow.cursor(),
///         Err(error) => eprintln!("the next look may do better: {error}"),
///     }
/// });
/// drop(tracker.authenticate(&issued.secret)?);
/// assert_eq!(stream.recv()?.id, 1);
/// tracker.close()?;
/// let to_go_on_with_later = thread.join().unwrap();
/// # drop(to_go_on_with_later);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Follow {
    store: Weak<Store>,
    queue: Arc<Queue>,
    scope: Scope,
    filter: RecordFilter,
    limit: u32,
    question: u32,
    /// The next row to look at.
    position: i64,
}

impl Follow {
    pub(crate) fn new(
        engine: &Engine,
        scope: Scope,
        filter: RecordFilter,
        question: u32,
        position: i64,
    ) -> Result<Self, Error> {
        let limit = filter.page_size(RecordFilter::MAX_LIMIT)?;
        let (store, queue) = (Arc::downgrade(&engine.store), Arc::clone(&engine.queue));
        Ok(Self { store, queue, scope, filter, limit, question, position })
    }

    /// The records that were committed since the last call, or since the beginning: in the order of commit, and as many
    /// at a time as the filter's [limit](RecordFilter::limit) says, 1,000 unless it does. Blocks until there are any:
    /// those of this process come with their commit, those of others within 50 ms of it. Empty once the timeout is
    /// over.
    ///
    /// Each record comes once, and none is left out but those that were removed as old before the call. A record of
    /// denials that goes on to grow in [weight](UsageRecord::weight) is shown as it is when it comes. Cost: a look-up
    /// of one row every 50 ms, and of what is new as [`records`](crate::StatsQuery::records) says, oldest first.
    ///
    /// # Errors
    /// `Closed` as soon as the tracker is: what its end still writes can be had [from the file](Follow::cursor).
    /// `Storage` or `Busy` where the file cannot be read; the next call goes on where this one could not.
    pub fn next(&mut self, timeout: Duration) -> Result<Vec<UsageRecord>, Error> {
        let end = deadline(timeout);
        loop {
            let commits = self.queue.commits()?;
            let (records, has_more) = self.look()?;
            if !records.is_empty() || has_passed(end) {
                return Ok(records);
            }
            if !has_more {
                self.queue.wait_for_commit(commits, end.min(deadline(PAUSE)));
            }
        }
    }

    /// Where it stands: after the last record that it gave. Another [`follow`](crate::StatsQuery::follow) of the same
    /// question goes on here, also in another process, and so does [`records`](crate::StatsQuery::records),
    /// [oldest first](RecordFilter::oldest_first) and of whatever time.
    #[must_use]
    pub fn cursor(&self) -> RecordCursor {
        RecordCursor { question: self.question, place: Place::Up(self.position) }
    }

    /// What there is, and whether there may be more.
    fn look(&mut self) -> Result<(Vec<UsageRecord>, bool), Error> {
        let Some(store) = self.store.upgrade() else {
            return Err(Error::new(ErrorKind::Closed, "the tracker is closed"));
        };
        let end = store.read(|reader| reader.next_record()).map_err(to_error)?;
        if end <= self.position {
            return Ok((Vec::new(), false));
        }
        let search = Search::new(&self.scope, &self.filter, self.limit);
        let place = Place::Up(self.position);
        let found = store.ask(|reader| reader.records(&search, Some(&place))).map_err(to_error)?;
        let has_more = found.next.is_some();
        self.position = match found.next {
            Some(Place::Up(next)) => next,
            _ => found.end.max(self.position),
        };
        Ok((found.records, has_more))
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("scope", &self.scope)
            .field("filter", &self.filter)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
