//! A server asks a body for no more than it needs: whatever it leaves unasked, the request is recorded once, by what was
//! sent. Needs the feature `http`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};
use http_body::{Body, Frame, SizeHint};
use token_tracker::{
    Access, Algorithm, AuthRequest, Issued, JwtKey, NewToken, Outcome, TokenTracker, TrackedBody,
};

/// What a body yields, in order.
enum Step {
    Data(&'static str),
    Failure,
    Trailers(&'static str, &'static str),
    Wait,
}

/// A body that plays its steps.
struct Script {
    steps: VecDeque<Step>,
    /// Whether it says that it is at its end once it is.
    says_its_end: bool,
    length: Option<u64>,
}

fn script(steps: impl IntoIterator<Item = Step>) -> Script {
    Script { steps: steps.into_iter().collect(), says_its_end: false, length: None }
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match self.steps.pop_front() {
            None => None,
            Some(Step::Data(data)) => Some(Ok(Frame::data(data.into()))),
            Some(Step::Failure) => Some(Err("asked to fail")),
            Some(Step::Trailers(name, value)) => {
                let field = (HeaderName::from_static(name), value.parse().unwrap());
                Some(Ok(Frame::trailers(HeaderMap::from_iter([field]))))
            }
            Some(Step::Wait) => return Poll::Pending,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.says_its_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn opened() -> (TokenTracker, Issued) {
    let key = JwtKey::hmac(Algorithm::Hs256, &[42; 32]).unwrap();
    let tracker = TokenTracker::builder().jwt_key(key).in_memory().unwrap();
    let issued = tracker.tokens().issue(NewToken::opaque("alice@example.com", "laptop")).unwrap();
    (tracker, issued)
}

/// What is recorded of a response of which a server asks so many frames before it drops it.
fn recorded(response: Response<Script>, frames: usize) -> (u16, Outcome, u64) {
    let (tracker, issued) = opened();
    let access: Access = tracker.authenticate(&issued.secret).unwrap();
    let mut body = Box::pin(access.track(response).into_body());
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..frames {
        let _ = body.as_mut().poll_frame(&mut context);
    }
    drop(body);
    tracker.flush().unwrap();
    let records = tracker.stats().token(issued.token.id).recent(10).unwrap();
    assert_eq!(records.len(), 1, "recorded exactly once: {records:?}");
    (records[0].status, records[0].outcome, records[0].response_bytes)
}

#[test]
fn body_is_recorded_by_what_was_asked_of_it() {
    use Step::{Data, Failure, Trailers, Wait};
    let plain = |steps| Response::new(script(steps));
    assert_eq!(recorded(plain(vec![Data("abc"), Data("de")]), 3), (200, Outcome::Success, 5));
    assert_eq!(recorded(plain(vec![Data("abc"), Data("de")]), 2), (200, Outcome::Unfinished, 5));
    assert_eq!(recorded(plain(vec![Data("abc"), Wait]), 2), (200, Outcome::Unfinished, 3));
    assert_eq!(recorded(plain(vec![Data("abc"), Failure]), 2), (200, Outcome::ServerError, 3));
    let trailers = vec![Data("abc"), Trailers("chunks", "1")];
    assert_eq!(
        recorded(plain(trailers), 2),
        (200, Outcome::Success, 3),
        "nothing comes after them"
    );
    assert_eq!(recorded(plain(vec![]), 0), (200, Outcome::Unfinished, 0), "it did not say its end");
}

#[test]
fn body_that_says_its_end_or_its_length_is_not_asked_for_more() {
    use Step::Data;
    let says_its_end = Script { says_its_end: true, ..script([Data("abc")]) };
    assert_eq!(recorded(Response::new(says_its_end), 1), (200, Outcome::Success, 3));
    let empty = Script { says_its_end: true, ..script([]) };
    assert_eq!(recorded(Response::new(empty), 0), (200, Outcome::Success, 0));
    let hinted = Script { length: Some(3), ..script([Data("abc")]) };
    assert_eq!(recorded(Response::new(hinted), 1), (200, Outcome::Success, 3));
    let declared = Response::builder().status(206).header("content-length", "3");
    let declared = declared.body(script([Data("abc")])).unwrap();
    assert_eq!(recorded(declared, 1), (206, Outcome::Success, 3));
    let no_content = Response::builder().status(204).body(script([])).unwrap();
    assert_eq!(recorded(no_content, 0), (204, Outcome::Success, 0));
}

#[test]
fn grpc_response_is_recorded_by_its_trailers() {
    use Step::{Data, Trailers};
    let grpc = |steps| {
        let head = Response::builder().header("content-type", "application/grpc");
        head.body(script(steps)).unwrap()
    };
    let well = vec![Data("abc"), Trailers("grpc-status", "0")];
    assert_eq!(recorded(grpc(well), 2), (200, Outcome::Success, 3));
    let ill = vec![Data("abc"), Trailers("grpc-status", "5")];
    assert_eq!(recorded(grpc(ill), 2), (404, Outcome::ClientError, 3));
    assert_eq!(recorded(grpc(vec![Data("abc")]), 2), (200, Outcome::ServerError, 3), "no status");
}

#[test]
fn head_and_refusal_go_through_types_of_http() {
    let (tracker, issued) = opened();
    let request = |token: &str| {
        let request = http::Request::head("/items/7?access=1")
            .header("authorization", format!("Bearer {token}"))
            .header("user-agent", "curl/8.5");
        request.body(()).unwrap().into_parts().0
    };
    let good = request(issued.secret.expose());
    let access = tracker.authenticate(AuthRequest::from_parts(&good).route("/items/{id}")).unwrap();
    let response = access.track(Response::new("not sent to HEAD".to_owned()));
    drop(response);
    tracker.flush().unwrap();
    let record = tracker.stats().token(issued.token.id).recent(1).unwrap().remove(0);
    assert_eq!((record.method.as_str(), record.outcome), ("HEAD", Outcome::Success));
    assert_eq!(record.user_agent.as_deref(), Some("curl/8.5"));

    let bad = request("made-up");
    let refusal = tracker.authenticate(AuthRequest::from_parts(&bad)).map(drop).unwrap_err();
    let answer: Response<TrackedBody<String>> = refusal.response_to(&bad);
    assert_eq!(answer.status(), 401);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
    assert!(answer.body().is_end_stream());
    assert_eq!(answer.body().size_hint().exact(), Some(0));
}

#[test]
fn body_that_nobody_watches_is_passed_on_as_it_is() {
    let body = TrackedBody::untracked("open to all".to_owned());
    assert_eq!(body.size_hint().exact(), Some(11));
    let mut body = Box::pin(body);
    let mut context = Context::from_waker(Waker::noop());
    let frame = body
        .as_mut()
        .poll_frame(&mut context)
        .map(|frame| frame.map(|frame: Result<_, Infallible>| frame.unwrap().into_data().unwrap()));
    assert_eq!(frame, Poll::Ready(Some(Bytes::from("open to all"))));
}
