//! Connections of hyper, for the examples that are built on it: HTTP/1.1 and HTTP/2 on one port, a limit for how long
//! a head may take, and an end that lets requests in flight come to theirs.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service as HyperService;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::start::{DRAIN, HEAD_TIMEOUT, Result, Service, Stop};

/// How long connections that do nothing may be kept without a sign of life from HTTP/2 clients.
const PING_EVERY: Duration = Duration::from_secs(20);

/// How long an error of `accept`, such as too many open files, is waited out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long more bytes of what may be the preface are waited for at a time.
const PEEK_PAUSE: Duration = Duration::from_millis(20);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves until the service is told to end, and then as long as requests are in flight, 10 seconds at most. `connect`
/// makes the service of a connection.
///
/// # Errors
/// Where there is no runtime to be had, or no thread.
pub fn serve<S, B>(service: Service, connect: impl Fn(SocketAddr) -> S) -> Result<()>
where
    S: HyperService<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let runtime = runtime(service.workers)?;
    let served = runtime.block_on(accept(service.listener, service.stop, connect));
    // Requests that are still in flight are dropped here, and settle as unfinished, before the file closes.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// A runtime with so many threads; as many as there are cores unless said.
///
/// # Errors
/// Where there are no threads to be had.
pub fn runtime(workers: Option<usize>) -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers.max(1));
    }
    Ok(builder.enable_all().build()?)
}

async fn accept<S, B>(
    listener: std::net::TcpListener,
    stop: Stop,
    connect: impl Fn(SocketAddr) -> S,
) -> Result<()>
where
    S: HyperService<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::from_std(listener)?;
    let (told, mut stopped) = oneshot::channel();
    stop.then(move || {
        let _ = told.send(());
    })?;
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (service, watcher) = (connect(peer), connections.watcher());
        tokio::spawn(async move {
            if !speaks(&stream).await {
                return;
            }
            let builder = builder();
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // What is wrong with a connection is its client's affair; what becomes of its requests is recorded.
            let _ = watcher.watch(connection).await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, connections.shutdown()).await;
    Ok(())
}

/// Whether the client tells in time which version of HTTP it speaks: hyper counts only from then on.
async fn speaks(stream: &TcpStream) -> bool {
    let mut start = [0; PREFACE.len()];
    let told = async {
        loop {
            match stream.peek(&mut start).await {
                Ok(0) | Err(_) => return false,
                Ok(seen) if seen < PREFACE.len() && PREFACE.starts_with(&start[..seen]) => {
                    tokio::time::sleep(PEEK_PAUSE).await;
                }
                Ok(_) => return true,
            }
        }
    };
    tokio::time::timeout(HEAD_TIMEOUT, told).await == Ok(true) && stream.set_nodelay(true).is_ok()
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_EVERY);
    builder
}

/// Does what may wait for the disk on a thread that may.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
