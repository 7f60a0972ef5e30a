//! What the service does, route by route.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use example_service::{Api, Call, Chunks, MAX_BODY, Reply, Route, pause};
use tiny_http::{Header, Request, Response, ResponseBox, StatusCode};
use token_tracker::{Identity, TokenTracker};

use crate::drain::Drain;
use crate::middleware::{TrackLayer, target};

/// The service: `/healthz` for anybody, everything else for whoever has a token.
pub(crate) struct Routes {
    track: TrackLayer,
    for_admins: TrackLayer,
    api: Api,
    drain: Arc<Drain>,
}

impl Routes {
    pub(crate) fn new(tracker: TokenTracker, api: Api, drain: Arc<Drain>) -> Self {
        let track = TrackLayer { tracker, scope: None };
        let for_admins = TrackLayer { scope: Some("admin"), ..track.clone() };
        Self { track, for_admins, api, drain }
    }

    pub(crate) fn serve(&self, request: Request) {
        let found = Route::find(request.method().as_str(), target(request.url()).0);
        let Some((route, parameter)) = found else {
            let nothing = |_: &mut Request, _| response(Reply::empty(404));
            return done(self.track.call(request, None, nothing));
        };
        if route == Route::Healthz {
            return done(request.respond(response(self.api.answer(route, Call::default()))));
        }
        let track = if route.scope().is_some() { &self.for_admins } else { &self.track };
        done(track.call(request, Some(route.template()), |request, caller| {
            let call = call(request, caller, parameter);
            call.and_then(|call| self.answer(route, call)).unwrap_or_else(response)
        }));
    }

    fn answer(&self, route: Route, call: Call) -> Result<ResponseBox, Reply> {
        let query = call.query.as_deref();
        Ok(match route {
            Route::Panic => panic(),
            Route::Slow => {
                let waited = self.drain.pause(pause(query)?);
                response(waited.map_or(Reply::empty(503), |()| Reply::text("done\n")))
            }
            Route::Stream => self.stream(Chunks::of(query)?, None, io::empty()),
            Route::StreamFail => self.stream(Chunks::FAILING, None, Failure),
            Route::StreamKnown => {
                let chunks = Chunks::of(query)?;
                let length = usize::try_from(chunks.length());
                self.stream(chunks, length.ok(), io::empty())
            }
            _ => response(self.api.answer(route, call)),
        })
    }

    /// The chunks one after the other, and then whatever comes behind them.
    fn stream(
        &self,
        chunks: Chunks,
        length: Option<usize>,
        then: impl Read + Send + 'static,
    ) -> ResponseBox {
        let drain = Arc::clone(&self.drain);
        let stream = Stream { chunks, number: 0, chunk: Cursor::default(), drain };
        Response::new(StatusCode(200), Vec::new(), stream.chain(then), length, None).boxed()
    }
}

/// What is wrong with a connection is its client's affair; what becomes of its requests is recorded.
fn done(sent: io::Result<()>) {
    drop(sent);
}

/// A request, as the answers need it.
fn call(request: &mut Request, caller: Identity, parameter: String) -> Result<Call, Reply> {
    let mut body = Vec::new();
    let most = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    let read = request.as_reader().take(most + 1).read_to_end(&mut body);
    match read {
        Ok(length) if length > MAX_BODY => Err(Reply::empty(413)),
        Ok(_) => {
            let query = target(request.url()).1.map(str::to_owned);
            Ok(Call { caller: Some(caller), parameter, query, body })
        }
        Err(_) => Err(Reply::empty(400)),
    }
}

fn response(reply: Reply) -> ResponseBox {
    let field = |(name, value): (&str, &str)| Header::from_bytes(name, value).ok();
    let headers = reply.headers.into_iter().filter_map(field).collect();
    let length = reply.body.len();
    let body = Cursor::new(reply.body);
    Response::new(StatusCode(reply.status), headers, body, Some(length), None).boxed()
}

struct Stream {
    chunks: Chunks,
    number: u64,
    /// What is left of the chunk before.
    chunk: Cursor<String>,
    drain: Arc<Drain>,
}

impl Read for Stream {
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        if self.chunk.position() == self.chunk.get_ref().len() as u64 {
            self.drain.pause(self.chunks.pause_before(self.number))?;
            self.chunk = Cursor::new(self.chunks.get(self.number).unwrap_or_default());
            self.number = self.number.saturating_add(1);
        }
        self.chunk.read(part)
    }
}

/// A body that fails at once.
struct Failure;

impl Read for Failure {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("asked to fail"))
    }
}

#[allow(clippy::panic, reason = "this route shows what becomes of a handler that panics")]
fn panic() -> ResponseBox {
    panic!("asked to panic")
}
