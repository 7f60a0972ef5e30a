//! The promises of the library, a file each.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod accounts;
mod adapters;
mod architecture;
mod audit;
mod backups;
mod bounds;
mod care;
mod catalogue;
mod cleanup;
mod clocks;
mod credentials;
mod delegation;
mod durability;
mod erasure;
mod events;
mod export_files;
mod exports;
mod filters;
mod floods;
mod follow;
mod groupings;
mod issuers;
mod last_use;
mod late_use;
mod ledger;
mod limits;
mod mass;
mod metrics;
mod opening;
mod privacy;
mod processes;
mod proxies;
mod quotas;
mod records;
mod refusals;
mod restrictions;
mod revocation;
mod rollups;
mod rotation;
mod secrecy;
mod statistics;
mod support;
mod tickets;
mod views;
