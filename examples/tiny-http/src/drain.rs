//! How the service ends, for handlers that take their time: nobody can cancel a thread.

use std::io;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Whether requests in flight have had their time.
#[derive(Default)]
pub(crate) struct Drain {
    is_over: Mutex<bool>,
    ended: Condvar,
}

impl Drain {
    /// Waits so long; an error where requests have had their time meanwhile.
    pub(crate) fn pause(&self, duration: Duration) -> io::Result<()> {
        let mut is_over = self.is_over.lock();
        self.ended.wait_while_for(&mut is_over, |is_over| !*is_over, duration);
        if *is_over { Err(io::Error::other("the service ends")) } else { Ok(()) }
    }

    /// Ends all pauses, and those to come.
    pub(crate) fn end(&self) {
        *self.is_over.lock() = true;
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn end_of_the_drain_ends_every_pause() {
        let drain = Drain::default();
        assert!(drain.pause(Duration::from_millis(1)).is_ok());
        let long = || drain.pause(Duration::from_secs(60)).is_err();
        thread::scope(|scope| {
            let pauses = [scope.spawn(long), scope.spawn(long)];
            drain.end();
            assert_eq!(pauses.map(|pause| pause.join().unwrap()), [true, true]);
        });
        assert!(drain.pause(Duration::ZERO).is_err());
    }
}
