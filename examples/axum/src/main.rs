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
use token_tracker::{Network, TrustedProxies};
use tower_service::Service as _;

fn main() -> ExitCode {
    example_service::run("example-axum", serve)
}

/// The proxies that this service stands behind, where the environment names any: their networks, and which header field
/// they are known to set. The other one comes from clients untouched, and is not read.
fn proxies() -> Result<TrustedProxies> {
    let networks = |variable: &str| -> Result<Option<Vec<Network>>> {
        let Some(text) = std::env::var_os(variable) else { return Ok(None) };
        let text = text.to_string_lossy();
        let networks: Result<_, _> = text.split(',').map(|one| one.trim().parse()).collect();
        let named = |error: token_tracker::Error| format!("{variable}: {error}").into();
        networks.map(Some).map_err(named)
    };
    match (networks("FORWARDED_FROM")?, networks("X_FORWARDED_FOR_FROM")?) {
        (Some(_), Some(_)) => {
            Err("FORWARDED_FROM and X_FORWARDED_FOR_FROM: say which of the two the proxy sets"
                .into())
        }
        (Some(networks), None) => Ok(TrustedProxies::forwarded(networks)),
        (None, Some(networks)) => Ok(TrustedProxies::x_forwarded_for(networks)),
        (None, None) => Ok(TrustedProxies::default()),
    }
}

/// `axum::serve` would do, but for a limit of how long a head may take: it sets none.
fn serve(service: Service) -> Result<()> {
    let app = routes::router(service.tracker.clone(), proxies()?, service.api.clone());
    example_service::serve(service, move |peer| {
        let app = app.clone();
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            app.clone().call(request)
        })
    })
}
