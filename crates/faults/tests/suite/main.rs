//! The accounts balance under every fault, a file each.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod authority;
mod damage;
#[cfg(target_os = "linux")]
mod failing_calls;
#[cfg(target_os = "linux")]
mod full_disk;
mod kill;
mod locks;
mod mass;
mod open_files;
mod ordeal;
#[cfg(target_os = "linux")]
mod power;
mod processes;
mod quotas;
#[cfg(target_os = "linux")]
mod read_only;
mod rotation;
mod shutdown;
