//! The example service on axum: token-tracker behind HTTP.
//!
//! `layer.rs` is the piece to copy; `routes.rs` is what the service does.

mod layer;
mod routes;

use std::process::ExitCode;

use axum::extract::ConnectInfo;
use example_service::{Result, Service};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tower_service::Service as _;

fn main() -> ExitCode {
    example_service::run("example-axum", serve)
}

/// `axum::serve` would do, but for a limit of how long a head may take: it sets none.
fn serve(service: Service) -> Result<()> {
    let app = routes::router(service.tracker.clone(), service.api.clone());
    example_service::serve(service, move |peer| {
        let app = app.clone();
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            app.clone().call(request)
        })
    })
}
