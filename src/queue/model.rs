//! The queue and its end under every order of steps that a scheduler can make of them, as many as there is time
//! for. The writer is a thread that stores in a list, and fails now and then.

use std::sync::Arc;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex as Ledger;
use shuttle::thread;

use super::*;
use crate::reason::DenialReason;
use crate::record::{Method, Outcome};

const ORDERS: usize = 20_000;

fn queue(capacity: usize) -> Arc<Queue> {
    Arc::new(Queue::new(QueueOptions { capacity, group: 2, window: Duration::ZERO }))
}

/// A record that is known by its cost.
fn record(number: u64, outcome: Outcome) -> Record {
    Record {
        at: Timestamp::from_seconds(0),
        token: TokenId::from_row(1),
        route: None,
        method: Method::default(),
        status: 200,
        outcome,
        duration_us: 1,
        response_bytes: 0,
        client_address: None,
        user_agent: None,
        cost: number,
        weight: 1,
        late: None,
    }
}

type Stored = Arc<Ledger<Vec<u64>>>;

/// A writer whose commits fail one time in four, until it has failed `failures` times.
fn write(queue: &Queue, stored: &Stored, mut failures: u32) {
    let never = deadline(Duration::from_secs(86_400));
    let mut pending = None::<Batch>;
    loop {
        let retry_at = pending.as_ref().map(|_| deadline(Duration::ZERO));
        let batch = match queue.next(retry_at, never) {
            Work::Commit(batch) => batch,
            Work::Retry => pending.take().expect("only what failed is due again"),
            Work::Job(_) | Work::Upkeep => continue,
            Work::End => break,
        };
        if failures > 0 && thread_rng().gen_range(0..4) == 0 {
            failures -= 1;
            queue.failed("the disk is full".to_owned(), false);
            pending = Some(batch);
            continue;
        }
        let records = batch.chunks.iter().flatten().chain(&batch.excess);
        stored.lock().unwrap().extend(records.map(|record| record.cost));
        queue.committed(0, batch, Duration::ZERO);
    }
    queue.end();
}

fn balanced(queue: &Queue) -> Health {
    let Account { health, stored, .. } = queue.account();
    assert_eq!(health.accepted, health.stored + health.buffered + health.dropped, "{health:?}");
    assert_eq!(health.stored, stored.requests());
    health
}

fn start_writer(queue: &Arc<Queue>, stored: &Stored, failures: u32) -> thread::JoinHandle<()> {
    let (queue, stored) = (Arc::clone(queue), Arc::clone(stored));
    thread::spawn(move || write(&queue, &stored, failures))
}

#[test]
fn what_is_acknowledged_is_stored_once_and_accounts_balance_in_every_order() {
    shuttle::check_random(
        || {
            let (queue, stored) = (queue(2), Stored::default());
            let writer = start_writer(&queue, &stored, 3);
            let producers: Vec<_> = (0..2)
                .map(|producer| {
                    let (queue, stored) = (Arc::clone(&queue), Arc::clone(&stored));
                    thread::spawn(move || {
                        for number in [producer * 10 + 1, producer * 10 + 2] {
                            let record = record(number, Outcome::Success);
                            let entrance = match producer {
                                0 => queue.push(record),
                                _ => queue.push_waiting(record),
                            };
                            balanced(&queue);
                            if let Entrance::Enqueued(position) = entrance {
                                queue.wait_for(position, None).unwrap();
                                assert!(stored.lock().unwrap().contains(&number));
                            }
                        }
                    })
                })
                .collect();
            producers.into_iter().for_each(|producer| producer.join().unwrap());
            queue.close();
            queue.wait_for_end().unwrap();
            writer.join().unwrap();
            let health = balanced(&queue);
            let stored = stored.lock().unwrap();
            assert_eq!((health.stored, health.buffered), (stored.len() as u64, 0));
            let mut distinct = stored.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), stored.len(), "nothing is stored twice");
        },
        ORDERS,
    );
}

#[test]
fn nobody_waits_for_ever_whenever_the_queue_is_closed() {
    shuttle::check_random(
        || {
            let (queue, stored) = (queue(1), Stored::default());
            let writer = start_writer(&queue, &stored, 1);
            let others = [0, 1, 2].map(|kind| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || match kind {
                    0 => (0..3).for_each(|number| {
                        queue.push_waiting(record(number, Outcome::Success));
                    }),
                    1 => {
                        let entrance = queue.push(record(7, Outcome::Success));
                        if let Entrance::Enqueued(position) = entrance {
                            drop(queue.wait_for(position, None));
                        }
                    }
                    _ => drop(queue.flush()),
                })
            });
            queue.close();
            drop(queue.wait_for_end());
            others.into_iter().for_each(|other| other.join().unwrap());
            writer.join().unwrap();
            let health = balanced(&queue);
            assert_eq!((health.buffered, health.accepted), (0, 4));
            assert_eq!(health.stored, stored.lock().unwrap().len() as u64);
        },
        ORDERS,
    );
}

#[test]
fn flush_returns_only_when_what_came_before_it_is_stored_thinned_denials_too() {
    shuttle::check_random(
        || {
            let (queue, stored) = (queue(16), Stored::default());
            let writer = start_writer(&queue, &stored, 0);
            let noise = Arc::clone(&queue);
            let noise = thread::spawn(move || {
                (0..2).for_each(|_| _ = noise.push(record(100, Outcome::Success)));
            });
            let denied = Outcome::Denied(DenialReason::Revoked);
            (0..12).for_each(|_| _ = queue.push(record(1, denied)));
            queue.flush().unwrap();
            let denials = stored.lock().unwrap().iter().filter(|cost| **cost < 100).sum::<u64>();
            assert_eq!(denials, 12, "their costs add up");
            noise.join().unwrap();
            queue.close();
            writer.join().unwrap();
            assert_eq!(balanced(&queue).stored, 14);
        },
        ORDERS / 10,
    );
}
