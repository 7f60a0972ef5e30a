//! The queue of events and the thread that empties it into the hook.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::pacing::Pacing;
use super::{Event, Hook};
use crate::clock::{deadline, has_passed};
use crate::error::{Error, ErrorKind};
use crate::reason::DenialReason;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Events that may wait for the hook.
const CAPACITY: usize = 1_024;

/// For how long events are still told once the tracker closes.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Where events are told. Without a hook nothing is even put together.
#[derive(Default)]
pub(crate) struct Events {
    /// `None` where nobody listens.
    inbox: Option<Arc<Inbox>>,
    /// Taken by whoever closes.
    thread: Mutex<Option<JoinHandle<()>>>,
    denials: Mutex<Pacing<(TokenId, DenialReason)>>,
    new_addresses: Mutex<Pacing<TokenId>>,
}

struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: VecDeque<Event>,
    phase: Phase,
    dropped: u64,
    panics: u64,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Phase {
    Open,
    /// What waits is told until then.
    Closing(Instant),
    Ended,
}

impl Events {
    /// Starts the thread, if there is a hook. The thread alone holds the hook: where that holds the tracker, the two
    /// do not keep each other alive once the tracker is closed.
    pub(crate) fn start(hook: Option<Arc<dyn Hook>>) -> Result<Self, Error> {
        let Some(hook) = hook else { return Ok(Self::default()) };
        let inbox = Arc::new(Inbox::new());
        let of_thread = Arc::clone(&inbox);
        let thread = std::thread::Builder::new().name("token-tracker-hook".to_owned());
        let thread = thread.spawn(move || {
            // Dropped after the hook, whose own end is waited for too.
            let end = EndInbox(of_thread);
            let hook = hook;
            end.0.run(&*hook);
        });
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Storage, "the hook's thread cannot be started")
                .with_source(error.into())
        })?;
        let (thread, denials) = (Mutex::new(Some(thread)), Mutex::default());
        let new_addresses = Mutex::default();
        Ok(Self { inbox: Some(inbox), thread, denials, new_addresses })
    }

    /// Whether anybody listens.
    pub(crate) fn is_heard(&self) -> bool {
        self.inbox.is_some()
    }

    /// Tells of an event, if anybody listens. Never waits.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(inbox) = &self.inbox {
            inbox.put(event());
        }
    }

    /// Whether a denial is to be told: somebody listens, and it is not one of too many.
    pub(crate) fn wants_denial(&self, token: TokenId, reason: DenialReason, at: Timestamp) -> bool {
        self.is_heard() && self.denials.lock().admits((token, reason), at)
    }

    /// Whether a token's use from a new address is to be told, likewise: whoever has a network of IPv6 has any number.
    pub(crate) fn wants_new_address(&self, token: TokenId, at: Timestamp) -> bool {
        self.is_heard() && self.new_addresses.lock().admits(token, at)
    }

    /// How many more events can wait.
    pub(crate) fn room(&self) -> usize {
        self.inbox.as_ref().map_or(0, |inbox| CAPACITY - inbox.state.lock().waiting.len())
    }

    /// How many events were dropped, and how often the hook panicked.
    pub(crate) fn losses(&self) -> (u64, u64) {
        self.inbox.as_ref().map_or((0, 0), |inbox| {
            let state = inbox.state.lock();
            (state.dropped, state.panics)
        })
    }

    /// Takes no more events, and waits until those that wait are told, but not for long and not on the hook's own
    /// thread.
    pub(crate) fn close(&self) {
        let thread = self.thread.lock().take();
        let (Some(inbox), Some(thread)) = (&self.inbox, thread) else { return };
        let end = inbox.close();
        let is_own = thread.thread().id() == std::thread::current().id();
        if !is_own && inbox.wait_for_end(end) {
            // A hook whose own end panics has ended all the same.
            let _ = thread.join();
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inbox {
    fn new() -> Self {
        let state = State { waiting: VecDeque::new(), phase: Phase::Open, dropped: 0, panics: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn put(&self, event: Event) {
        let mut state = self.state.lock();
        if state.phase != Phase::Open || state.waiting.len() >= CAPACITY {
            state.dropped += 1;
            return;
        }
        state.waiting.push_back(event);
        drop(state);
        self.changed.notify_all();
    }

    /// Calls the hook for one event after the other, until the end.
    fn run(&self, hook: &dyn Hook) {
        while let Some(event) = self.next() {
            let Err(thrown) = catch_unwind(AssertUnwindSafe(|| event.tell(hook))) else { continue };
            self.state.lock().panics += 1;
            // What was thrown may itself panic as it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(move || drop(thrown)));
        }
    }

    fn next(&self) -> Option<Event> {
        let mut state = self.state.lock();
        loop {
            let is_over = match state.phase {
                Phase::Open => false,
                Phase::Closing(end) => state.waiting.is_empty() || has_passed(end),
                Phase::Ended => true,
            };
            if is_over {
                return None;
            }
            if let Some(event) = state.waiting.pop_front() {
                return Some(event);
            }
            self.changed.wait(&mut state);
        }
    }

    fn close(&self) -> Instant {
        let end = deadline(LAST_CALLS);
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing(end);
        }
        drop(state);
        self.changed.notify_all();
        end
    }

    /// Whether the thread has come to its end by then. If not, it is told nothing more.
    fn wait_for_end(&self, by: Instant) -> bool {
        let mut state = self.state.lock();
        while state.phase != Phase::Ended && !has_passed(by) {
            self.changed.wait_until(&mut state, by);
        }
        let has_ended = state.phase == Phase::Ended;
        drop(state);
        if !has_ended {
            self.end();
        }
        has_ended
    }

    /// What was not told is dropped.
    fn end(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Ended;
        state.dropped += state.waiting.len() as u64;
        let untold = std::mem::take(&mut state.waiting);
        drop(state);
        drop(untold);
        self.changed.notify_all();
    }
}

/// However the thread ends, nobody waits for it for ever.
struct EndInbox(Arc<Inbox>);

impl Drop for EndInbox {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{DeniedEvent, Subject};

    struct Count(Mutex<Vec<&'static str>>);

    impl Hook for Arc<Count> {
        fn denied(&self, _: &DeniedEvent) {
            self.0.lock().push("denied");
        }
        fn reuse(&self, _: &DeniedEvent) {
            self.0.lock().push("reuse");
        }
    }

    #[test]
    fn reuse_is_told_as_that_and_not_as_a_denial_too() {
        let count = Arc::new(Count(Mutex::default()));
        let events = Events::start(Some(Arc::new(Arc::clone(&count)))).unwrap();
        for reason in [DenialReason::CredentialRetired, DenialReason::Revoked] {
            let (token_id, at) = (TokenId::from_row(1), Timestamp::from_seconds(0).to_date_time());
            let subject = Subject { token_id, owner: String::new(), name: String::new() };
            events.tell(|| {
                Event::of_denial(DeniedEvent {
                    subject,
                    at,
                    reason,
                    client_address: None,
                    user_agent: None,
                    route: None,
                })
            });
        }
        events.close();
        assert_eq!(*count.0.lock(), ["reuse", "denied"]);
        assert_eq!(events.losses(), (0, 0));
    }
}
