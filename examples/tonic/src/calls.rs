//! What the service does, call by call.

use std::pin::Pin;

use example_service::{Api, Call, Chunks, Reply, Route, blocking};
use futures_util::stream::{self, Stream, StreamExt};
use token_tracker::Identity;
use tonic::{Code, Request, Response, Status};

use self::demo::admin_server::Admin;
use self::demo::demo_server::Demo;
use self::demo::{
    Chunk, HelloReply, HelloRequest, Item, ItemRequest, Json, Nothing, RecentRequest, SlowRequest,
    StreamRequest, TokenRequest, UsageRequest,
};

/// What is made of `proto/demo.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines,
    reason = "the generator's"
)]
pub(crate) mod demo {
    tonic::include_proto!("demo.v1");
}

type Answer<T> = Result<Response<T>, Status>;

/// Both services. A clone is cheap.
#[derive(Clone)]
pub(crate) struct Calls {
    api: Api,
}

impl Calls {
    pub(crate) fn new(api: Api) -> Self {
        Self { api }
    }

    /// What the HTTP examples answer on this route, on a thread that may block.
    async fn ask<T>(&self, route: Route, request: &Request<T>, call: Call) -> Answer<Json> {
        let caller = request.extensions().get::<Identity>().cloned();
        let (api, call) = (self.api.clone(), Call { caller, ..call });
        let reply = blocking(move || api.answer(route, call)).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        match reply.status {
            ..400 => Ok(Response::new(Json { text })),
            status => Err(Status::new(code(status), text)),
        }
    }

    async fn ask_of_token(&self, route: Route, request: Request<TokenRequest>) -> Answer<Json> {
        let TokenRequest { token_id, limit } = request.get_ref().clone();
        let query = limit.map(|limit| format!("limit={limit}"));
        let call = Call { parameter: token_id, query, ..Call::default() };
        self.ask(route, &request, call).await
    }
}

#[tonic::async_trait]
impl Demo for Calls {
    async fn hello(&self, request: Request<HelloRequest>) -> Answer<HelloReply> {
        let text = format!("hello, {}\n", request.into_inner().name);
        Ok(Response::new(HelloReply { text }))
    }

    async fn get_item(&self, request: Request<ItemRequest>) -> Answer<Item> {
        match request.into_inner().id {
            id @ ..=1_000 => Ok(Response::new(Item { id })),
            _ => Err(Status::not_found("there is no such item")),
        }
    }

    type StreamStream = ChunkStream;

    async fn stream(&self, request: Request<StreamRequest>) -> Answer<ChunkStream> {
        let StreamRequest { n, every_ms } = request.into_inner();
        let asked = format!("n={n}&every_ms={every_ms}");
        let chunks = Chunks::of(Some(&asked)).map_err(|refusal| status_of(&refusal))?;
        Ok(Response::new(Box::pin(stream_of(chunks))))
    }

    type StreamFailStream = ChunkStream;

    async fn stream_fail(&self, _: Request<Nothing>) -> Answer<ChunkStream> {
        let failure = stream::iter([Err(Status::internal("asked to fail"))]);
        Ok(Response::new(Box::pin(stream_of(Chunks::FAILING).chain(failure))))
    }

    async fn slow(&self, request: Request<SlowRequest>) -> Answer<Nothing> {
        let asked = format!("ms={}", request.into_inner().ms);
        let pause = example_service::pause(Some(&asked)).map_err(|refusal| status_of(&refusal))?;
        tokio::time::sleep(pause).await;
        Ok(Response::new(Nothing {}))
    }

    async fn fail(&self, _: Request<Nothing>) -> Answer<Nothing> {
        Err(Status::internal("asked to fail"))
    }

    #[allow(clippy::panic, reason = "this call shows what becomes of a handler that panics")]
    async fn panic(&self, _: Request<Nothing>) -> Answer<Nothing> {
        panic!("asked to panic")
    }

    async fn me(&self, request: Request<Nothing>) -> Answer<Json> {
        self.ask(Route::Me, &request, Call::default()).await
    }

    async fn usage(&self, request: Request<UsageRequest>) -> Answer<Json> {
        let query = request.get_ref().days.map(|days| format!("days={days}"));
        self.ask(Route::Usage, &request, Call { query, ..Call::default() }).await
    }

    async fn recent(&self, request: Request<RecentRequest>) -> Answer<Json> {
        let query = request.get_ref().limit.map(|limit| format!("limit={limit}"));
        self.ask(Route::Recent, &request, Call { query, ..Call::default() }).await
    }
}

#[tonic::async_trait]
impl Admin for Calls {
    async fn health(&self, request: Request<Nothing>) -> Answer<Json> {
        self.ask(Route::Health, &request, Call::default()).await
    }

    async fn issue_token(&self, request: Request<Json>) -> Answer<Json> {
        let body = request.get_ref().text.clone().into_bytes();
        self.ask(Route::IssueToken, &request, Call { body, ..Call::default() }).await
    }

    async fn list_tokens(&self, request: Request<Nothing>) -> Answer<Json> {
        self.ask(Route::ListTokens, &request, Call::default()).await
    }

    async fn revoke_token(&self, request: Request<TokenRequest>) -> Answer<Json> {
        self.ask_of_token(Route::RevokeToken, request).await
    }

    async fn suspend_token(&self, request: Request<TokenRequest>) -> Answer<Json> {
        self.ask_of_token(Route::SuspendToken, request).await
    }

    async fn resume_token(&self, request: Request<TokenRequest>) -> Answer<Json> {
        self.ask_of_token(Route::ResumeToken, request).await
    }

    async fn recent_of_token(&self, request: Request<TokenRequest>) -> Answer<Json> {
        self.ask_of_token(Route::RecentOfToken, request).await
    }
}

/// Chunks as they come.
type ChunkStream = Pin<Box<dyn Stream<Item = Result<Chunk, Status>> + Send>>;

fn stream_of(chunks: Chunks) -> impl Stream<Item = Result<Chunk, Status>> + Send {
    stream::unfold(0, move |number| async move {
        tokio::time::sleep(chunks.pause_before(number)).await;
        Some((Ok(Chunk { text: chunks.get(number)? }), number + 1))
    })
}

fn status_of(refusal: &Reply) -> Status {
    Status::new(code(refusal.status), String::from_utf8_lossy(&refusal.body))
}

/// What stands for an HTTP status.
fn code(status: u16) -> Code {
    match status {
        400 => Code::InvalidArgument,
        404 => Code::NotFound,
        409 => Code::FailedPrecondition,
        503 => Code::Unavailable,
        _ => Code::Internal,
    }
}
