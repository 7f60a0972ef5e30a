//! Proves that the accounts balance under every fault: child programs that record usage, faults that are
//! done to them, and a ledger that holds what they were told against what the file has.
//!
//! `cargo test -p token-tracker-faults` runs the short form, `run-full.sh` the full one.

mod authority;
mod child;
#[cfg(target_os = "linux")]
mod compile;
mod entry;
mod ledger;
mod load;
mod moment;
#[cfg(target_os = "linux")]
mod mount;
mod scene;
#[cfg(target_os = "linux")]
mod shim;
mod spending;

// The interface to tests and child programs is:
pub use authority::{
    Answer, History, Request, Sight, look, look_as_known, read_report, scope_of, write_report,
};
pub use child::{Child, terminate};
pub use entry::{Ack, Entry, Spent, say};
pub use ledger::{Audit, Ledger, Shared};
pub use load::Load;
pub use moment::{Deadline, at_us, eventually, pause};
#[cfg(target_os = "linux")]
pub use mount::{Ext4, Filler, Tmpfs};
pub use scene::{Scene, alone, builder, mode, opaque, rounds, secret_of};
#[cfg(target_os = "linux")]
pub use shim::{Call, Failure, Shim};
pub use spending::{Spending, Worth};
