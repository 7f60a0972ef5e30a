//! Judges the verifier by cases that others wrote: JSON lines of keys, tokens and verdicts.
//!
//! `cargo run --release --example conformance -- FILE.jsonl` prints a line for each wrong verdict and, last,
//! `N passed, N failed, N skipped`; the exit code is 1 if any failed. Everything goes through the public
//! interface: keys from JWK, the policy as an outside issuer that is let through, an injected clock.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use token_tracker::{
    Algorithm, AuthError, Clock, DenialReason, JwtIssuer, JwtKey, KeySet, ManualClock, Outside,
    SystemClock, TokenTracker,
};

/// A case that takes longer fails, whatever its verdict.
const LONGEST: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Case {
    id: String,
    layer: String,
    algs: BTreeSet<String>,
    key: Value,
    token: String,
    expect: String,
    payload_is_claims: bool,
    #[serde(default)]
    policy: Policy,
    #[serde(default)]
    weak_key: bool,
    #[serde(default)]
    unsupported_alg: bool,
}

#[derive(Default, Deserialize)]
struct Policy {
    now: Option<f64>,
    leeway: Option<f64>,
    iss: Option<Vec<String>>,
    aud: Option<Vec<String>>,
    sub: Option<String>,
    typ: Option<String>,
    #[serde(default)]
    required: Vec<String>,
}

/// What became of a token. A fault is wrong whatever was expected.
#[derive(PartialEq)]
enum Verdict {
    Fault(String),
    Invalid(String),
    Valid,
}

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Judges every case, and says how many failed.
fn run() -> Result<u64, Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("say which file of cases to judge by")?;
    let file =
        std::fs::File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut out = std::io::stdout().lock();
    for line in BufReader::new(file).lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let case: Case = serde_json::from_str(&line)?;
        let verdict = judge(&case);
        match (&verdict, case.expect.as_str()) {
            (Verdict::Valid, "valid") | (Verdict::Invalid(_), "invalid") => passed += 1,
            (Verdict::Invalid(_), "valid") if signs_no_claims(&case) => passed += 1,
            (Verdict::Invalid(_), "valid") if case.weak_key || case.unsupported_alg => skipped += 1,
            (_, expected) => {
                failed += 1;
                let (got, reason) = match &verdict {
                    Verdict::Fault(what) => ("a fault", what.as_str()),
                    Verdict::Invalid(reason) => ("invalid", reason.as_str()),
                    Verdict::Valid => ("valid", "accepted"),
                };
                writeln!(out, "WRONG {} expected {expected} got {got}: {reason}", case.id)?;
            }
        }
    }
    writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")?;
    Ok(failed)
}

/// Whether what was signed is no claims set. There is then no token to accept, however good the signature
/// is, so that only the verdict `invalid` binds.
fn signs_no_claims(case: &Case) -> bool {
    case.layer == "jws" && !case.payload_is_claims
}

fn judge(case: &Case) -> Verdict {
    let clock = SystemClock::new();
    let verdict = catch_unwind(AssertUnwindSafe(|| verdict(case)));
    if clock.monotonic() > LONGEST {
        return Verdict::Fault("took longer than a second".to_owned());
    }
    match verdict {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(error)) => Verdict::Fault(error.to_string()),
        Err(_) => Verdict::Fault("panicked".to_owned()),
    }
}

fn verdict(case: &Case) -> Result<Verdict, Box<dyn Error>> {
    let keys = match keys(case) {
        Ok(keys) => keys,
        Err(error) => return Ok(Verdict::Invalid(error.to_string())),
    };
    let nanos = (case.policy.now.unwrap_or(0.0) * 1e9) as i128;
    let clock = ManualClock::new(OffsetDateTime::from_unix_timestamp_nanos(nanos)?);
    let mut builder = TokenTracker::builder().clock(clock).max_token_length(65_536);
    for issuer in issuers(&case.policy, &keys) {
        builder = builder.jwt_issuer(issuer);
    }
    let tracker = match builder.in_memory() {
        Ok(tracker) => tracker,
        Err(error) => return Ok(Verdict::Invalid(error.to_string())),
    };
    match tracker.authenticate(&case.token) {
        Ok(_) => Ok(Verdict::Valid),
        Err(AuthError::Denied(denied))
            if case.layer == "jws" && is_about_claims(denied.reason()) =>
        {
            Ok(Verdict::Valid)
        }
        Err(AuthError::Denied(denied)) => Ok(Verdict::Invalid(denied.reason().to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Whether a refusal says that format, key and signature were good: all that the layer `jws` asks for.
fn is_about_claims(reason: DenialReason) -> bool {
    matches!(
        reason,
        DenialReason::Expired | DenialReason::MalformedClaim | DenialReason::NotYetValid
    )
}

/// A key or a set of keys, for the algorithms that the case allows.
fn keys(case: &Case) -> Result<KeySet, token_tracker::Error> {
    use Algorithm::{
        EdDsa, Es256, Es384, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512,
    };
    let known =
        [EdDsa, Es256, Es384, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512];
    let names = |algorithm: &Algorithm| {
        // RFC 9864 gives EdDSA on this curve a name of its own.
        let renamed = *algorithm == EdDsa && case.algs.contains("Ed25519");
        renamed || case.algs.contains(algorithm.as_str())
    };
    let allowed: Vec<Algorithm> = known.into_iter().filter(names).collect();
    let text = case.key.to_string();
    if case.key.get("keys").is_some() {
        return KeySet::from_jwk_set(&text, &allowed);
    }
    JwtKey::from_jwk(&text, &allowed).map(KeySet::from)
}

/// The policy as an issuer each accepted name, or as one without a name where none is configured.
fn issuers(policy: &Policy, keys: &KeySet) -> Vec<JwtIssuer> {
    let Some(names) = &policy.iss else {
        return vec![configured(JwtIssuer::unnamed(), policy, keys)];
    };
    names.iter().map(|name| configured(JwtIssuer::named(name), policy, keys)).collect()
}

fn configured(issuer: JwtIssuer, policy: &Policy, keys: &KeySet) -> JwtIssuer {
    let mut issuer = issuer
        .keys(keys.clone())
        .outside(Outside::Pass)
        .leeway(Duration::from_secs_f64(policy.leeway.unwrap_or(0.0)))
        .require_claims(policy.required.iter().map(String::as_str));
    for audience in policy.aud.iter().flatten() {
        issuer = issuer.audience(audience);
    }
    if let Some(subject) = &policy.sub {
        issuer = issuer.require_subject(subject);
    }
    if let Some(typ) = &policy.typ {
        issuer = issuer.require_type(typ);
    }
    issuer
}
