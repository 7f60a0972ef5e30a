//! A client of one HTTP/2 connection without TLS, by prior knowledge (RFC 9113 §3.3).

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::client::{Head, Request, Response};

const TIMEOUT: Duration = Duration::from_secs(10);

/// One connection, driven by a thread of its own; dropping it closes it, whatever is still on its way.
pub(crate) struct Http2 {
    requests: SendRequest<Bytes>,
    /// Last: the socket closes with it.
    runtime: Runtime,
}

/// A request that was sent and what comes back. Nothing more comes once its connection is dropped.
pub(crate) struct Stream {
    runtime: Handle,
    sending: SendStream<Bytes>,
    answer: Answer,
}

/// What has come so far.
enum Answer {
    Awaited(ResponseFuture),
    Coming(Head, RecvStream),
}

impl Http2 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be started");
        let (requests, connection) = bounded(runtime.handle(), "a connection", async {
            h2::client::handshake(TcpStream::connect(address).await.expect("it listens")).await
        });
        runtime.spawn(connection);
        Self { requests, runtime }
    }

    /// Sends a request, with its body.
    pub(crate) fn open(&self, request: &Request) -> Stream {
        let opened =
            bounded(self.runtime.handle(), "a stream", send(self.requests.clone(), request));
        let runtime = self.runtime.handle().clone();
        Stream { runtime, sending: opened.1, answer: Answer::Awaited(opened.0) }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn exchange(&self, request: &Request) -> Response {
        self.open(request).receive()
    }

    /// Sends all of these before it reads any answer, as far as the server's limit allows.
    pub(crate) fn exchange_all(&self, requests: Vec<Request>) -> Vec<Response> {
        let exchange = |request: Request| {
            let requests = self.requests.clone();
            self.runtime.spawn(async move {
                let (answer, _sending) = send(requests, &request).await?;
                let (head, body) = begin(answer).await?;
                finish(head, body).await
            })
        };
        let tasks: Vec<_> = requests.into_iter().map(exchange).collect();
        let receive = |task: JoinHandle<_>| {
            bounded(self.runtime.handle(), "an answer", async {
                task.await.expect("it does not panic")
            })
        };
        tasks.into_iter().map(receive).collect()
    }
}

impl Stream {
    /// The head, waited for.
    pub(crate) fn receive_head(&mut self) -> &Head {
        if let Answer::Awaited(answer) = &mut self.answer {
            let (head, body) = bounded(&self.runtime, "a head", begin(answer));
            self.answer = Answer::Coming(head, body);
        }
        match &self.answer {
            Answer::Coming(head, _) => head,
            Answer::Awaited(_) => unreachable!("it has just come"),
        }
    }

    /// Reads the next part of the body.
    pub(crate) fn receive_part(&mut self) -> Bytes {
        self.receive_head();
        let Answer::Coming(_, body) = &mut self.answer else {
            unreachable!("its head has come");
        };
        bounded(&self.runtime, "a part of the body", async {
            let part = body.data().await.expect("the body goes on")?;
            body.flow_control().release_capacity(part.len())?;
            Ok(part)
        })
    }

    /// Reads the whole answer.
    pub(crate) fn receive(mut self) -> Response {
        self.receive_head();
        match self.answer {
            Answer::Coming(head, body) => {
                bounded(&self.runtime, "the end of a body", finish(head, body))
            }
            Answer::Awaited(_) => unreachable!("its head has come"),
        }
    }

    /// Tells the server that nobody waits for the answer any more.
    pub(crate) fn reset(mut self) {
        self.sending.send_reset(Reason::CANCEL);
    }
}

/// Runs what must come to a good end soon.
fn bounded<T>(runtime: &Handle, what: &str, work: impl Future<Output = Result<T, h2::Error>>) -> T {
    let done = runtime.block_on(async { tokio::time::timeout(TIMEOUT, work).await });
    match done {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => panic!("{what}: {error}"),
        Err(_) => panic!("{what}: not within {TIMEOUT:?}"),
    }
}

/// Sends a request once the server's limit allows one more stream.
pub(crate) async fn send(
    requests: SendRequest<Bytes>,
    request: &Request,
) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
    let (parts, body) = request.to_http2().into_parts();
    let request = http::Request::from_parts(parts, ());
    let (answer, mut sending) = requests.ready().await?.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        sending.send_data(body, true)?;
    }
    Ok((answer, sending))
}

/// The head, and the body that begins behind it.
pub(crate) async fn begin(
    answer: impl Future<Output = Result<http::Response<RecvStream>, h2::Error>>,
) -> Result<(Head, RecvStream), h2::Error> {
    let (parts, body) = answer.await?.into_parts();
    Ok((Head::new(parts.status.as_u16(), fields(&parts.headers)), body))
}

/// The rest of the body, and what is behind it.
pub(crate) async fn finish(head: Head, mut body: RecvStream) -> Result<Response, h2::Error> {
    let mut bytes = Vec::new();
    let mut is_complete = true;
    while let Some(part) = body.data().await {
        let Ok(part) = part else {
            is_complete = false;
            break;
        };
        body.flow_control().release_capacity(part.len())?;
        bytes.extend_from_slice(&part);
    }
    let trailers = if is_complete { body.trailers().await? } else { None };
    let trailers = trailers.as_ref().map(fields).unwrap_or_default();
    Ok(Response { head, body: bytes, is_complete, trailers })
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}
