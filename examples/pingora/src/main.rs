//! A proxy on pingora: token-tracker in front of any upstream.
//!
//! `proxy.rs` is the piece to copy; `server.rs` accepts connections for it.

mod proxy;
mod server;

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use example_service::{Result, Route};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use token_tracker::TokenTracker;

use crate::proxy::TrackedProxy;

const NAME: &str = "example-pingora";

/// How long it may take to connect to the upstream.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an upstream may be silent, before its answer and within it.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    // First of all: what cannot serve should not touch the database.
    match upstream() {
        Ok(upstream) => example_service::run(NAME, move |service| {
            let proxy = tracked(service.tracker.clone(), upstream);
            server::serve(service, proxy)
        }),
        Err(error) => {
            eprintln!("{NAME}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The address that `UPSTREAM` names, looked up once.
fn upstream() -> Result<SocketAddr> {
    let text = std::env::var_os("UPSTREAM").unwrap_or("127.0.0.1:8080".into());
    let text = text.to_string_lossy();
    let found = text.to_socket_addrs().map(|mut addresses| addresses.next());
    match found {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(format!("UPSTREAM: {text:?} has no address").into()),
        Err(error) => {
            Err(format!("UPSTREAM: {text:?} is no host:port that will do: {error}").into())
        }
    }
}

fn tracked(tracker: TokenTracker, upstream: SocketAddr) -> TrackedProxy {
    let mut upstream = HttpPeer::new(upstream, false, String::new());
    upstream.options.total_connection_timeout = Some(CONNECT_TIMEOUT);
    upstream.options.read_timeout = Some(SILENCE_TIMEOUT);
    upstream.options.write_timeout = Some(SILENCE_TIMEOUT);
    upstream.options.idle_timeout = Some(SILENCE_TIMEOUT);
    TrackedProxy { tracker, upstream, route, open }
}

/// What is known of the upstream's routes: those of the other examples.
fn route(head: &RequestHeader) -> Option<&str> {
    known(head).map(Route::template)
}

/// `/healthz` is the proxy's own.
fn open(head: &RequestHeader) -> Option<u16> {
    (known(head) == Some(Route::Healthz)).then_some(200)
}

fn known(head: &RequestHeader) -> Option<Route> {
    Route::find(head.method.as_str(), head.uri.path()).map(|(route, _)| route)
}
