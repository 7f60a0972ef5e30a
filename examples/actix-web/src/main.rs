//! The example service on actix-web: token-tracker behind HTTP.
//!
//! `middleware.rs` is the piece to copy; `routes.rs` is what the service does.

mod middleware;
mod routes;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use actix_web::{App, HttpServer, rt};
use example_service::{DRAIN, HEAD_TIMEOUT, Result, Service};

/// How long the threads may take to end once they are told to.
const END: Duration = Duration::from_secs(1);

thread_local! {
    /// Dropped at the end of a worker's thread, after all that was still in flight on it.
    static ALIVE: RefCell<Option<Sender<()>>> = const { RefCell::new(None) };
}

fn main() -> ExitCode {
    example_service::run("example-actix-web", serve)
}

fn serve(service: Service) -> Result<()> {
    let (alive, ended) = mpsc::channel();
    let served = rt::System::new().block_on(run(service, alive));
    // Nobody joins the workers. What they drop settles as unfinished, and must do so before the file closes.
    let _ = ended.recv_timeout(END);
    served
}

async fn run(service: Service, alive: Sender<()>) -> Result<()> {
    let Service { listener, tracker, api, stop, workers } = service;
    let mut server = HttpServer::new(move || {
        ALIVE.set(Some(alive.clone()));
        App::new().configure(|config| routes::configure(config, tracker.clone(), api.clone()))
    });
    if let Some(workers) = workers {
        server = server.workers(workers.max(1));
    }
    let server = server
        .client_request_timeout(HEAD_TIMEOUT)
        .disable_signals()
        // Else nothing tells a handler that its client has left before the head.
        .h1_allow_half_closed(false)
        .shutdown_timeout(DRAIN.as_secs())
        .listen(listener)?
        .run();
    let handle = server.handle();
    // The order is given at once; what it returns waits for the end.
    stop.then(move || drop(handle.stop(true)))?;
    Ok(server.await?)
}
