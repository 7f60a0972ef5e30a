//! The promises of the library, a file each.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod accounts;
mod architecture;
mod audit;
mod backups;
mod bounds;
mod catalogue;
mod clocks;
mod credentials;
mod durability;
mod floods;
mod issuers;
mod last_use;
mod limits;
mod opening;
mod processes;
mod refusals;
mod restrictions;
mod revocation;
mod rollups;
mod secrecy;
mod statistics;
mod support;
mod tickets;
