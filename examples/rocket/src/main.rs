//! The example service on rocket: token-tracker behind HTTP.
//!
//! `fairing.rs` is the piece to copy; `routes.rs` is what the service does.

mod fairing;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use example_service::{Announcement, DRAIN, Result, Service};
use rocket::Config;
use rocket::config::{LogLevel, Shutdown};
use rocket::error::ErrorKind;
use rocket::fairing::AdHoc;
use rocket::tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    example_service::run_self_bound("example-rocket", serve)
}

/// Rocket binds an address, and takes no listener.
fn serve(service: Service, announcement: Announcement) -> Result<()> {
    let config = config(service.listener.local_addr()?);
    drop(service.listener);
    let (told, failure) = mpsc::channel();
    let announce = AdHoc::on_liftoff("announcement", move |rocket| {
        Box::pin(async move {
            if let Err(error) = announcement.print() {
                let _ = told.send(error);
                rocket.shutdown().notify();
            }
        })
    });
    let rocket = routes::mount(rocket::custom(config), service.tracker, service.api);
    let runtime = runtime(service.workers)?;
    let served = runtime.block_on(async {
        let rocket = rocket.attach(announce).ignite().await.map_err(explained)?;
        let shutdown = rocket.shutdown();
        service.stop.then(move || shutdown.notify())?;
        match rocket.launch().await {
            // Requests in flight had their time.
            Err(error) if matches!(error.kind(), ErrorKind::Shutdown(..)) => Ok(()),
            Err(error) => Err(explained(error)),
            Ok(_) => failure.try_recv().map_or(Ok(()), Err),
        }
    });
    // Requests that are still in flight are dropped here, and settle as unfinished, before the file closes.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// What of an error can be told to the end of the process: it panics where nobody has looked at it.
fn explained(error: rocket::Error) -> Box<dyn std::error::Error + Send + Sync> {
    error.kind().to_string().into()
}

fn config(address: SocketAddr) -> Config {
    let shutdown = Shutdown {
        ctrlc: false,
        signals: HashSet::new(),
        grace: u32::try_from(DRAIN.as_secs()).unwrap_or(u32::MAX),
        mercy: 1,
        ..Shutdown::default()
    };
    Config {
        address: address.ip(),
        port: address.port(),
        log_level: LogLevel::Off,
        shutdown,
        ..Config::default()
    }
}

fn runtime(workers: Option<usize>) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers.max(1));
    }
    Ok(builder.enable_all().build()?)
}
