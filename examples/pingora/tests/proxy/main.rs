//! The proxy over real sockets: who gets through, what the upstream is told, and that each request is recorded exactly
//! once, as it ended.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "this is the body of tests, and judges another process, whose clock is the real one"
)]

mod client;
mod ended;
mod recorded;
mod refused;
mod stage;
mod told;
mod upstream;

use token_tracker::Outcome;

const CLIENT_ERROR: Outcome = Outcome::ClientError;
const SERVER_ERROR: Outcome = Outcome::ServerError;
const SUCCESS: Outcome = Outcome::Success;
const UNFINISHED: Outcome = Outcome::Unfinished;
