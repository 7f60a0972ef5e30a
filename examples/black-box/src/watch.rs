//! A token whose every record is expected one by one.

use std::thread;
use std::time::Duration;

use crate::api::{Issued, Record};
use crate::client::{AGENT, Request, Response};
use crate::moment;
use crate::service::Service;
use crate::wait;

const RECORD_BOUND: Duration = Duration::from_secs(10);

/// Long enough for a settlement that comes after the client has its last byte.
const STRAGGLER: Duration = Duration::from_millis(100);

/// Reads the records as an admin, so that watching adds none to the token.
pub(crate) struct Watch<'a> {
    service: &'a Service,
    pub(crate) token: String,
    pub(crate) token_id: String,
    seen: usize,
}

impl<'a> Watch<'a> {
    /// Watches a newly issued token without scopes.
    #[track_caller]
    pub(crate) fn new(service: &'a Service, kind: &str) -> Self {
        Self::of(service, service.issue(kind, &format!("watched {kind}")))
    }

    /// Watches a token from its first request on.
    pub(crate) fn of(service: &'a Service, issued: Issued) -> Self {
        Self { service, token: issued.token, token_id: issued.token_id, seen: 0 }
    }

    /// Watches a printed token; finding its id is its first record.
    #[track_caller]
    pub(crate) fn printed(service: &'a Service, token: &str) -> Self {
        let issued = Issued { token_id: service.id_of(token), token: token.to_owned() };
        let mut watch = Self::of(service, issued);
        watch.expect(("GET", "/me", 200, "success"));
        watch
    }

    /// Adds the token to a request.
    pub(crate) fn sign(&self, request: Request) -> Request {
        request.bearer(&self.token)
    }

    /// Sends a request with the token.
    pub(crate) fn send(&self, request: Request) -> Response {
        self.service.client().send(&self.sign(request))
    }

    /// Sends a `GET` and expects its record, with as many bytes as came.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str, route: &str, status: u16, outcome: &str) -> Record {
        self.exchange(Request::get(target), ("GET", route, status, outcome))
    }

    /// Sends a request and expects its record, with as many bytes as came.
    #[track_caller]
    pub(crate) fn exchange(&mut self, request: Request, shape: (&str, &str, u16, &str)) -> Record {
        let response = self.send(request).expect_status(shape.2);
        let record = self.expect(shape);
        assert_eq!(record.response_bytes, response.length(), "bytes of {response}");
        record
    }

    /// Waits for exactly one more record and judges it.
    #[track_caller]
    pub(crate) fn expect(&mut self, shape: (&str, &str, u16, &str)) -> Record {
        let record = self.next();
        let (method, route, status, outcome) = shape;
        assert_eq!(record.shape(), (method, route, u64::from(status), outcome), "{record:?}");
        assert_usual(&record);
        record
    }

    /// Waits for exactly one more record.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Record {
        let mut records = wait::until("one more record", RECORD_BOUND, || {
            let records = self.service.recent(&self.token_id);
            if records.len() > self.seen {
                Ok(records)
            } else {
                Err(format!("{} records: {:?}", self.seen, records.first()))
            }
        });
        self.seen += 1;
        assert_eq!(records.len(), self.seen, "more than one came: {records:?}");
        records.swap_remove(0)
    }

    /// Whatever came, newest first, be it nothing.
    pub(crate) fn take(&mut self) -> Vec<Record> {
        thread::sleep(STRAGGLER);
        let mut records = self.service.recent(&self.token_id);
        let seen = std::mem::replace(&mut self.seen, records.len());
        records.truncate(records.len() - seen);
        records
    }

    /// Panics if anything came that was not expected.
    #[track_caller]
    pub(crate) fn expect_nothing_more(&mut self) {
        thread::sleep(STRAGGLER);
        self.get("/hello/fence", "/hello/{name}", 200, "success");
        thread::sleep(STRAGGLER);
        let records = self.service.recent(&self.token_id);
        assert_eq!(records.len(), self.seen, "another one came: {records:?}");
    }
}

/// What holds for every record of this suite.
#[track_caller]
fn assert_usual(record: &Record) {
    assert_eq!(record.client_address, "127.0.0.1", "{record:?}");
    assert_eq!(record.user_agent.as_deref(), Some(AGENT), "{record:?}");
    assert!((record.at - moment::now()).abs() < 60.0, "`at` is not now: {record:?}");
    assert!(record.duration_us < 60_000_000, "{record:?}");
    match (&record.reason, record.outcome.as_str()) {
        (Some(reason), "denied") => assert!(!reason.is_empty(), "{record:?}"),
        (None, outcome) => assert_ne!(outcome, "denied", "no reason: {record:?}"),
        (Some(_), _) => panic!("a reason for what was not denied: {record:?}"),
    }
}
