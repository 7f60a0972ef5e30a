//! What the service does, route by route.

use std::convert::Infallible;
use std::io;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Bytes, Data, PayloadConfig, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder, guard, rt};
use example_service::{Api, Call, Chunks, MAX_BODY, Reply, Route, pause};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use token_tracker::{Identity, TokenTracker};

use crate::middleware::TrackLayer;

/// The service: `/healthz` for anybody, everything else for whoever has a token.
pub(crate) fn configure(config: &mut ServiceConfig, tracker: TokenTracker, api: Api) {
    let track = TrackLayer { tracker, scope: None };
    let for_admins = TrackLayer { scope: Some("admin"), ..track.clone() };
    let for_no_path = track.clone();
    let on = |route| {
        move |api: Data<Api>, request: HttpRequest, body: Bytes| {
            answer(api, route, call(&request, &body))
        }
    };
    let admin = web::scope("/admin")
        .route("/health", get().to(on(Route::Health)))
        .route("/tokens", get().to(on(Route::ListTokens)))
        .route("/tokens", web::post().to(on(Route::IssueToken)))
        .route("/tokens/{token_id}", web::delete().to(on(Route::RevokeToken)))
        .route("/tokens/{token_id}/recent", get().to(on(Route::RecentOfToken)))
        .route("/tokens/{token_id}/resume", web::post().to(on(Route::ResumeToken)))
        .route("/tokens/{token_id}/suspend", web::post().to(on(Route::SuspendToken)))
        .default_service(web::to(HttpResponse::NotFound))
        .wrap(from_fn(move |request, next| for_admins.clone().call(request, next)));
    let everything_else = web::scope("")
        .route("/hello/{name}", get().to(on(Route::Hello)))
        .route("/items", web::post().to(on(Route::CreateItem)))
        .route("/items/{id}", get().to(on(Route::ReadItem)))
        .route("/stream", get().to(stream_chunks))
        .route("/stream-known", get().to(stream_known))
        .route("/stream-fail", get().to(stream_fail))
        .route("/empty", get().to(on(Route::Empty)))
        .route("/slow", get().to(slow))
        .route("/fail", get().to(on(Route::Fail)))
        .route("/panic", get().to(panic))
        .route("/me", get().to(on(Route::Me)))
        .route("/usage", get().to(on(Route::Usage)))
        .route("/usage/recent", get().to(on(Route::Recent)))
        .default_service(web::to(HttpResponse::NotFound))
        .wrap(from_fn(move |request, next| track.clone().call(request, next)));
    // No scope has what is asked of the server as a whole, as in `OPTIONS *`.
    let no_path = web::to(HttpResponse::NotFound)
        .wrap(from_fn(move |request, next| for_no_path.clone().call(request, next)));
    config
        .app_data(Data::new(api))
        .app_data(PayloadConfig::new(MAX_BODY))
        .route("/healthz", get().to(on(Route::Healthz)))
        .service(admin)
        .service(everything_else)
        .default_service(no_path);
}

/// GET, and HEAD with it: actix-web tells them apart.
fn get() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A request, as the answers need it.
fn call(request: &HttpRequest, body: &Bytes) -> Call {
    let parameter = request.match_info().iter().next().map(|(_, value)| value.to_owned());
    Call {
        caller: request.extensions().get::<Identity>().cloned(),
        parameter: parameter.unwrap_or_default(),
        query: request.uri().query().map(str::to_owned),
        body: body.to_vec(),
    }
}

/// On a thread that may block where the answer may have to wait for the disk.
async fn answer(api: Data<Api>, route: Route, call: Call) -> HttpResponse {
    if !Api::blocks(route) {
        return response(api.answer(route, call));
    }
    match web::block(move || api.answer(route, call)).await {
        Ok(reply) => response(reply),
        Err(error) => HttpResponse::from_error(error),
    }
}

fn response(reply: Reply) -> HttpResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponseBuilder::new(status);
    for field in reply.headers {
        response.insert_header(field);
    }
    response.body(reply.body)
}

async fn stream_chunks(request: HttpRequest) -> HttpResponse {
    match Chunks::of(request.uri().query()) {
        Ok(chunks) => HttpResponse::Ok().streaming(stream_of(chunks)),
        Err(refusal) => response(refusal),
    }
}

fn stream_of(chunks: Chunks) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(0, move |number| async move {
        rt::time::sleep(chunks.pause_before(number)).await;
        Some((Ok(chunks.get(number)?.into()), number + 1))
    })
}

async fn stream_known(request: HttpRequest) -> HttpResponse {
    match Chunks::of(request.uri().query()) {
        Ok(chunks) => HttpResponse::Ok().body(SizedStream::new(chunks.length(), stream_of(chunks))),
        Err(refusal) => response(refusal),
    }
}

async fn stream_fail() -> HttpResponse {
    let failure = stream::once(async { Err(io::Error::other("asked to fail")) });
    let chunks = stream_of(Chunks::FAILING).map_err(|never| match never {});
    HttpResponse::Ok().streaming(chunks.chain(failure))
}

async fn slow(request: HttpRequest) -> HttpResponse {
    match pause(request.uri().query()) {
        Ok(pause) => {
            rt::time::sleep(pause).await;
            HttpResponse::Ok().body("done\n")
        }
        Err(refusal) => response(refusal),
    }
}

#[allow(clippy::panic, reason = "this route shows what becomes of a handler that panics")]
async fn panic() -> HttpResponse {
    panic!("asked to panic")
}
