//! What every adapter example serves, whatever its HTTP stack: the start and the end, the routes, and what is answered
//! on each. Nothing of it is part of an adapter; that is one file of each example.

mod api;
mod chunks;
#[cfg(feature = "hyper")]
mod frames;
#[cfg(feature = "hyper")]
mod hyper_server;
mod query;
mod reply;
mod routes;
mod start;
mod tokens;

// The public interface is:
pub use api::{Api, Call};
pub use chunks::{Chunks, pause};
#[cfg(feature = "hyper")]
pub use frames::Ending;
#[cfg(feature = "hyper")]
pub use hyper_server::{blocking, runtime, serve};
pub use reply::Reply;
pub use routes::Route;
pub use start::{
    Announcement, DRAIN, HEAD_TIMEOUT, MAX_BODY, Result, Service, Stop, run, run_self_bound,
};
