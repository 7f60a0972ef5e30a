//! A service on a disk that fails: it goes through its work again and again, and each time one call later
//! fails, until the work is done before the call is reached.

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use rusqlite::Connection;
    use token_tracker::{ErrorKind, Issued, Receipt, TokenTracker, Usage};
    use token_tracker_faults::{
        Ack, Call, Deadline, Entry, Failure, Load, Shared, Shim, at_us, builder, eventually,
        opaque, pause, say, secret_of,
    };

    /// More calls than any of this makes: that it ends is part of what is proved.
    const MOST: u64 = 2_000;

    struct Service {
        database: PathBuf,
        durability: String,
        shim: Shim,
        call: Call,
        failure: Failure,
        step: u64,
        ledger: Shared,
        serial: u32,
    }

    pub(super) fn main() {
        let mut args = std::env::args().skip(1);
        let mut next = || args.next().expect("another argument");
        let work = next();
        let mut service = Service {
            database: next().into(),
            durability: next(),
            shim: Shim::new(Path::new(&next())),
            call: if next() == "write" { Call::Write } else { Call::Sync },
            failure: match next().as_str() {
                "done" => Failure::Done,
                "lasting" => Failure::Lasting(Duration::from_millis(300)),
                _ => Failure::Once,
            },
            step: next().parse().expect("a number of calls"),
            ledger: Shared::default(),
            serial: 1,
        };
        let calls = match work.as_str() {
            "close" => service.closes(),
            "commit" => service.commits(),
            _ => service.opens(),
        };
        say(&Entry::Note(format!("calls {calls}")));
    }

    impl Service {
        /// A tracker is at work all the time, and goes on after each fault without being opened again.
        fn commits(&mut self) -> u64 {
            let ballast = Ballast::new(&self.database, &self.durability);
            let tracker = self.open();
            let tokens = [opaque(&tracker, "one"), opaque(&tracker, "two")];
            self.until_out_of_reach(|service, nth| {
                ballast.fill_the_log();
                service.shim.arm(service.call, nth, service.failure);
                service.record(&tracker, &tokens);
                service.administer(&tracker, nth);
                service.record(&tracker, &tokens);
                service.shim.disarm();
                service.assert_recovered(&tracker);
            })
        }

        /// What is opened over a fault is opened, or is not and can be opened after it.
        fn opens(&mut self) -> u64 {
            let first = self.database.clone();
            self.until_out_of_reach(|service, nth| {
                service.database = format!("{}.{nth}", first.display()).into();
                service.ledger = Shared::default();
                service.shim.arm(service.call, nth, service.failure);
                let opened = builder(&service.durability).open(&service.database);
                service.shim.disarm();
                if let Err(error) = &opened {
                    assert_eq!(error.kind(), ErrorKind::Storage, "at call {nth}: {error:?}");
                }
                let tracker = opened.unwrap_or_else(|_| service.open());
                let tokens = [opaque(&tracker, "one")];
                service.record(&tracker, &tokens);
                service.assert_recovered(&tracker);
            })
        }

        /// What waits when a tracker is closed over a fault is written, and the end is a clean one or told.
        fn closes(&mut self) -> u64 {
            let setup = self.open();
            let tokens = [opaque(&setup, "one"), opaque(&setup, "two")];
            setup.close().expect("it closes");
            drop(setup);
            self.until_out_of_reach(|service, nth| {
                let tracker = service.open();
                tracker.flush().expect("nothing fails yet");
                let waiting: Vec<_> =
                    (0..4).map(|at| service.record_one(&tracker, &tokens[at % 2])).collect();
                service.shim.arm(service.call, nth, service.failure);
                tracker.close().expect("what waits is written when the fault is over");
                drop(tracker);
                service.await_the_last_connection();
                service.shim.disarm();
                waiting.into_iter().for_each(|waiting| service.acknowledge(waiting));
                let tracker = service.open();
                assert!(tracker.health().unclean_ends <= 1, "at call {nth}");
                service.assert_recovered(&tracker);
                tracker.close().expect("it closes");
            })
        }

        /// Connections may close on a thread of the pool's: the last one writes the log back and removes it,
        /// if that does not fail.
        fn await_the_last_connection(&self) {
            let log = format!("{}-wal", self.database.display());
            let deadline = Deadline::after(Duration::from_millis(200));
            while Path::new(&log).exists() && !deadline.is_over() {
                pause(2);
            }
        }

        fn until_out_of_reach(&mut self, mut work: impl FnMut(&mut Self, u64)) -> u64 {
            let mut nth = 1;
            while nth < MOST {
                work(self, nth);
                if self.shim.hits() == 0 {
                    return nth - 1;
                }
                nth += self.step;
            }
            unreachable!("the fault is met at every call, up to {nth}")
        }

        fn open(&self) -> TokenTracker {
            builder(&self.durability).open(&self.database).expect("nothing fails")
        }

        fn record(&mut self, tracker: &TokenTracker, tokens: &[Issued]) {
            let waiting: Vec<_> =
                (0..4).map(|at| self.record_one(tracker, &tokens[at % tokens.len()])).collect();
            waiting.into_iter().for_each(|waiting| self.acknowledge(waiting));
        }

        fn record_one(&mut self, tracker: &TokenTracker, token: &Issued) -> (i64, u32, Receipt) {
            self.serial += 1;
            let access = tracker.authenticate(&token.secret).expect("a token that is known holds");
            // A name that the file does not know yet: a commit that fails must not leave it half known.
            let usage = Load::usage(Usage::of(access), self.serial).user_agent(self.agent());
            (secret_of(token).0, self.serial, tracker.record(usage))
        }

        fn agent(&self) -> String {
            format!("agent {}", self.serial >> 1)
        }

        fn acknowledge(&self, (token, serial, receipt): (i64, u32, Receipt)) {
            receipt.wait_for(Duration::from_secs(10)).expect("a record waits out the fault");
            self.ledger.enter(Entry::Recorded(Ack { token, serial, at_us: at_us() }));
        }

        /// Issues and revokes, again until it works. What was revoked holds at no time.
        fn administer(&self, tracker: &TokenTracker, nth: u64) {
            let mut tries = 0;
            let mut issued = None;
            eventually("a token is issued", || {
                tries += 1;
                let new = token_tracker::NewToken::opaque("bob", format!("{nth} {tries}"));
                issued = typed(tracker.tokens().issue(new));
                issued.is_some()
            });
            let issued = issued.expect("it just was");
            let (row, secret) = secret_of(&issued);
            self.ledger.enter(Entry::Issued(row, secret));
            self.ledger.enter(Entry::Revoking(row));
            eventually("it is revoked", || {
                let revoked = typed(tracker.tokens().revoke(issued.token.id, ""));
                assert!(tracker.authenticate(&issued.secret).is_err(), "at call {nth}");
                revoked.is_some()
            });
            self.ledger.enter(Entry::Revoked(row));
        }

        fn assert_recovered(&self, tracker: &TokenTracker) {
            eventually("it is flushed", || tracker.flush().is_ok());
            let health = tracker.health();
            assert!(!health.degraded && !health.poisoned, "{health:?}");
            assert_eq!((health.accepted, health.dropped), (health.stored, 0), "{health:?}");
            self.ledger.copy().assert_balances(&self.database, tracker);
            let latest = tracker.stats().all().recent(50).expect("it can be asked");
            let named = latest.iter().any(|record| record.user_agent == Some(self.agent()));
            assert!(named, "a name is not what was said: {:?}", latest.first());
        }
    }

    fn typed<T>(result: Result<T, token_tracker::Error>) -> Option<T> {
        let kinds = [ErrorKind::Busy, ErrorKind::NotDurable, ErrorKind::Storage];
        result.inspect_err(|error| assert!(kinds.contains(&error.kind()), "{error:?}")).ok()
    }

    /// Somebody else's writes, that bring the write-ahead log to where the next commit checkpoints it.
    struct Ballast(Connection);

    /// A little under the thousand pages at which SQLite checkpoints.
    const FRAMES: u32 = 985;

    impl Ballast {
        fn new(database: &Path, durability: &str) -> Self {
            // The file as the library makes it, before anything is added.
            drop(builder(durability).open(database).expect("it opens"));
            let connection = Connection::open(database).expect("it opens");
            connection.busy_timeout(Duration::from_secs(5)).expect("it is set");
            let setup = "PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = OFF;
                CREATE TABLE ballast (number INTEGER); INSERT INTO ballast VALUES (0);";
            connection.execute_batch(setup).expect("it is written");
            Self(connection)
        }

        fn fill_the_log(&self) {
            let emptied = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            eventually("the log is empty", || {
                self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], emptied) == Ok(0)
            });
            for _ in 0..FRAMES {
                let add = "UPDATE ballast SET number = number + 1";
                self.0.execute(add, []).expect("nothing fails");
            }
        }
    }
}
