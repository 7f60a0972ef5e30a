//! The example service on poem: token-tracker behind HTTP.
//!
//! `middleware.rs` is the piece to copy; `routes.rs` is what the service does.

mod middleware;
mod routes;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use example_service::{Result, Service};
use http::Uri;
use http::uri::Scheme;
use hyper::body::Incoming;
use hyper::service::service_fn;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Request};

fn main() -> ExitCode {
    example_service::run("example-poem", serve)
}

/// `poem::Server` would do, but for three things: it sets no limit of how long a head may take, and it goes on with a
/// connection that has failed, so that a handler whose client has left runs on, and a body that fails ends as if it
/// were whole.
fn serve(service: Service) -> Result<()> {
    let app = Arc::new(routes::routes(&service.tracker, &service.api));
    let local = LocalAddr(service.listener.local_addr()?.into());
    example_service::serve(service, move |peer| {
        let (app, local) = (Arc::clone(&app), local.clone());
        service_fn(move |mut request: hyper::Request<Incoming>| {
            // `OPTIONS *` fits no pattern of poem's, and would be answered without a token.
            if request.uri().path() == "*" {
                *request.uri_mut() = Uri::from_static("/*");
            }
            let (app, local, remote) = (Arc::clone(&app), local.clone(), RemoteAddr(peer.into()));
            let request = Request::from((request, local, remote, Scheme::HTTP));
            async move { Ok::<_, Infallible>(app.get_response(request).await.into()) }
        })
    })
}
