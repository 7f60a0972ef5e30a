//! A tour in a hundred lines: issue tokens, use them from several threads, revoke one, and look at what the
//! tracker knows. The file is `TOKENS_DB`, else a temporary one.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use token_tracker::{
    Algorithm, AuthError, AuthRequest, Issued, JwtKey, LastUsed, NewToken, TokenFilter,
    TokenTracker, Usage,
};

const REQUESTS: u32 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let path = std::env::var_os("TOKENS_DB").map(PathBuf::from);
    let path = path.unwrap_or_else(|| temporary.path().join("tokens.db"));
    // A real service keeps its key; this one makes a new one each time it runs.
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let key = JwtKey::hmac(Algorithm::Hs256, &secret)?;
    let tracker = TokenTracker::builder().jwt_key(key).open(&path)?;

    let run = std::process::id();
    let tokens = tracker.tokens().acting_as("quickstart");
    let nightly =
        tokens.issue(NewToken::jwt("alice@example.com", format!("nightly export {run}")))?;
    let laptop = tokens
        .issue(NewToken::opaque("bob@example.com", format!("laptop {run}")).scope("items:read"))?;
    tokens.issue(NewToken::opaque("carol@example.com", format!("never used {run}")))?;

    std::thread::scope(|scope| {
        for issued in [&nightly, &laptop, &laptop] {
            scope.spawn(|| (0..REQUESTS).for_each(|number| serve(&tracker, issued, number)));
        }
    });

    tokens.revoke(nightly.token.id, "the export moved")?;
    match tracker.authenticate(AuthRequest::from(&nightly.secret).route("/items")) {
        Err(AuthError::Denied(denied)) => {
            say(&format!(
                "after its revocation: {} {}",
                denied.status(),
                denied.www_authenticate()
            ))?;
        }
        other => say(&format!("after its revocation: {other:?}"))?,
    }

    tracker.flush()?;
    show_tokens(&tracker)?;
    show_usage(&tracker)?;
    tracker.close()?;
    Ok(())
}

/// One request of a made-up service: every tenth item does not exist.
fn serve(tracker: &TokenTracker, issued: &Issued, number: u32) {
    let request = AuthRequest::from(&issued.secret).user_agent("quickstart/1.0");
    if let Ok(access) = tracker.authenticate(request) {
        let status = if number % 10 == 9 { 404 } else { 200 };
        tracker.record(Usage::of(access).route("GET", "/items/{id}").status(status));
    }
}

fn show_tokens(tracker: &TokenTracker) -> Result<(), Box<dyn Error>> {
    say(&format!("\n{:<18} {:<24} {:<8} {:<8} last used", "owner", "name", "kind", "status"))?;
    for token in tracker.tokens().list(&TokenFilter::new())?.tokens {
        let last_used = match token.last_used {
            LastUsed::At(at) => at.to_string(),
            LastUsed::Never => "never".to_owned(),
            _ => "not tracked".to_owned(),
        };
        let (kind, status) = (token.kind.as_str(), token.status.as_str());
        let (owner, name) = (token.owner, token.name);
        say(&format!("{owner:<18} {name:<24} {kind:<8} {status:<8} {last_used}"))?;
    }
    Ok(())
}

fn show_usage(tracker: &TokenTracker) -> Result<(), Box<dyn Error>> {
    say(&format!(
        "\n{:<24} {:>6} {:>8} {:>7} {:>7} {:>9} {:>9}",
        "name", "total", "success", "client", "denied", "p50", "p99"
    ))?;
    for token in tracker.tokens().list(&TokenFilter::new())?.tokens {
        let usage = tracker.stats().token(token.id).last_days(30).summary()?;
        let (p50, p99) =
            usage.latency.map(|latency| (latency.p50, latency.p99)).unwrap_or_default();
        say(&format!(
            "{:<24} {:>6} {:>8} {:>7} {:>7} {:>9} {:>9}",
            token.name,
            usage.total,
            usage.success,
            usage.client_error,
            usage.denied,
            format!("{p50:?}"),
            format!("{p99:?}"),
        ))?;
    }
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
