//! What a service pays for tracking: requests a second with the layer of the axum example, to those without.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Path};
use axum::routing::get;
use http::request::Parts;
use token_tracker::TrustedProxies;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::layer::{Known, TrackLayer};
use crate::material::{Database, tokens};
use crate::measure::{Figure, Scale, Turns};

pub(crate) const FIGURES: &[Figure] =
    &[Figure { name: "http_overhead", unit: "ratio", measure: http_overhead }];

const TOKENS: u64 = 1_000;
/// So many requests are in flight at a time.
const CONNECTIONS: usize = 16;

fn http_overhead(scale: Scale) -> f64 {
    let (database, tokens) = (Database::with_tokens(TOKENS), tokens(TOKENS));
    let tracker = database.open();
    let requests: Vec<_> = tokens.iter().map(|token| request(token)).collect();
    // One thread serves, one asks: two cores.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let layer =
        TrackLayer { tracker: tracker.clone(), proxies: TrustedProxies::default(), describe };
    let plain = Router::new().route("/items/{id}", get(read_item));
    let mut with = Client::new(serve(&runtime, plain.clone().layer(layer)), &requests[0]);
    let mut without = Client::new(serve(&runtime, plain), &requests[0]);
    let (turns, each) = (scale.pick(60, 20), scale.pick(20, 5));
    (0..2).for_each(|_| [&mut with, &mut without].iter_mut().for_each(|one| one.ask(&requests, 1)));
    let mut times = Turns::new();
    for _ in 0..turns {
        times.thing(|| without.ask(&requests, each));
        times.limit(|| with.ask(&requests, each));
    }
    tracker.flush().unwrap();
    let asked = CONNECTIONS + (2 + turns * each) * requests.len();
    let health = tracker.health();
    assert_eq!((health.stored, health.dropped), (asked as u64, 0), "each is recorded");
    times.ratio()
}

fn request(token: &str) -> Vec<u8> {
    let fields = "Host: localhost\r\nUser-Agent: python-requests/2.32.3\r\nAccept: */*";
    format!("GET /items/7 HTTP/1.1\r\n{fields}\r\nAuthorization: Bearer {token}\r\n\r\n")
        .into_bytes()
}

async fn read_item(Path(id): Path<u64>) -> String {
    format!("{{\"id\":{id}}}")
}

fn describe(request: &Parts) -> Known<'_> {
    let route = request.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
    Known { route, peer: peer.map(|ConnectInfo(address)| address.ip()), scope: None }
}

fn serve(runtime: &Runtime, app: Router) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    runtime.spawn(async { axum::serve(listener, service).await });
    address
}

/// Connections that stay open, and how long an answer is.
struct Client {
    connections: Vec<TcpStream>,
    answer: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr, request: &[u8]) -> Self {
        let connect = |_| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        };
        let mut connections: Vec<_> = (0..CONNECTIONS).map(connect).collect();
        let mut answer = vec![0; 4096];
        let mut length = 0;
        for connection in &mut connections {
            connection.write_all(request).unwrap();
            // So short an answer comes in one piece.
            length = connection.read(&mut answer).unwrap();
            assert!(
                answer.starts_with(b"HTTP/1.1 200 ") && answer[..length].ends_with(b"{\"id\":7}")
            );
        }
        answer.truncate(length);
        Self { connections, answer }
    }

    /// Sends each request so many times, one a connection at a time.
    fn ask(&mut self, requests: &[Vec<u8>], times: usize) {
        for _ in 0..times {
            for some in requests.chunks(CONNECTIONS) {
                for (connection, request) in self.connections.iter_mut().zip(some) {
                    connection.write_all(request).unwrap();
                }
                for connection in &mut self.connections[..some.len()] {
                    connection.read_exact(&mut self.answer).unwrap();
                }
            }
        }
        assert!(self.answer.ends_with(b"{\"id\":7}"));
    }
}
