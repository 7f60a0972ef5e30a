//! The example service on tiny_http: token-tracker behind HTTP, without an async runtime.
//!
//! `middleware.rs` is the piece to copy; `routes.rs` is what the service does.

mod drain;
mod framing;
mod middleware;
mod nudge;
mod routes;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use example_service::{DRAIN, Result, Service};
use tiny_http::Server;

use crate::drain::Drain;
use crate::nudge::Nudge;
use crate::routes::Routes;

/// How many requests are served at a time: each has a thread until its last byte is sent.
const WORKERS: usize = 64;

/// How long a write may wait for its client to read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long handlers may take to end once they are told to.
const END: Duration = Duration::from_secs(1);

/// Why the service is to end.
enum End {
    /// It was told to.
    Asked,
    /// It could not accept a connection, and tiny_http accepts none after that.
    Failed(io::Error),
}

fn main() -> ExitCode {
    example_service::run("example-tiny-http", serve)
}

fn serve(service: Service) -> Result<()> {
    let Service { listener, tracker, api, stop, workers } = service;
    listener.set_nonblocking(false)?;
    set_up_connections(&listener)?;
    let address = listener.local_addr()?;
    let server = Server::from_listener(listener, None).map(Arc::new)?;
    let drain = Arc::new(Drain::default());
    let routes = Arc::new(Routes::new(tracker, api, Arc::clone(&drain)));
    let workers = workers.unwrap_or(WORKERS).max(1);

    let (ends, end) = mpsc::channel();
    let asked = ends.clone();
    stop.then(move || drop(asked.send(End::Asked)))?;
    let (alive, ended) = mpsc::channel();
    for number in 0..workers {
        let (server, routes) = (Arc::clone(&server), Arc::clone(&routes));
        let (ends, alive) = (ends.clone(), alive.clone());
        let work = move || {
            work(&server, &routes, &ends);
            drop(alive);
        };
        thread::Builder::new().name(format!("worker {number}")).spawn(work)?;
    }
    drop((ends, alive));
    let nudge = Nudge::start(address)?;

    let end = end.recv();
    nudge.end();
    // Each worker takes one of these, after the requests that came before it.
    (0..workers).for_each(|_| server.unblock());
    wait_for(&ended, &drain);
    match end {
        Ok(End::Failed(error)) => Err(error.into()),
        Ok(End::Asked) | Err(_) => Ok(()),
    }
}

/// What connections inherit from their listener.
fn set_up_connections(listener: &TcpListener) -> Result<()> {
    let socket = TcpStream::from(OwnedFd::from(listener.try_clone()?));
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    Ok(socket.set_nodelay(true)?)
}

/// Serves until there is no more to serve.
fn work(server: &Server, routes: &Routes, ends: &Sender<End>) {
    loop {
        match server.recv() {
            // A handler that panics costs its request, which is answered and recorded as it is dropped.
            Ok(request) => drop(catch_unwind(AssertUnwindSafe(|| {
                framing::bearable(request).into_iter().for_each(|request| routes.serve(request));
            }))),
            // Unblocked, or the first to hear that no more will come.
            Err(error) => return drop(ends.send(End::Failed(error))),
        }
    }
}

/// Waits until all workers have ended, but no longer than requests in flight may take.
fn wait_for(ended: &Receiver<()>, drain: &Drain) {
    if ended.recv_timeout(DRAIN) == Err(mpsc::RecvTimeoutError::Timeout) {
        drain.end();
        let _ = ended.recv_timeout(END);
    }
}
