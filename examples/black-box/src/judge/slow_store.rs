//! A disk that takes its time must cost whoever waits for it, and nobody else: not even where one thread serves all.

use crate::suite::Stack;

/// With one worker, and every read of the database standing still: a request that needs one waits and is answered in the
/// end; what needs none goes on at its pace.
pub fn slow_store_does_not_hold_up_others(stack: &Stack) {
    on_this_system::judge(stack);
}

#[cfg(target_os = "linux")]
mod on_this_system {
    use std::thread;
    use std::time::{Duration, Instant};

    use token_tracker_faults::{Call, Failure, Shim};

    use crate::client::{Connection, Request};
    use crate::exceptions::Exception;
    use crate::service::{Home, Service};
    use crate::suite::Stack;
    use crate::wait;
    use crate::watch::Watch;

    /// How long the store sleeps while others are served, and when it wakes by itself.
    const ASLEEP: Duration = Duration::from_secs(2);
    const AWAKE: Duration = Duration::from_secs(30);

    /// How long others may take, on two busy cores.
    const PROMPT: Duration = Duration::from_secs(1);

    pub(super) fn judge(stack: &Stack) {
        let home = Home::fresh();
        let shim = Shim::new(&home.path().join("faults"));
        let mut command = home.command(stack.binary);
        shim.load_into(&mut command, &home.database());
        // One for each request that this test has in flight, where one cannot serve all.
        let workers = if stack.has(Exception::WaitsOccupyWorkers) { "3" } else { "1" };
        // The second is what tokio itself reads.
        command.env("WORKERS", workers).env("TOKIO_WORKER_THREADS", "1");
        let service = Service::run(&mut command, &home);
        let mut streaming = Watch::new(&service, "jwt");
        let mut sleeping = Watch::new(&service, "opaque");
        let mut stream = service.client().connect();
        stream.send(&streaming.sign(Request::get("/stream?n=80&every_ms=50")));
        assert_eq!(stream.receive_head().status, 200);
        stream.receive_bytes(4);

        shim.arm(Call::Read, 1, Failure::Stalled(AWAKE));
        let mut waiting = service.client().connect();
        waiting.send(&sleeping.sign(Request::get("/hello/x")));
        wait::until("a read stands still", AWAKE, || match shim.hits() {
            0 => Err("none is made".to_owned()),
            _ => Ok(()),
        });
        let asleep = Instant::now();
        while asleep.elapsed() < ASLEEP {
            expect_prompt(&service, &mut stream);
        }
        assert!(waiting.is_silent(), "it is answered, and no read was needed for it");
        shim.disarm();
        let answer = waiting.receive(false).expect("it is answered once the store is awake");
        answer.expect_status(200);
        sleeping.expect(("GET", "/hello/{name}", 200, "success"));
        drop(waiting);
        streaming.expect(("GET", "/stream", 200, "success"));
        drop(stream);
        sleeping.expect_nothing_more();
        service.assert_accounts_balance();
    }

    /// An answer to a new connection, and more of the stream that was there before.
    #[track_caller]
    fn expect_prompt(service: &Service, stream: &mut Connection) {
        let asked = Instant::now();
        service.client().send(&Request::get("/healthz")).expect_status(200);
        assert!(asked.elapsed() < PROMPT, "answered after {:?}", asked.elapsed());
        let reading = Instant::now();
        stream.receive_bytes(1);
        assert!(reading.elapsed() < PROMPT, "a chunk after {:?}", reading.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Faults are injected before the C library of Linux alone.
#[cfg(not(target_os = "linux"))]
mod on_this_system {
    use crate::suite::Stack;

    pub(super) fn judge(_: &Stack) {}
}
