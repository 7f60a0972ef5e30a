//! A mass revocation would let some tokens in while others are refused, here or for longer than is promised in another
//! process; or one that is killed half way would leave what cannot be told or finished.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{Issued, NewToken, TokenFilter, TokenStatus, TokenTracker};
use token_tracker_faults::{
    Answer, Child, Request, Scene, Sight, alone, at_us, eventually, look, pause, read_report,
    rounds, scope_of, secret_of, terminate,
};

/// What is promised to other processes, and a little for two clocks that are not quite in step.
const BOUND_US: i64 = 250_000 + 1_000;

const TOKENS: usize = 2_000;

/// Of somebody else.
const SPARED: usize = 100;

/// Tokens to a commit.
const STEP: u64 = 256;

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

fn open(scene: &Scene) -> TokenTracker {
    TokenTracker::builder().without_usage_recording().open(scene.database()).unwrap()
}

fn issue(tracker: &TokenTracker, owner: &str, count: usize) -> Vec<Issued> {
    let issue = |number: usize| {
        let new = NewToken::opaque(owner, number.to_string()).scopes([scope_of(0)]);
        tracker.tokens().issue(new).unwrap()
    };
    (0..count).map(issue).collect()
}

fn secrets_of(issued: &[Issued]) -> Vec<String> {
    issued.iter().map(|issued| secret_of(issued).1).collect()
}

/// Asks for those that are refused and stored first and last, and for no others, so that nothing in between goes
/// unseen.
fn watch_both_ends(tracker: &TokenTracker, secrets: &[String], stop: &AtomicBool) -> Vec<Sight> {
    let places = [0, TOKENS - 1, 1, TOKENS - 2];
    let ends = places.map(|place| secrets[place].clone());
    let seen = look(tracker, &ends, stop).into_iter();
    seen.map(|sight| Sight { token: places[sight.token], ..sight }).collect()
}

/// Holds what was seen against the call: nothing is refused before it, and nothing is let in from `over_us` on.
/// Returns when the last was let in.
fn judge(seen: &[Sight], call: Request, over_us: i64) -> i64 {
    let mut refused = vec![false; TOKENS + SPARED];
    let mut last_us = i64::MIN;
    for sight in seen {
        let is_spared = sight.token >= TOKENS;
        match sight.answer {
            Answer::Accepted(0) if is_spared => {}
            Answer::Accepted(0) => last_us = last_us.max(sight.last.began_us),
            Answer::Revoked if !is_spared => {
                let too_soon = call.began_us - sight.first.ended_us;
                assert!(too_soon <= 0, "{} refused {too_soon} µs too soon", sight.token);
                refused[sight.token] = true;
            }
            other => panic!("{other:?} of {}", sight.token),
        }
    }
    let late = last_us - over_us;
    assert!(late <= 0, "let in {late} µs too late");
    let count = refused.iter().filter(|refused| **refused).count();
    assert_eq!(count, TOKENS, "each was seen refused");
    last_us
}

fn revoke_beside_another_process() {
    let scene = Scene::new();
    let tracker = open(&scene);
    let mut secrets = secrets_of(&issue(&tracker, ALICE, TOKENS));
    secrets.extend(secrets_of(&issue(&tracker, BOB, SPARED)));
    let report = scene.directory().join("report");
    let mut args =
        [scene.database(), report.clone()].map(|path| path.display().to_string()).to_vec();
    args.extend(secrets.iter().cloned());
    let mut other = Child::start(env!("CARGO_BIN_EXE_authority"), &args);
    other.await_note("ready");
    let stop = AtomicBool::new(false);
    let (call, own) = std::thread::scope(|scope| {
        let asker = scope.spawn(|| look(&tracker, &secrets, &stop));
        let watcher = scope.spawn(|| watch_both_ends(&tracker, &secrets, &stop));
        // Most are cached by then, here and there.
        pause(500);
        let began_us = at_us();
        let done = tracker.tokens().revoke_all(&TokenFilter::new().owner(ALICE), "").unwrap();
        let call = Request { began_us, ended_us: at_us() };
        assert_eq!((done.revoked, done.already_revoked), (TOKENS as u64, 0));
        pause(700);
        stop.store(true, Ordering::Relaxed);
        (call, [asker, watcher].map(|asker| asker.join().unwrap()).concat())
    });
    terminate(&other);
    assert!(other.finish(Duration::from_secs(20)).success(), "it saw nothing that cannot be");
    let is_refused = |sight: &&Sight| sight.answer == Answer::Revoked;
    let first = own.iter().filter(is_refused).map(|sight| sight.first.ended_us).min().unwrap();
    // Once one is seen refused here, all are.
    judge(&own, call, first.min(call.ended_us));
    let last = judge(&read_report(&report), call, call.ended_us + BOUND_US);
    let took = call.ended_us - call.began_us;
    let (first, last) = (first - call.began_us, last - call.ended_us);
    eprintln!("{took} µs: refused here after {first} µs, there {last} µs after the end");
}

#[test]
fn all_are_refused_at_once_and_in_another_process_in_time() {
    let _alone = alone();
    (0..rounds(1, 20)).for_each(|_| revoke_beside_another_process());
}

/// Kills a mass revocation under way, and finishes it. Returns how many it had stored.
fn kill_half_way(round: u32) -> u64 {
    let scene = Scene::new();
    let tracker = open(&scene);
    let (hers, his) = (issue(&tracker, ALICE, TOKENS), issue(&tracker, BOB, SPARED));
    let database = scene.database().display().to_string();
    let args = [database, BOB.to_owned(), ALICE.to_owned()];
    let mut child = Child::start(env!("CARGO_BIN_EXE_mass"), &args);
    child.await_note(&format!("revoked {BOB}"));
    let all = TokenFilter::new().owner(ALICE);
    let revoked = || {
        let revoked = all.clone().status(TokenStatus::Revoked);
        tracker.tokens().count(&revoked).unwrap()
    };
    let enough = STEP * u64::from(round % 7);
    eventually("so many are revoked", || revoked() >= enough);
    child.kill();
    let stored = revoked();
    let was_told = child.ledger().has_note(&format!("revoked {ALICE}"));
    assert!(stored == TOKENS as u64 || !was_told, "{stored} are stored of what was told");
    let restarted = open(&scene);
    let is_good = |issued: &&Issued| restarted.authenticate(&issued.secret).is_ok();
    assert_eq!(his.iter().filter(is_good).count(), 0, "what was told stays so");
    for issued in &hers {
        let token = restarted.tokens().get(issued.token.id).unwrap();
        assert_eq!(is_good(&issued), token.status == TokenStatus::Active, "{:?}", token.status);
    }
    assert_eq!(hers.iter().filter(is_good).count() as u64, TOKENS as u64 - stored);
    let done = restarted.tokens().revoke_all(&all, "again").unwrap();
    assert_eq!((done.revoked, done.already_revoked), (TOKENS as u64 - stored, stored));
    assert_eq!(hers.iter().filter(is_good).count(), 0);
    stored
}

#[test]
fn mass_revocation_that_is_killed_half_way_is_what_is_stored_and_can_be_repeated() {
    let _alone = alone();
    let stored: Vec<_> = (0..rounds(3, 25)).map(kill_half_way).collect();
    eprintln!("stored before the kill: {stored:?}");
    assert!(stored.iter().any(|stored| (1..TOKENS as u64).contains(stored)), "none was half way");
}
