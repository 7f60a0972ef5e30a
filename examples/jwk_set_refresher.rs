//! Keeps the keys of an outside issuer fresh: a thread that reads its JWK Set now and then. How the set is
//! fetched is the host's business; this one reads a file that something else keeps up to date.
//!
//! `cargo run --example jwk_set_refresher -- SET.json`

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use token_tracker::{Algorithm, JwtIssuer, KeySet, Outside, TokenTracker};

const ISSUER: &str = "https://id.example.com";
const ALLOWED: [Algorithm; 3] = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256];

fn main() -> Result<(), Box<dyn Error>> {
    let path = PathBuf::from(std::env::args_os().nth(1).ok_or("say which file holds the JWK Set")?);
    let keys = KeySet::from_jwk_set(&std::fs::read_to_string(&path)?, &ALLOWED)?;
    let issuer = JwtIssuer::named(ISSUER).keys(keys).outside(Outside::Pass);
    let tracker = TokenTracker::builder().jwt_issuer(issuer).in_memory()?;

    let refreshed = tracker;
    let refresher = std::thread::Builder::new().name("jwk-set-refresher".to_owned());
    let refresher = refresher.spawn(move || {
        // A service loops until it ends, every ten minutes or so.
        for _ in 0..3 {
            if let Err(error) = refresh(&refreshed, &path) {
                let _ = writeln!(std::io::stderr(), "the old keys stay: {error}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    })?;
    refresher.join().map_err(|_| "the refresher panicked")?;
    writeln!(std::io::stdout(), "the keys of {ISSUER} were read four times")?;
    Ok(())
}

/// Keys that are no longer in the set verify for an hour more, for tokens that are on their way.
fn refresh(tracker: &TokenTracker, path: &PathBuf) -> Result<(), Box<dyn Error>> {
    let keys = KeySet::from_jwk_set(&std::fs::read_to_string(path)?, &ALLOWED)?;
    Ok(tracker.replace_keys(ISSUER, keys, Duration::from_secs(3_600))?)
}
