//! What it costs to authenticate.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::Statement;
use token_tracker::{Access, AuthRequest, Clock, SystemClock, TokenTracker};

use crate::material::{Claims, Database, Decoder, SCOPE, tokens};
use crate::measure::{Figure, Scale, Turns};

pub(crate) const FIGURES: &[Figure] = &[
    Figure { name: "authenticate_cached_vs_decode", unit: "ratio", measure: cached_vs_decode },
    Figure { name: "authenticate_cold_vs_floor", unit: "ratio", measure: cold_vs_floor },
    Figure { name: "authenticate_two_threads", unit: "ratio", measure: two_threads },
];

const CACHED: u64 = 10_000;
/// Tickets that are held at a time, so that ending them is no part of what is measured.
const CHUNK: usize = 500;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// A request with all that an adapter says, and its ticket.
fn authenticate(tracker: &TokenTracker, token: &str) -> Access {
    let request = AuthRequest::new(token)
        .method("GET")
        .route("/v1/items/{id}")
        .client_address(CLIENT)
        .user_agent("python-requests/2.32.3")
        .scope(SCOPE);
    tracker.authenticate(request).unwrap()
}

/// Reads the texts, so that the processor has them at hand: a service has just read its token off the wire.
fn receive(chunk: &[String]) {
    black_box(chunk.iter().flat_map(|token| token.bytes()).map(u64::from).sum::<u64>());
}

/// Settles the tickets and lets the writer come to rest.
fn end(tracker: &TokenTracker, tickets: &mut Vec<Access>) {
    tickets.clear();
    tracker.flush().unwrap();
}

/// Puts the tokens into the cache, and their last use behind them.
fn warm(tracker: &TokenTracker, tokens: &[String]) {
    let mut tickets = Vec::with_capacity(CHUNK);
    for chunk in tokens.chunks(CHUNK) {
        tickets.extend(chunk.iter().map(|token| authenticate(tracker, token)));
        end(tracker, &mut tickets);
    }
    assert_eq!(tracker.health().cached_tokens, tokens.len() as u64);
}

fn cached_vs_decode(scale: Scale) -> f64 {
    let (database, tokens) = (Database::with_tokens(CACHED), tokens(CACHED));
    let (tracker, decoder) = (database.open(), Decoder::new());
    warm(&tracker, &tokens);
    let (mut turns, mut tickets) = (Turns::new(), Vec::with_capacity(CHUNK));
    for _ in 0..scale.pick(40, 8) {
        for chunk in tokens.chunks(CHUNK) {
            receive(chunk);
            turns.thing(|| {
                tickets.extend(chunk.iter().map(|token| authenticate(&tracker, token)));
            });
            end(&tracker, &mut tickets);
            receive(chunk);
            turns.limit(|| {
                chunk.iter().for_each(|token| drop(black_box(decoder.decode(token))));
            });
        }
    }
    turns.ratio()
}

fn cold_vs_floor(scale: Scale) -> f64 {
    let count = scale.pick(20_000, 5_000);
    let (database, tokens, decoder) = (Database::with_tokens(count), tokens(count), Decoder::new());
    let connection = database.connect();
    let mut select = connection.prepare(SELECT_TOKEN).unwrap();
    let (mut turns, mut tickets) = (Turns::new(), Vec::with_capacity(CHUNK));
    for _ in 0..scale.pick(15, 5) {
        // A tracker that has seen none of them.
        let tracker = database.open();
        for chunk in tokens.chunks(CHUNK) {
            receive(chunk);
            turns.thing(|| {
                tickets.extend(chunk.iter().map(|token| authenticate(&tracker, token)));
            });
            end(&tracker, &mut tickets);
            receive(chunk);
            turns.limit(|| {
                let find = |token| row(&mut select, &decoder.decode(token));
                chunk.iter().map(String::as_str).map(find).for_each(|row| drop(black_box(row)));
            });
        }
    }
    turns.ratio()
}

const SELECT_TOKEN: &str =
    "SELECT catalogue.id, owner, name, kind, catalogue.state, scopes, restrictions, catalogue.expires_at
    FROM credentials JOIN catalogue ON catalogue.id = token_id WHERE issuer = ?1 AND jti = ?2";

type Row = (i64, String, String, u8, u8, String, Option<String>, Option<i64>);

fn row(select: &mut Statement<'_>, claims: &Claims) -> Row {
    select.query_row((&claims.iss, &claims.jti), |row| Row::try_from(row)).unwrap()
}

/// Throughput of two threads to that of one, over the same tokens.
fn two_threads(scale: Scale) -> f64 {
    let (database, tokens) = (Database::with_tokens(CACHED), tokens(CACHED));
    let tracker = database.open();
    warm(&tracker, &tokens);
    let mut tickets = [Vec::new(), Vec::new()];
    let mut by = |threads: usize| {
        let time = together(&tracker, &tokens, &mut tickets[..threads]);
        tickets.iter_mut().for_each(|tickets| end(&tracker, tickets));
        time
    };
    let mut turns = Turns::new();
    (0..scale.pick(100, 25)).for_each(|_| turns.push(by(1), by(2)));
    // Two threads do twice as much.
    2.0 * turns.ratio()
}

/// How long it takes until each thread has authenticated all tokens once.
fn together(tracker: &TokenTracker, tokens: &[String], tickets: &mut [Vec<Access>]) -> Duration {
    let (clock, ready, threads) = (SystemClock::new(), AtomicUsize::new(0), tickets.len());
    let run = |(thread, tickets): (usize, &mut Vec<Access>)| {
        tickets.reserve(tokens.len());
        // Not all at the same token at the same time.
        let (before, after) = tokens.split_at(thread * tokens.len() / threads);
        ready.fetch_add(1, Ordering::SeqCst);
        while ready.load(Ordering::SeqCst) < threads {
            std::hint::spin_loop();
        }
        let start = clock.monotonic();
        tickets.extend(after.iter().chain(before).map(|token| authenticate(tracker, token)));
        (start, clock.monotonic())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> =
            tickets.iter_mut().enumerate().map(|work| scope.spawn(|| run(work))).collect();
        let times: Vec<_> = running.into_iter().map(|thread| thread.join().unwrap()).collect();
        let start = times.iter().map(|(start, _)| *start).min().unwrap();
        let end = times.iter().map(|(_, end)| *end).max().unwrap();
        end - start
    })
}
