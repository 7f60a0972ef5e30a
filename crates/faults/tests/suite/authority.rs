//! A change of authority that races what is cached would let a token in that is revoked, or with scopes that it
//! has no more: in the process that made the change at once, in another after the time that is promised.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{NewToken, TokenTracker, TokenUpdate};
use token_tracker_faults::{
    Answer, Child, Deadline, History, Request, Scene, Sight, alone, at_us, look, pause,
    read_report, rounds, scope_of, secret_of, terminate,
};

/// What is promised to other processes, and a little for two clocks that are not quite in step.
const BOUND_US: i64 = 250_000 + 1_000;

const TOKENS: usize = 48;

/// So many are not revoked.
const SPARED: usize = 16;

/// A token is left alone for so long at least, so that what others make of each change is seen.
const REST_US: i64 = 350_000;

/// Without an order that one could rely on, and the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

struct Administration<'t> {
    tracker: &'t TokenTracker,
    ids: Vec<token_tracker::TokenId>,
    histories: Vec<History>,
    version: u64,
    dice: Dice,
}

impl Administration<'_> {
    /// Makes some change to some token that was left alone for long enough.
    fn change_one(&mut self) {
        let token = self.dice.roll(TOKENS);
        let (last, answer) = self.histories[token].now();
        if answer == Answer::Revoked || at_us() < last.ended_us.saturating_add(REST_US) {
            return;
        }
        let (id, tokens) = (self.ids[token], self.tracker.tokens());
        let began_us = at_us();
        let answer = match (answer, self.dice.roll(8)) {
            (_, 0) if token >= SPARED => {
                tokens.revoke(id, "").unwrap();
                Answer::Revoked
            }
            (Answer::Suspended, _) => {
                let token = tokens.resume(id).unwrap();
                Answer::Accepted(token.scopes[0].strip_prefix("version:").unwrap().parse().unwrap())
            }
            (_, 1..=4) => {
                tokens.suspend(id).unwrap();
                Answer::Suspended
            }
            _ => {
                self.version += 1;
                let scopes = TokenUpdate::new().scopes([scope_of(self.version)]);
                tokens.update(id, scopes).unwrap();
                Answer::Accepted(self.version)
            }
        };
        self.histories[token].add(Request { began_us, ended_us: at_us() }, answer);
    }
}

/// Holds what was seen against what was so, and gives the longest delay.
fn judge(seen: &[Sight], histories: &[History], bound_us: i64) -> i64 {
    let calls =
        |sight: &Sight| [sight.first, sight.last].map(|call| (sight.token, sight.answer, call));
    let delays = seen.iter().flat_map(calls).map(|(token, answer, call)| {
        let history = &histories[token];
        let delay = history.delay(answer, call);
        let delay =
            delay.unwrap_or_else(|| panic!("{answer:?} before its time: {call:?}, {history:?}"));
        assert!(delay <= bound_us, "{answer:?} {delay} µs too late: {call:?}, {history:?}");
        delay
    });
    delays.max().unwrap()
}

/// How many changes there were that somebody must have seen, by what they answer, and how many of them were.
fn changes_seen(seen: &[Sight], histories: &[History]) -> BTreeMap<&'static str, (u32, u32)> {
    let mut counts = BTreeMap::<_, (u32, u32)>::new();
    for (token, history) in histories.iter().enumerate() {
        let mine: Vec<_> = seen.iter().filter(|sight| sight.token == token).collect();
        for (begin, end, answer) in history.lasting(BOUND_US) {
            let within = |call: Request| begin < call.began_us && call.ended_us < end;
            let was_seen = mine
                .iter()
                .any(|sight| sight.answer == answer && (within(sight.first) || within(sight.last)));
            let kind = match answer {
                Answer::Accepted(_) => "accepted",
                Answer::Retired => "retired",
                Answer::Revoked => "revoked",
                Answer::Suspended => "suspended",
            };
            let count = counts.entry(kind).or_default();
            *count = (count.0 + 1, count.1 + u32::from(was_seen));
        }
    }
    counts
}

fn assert_seen(who: &str, seen: &[Sight], histories: &[History], bound_us: i64) {
    let longest = judge(seen, histories, bound_us);
    let accepted = |sight: &&Sight| matches!(sight.answer, Answer::Accepted(_));
    let accepts: u64 = seen.iter().filter(accepted).map(|sight| sight.count).sum();
    let answers: u64 = seen.iter().map(|sight| sight.count).sum();
    let changes = changes_seen(seen, histories);
    eprintln!(
        "{who}: {accepts} accepts, {answers} answers, {longest} µs late at most, {changes:?}"
    );
    assert!(accepts > 10_000 && answers > accepts, "there was hardly anything to see");
    for kind in ["accepted", "suspended"] {
        let (made, noticed) = changes[kind];
        assert!(made >= 10 && noticed >= made / 2, "{noticed} of {made} were seen");
    }
    assert!(seen.iter().any(|sight| sight.answer == Answer::Revoked));
}

fn administer_beside_another_process() {
    let scene = Scene::new();
    let builder = TokenTracker::builder().without_usage_recording();
    let tracker = builder.open(scene.database()).unwrap();
    let issue = |number: usize| {
        let new = NewToken::opaque("alice@example.com", number.to_string());
        tracker.tokens().issue(new.scopes([scope_of(0)])).unwrap()
    };
    let issued: Vec<_> = (0..TOKENS).map(issue).collect();
    let secrets: Vec<_> = issued.iter().map(|issued| secret_of(issued).1).collect();
    let report = scene.directory().join("report");
    let mut args =
        [scene.database(), report.clone()].map(|path| path.display().to_string()).to_vec();
    args.extend(secrets.iter().cloned());
    let mut other = Child::start(env!("CARGO_BIN_EXE_authority"), &args);
    other.await_note("ready");
    let mut administration = Administration {
        tracker: &tracker,
        ids: issued.iter().map(|issued| issued.token.id).collect(),
        histories: vec![History::new(); TOKENS],
        version: 0,
        dice: Dice(at_us().unsigned_abs()),
    };
    let stop = AtomicBool::new(false);
    let own = std::thread::scope(|scope| {
        let askers = [(); 2].map(|()| scope.spawn(|| look(&tracker, &secrets, &stop)));
        let end = Deadline::after(Duration::from_secs(5));
        while !end.is_over() {
            administration.change_one();
            pause(1);
        }
        stop.store(true, Ordering::Relaxed);
        askers.map(|asker| asker.join().unwrap()).concat()
    });
    terminate(&other);
    assert!(other.finish(Duration::from_secs(20)).success(), "it saw nothing that cannot be");
    let seen = read_report(&report);
    assert_seen("this process", &own, &administration.histories, 0);
    assert_seen("the other one", &seen, &administration.histories, BOUND_US);
}

#[test]
fn no_process_lets_in_what_was_refused_and_each_lets_in_again_what_was_resumed() {
    let _alone = alone();
    (0..rounds(1, 12)).for_each(|_| administer_beside_another_process());
}
