//! A second look at connections that tiny_http has put aside.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use example_service::Result;

const EVERY: Duration = Duration::from_millis(100);

/// tiny_http 0.12 has a thread a connection, but takes a thread for free until it has woken up: of connections that come
/// in one moment, some are queued though all threads have one, and stay there until some connection ends. The nudge
/// is a connection that ends at once, again and again, so that the thread it had takes one of the queue.
pub(crate) struct Nudge {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Nudge {
    /// Begins to nudge the server at this address.
    pub(crate) fn start(server: SocketAddr) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let nudge = move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                drop(TcpStream::connect_timeout(&server, EVERY));
            }
        };
        let thread = thread::Builder::new().name("nudge".to_owned()).spawn(nudge)?;
        Ok(Self { stop, thread })
    }

    pub(crate) fn end(self) {
        drop(self.stop);
        // It cannot have panicked, and if it had, nothing would be lost.
        let _ = self.thread.join();
    }
}
