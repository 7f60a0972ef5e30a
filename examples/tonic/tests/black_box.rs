//! The example service on tonic, judged over real sockets: what HTTP calls a success, gRPC may call a failure, and only
//! the trailers tell.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on says so")]
#![allow(missing_docs, unreachable_pub, clippy::too_many_lines, reason = "the generator's")]

use std::time::Duration;

use example_black_box::{Home, Service};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use self::demo::admin_client::AdminClient;
use self::demo::demo_client::DemoClient;
use self::demo::{
    HelloRequest, ItemRequest, Json, Nothing, RecentRequest, SlowRequest, StreamRequest,
    TokenRequest,
};

mod demo {
    tonic::include_proto!("demo.v1");
}

const BINARY: &str = env!("CARGO_BIN_EXE_example-tonic");

/// A service, and one of its tokens, whose every record is looked at.
struct Judge {
    runtime: Runtime,
    service: Service,
    channel: Channel,
    token: String,
    token_id: String,
}

impl Judge {
    /// With a token of these further fields.
    fn with(fields: Value) -> Self {
        let service = Service::start(BINARY, &Home::fresh());
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let channel = runtime.block_on(connected(&service));
        let mut judge =
            Self { runtime, service, channel, token: String::new(), token_id: String::new() };
        let issued = judge.issue(fields);
        judge.token = issued["token"].as_str().unwrap().to_owned();
        judge.token_id = issued["token_id"].to_string();
        judge
    }

    fn new() -> Self {
        Self::with(json!({}))
    }

    fn issue(&self, fields: Value) -> Value {
        let mut token =
            json!({ "owner": "judge@example.com", "name": "watched", "kind": "opaque" });
        token.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let request = self.admin(Json { text: token.to_string() });
        let answer =
            self.runtime.block_on(AdminClient::new(self.channel.clone()).issue_token(request));
        serde_json::from_str(&answer.unwrap().into_inner().text).unwrap()
    }

    fn admin<T>(&self, message: T) -> Request<T> {
        signed(&self.service.admin, message)
    }

    fn demo(&self) -> DemoClient<Channel> {
        DemoClient::new(self.channel.clone())
    }

    fn of_token(&self) -> Request<TokenRequest> {
        self.admin(TokenRequest { token_id: self.token_id.clone(), limit: Some(100) })
    }

    /// Method, status, outcome and reason of each record, newest first, once there are so many.
    fn records(&self, count: usize) -> Vec<(String, u64, String, Option<String>)> {
        let text = |record: &Value, name: &str| record[name].as_str().map(str::to_owned);
        for _ in 0..500 {
            let found = self.raw_records();
            if found.len() >= count {
                assert_eq!(found.len(), count, "{found:?}");
                let shapes = found.iter().map(|record| {
                    let route = text(record, "route").unwrap();
                    let method = route.rsplit('/').next().unwrap().to_owned();
                    let status = record["status"].as_u64().unwrap();
                    (method, status, text(record, "outcome").unwrap(), text(record, "reason"))
                });
                return shapes.collect();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("there are not {count}: {:?}", self.raw_records());
    }

    fn raw_records(&self) -> Vec<Value> {
        let mut admin = AdminClient::new(self.channel.clone());
        let answer = self.runtime.block_on(admin.recent_of_token(self.of_token()));
        serde_json::from_str(&answer.unwrap().into_inner().text).unwrap()
    }

    /// Makes a call, and expects its one record.
    fn expect<T>(
        &self,
        call: impl AsyncFnOnce(DemoClient<Channel>) -> Result<T, Status>,
        expected: (&str, u64, &str),
    ) -> Result<T, Status> {
        let before = self.raw_records().len();
        let answer = self.runtime.block_on(call(self.demo()));
        let records = self.records(before + 1);
        let (method, status, outcome, _) = &records[0];
        assert_eq!((method.as_str(), *status, outcome.as_str()), expected);
        answer
    }
}

async fn connected(service: &Service) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", service.address)).unwrap();
    endpoint.timeout(Duration::from_secs(20)).connect().await.unwrap()
}

fn signed<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

#[test]
fn calls_are_recorded_by_the_status_of_their_end() {
    let judge = Judge::new();
    let token = judge.token.clone();
    let hello = async |mut demo: DemoClient<Channel>| {
        demo.hello(signed(&token, HelloRequest { name: "judge".into() })).await
    };
    let answer = judge.expect(hello, ("Hello", 200, "success")).unwrap();
    assert_eq!(answer.into_inner().text, "hello, judge\n");
    let item = |id| {
        let request = signed(&token, ItemRequest { id });
        async move |mut demo: DemoClient<Channel>| demo.get_item(request).await
    };
    assert_eq!(judge.expect(item(7), ("GetItem", 200, "success")).unwrap().into_inner().id, 7);
    let missing = judge.expect(item(1_001), ("GetItem", 404, "client_error")).unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    let fail = async |mut demo: DemoClient<Channel>| demo.fail(signed(&token, Nothing {})).await;
    let failed = judge.expect(fail, ("Fail", 500, "server_error")).unwrap_err();
    assert_eq!(failed.code(), Code::Internal);
    let panic = async |mut demo: DemoClient<Channel>| demo.panic(signed(&token, Nothing {})).await;
    judge.expect(panic, ("Panic", 500, "server_error")).unwrap_err();
    judge.expect(item(7), ("GetItem", 200, "success")).unwrap();
    let record = judge.raw_records().remove(0);
    assert_eq!(record["route"], "/demo.v1.Demo/GetItem");
    assert_eq!(
        (&record["method"], &record["client_address"]),
        (&json!("POST"), &json!("127.0.0.1"))
    );
    assert!(record["user_agent"].as_str().unwrap().starts_with("tonic/"), "{record}");
}

#[test]
fn streams_are_recorded_at_their_trailers_with_all_their_bytes() {
    let judge = Judge::new();
    let token = judge.token.clone();
    let stream = async |mut demo: DemoClient<Channel>| {
        let mut chunks =
            demo.stream(signed(&token, StreamRequest { n: 4, every_ms: 20 })).await?.into_inner();
        let mut seen = 0;
        while chunks.message().await?.is_some() {
            seen += 1;
        }
        Ok(seen)
    };
    assert_eq!(judge.expect(stream, ("Stream", 200, "success")).unwrap(), 4);
    let record = judge.raw_records().remove(0);
    // Each message is 10 bytes behind a prefix of 5.
    assert_eq!(record["response_bytes"], 4 * 15, "{record}");
    assert!(record["duration_us"].as_u64().unwrap() >= 50_000, "settled before its end: {record}");

    let fails = async |mut demo: DemoClient<Channel>| {
        let mut chunks = demo.stream_fail(signed(&token, Nothing {})).await?.into_inner();
        while chunks.message().await?.is_some() {}
        Ok(())
    };
    let failed = judge.expect(fails, ("StreamFail", 500, "server_error")).unwrap_err();
    assert_eq!(failed.code(), Code::Internal);
}

#[test]
fn what_the_client_leaves_is_unfinished() {
    let judge = Judge::new();
    let token = judge.token.clone();
    let left_in_the_middle = async |mut demo: DemoClient<Channel>| {
        let request = signed(&token, StreamRequest { n: 100, every_ms: 50 });
        let mut chunks = demo.stream(request).await?.into_inner();
        chunks.message().await
    };
    judge.expect(left_in_the_middle, ("Stream", 200, "unfinished")).unwrap();
    let left_before_the_head = async |mut demo: DemoClient<Channel>| {
        let slow = demo.slow(signed(&token, SlowRequest { ms: 20_000 }));
        let left = tokio::time::timeout(Duration::from_millis(500), slow).await;
        assert!(left.is_err(), "it was answered: {left:?}");
        Ok(())
    };
    judge.expect(left_before_the_head, ("Slow", 499, "unfinished")).unwrap();
}

#[test]
fn refusals_are_answered_in_the_words_of_grpc() {
    let judge = Judge::with(json!({ "quota": { "per_day": 1 } }));
    let health = || -> Value {
        let asked =
            async { AdminClient::new(judge.channel.clone()).health(judge.admin(Nothing {})).await };
        serde_json::from_str(&judge.runtime.block_on(asked).unwrap().into_inner().text).unwrap()
    };
    let me = |request: Request<Nothing>| {
        let mut demo = judge.demo();
        judge.runtime.block_on(async move { demo.me(request).await })
    };
    let strangers = health()["strangers"].as_u64().unwrap();
    let missing = me(Request::new(Nothing {})).unwrap_err();
    assert_eq!(missing.code(), Code::Unauthenticated);
    assert_eq!(missing.metadata().get("www-authenticate").unwrap(), "Bearer");
    let forged = me(signed("tt_forged", Nothing {})).unwrap_err();
    assert_eq!(forged.code(), Code::Unauthenticated);
    let challenge = forged.metadata().get("www-authenticate").unwrap().to_str().unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert_eq!(health()["strangers"].as_u64().unwrap(), strangers + 1);

    let mut twice = signed(&judge.token, Nothing {});
    twice
        .metadata_mut()
        .append("authorization", format!("Bearer {}", judge.token).parse().unwrap());
    assert_eq!(me(twice).unwrap_err().code(), Code::InvalidArgument);

    let mut admin = AdminClient::new(judge.channel.clone());
    let out_of_scope = signed(&judge.token, Nothing {});
    let refused = judge.runtime.block_on(async { admin.list_tokens(out_of_scope).await });
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    assert!(me(signed(&judge.token, Nothing {})).is_ok());
    let over = me(signed(&judge.token, Nothing {})).unwrap_err();
    assert_eq!(over.code(), Code::ResourceExhausted);
    assert!(over.metadata().get("retry-after").is_some(), "{over:?}");

    judge.runtime.block_on(async { admin.revoke_token(judge.of_token()).await }).unwrap();
    let revoked = me(signed(&judge.token, Nothing {})).unwrap_err();
    assert_eq!(revoked.code(), Code::Unauthenticated);
    let denied = |status, reason: &str| ("denied".to_owned(), status, Some(reason.to_owned()));
    let seen: Vec<_> = judge
        .records(4)
        .into_iter()
        .map(|(_, status, outcome, reason)| (outcome, status, reason))
        .collect();
    let expected = [
        denied(401, "revoked"),
        denied(429, "quota_exceeded"),
        ("success".to_owned(), 200, None),
        denied(403, "missing_scope"),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn unknown_method_is_recorded_as_unmatched() {
    let judge = Judge::new();
    let token = judge.token.clone();
    for path in ["/demo.v1.Demo/Nothing", "/nowhere.v1.Service/Call"] {
        let unknown = async |_: DemoClient<Channel>| {
            let mut client = tonic::client::Grpc::new(judge.channel.clone());
            client.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<Nothing, Nothing>::default();
            client.unary(signed(&token, Nothing {}), path.parse().unwrap(), codec).await
        };
        let unmatched = judge.expect(unknown, ("<unmatched>", 404, "client_error")).unwrap_err();
        assert_eq!(unmatched.code(), Code::Unimplemented, "{path}");
    }
}

#[test]
fn own_records_and_usage_are_told() {
    let judge = Judge::new();
    let token = judge.token.clone();
    let mut demo = judge.demo();
    judge.runtime.block_on(async {
        demo.hello(signed(&token, HelloRequest { name: "x".into() })).await.unwrap();
        let recent = demo.recent(signed(&token, RecentRequest { limit: Some(5) })).await.unwrap();
        let recent: Value = serde_json::from_str(&recent.into_inner().text).unwrap();
        assert_eq!(recent.as_array().unwrap().len(), 1, "{recent}");
        assert_eq!(recent[0]["route"], "/demo.v1.Demo/Hello");
        let none = demo.recent(signed(&token, RecentRequest { limit: Some(0) })).await.unwrap_err();
        assert_eq!(none.code(), Code::InvalidArgument);
    });
}

#[test]
fn call_in_flight_is_answered_before_the_service_ends() {
    for signal in ["TERM", "INT"] {
        let mut judge = Judge::new();
        let (token, mut demo) = (judge.token.clone(), judge.demo());
        let answer = judge
            .runtime
            .spawn(async move { demo.slow(signed(&token, SlowRequest { ms: 800 })).await });
        judge.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(300)).await });
        judge.service.signal(signal);
        judge.runtime.block_on(answer).unwrap().unwrap();
        let status = judge.service.wait();
        assert_eq!(status.code(), Some(0), "{status}: {}", judge.service.stderr());

        let again = Service::start(BINARY, judge.service.home());
        judge.channel = judge.runtime.block_on(connected(&again));
        judge.service = again;
        let (method, status, outcome, _) = judge.records(1).remove(0);
        assert_eq!((method.as_str(), status, outcome.as_str()), ("Slow", 200, "success"));
    }
}
