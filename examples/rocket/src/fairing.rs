//! The piece to copy: authentication around rocket's routes, and a fairing that records how every request ends. It takes
//! both: only around a route is it known which one, and only a fairing sees every answer, those of catchers too.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rocket::fairing::{Fairing, Info, Kind};
use rocket::http::{Method, Status};
use rocket::request::{FromRequest, Outcome};
use rocket::response::Body;
use rocket::route::{self, Handler, Route};
use rocket::tokio::io::{AsyncRead, ReadBuf};
use rocket::tokio::task;
use rocket::{Data, Request, Response};
use token_tracker::{Access, AuthError, AuthRequest, Identity, TokenTracker};

/// Authenticates with this tracker. Handlers find the caller as a guard, a `Caller`.
#[derive(Clone)]
pub(crate) struct Track {
    pub(crate) tracker: TokenTracker,
    /// The scope that every request needs.
    pub(crate) scope: Option<&'static str>,
}

impl Track {
    /// These routes, behind authentication.
    pub(crate) fn around(&self, routes: Vec<Route>) -> Vec<Route> {
        let tracked = |mut route: Route| {
            route.handler = Box::new(Tracked { inner: route.handler, track: self.clone() });
            route
        };
        routes.into_iter().map(tracked).collect()
    }
}

/// A handler behind authentication.
#[derive(Clone)]
struct Tracked {
    inner: Box<dyn Handler>,
    track: Track,
}

#[rocket::async_trait]
impl Handler for Tracked {
    async fn handle<'r>(&self, request: &'r Request<'_>, data: Data<'r>) -> route::Outcome<'r> {
        let ticket = Ticket::of(request);
        let forwarded = ticket.access().as_mut().map(|access| {
            access.set_route(&template(request).unwrap_or_default());
            self.track.scope.is_none_or(|scope| access.identity().has_scope(scope))
        });
        match forwarded {
            Some(true) => {}
            // From a route that wants another scope.
            Some(false) => return route::Outcome::Error(Status::Forbidden),
            None => match self.track.authenticate(request).await {
                Ok(access) => *ticket.access() = Some(access),
                Err(refusal) => return route::Outcome::Success(refused(&refusal)),
            },
        }
        // Where the client leaves while this waits, it goes on, and no body is asked for in the end.
        self.inner.handle(request, data).await
    }
}

impl Track {
    /// From memory where that will do, else on a thread that may block.
    async fn authenticate(&self, request: &Request<'_>) -> Result<Access, AuthError> {
        let (route, headers) = (template(request), request.headers());
        let fields = ["Authorization", "User-Agent"].into_iter();
        let fields = fields.flat_map(|name| headers.get(name).map(move |value| (name, value)));
        let request = AuthRequest::from_headers(fields)
            .method(Ticket::of(request).method.as_str())
            .path(request.uri().path().as_str())
            .query(request.uri().query().map(|query| query.as_str()))
            .route(route.as_deref())
            .client_address(request.remote().map(|peer| peer.ip()))
            .scope(self.scope);
        if let Some(answer) = self.tracker.authenticate_cached(&request) {
            return answer;
        }
        let (tracker, request) = (self.tracker.clone(), request.into_owned());
        let answer = task::spawn_blocking(move || tracker.authenticate(request)).await;
        answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// What is known of a request from its first to its last moment.
struct Ticket {
    /// As it came: rocket makes a GET of a HEAD.
    method: Method,
    access: Mutex<Option<Access>>,
}

impl Ticket {
    fn of<'r>(request: &'r Request<'_>) -> &'r Self {
        request.local_cache(|| Self { method: request.method(), access: Mutex::default() })
    }

    fn access(&self) -> MutexGuard<'_, Option<Access>> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[rocket::async_trait]
impl Fairing for Track {
    fn info(&self) -> Info {
        Info { name: "token-tracker", kind: Kind::Request | Kind::Response | Kind::Singleton }
    }

    async fn on_request(&self, request: &mut Request<'_>, _: &mut Data<'_>) {
        Ticket::of(request);
    }

    async fn on_response<'r>(&self, request: &'r Request<'_>, response: &mut Response<'r>) {
        let ticket = Ticket::of(request);
        // What has no route has run no handler.
        if request.route().is_none() {
            match self.authenticate(request).await {
                Ok(access) => *ticket.access() = Some(access),
                Err(refusal) => *response = refused(&refusal),
            }
        }
        let Some(mut access) = ticket.access().take() else { return };
        if let Some(size) = response.body_mut().size().await {
            response.set_raw_header("Content-Length", size.to_string());
        }
        let length = response.headers().get_one("Content-Length");
        let (status, length) = (response.status().code, length.and_then(|text| text.parse().ok()));
        // Rocket asks for no body here.
        if ticket.method == Method::Head || matches!(status, 204 | 304) {
            access.begin(status, length);
            return;
        }
        let (chunk, inner) = (response.body().max_chunk_size(), response.body_mut().take());
        response.set_streamed_body(TrackedBody { inner, access, head: Some((status, length)) });
        response.set_max_chunk_size(chunk);
    }
}

/// The template that matched, `/items/<id>` as `/items/{id}`.
fn template(request: &Request<'_>) -> Option<String> {
    let path = request.route()?.uri.path();
    Some(path.replace('<', "{").replace("..>", "}").replace('>', "}"))
}

fn refused<'r>(refusal: &AuthError) -> Response<'r> {
    let answer = refusal.answer();
    let mut response = Response::build();
    response.status(Status::new(answer.status));
    for (name, value) in answer.headers {
        response.raw_header(name, value);
    }
    response.finalize()
}

/// The body of a response that tells its access what becomes of it.
struct TrackedBody<'r> {
    inner: Body<'r>,
    access: Access,
    /// Until it has gone out: then rocket asks for the body, and never where the client has left.
    head: Option<(u16, Option<u64>)>,
}

impl AsyncRead for TrackedBody<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some((status, length)) = self.head.take() {
            self.access.begin(status, length);
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        match buffer.filled().len() - before {
            _ if read.is_err() => self.access.fail(),
            0 => self.access.finish(),
            bytes => self.access.sent(u64::try_from(bytes).unwrap_or(u64::MAX)),
        }
        Poll::Ready(read)
    }
}

/// The caller of a route behind authentication.
pub(crate) struct Caller(pub(crate) Identity);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Caller {
    type Error = ();

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ()> {
        match &*Ticket::of(request).access() {
            Some(access) => Outcome::Success(Self(access.identity().clone())),
            None => Outcome::Error((Status::Unauthorized, ())),
        }
    }
}
