//! Measures what this library promises, and prints a line each: `figure <name> <value> <unit>`.
//!
//! A ratio is to a limit that is measured in the same run, turn by turn with the thing itself, so that a
//! busy machine slows both. `--quick` measures at a tenth of the size or less, `--only NAME` one figure.
//!
//! ```text
//! cargo bench -p token-tracker-bench -- --quick --only authenticate_cached_vs_decode
//! ```

#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool that prints figures, and has nothing better to do than to stop where it cannot"
)]

mod append;
mod authenticate;
mod history;
mod http_overhead;
mod ingest;
mod last_used;
#[path = "../../../../examples/axum/src/layer.rs"]
mod layer;
mod load;
mod material;
mod measure;
mod memory;
mod percentiles;
mod prune;
mod questions;
mod record_call;
mod revoke;
mod shared;
mod size;
mod traffic;
mod volume;

use measure::{Figure, Scale};

const MODULES: [&[Figure]; 10] = [
    authenticate::FIGURES,
    last_used::FIGURES,
    memory::FIGURES,
    record_call::FIGURES,
    ingest::FIGURES,
    size::FIGURES,
    questions::FIGURES,
    revoke::FIGURES,
    prune::FIGURES,
    http_overhead::FIGURES,
];

fn main() {
    let mut scale = Scale::Full;
    let mut only = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--quick" => scale = Scale::Quick,
            "--only" => only = Some(arguments.next().expect("--only takes the name of a figure")),
            memory::CHILD => return memory::child(arguments),
            _ => panic!("not an argument: {argument} (there are --quick and --only NAME)"),
        }
    }
    let wanted = |figure: &&Figure| only.as_ref().is_none_or(|name| name == figure.name);
    let figures: Vec<_> = MODULES.into_iter().flatten().filter(wanted).collect();
    assert!(!figures.is_empty(), "there is no figure of this name");
    let _removal = shared::Removal;
    for figure in figures {
        println!("figure {} {:.3} {}", figure.name, (figure.measure)(scale), figure.unit);
    }
}
