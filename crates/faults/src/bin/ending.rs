//! A service that ends in one of several ways, while tickets live and settle on other threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use token_tracker::{Access, TokenTracker, Usage};
use token_tracker_faults::{Ack, Entry, Load, at_us, mode, opaque, pause, say, secret_of};

/// Each settles its tickets before, during and after the end.
const THREADS: u32 = 4;

/// Tickets that are settled before anything ends, by each thread; then until the end is through.
const BEFORE: u32 = 50;

struct Desk {
    end_begun: AtomicBool,
    over: AtomicBool,
    settled: AtomicU32,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("another argument");
    let (database, durability, end) = (PathBuf::from(next()), next(), next());
    let number: u32 = next().parse().expect("a number");
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))
        .expect("the signal can be waited for");
    let builder = TokenTracker::builder().durability(mode(&durability));
    let tracker = builder.open(database).expect("it opens");
    let issued = opaque(&tracker, &format!("ending {number}"));
    let row = secret_of(&issued).0;
    let desk = Arc::new(Desk {
        end_begun: AtomicBool::new(false),
        over: AtomicBool::new(false),
        settled: AtomicU32::new(0),
    });
    // More than will be settled: the rest are dropped, unfinished, when all is over.
    let threads: Vec<_> = (1..=THREADS)
        .map(|thread| {
            let tickets: Vec<_> = (0..2_000)
                .map(|_| tracker.authenticate(&issued.secret).expect("it holds"))
                .collect();
            let desk = Arc::clone(&desk);
            let serial = number << 26 | thread << 22;
            let handle = tracker.clone();
            std::thread::spawn(move || settle(handle, tickets, serial, row, &desk))
        })
        .collect();
    while desk.settled.load(Ordering::SeqCst) < THREADS * BEFORE {
        pause(1);
    }
    say(&Entry::Note("ready".to_owned()));
    match end.as_str() {
        "close" => {
            desk.end_begun.store(true, Ordering::SeqCst);
            tracker.close().expect("it closes");
            finish(tracker, threads, &desk);
        }
        "drop" => {
            desk.end_begun.store(true, Ordering::SeqCst);
            finish(tracker, threads, &desk);
        }
        "panic" => {
            let guard = Finish(Some((tracker, threads, Arc::clone(&desk))));
            desk.end_begun.store(true, Ordering::SeqCst);
            // Expected, and no news.
            std::panic::set_hook(Box::new(|_| {}));
            assert!(guard.0.is_none(), "the service panics, as it was told to");
        }
        _ => {
            while !stop.load(Ordering::SeqCst) {
                pause(1);
            }
            desk.end_begun.store(true, Ordering::SeqCst);
            finish(tracker, threads, &desk);
        }
    }
    say(&Entry::Note("ended".to_owned()));
}

/// Drops this thread's handle; the last one is that of whichever thread lets go last.
fn finish(tracker: TokenTracker, threads: Vec<JoinHandle<()>>, desk: &Desk) {
    drop(tracker);
    pause(20);
    desk.over.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("it settles without a panic"));
}

struct Finish(Option<(TokenTracker, Vec<JoinHandle<()>>, Arc<Desk>)>);

impl Drop for Finish {
    fn drop(&mut self) {
        if let Some((tracker, threads, desk)) = self.0.take() {
            finish(tracker, threads, &desk);
        }
    }
}

/// Settles tickets one after the other, and lets go of its handle as soon as the end begins: what comes after
/// is settled with nobody there, or with whoever is last.
fn settle(tracker: TokenTracker, tickets: Vec<Access>, mut serial: u32, row: i64, desk: &Desk) {
    let mut tracker = Some(tracker);
    let mut tickets = tickets.into_iter();
    let mut waiting = Vec::new();
    while !desk.over.load(Ordering::SeqCst) {
        let Some(access) = tickets.next() else { break };
        serial += 1;
        if desk.end_begun.load(Ordering::SeqCst) {
            // Settled by being dropped, half of them while the handle goes.
            if serial.is_multiple_of(2) {
                drop(tracker.take());
            }
            drop(access);
            continue;
        }
        if let Some(tracker) = &tracker {
            waiting.push((serial, tracker.record(Load::usage(Usage::of(access), serial))));
        }
        if waiting.len() == 5 {
            for (serial, receipt) in waiting.drain(..) {
                if receipt.wait_for(Duration::from_secs(10)).is_ok() {
                    say(&Entry::Recorded(Ack { token: row, serial, at_us: at_us() }));
                }
                desk.settled.fetch_add(1, Ordering::SeqCst);
            }
            pause(1);
        }
    }
    // During the end or after it: those that were accepted are acknowledged all the same.
    for (serial, receipt) in waiting {
        if receipt.wait_for(Duration::from_secs(10)).is_ok() {
            say(&Entry::Recorded(Ack { token: row, serial, at_us: at_us() }));
        }
    }
}
