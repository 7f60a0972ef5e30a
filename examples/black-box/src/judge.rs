//! The judgement, one file a subject; each public function is one test of the suite.

pub(crate) mod admin;
pub(crate) mod bad_input;
pub(crate) mod bodies;
pub(crate) mod bodies_in;
pub(crate) mod crowd;
pub(crate) mod end_of_life;
pub(crate) mod http2;
pub(crate) mod identity;
pub(crate) mod odd_requests;
pub(crate) mod proxied;
pub(crate) mod records;
pub(crate) mod refusals;
pub(crate) mod restart;
pub(crate) mod restrictions;
pub(crate) mod slow;
pub(crate) mod slow_store;
pub(crate) mod start;
pub(crate) mod storage;
pub(crate) mod usage;
