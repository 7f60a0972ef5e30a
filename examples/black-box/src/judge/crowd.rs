//! What holds for one stream and breaks for thousands at once breaks on the day when most depends on it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use h2::Reason;
use rusqlite::{Connection, OpenFlags};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::Barrier;

use crate::api::Issued;
use crate::client::Request;
use crate::http2::{begin, finish, send};
use crate::service::Service;
use crate::suite::Stack;
use crate::wait;

const CONNECTIONS: usize = 100;
const STREAMS: usize = 100;
const TOKENS: usize = 10;
const ALL: usize = CONNECTIONS * STREAMS;

/// How much of a body the client takes before it is ready for more, and how long the body is: its end stays with the
/// service until the client makes room, be it for an hour. No clock decides how many are in flight.
const WINDOW: u32 = 16;
const TARGET: &str = "/stream?n=8&every_ms=0";
const LENGTH: usize = 64;

/// For all of it, on two busy cores without optimization.
const BOUND: Duration = Duration::from_secs(60);

/// More records than the service adds by being asked how it is.
const FEW: u64 = 100;

/// Ten thousand streams at the same moment, half of which the client resets: each is recorded once, with what became
/// of it, and none is dropped. Prints how much memory they took.
pub fn crowd_of_streams_is_recorded_one_each(stack: &Stack) {
    let service = stack.start();
    let tokens: Vec<_> =
        (0..TOKENS).map(|number| service.issue("opaque", &format!("crowd {number}"))).collect();
    for issued in &tokens {
        service.get("/hello/x", &issued.token).expect_status(200);
    }
    let before = (service.assert_accounts_balance(), service.peak_memory());
    let started = Instant::now();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a thread can be started");
    // Everybody waits for it twice: once all are in flight, and once that is seen.
    let all_in_flight = Arc::new(Barrier::new(CONNECTIONS + 1));
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let request = Request::get(TARGET).bearer(&tokens[number % TOKENS].token);
            runtime.spawn(connection(service.address, request, Arc::clone(&all_in_flight)))
        })
        .collect();
    runtime.block_on(bounded("all are in flight", all_in_flight.wait()));
    let in_flight_after = started.elapsed();
    let accepted = service.assert_accounts_balance().accepted;
    assert!(accepted < before.0.accepted + FEW, "{accepted} are recorded, and none has ended");
    runtime.block_on(bounded("all know", all_in_flight.wait()));
    for connection in connections {
        let ended = runtime.block_on(bounded("a connection ends", connection));
        ended.expect("it panics only where an answer is wrong");
    }
    expect_each_recorded(&service, &tokens);
    service.assert_accounts_balance();
    service.get("/hello/after", &tokens[0].token).expect_status(200);
    tell(before.1, service.peak_memory(), in_flight_after, started.elapsed());
}

/// Has its streams in flight, then resets every other one and reads the rest to their ends.
async fn connection(address: SocketAddr, request: Request, all_in_flight: Arc<Barrier>) {
    let socket = TcpStream::connect(address).await.expect("it listens");
    let mut client = h2::client::Builder::new();
    // So many small parts that nobody reads yet are what is asked for here.
    client.initial_window_size(WINDOW).data_frame_budget(usize::MAX);
    let handshake = client.handshake(socket);
    let (requests, connection) = handshake.await.expect("it speaks HTTP/2");
    let driver = tokio::spawn(connection);
    let mut sent = Vec::new();
    for _ in 0..STREAMS {
        sent.push(send(requests.clone(), &request).await.expect("a stream can be opened"));
    }
    let mut coming = Vec::new();
    for (answer, sending) in sent {
        let (head, mut body) = begin(answer).await.expect("each is answered");
        assert_eq!(head.status, 200);
        let first = body.data().await.expect("the body begins").expect("nothing resets it");
        coming.push((head, first, body, sending));
    }
    all_in_flight.wait().await;
    all_in_flight.wait().await;
    for (number, (head, first, mut body, mut sending)) in coming.into_iter().enumerate() {
        if number % 2 == 0 {
            sending.send_reset(Reason::CANCEL);
            continue;
        }
        body.flow_control().release_capacity(first.len()).expect("it came");
        let response = finish(head, body).await.expect("it goes on");
        assert!(response.is_complete, "{response}");
        assert_eq!(first.len() + response.body.len(), LENGTH, "{response}");
    }
    drop(requests);
    // What was reset is told before the connection ends.
    let _ = driver.await;
}

/// Of each token, as many successes as unfinished ones, and no other record of a stream.
fn expect_each_recorded(service: &Service, tokens: &[Issued]) {
    let half = (ALL / TOKENS / 2) as u32;
    let expected: BTreeMap<_, _> = tokens
        .iter()
        .flat_map(|issued| {
            ["success", "unfinished"]
                .map(|outcome| ((issued.token_id.clone(), 200, outcome.to_owned()), half))
        })
        .collect();
    let counts = wait::until("each stream is recorded", BOUND, || {
        // Reading through the service flushes first.
        service.recent(&tokens[0].token_id);
        let counts = counts(service);
        let sum: u32 = counts.values().sum();
        if (sum as usize) < ALL { Err(format!("{sum} records: {counts:?}")) } else { Ok(counts) }
    });
    assert_eq!(counts, expected);
}

/// How many records of streams there are by token, status and outcome, as the file itself says.
fn counts(service: &Service) -> BTreeMap<(String, u16, String), u32> {
    let path = service.home().database();
    let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let file = file.expect("the file can be read");
    let sql = "SELECT CAST(token_id AS TEXT), status, outcome, sum(weight) FROM usage
        WHERE route = '/stream' GROUP BY token_id, status, outcome";
    let mut statement = file.prepare(sql).expect("the view is there");
    let rows =
        statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?)));
    rows.expect("it can be asked").map(|row| row.expect("it has these types")).collect()
}

async fn bounded<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(BOUND, work).await;
    done.unwrap_or_else(|_| panic!("{what}: not within {BOUND:?}"))
}

/// Past whatever captures the output of tests: it is to be seen each time.
fn tell(before: Option<u64>, after: Option<u64>, in_flight_after: Duration, took: Duration) {
    let (Some(before), Some(after)) = (before, after) else { return };
    let each = after.saturating_sub(before) / ALL as u64;
    let _ = writeln!(
        std::io::stderr(),
        "memory: peak {} kB before, {} kB after {ALL} streams at once: {each} bytes each \
         (in flight after {in_flight_after:.1?}, all of it {took:.1?})",
        before / 1024,
        after / 1024,
    );
}
