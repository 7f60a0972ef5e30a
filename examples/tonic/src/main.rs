//! The example service on tonic: token-tracker behind gRPC.
//!
//! The piece to copy is the tower layer of the axum example, as it is; `calls.rs` is what the service does.

mod calls;
#[path = "../../axum/src/layer.rs"]
mod layer;

use std::process::ExitCode;
use std::time::Duration;

use example_service::{DRAIN, Result, Service};
use http::request::Parts;
use token_tracker::TrustedProxies;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::transport::server::TcpConnectInfo;

use crate::calls::demo::{admin_server::AdminServer, demo_server::DemoServer};
use crate::layer::{Known, TrackLayer};

/// The paths of all methods.
const PATHS: &[&str] = include!(concat!(env!("OUT_DIR"), "/paths.rs"));

/// After so long without a sign of life, a client is asked for one.
const PING_EVERY: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    example_service::run("example-tonic", serve)
}

fn serve(service: Service) -> Result<()> {
    let runtime = example_service::runtime(service.workers)?;
    let served = runtime.block_on(serve_calls(service));
    // Calls that are still in flight are dropped here, and settle as unfinished, before the file closes.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn serve_calls(service: Service) -> Result<()> {
    let (told, stopped) = oneshot::channel();
    let (drained, overdue) = oneshot::channel();
    service.stop.then(move || {
        let _ = told.send(());
        std::thread::sleep(DRAIN);
        let _ = drained.send(());
    })?;
    let calls = calls::Calls::new(service.api);
    let listener = tokio::net::TcpListener::from_std(service.listener)?;
    let server = Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .layer(TrackLayer {
            tracker: service.tracker,
            proxies: TrustedProxies::default(),
            describe,
        })
        .add_service(DemoServer::new(calls.clone()))
        .add_service(AdminServer::new(calls))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            let _ = stopped.await;
        });
    tokio::select! {
        served = server => Ok(served?),
        _ = overdue => Ok(()),
    }
}

/// What tonic knows of a call: its method, where that is one of ours, and who is at the other end.
fn describe(request: &Parts) -> Known<'_> {
    let path = request.uri.path();
    let peer = request.extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    Known {
        route: PATHS.contains(&path).then_some(path),
        peer: peer.map(|address| address.ip()),
        scope: path.starts_with("/demo.v1.Admin/").then_some("admin"),
    }
}
