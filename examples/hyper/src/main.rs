//! The example service on bare hyper: token-tracker behind HTTP.
//!
//! `track.rs` is the piece to copy; `routes.rs` is what the service does.

mod routes;
mod track;

use std::process::ExitCode;

use example_service::{Result, Service};
use hyper::service::service_fn;

fn main() -> ExitCode {
    example_service::run("example-hyper", serve)
}

fn serve(service: Service) -> Result<()> {
    let (tracker, api) = (service.tracker.clone(), service.api.clone());
    example_service::serve(service, move |peer| {
        let (tracker, api) = (tracker.clone(), api.clone());
        service_fn(move |request| routes::serve(tracker.clone(), api.clone(), peer, request))
    })
}
