//! Accepts connections for the proxy and ends well. pingora's own `Server` binds its ports itself, and at each end sleeps
//! for all of its grace period; here requests in flight come to their end, and nothing waits for longer.

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use example_service::{DRAIN, HEAD_TIMEOUT, Result, Service};
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::listener::Listener;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

use crate::proxy::TrackedProxy;

/// How long an error of `accept`, such as too many open files, is waited out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the service is told to end, and then as long as requests are in flight, 10 seconds at most.
pub(crate) fn serve(service: Service, proxy: TrackedProxy) -> Result<()> {
    let runtime = runtime(service.workers)?;
    let (told, stopped) = oneshot::channel();
    service.stop.then(move || {
        let _ = told.send(());
    })?;
    let served = runtime.block_on(accept(service.listener, proxy, async {
        let _ = stopped.await;
    }));
    // Requests that are still in flight are dropped here, and settle as unfinished, before the file closes.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

fn runtime(workers: Option<usize>) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers.max(1));
    }
    Ok(builder.enable_all().build()?)
}

async fn accept(
    listener: TcpListener,
    proxy: TrackedProxy,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let listener = Listener::from(tokio::net::TcpListener::from_std(listener)?);
    let mut proxy = HttpProxy::new(proxy, Arc::new(ServerConf::default()));
    proxy.handle_init_modules();
    let proxy = Arc::new(proxy);
    // Each connection has a receiver: the channel closes with the last of them.
    let (stopping, told) = watch::channel(false);
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok(mut stream) => {
                let _ = stream.set_nodelay();
                tokio::spawn(converse(Arc::clone(&proxy), Box::new(stream), told.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop((listener, told));
    let _ = stopping.send(true);
    // Connections that wait for a request end here.
    proxy.http_cleanup().await;
    let _ = tokio::time::timeout(DRAIN, stopping.closed()).await;
    Ok(())
}

/// One request after the other, until the connection is not kept.
async fn converse(proxy: Arc<HttpProxy<TrackedProxy>>, stream: Stream, told: ShutdownWatch) {
    let mut next = Some((stream, None));
    while let Some((stream, kept)) = next {
        let mut session = ServerSession::new_http1(stream);
        if let Some(kept) = kept {
            HttpPersistentSettings::apply_to_session(kept, &mut session);
        }
        // The client that sends the next request at once is not refused, as it would be else.
        session.set_pipelining_enabled(true);
        // Until the first byte of a head, and between each two.
        session.set_keepalive(Some(HEAD_TIMEOUT.as_secs()));
        next = proxy.process_new_http(session, &told).await.map(ReusedHttpStream::consume);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use token_tracker::{NewToken, TokenTracker};

    use super::*;

    #[test]
    fn strangers_are_counted_and_nothing_is_recorded_of_them() {
        let tracker = TokenTracker::builder().in_memory().unwrap();
        let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop")).unwrap();
        let forged = format!("Bearer {}x", issued.secret.expose());
        let proxy = crate::tracked(tracker.clone(), "127.0.0.1:9".parse().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (told, stopped) = oneshot::channel::<()>();
        let server = std::thread::spawn(move || {
            let stop = async { stopped.await.unwrap() };
            runtime(Some(1)).unwrap().block_on(accept(listener, proxy, stop)).unwrap();
        });
        for authorization in ["Bearer made-up", &forged, "Basic YTpi", &forged] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(DRAIN)).unwrap();
            let head = "GET /hello/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
            write!(stream, "{head}Authorization: {authorization}\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        }
        told.send(()).unwrap();
        server.join().unwrap();
        let health = tracker.health();
        assert_eq!((health.strangers, health.anonymous, health.accepted), (3, 1, 0));
    }
}
