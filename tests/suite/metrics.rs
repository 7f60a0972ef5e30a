//! Every attempt, record and commit is counted once, what is counted adds up, and its text is OpenMetrics that tells of
//! no token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use token_tracker::{
    Access, AuthError, AuthRequest, Checkpoints, Clock, DenialReason, DeniedEvent, Hook, Issued,
    ManualClock, Metrics, NewToken, PathFilter, Quota, TokenTracker, Usage,
};

use crate::support::{
    Database, Done, OWNER, accepted, access, builder, denied, eventually, in_memory, jwt, opaque,
};

/// A family of a text.
#[derive(Debug, Default, PartialEq)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    samples: BTreeMap<(String, Labels), f64>,
}

type Labels = Vec<(String, String)>;

/// Reads OpenMetrics 1.0 text, and takes nothing but that.
fn read(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = None::<String>;
    let body = text.strip_suffix("# EOF\n").expect("the end is marked, once");
    assert!(body.is_empty() || body.ends_with('\n'));
    for line in body.lines() {
        assert!(!line.is_empty() && !line.contains('\r'), "{line:?}");
        if let Some(descriptor) = line.strip_prefix("# ") {
            let (keyword, rest) = descriptor.split_once(' ').unwrap();
            let (name, value) = rest.split_once(' ').unwrap();
            if keyword == "TYPE" {
                assert!(is_name(name), "{line}");
                assert!(["counter", "gauge", "histogram", "info"].contains(&value), "{line}");
                let family = Family { kind: value.to_owned(), ..Family::default() };
                assert!(families.insert(name.to_owned(), family).is_none(), "twice: {line}");
                current = Some(name.to_owned());
                continue;
            }
            assert_eq!(current.as_deref(), Some(name), "of another family: {line}");
            let family = families.get_mut(name).unwrap();
            assert!(family.samples.is_empty() && family.help.is_empty(), "out of order: {line}");
            match keyword {
                "UNIT" => {
                    assert!(family.unit.is_empty() && name.ends_with(&format!("_{value}")));
                    family.unit = value.to_owned();
                }
                "HELP" => family.help = unescaped(value),
                _ => panic!("no descriptor: {line}"),
            }
            continue;
        }
        let name = current.as_ref().expect("a type comes first");
        let family = families.get_mut(name).unwrap();
        let (sample, labels, value) = read_sample(line);
        let suffix = sample.strip_prefix(name.as_str()).expect("of the family that was named last");
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &["_info"],
        };
        assert!(suffixes.contains(&suffix), "{line}");
        assert!(family.kind == "gauge" || (value.is_finite() && value >= 0.0), "{line}");
        assert_eq!(family.samples.insert((sample, labels), value), None, "twice: {line}");
    }
    for (name, family) in &families {
        assert!(!family.help.is_empty() && !family.samples.is_empty(), "{name}");
        check_histogram(name, family);
        // What one family's samples are called, no other family is.
        let suffixes = ["_total", "_bucket", "_sum", "_count", "_info", "_created"];
        let taken = suffixes.iter().map(|suffix| format!("{name}{suffix}"));
        taken.for_each(|taken| assert!(!families.contains_key(&taken), "{taken}"));
    }
    families
}

fn is_name(name: &str) -> bool {
    let word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    name.bytes().all(word) && name.starts_with(|first: char| !first.is_ascii_digit())
}

/// A name, its labels and a value, each of which must end where the next begins.
fn read_sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(is_name(label) && labels.iter().all(|(known, _)| known != label), "{line}");
            let end = end_of_string(after);
            labels.push((label.to_owned(), unescaped(&after[..end])));
            rest = &after[end + 1..];
            match rest.split_at(1) {
                (",", after) => rest = after,
                ("}", after) => break rest = after,
                _ => panic!("{line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap();
    assert!(!value.contains(' ') && !value.starts_with('+'), "{line}");
    (name.to_owned(), labels, value.parse().unwrap())
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.expect("a label's value ends")
}

fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut unescaped = String::new();
    while let Some(character) = characters.next() {
        unescaped.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some(kept @ ('\\' | '"')) => kept,
                other => panic!("no escape: {other:?}"),
            },
            '"' => panic!("a quote is escaped"),
            other => other,
        });
    }
    unescaped
}

fn check_histogram(name: &str, family: &Family) {
    if family.kind != "histogram" {
        return;
    }
    let mut buckets = Vec::new();
    for ((sample, labels), value) in &family.samples {
        if sample.ends_with("_bucket") {
            assert_eq!((labels.len(), labels[0].0.as_str()), (1, "le"));
            let bound = &labels[0].1;
            assert!(bound == "+Inf" || bound.contains('.'), "not canonical: {bound}");
            buckets.push((bound.parse::<f64>().unwrap(), *value));
        }
    }
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    assert!(buckets.is_sorted_by_key(|bucket| bucket.1), "{buckets:?}");
    let last = buckets.last().unwrap();
    assert_eq!(last.0, f64::INFINITY);
    assert_eq!(family.samples[&(format!("{name}_count"), Vec::new())], last.1);
    assert!(family.samples.contains_key(&(format!("{name}_sum"), Vec::new())));
}

/// The value of one sample, such as `name{label="value"}`.
fn value(text: &str, sample: &str) -> Option<f64> {
    let (name, labels, _) = read_sample(&format!("{sample} 0"));
    let samples = read(text).into_values().flat_map(|family| family.samples);
    samples.into_iter().find(|(key, _)| *key == (name.clone(), labels.clone())).map(|it| it.1)
}

fn shown(tracker: &TokenTracker, sample: &str) -> u64 {
    let metrics = tracker.metrics().to_string();
    value(&metrics, sample).unwrap_or_else(|| panic!("no {sample} in {metrics}")) as u64
}

/// Attempts, allowed, denied, unavailable, hits and misses.
fn attempts(tracker: &TokenTracker) -> [u64; 6] {
    let metrics = tracker.metrics();
    let denied = metrics.denied.iter().map(|denied| denied.attempts).sum();
    let Metrics { allowed, unavailable, cache_hits, cache_misses, .. } = metrics;
    [metrics.attempts(), allowed, denied, unavailable, cache_hits, cache_misses]
}

/// All that a text of a file has, with the type of each.
const FAMILIES: [(&str, &str); 27] = [
    ("token_tracker_authentication_anonymous", "counter"),
    ("token_tracker_authentication_attempts", "counter"),
    ("token_tracker_authentication_strangers", "counter"),
    ("token_tracker_build", "info"),
    ("token_tracker_cache_hits", "counter"),
    ("token_tracker_cache_misses", "counter"),
    ("token_tracker_cache_tokens", "gauge"),
    ("token_tracker_checkpoint_failures", "counter"),
    ("token_tracker_checkpoint_runs", "counter"),
    ("token_tracker_commit_duration_seconds", "histogram"),
    ("token_tracker_commit_failures", "counter"),
    ("token_tracker_condition", "gauge"),
    ("token_tracker_database_file_limit_bytes", "gauge"),
    ("token_tracker_database_file_size_bytes", "gauge"),
    ("token_tracker_database_wal_size_bytes", "gauge"),
    ("token_tracker_events_dropped", "counter"),
    ("token_tracker_hook_panics", "counter"),
    ("token_tracker_last_use_writes", "counter"),
    ("token_tracker_queue_capacity", "gauge"),
    ("token_tracker_queue_records", "gauge"),
    ("token_tracker_records_accepted", "counter"),
    ("token_tracker_records_cost", "counter"),
    ("token_tracker_records_dropped", "counter"),
    ("token_tracker_records_filtered", "counter"),
    ("token_tracker_records_response_size_bytes", "counter"),
    ("token_tracker_records_stored", "counter"),
    ("token_tracker_unclean_ends", "gauge"),
];

#[test]
fn text_is_open_metrics_and_says_what_the_value_says() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    tracker.record(Usage::of(access(&tracker, &issued)).status(200).response_bytes(70).cost(3));
    tracker.record(Usage::of(access(&tracker, &issued)).status(404).response_bytes(7).cost(4));
    assert!(tracker.authenticate("made-up").is_err());
    assert!(tracker.authenticate(AuthRequest::from_authorization([""; 0])).is_err());
    tracker.flush().unwrap();
    let metrics = tracker.metrics();
    assert_eq!((metrics.stored.success, metrics.stored.client_error), (1, 1));
    assert_eq!((metrics.stored.response_bytes, metrics.stored.cost), (77, 7));

    let families = read(&metrics.to_string());
    let names: Vec<_> = families.iter().map(|(name, family)| (&**name, &*family.kind)).collect();
    assert_eq!(names, FAMILIES);
    let units = families.iter().filter(|(_, family)| !family.unit.is_empty());
    assert_eq!(units.filter(|(_, family)| family.unit == "bytes").count(), 4);
    assert_eq!(families["token_tracker_commit_duration_seconds"].unit, "seconds");

    let health = &metrics.health;
    for (sample, expected) in [
        ("token_tracker_authentication_anonymous_total", health.anonymous),
        ("token_tracker_authentication_attempts_total{outcome=\"allowed\"}", metrics.allowed),
        ("token_tracker_authentication_attempts_total{outcome=\"unavailable\"}", 0),
        (
            "token_tracker_authentication_attempts_total{outcome=\"denied\",reason=\"malformed\"}",
            metrics.denied_as(DenialReason::Malformed),
        ),
        ("token_tracker_authentication_strangers_total", health.strangers),
        ("token_tracker_cache_hits_total", metrics.cache_hits),
        ("token_tracker_cache_misses_total", metrics.cache_misses),
        ("token_tracker_cache_tokens", health.cached_tokens),
        ("token_tracker_commit_duration_seconds_count", metrics.commits.count),
        ("token_tracker_commit_duration_seconds_bucket{le=\"0.001\"}", metrics.commits.count),
        ("token_tracker_database_file_limit_bytes", metrics.max_file_bytes.unwrap()),
        ("token_tracker_database_file_size_bytes", metrics.file_bytes.unwrap()),
        ("token_tracker_database_wal_size_bytes", metrics.wal_bytes.unwrap()),
        ("token_tracker_last_use_writes_total", health.last_used_writes),
        ("token_tracker_queue_capacity", metrics.queue_capacity),
        ("token_tracker_records_accepted_total", health.accepted),
        ("token_tracker_records_cost_total", 7),
        ("token_tracker_records_response_size_bytes_total", 77),
        ("token_tracker_records_stored_total{outcome=\"success\"}", 1),
        ("token_tracker_records_stored_total{outcome=\"client_error\"}", 1),
        ("token_tracker_condition{condition=\"closed\"}", 0),
    ] {
        assert_eq!(shown(&tracker, sample), expected, "{sample}");
    }
    assert_eq!((health.anonymous, health.strangers, metrics.attempts()), (1, 1, 4));
    let version = format!("token_tracker_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(shown(&tracker, &version), 1);
}

#[test]
fn text_of_a_tracker_that_did_nothing_has_every_line_of_one_that_did() {
    let database = Database::new();
    let keys = |tracker: &TokenTracker| -> BTreeSet<_> {
        let families = read(&tracker.metrics().to_string()).into_values();
        families.flat_map(|family| family.samples.into_keys()).collect()
    };
    let tracker = database.open();
    let before = keys(&tracker);
    let reasons = before.iter().filter(|(_, labels)| labels.iter().any(|it| it.0 == "reason"));
    assert_eq!(reasons.count(), 24);
    let issued = opaque(&tracker, "laptop");
    assert!(accepted(&tracker, &issued));
    drop(denied(&tracker, AuthRequest::from(&issued.secret).scope("admin")));
    tracker.close().unwrap();
    assert_eq!(keys(&tracker), before);
    let sizes = before.iter().filter(|(name, _)| name.contains("_database_")).count();
    assert_eq!(keys(&in_memory().0).len(), before.len() - sizes, "there is no file");
}

/// A credential that is looked up and unknown: an opaque token of another catalogue.
fn unknown() -> Issued {
    opaque(&in_memory().0, "elsewhere")
}

/// Tokens of all kinds, and how often each answer was given.
struct Mix {
    tracker: TokenTracker,
    shared: Issued,
    revoked: Issued,
    unknown: Issued,
    forged: String,
    answers: Mutex<BTreeMap<&'static str, u64>>,
}

impl Mix {
    fn new() -> Self {
        let (tracker, _clock) = in_memory();
        let (shared, revoked) = (opaque(&tracker, "shared"), jwt(&tracker, "revoked"));
        tracker.tokens().revoke(revoked.token.id, "").unwrap();
        let forged = format!("{}x", jwt(&tracker, "signed").secret.expose());
        Self { tracker, shared, revoked, unknown: unknown(), forged, answers: Mutex::default() }
    }

    fn note(&self, answer: Result<Access, AuthError>) {
        let name = match &answer {
            Ok(_) => "allowed",
            Err(AuthError::Denied(denied)) => denied.reason().as_str(),
            Err(_) => "unavailable",
        };
        *self.answers.lock().unwrap().entry(name).or_default() += 1;
    }

    fn present<'a>(&self, request: impl Into<AuthRequest<'a>>) {
        self.note(self.tracker.authenticate(request));
    }

    /// Three that are allowed, five that are denied after a look at the token, four by their form.
    fn present_all(&self, own: &Issued) {
        self.present(&own.secret);
        self.present(&self.shared.secret);
        self.present(&self.revoked.secret);
        self.present(AuthRequest::from(&own.secret).scope("admin"));
        self.present(AuthRequest::from_authorization([""; 0]));
        self.present(AuthRequest::from_authorization(["a", "b"]));
        self.present("x".repeat(100_000));
        self.present("made-up");
        self.present("made.up.jwt");
        self.present(self.forged.as_str());
        self.present(&self.unknown.secret);
        // As an adapter does it: one attempt, whoever answers.
        let request = AuthRequest::from(&self.shared.secret);
        let answer = self.tracker.authenticate_cached(&request);
        self.note(answer.unwrap_or_else(|| self.tracker.authenticate(request)));
    }

    /// Looks at the numbers until it is told to end.
    fn watch(&self, done: &AtomicBool) {
        let mut last = [0; 6];
        while !done.load(Ordering::Relaxed) {
            let now = attempts(&self.tracker);
            let [all, allowed, denied, unavailable, hits, misses] = now;
            assert_eq!(all, allowed + denied + unavailable);
            assert!(hits + misses <= all);
            assert!(std::iter::zip(last, now).all(|(last, now)| last <= now), "{last:?} {now:?}");
            last = now;
            let metrics = self.tracker.metrics();
            assert_eq!(metrics.stored.requests(), metrics.health.stored);
        }
    }
}

#[test]
fn attempts_add_up_at_every_moment_whatever_several_threads_present() {
    const ROUNDS: u64 = 200;
    const THREADS: u64 = 4;
    let (mix, done) = (Mix::new(), AtomicBool::new(false));
    let tracker = &mix.tracker;
    let work = |thread| {
        let own = opaque(tracker, &format!("own {thread}"));
        (0..ROUNDS).for_each(|_| mix.present_all(&own));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| mix.watch(&done));
        let _done = Done(&done);
        let work = &work;
        let threads = (0..THREADS).map(|thread| scope.spawn(move || work(thread)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });

    let (metrics, each) = (tracker.metrics(), THREADS * ROUNDS);
    assert_eq!(metrics.attempts(), 12 * each);
    assert_eq!((metrics.allowed, metrics.unavailable), (3 * each, 0));
    let mut counted: BTreeMap<_, _> =
        metrics.denied.iter().map(|denied| (denied.reason.as_str(), denied.attempts)).collect();
    counted.retain(|_, attempts| *attempts > 0);
    counted.insert("allowed", metrics.allowed);
    assert_eq!(counted, *mix.answers.lock().unwrap(), "each as often as it was answered");

    // All but the four without a credential that could be one.
    let (hits, misses) = (metrics.cache_hits, metrics.cache_misses);
    assert_eq!(hits + misses, 8 * each);
    // What is in no catalogue is looked up each time; the others the first time, once a thread at most.
    let looked_up = 3 * each;
    assert!((looked_up + 6..=looked_up + 4 * THREADS).contains(&misses), "{misses}");
    assert_eq!((metrics.health.anonymous, metrics.health.strangers), (each, 6 * each));
    tracker.flush().unwrap();
    let stored = tracker.metrics().stored;
    assert_eq!((stored.unfinished, stored.denied), (3 * each, 2 * each));
}

#[test]
fn request_that_is_asked_of_the_cache_first_is_one_attempt() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let request = AuthRequest::from(&issued.secret);
    assert!(tracker.authenticate_cached(&request).is_none());
    assert_eq!(attempts(&tracker), [0; 6], "not yet answered");
    drop(tracker.authenticate(request.clone()));
    assert_eq!(attempts(&tracker), [1, 1, 0, 0, 0, 1]);
    assert!(tracker.authenticate_cached(&request).unwrap().is_ok());
    assert_eq!(attempts(&tracker), [2, 2, 0, 0, 1, 1]);
    assert!(tracker.authenticate_cached(&request.scope("admin")).unwrap().is_err());
    assert_eq!(attempts(&tracker), [3, 2, 1, 0, 2, 1]);
    assert!(tracker.authenticate_cached(&AuthRequest::new("made-up")).unwrap().is_err());
    assert_eq!(attempts(&tracker), [4, 2, 2, 0, 2, 1], "seen to be no token");

    let access = access(&tracker, &issued);
    assert!(tracker.introspect(issued.secret.expose()).unwrap().active);
    assert!(tracker.still_holds(access.identity()).unwrap());
    assert_eq!(attempts(&tracker), [5, 3, 2, 0, 3, 1], "neither is an attempt");
}

#[test]
fn attempt_that_waits_for_units_of_a_quota_is_looked_up_and_one_attempt() {
    let (tracker, _clock) = in_memory();
    let quota = Quota::new().per_day(3);
    let issued = tracker.tokens().issue(NewToken::opaque(OWNER, "laptop").quota(quota)).unwrap();
    (0..3).for_each(|_| assert!(accepted(&tracker, &issued)));
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::QuotaExceeded);
    let [all, allowed, denied, _, hits, misses] = attempts(&tracker);
    assert_eq!((all, allowed, denied, hits + misses), (4, 3, 1, 4));
    assert_eq!(tracker.metrics().denied_as(DenialReason::QuotaExceeded), 1);
}

#[test]
fn storage_that_fails_is_counted_as_that_and_as_no_denial() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let (cached, fresh) = (opaque(&tracker, "cached"), opaque(&tracker, "not seen before"));
    assert!(accepted(&tracker, &cached));
    database.execute("ALTER TABLE catalogue RENAME TO lost; ALTER TABLE changes RENAME TO gone;");
    assert!(!accepted(&tracker, &fresh));
    clock.advance(Duration::from_millis(251));
    assert!(!accepted(&tracker, &cached));
    drop(denied(&tracker, "tt_forged"));
    assert_eq!(attempts(&tracker), [4, 1, 1, 2, 0, 3]);
    assert_eq!(
        shown(&tracker, "token_tracker_authentication_attempts_total{outcome=\"unavailable\"}"),
        2
    );
}

#[test]
fn attempts_are_counted_where_nothing_is_recorded() {
    let off = builder().0.without_usage_recording().in_memory().unwrap();
    let filter = PathFilter::none().exact("/health");
    let filtered = builder().0.path_filter(filter).in_memory().unwrap();
    for tracker in [&off, &filtered] {
        let issued = opaque(tracker, "laptop");
        let request = || AuthRequest::from(&issued.secret).path("/health");
        (0..3).for_each(|_| drop(tracker.authenticate(request()).unwrap()));
        drop(denied(tracker, request().scope("admin")));
        tracker.flush().unwrap();
        assert_eq!(attempts(tracker), [4, 3, 1, 0, 3, 1]);
        assert_eq!(tracker.metrics().stored.requests(), 0);
    }
    assert_eq!(shown(&filtered, "token_tracker_records_filtered_total"), 4);
}

#[test]
fn records_are_counted_by_outcome_and_as_many_requests_as_they_stand_for() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    for status in [200, 302, 404, 500, 503, 599] {
        tracker.record(Usage::of(access(&tracker, &issued)).status(status).cost(10));
    }
    drop(access(&tracker, &issued));
    let scope = || AuthRequest::from(&issued.secret).scope("admin").cost(2);
    (0..30).for_each(|_| drop(denied(&tracker, scope())));
    assert_eq!(tracker.metrics().stored.requests(), 0, "until they are committed");
    tracker.flush().unwrap();
    let Metrics { stored, health, .. } = tracker.metrics();
    assert_eq!((stored.success, stored.client_error, stored.server_error), (2, 1, 3));
    assert_eq!((stored.denied, stored.unfinished), (30, 1), "most of them share one row");
    assert_eq!(stored.cost, 6 * 10 + 1 + 30 * 2);
    assert_eq!((stored.requests(), health.stored), (37, 37));
    let summary = tracker.stats().all().summary().unwrap();
    assert_eq!((summary.total, summary.cost, summary.denied), (37, stored.cost, 30));
}

/// A clock by which each look of the writer's thread takes three milliseconds, and nothing else any time.
#[derive(Clone)]
struct SlowWriter {
    clock: ManualClock,
    step: Duration,
}

impl Clock for SlowWriter {
    fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }
    fn monotonic(&self) -> Duration {
        if std::thread::current().name() == Some("token-tracker-writer") {
            self.clock.advance(self.step);
        }
        self.clock.monotonic()
    }
}

#[test]
fn commits_are_in_the_histogram_by_how_long_they_took() {
    let clock = SlowWriter { clock: ManualClock::default(), step: Duration::from_millis(7) };
    let database = Database::new();
    let tracker = builder().0.clock(clock).open(database.path()).unwrap();
    (0..20).for_each(|_| tracker.flush().unwrap());
    let commits = tracker.metrics().commits;
    assert_eq!((commits.count, commits.sum), (20, Duration::from_millis(140)));
    assert_eq!(commits.buckets.map(|bucket| bucket.count), [0, 0, 20, 20, 20, 20, 20, 20, 20]);
    let bounds = commits.buckets.map(|bucket| bucket.up_to.as_millis());
    assert_eq!(bounds, [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000]);
    let text = tracker.metrics().to_string();
    let name = "token_tracker_commit_duration_seconds";
    for (bound, count) in [("0.005", 0.0), ("0.01", 20.0), ("10.0", 20.0), ("+Inf", 20.0)] {
        assert_eq!(value(&text, &format!("{name}_bucket{{le=\"{bound}\"}}")), Some(count));
    }
    assert_eq!(value(&text, &format!("{name}_sum")), Some(0.14));
    // What an administrator does is none of them.
    opaque(&tracker, "laptop");
    assert_eq!(tracker.metrics().commits.count, 20);
}

#[test]
fn commits_that_fail_are_counted_apart_and_what_they_held_once() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    database.execute("ALTER TABLE usage_log RENAME TO lost");
    tracker.record(Usage::of(access(&tracker, &issued)).status(200));
    let commits = tracker.metrics().commits.count;
    tracker.flush().unwrap_err();
    let failing = tracker.metrics();
    assert!(failing.commit_failures >= 1);
    assert_eq!((failing.commits.count, failing.stored.requests()), (commits, 0));
    assert_eq!(shown(&tracker, "token_tracker_condition{condition=\"degraded\"}"), 1);
    assert_eq!(shown(&tracker, "token_tracker_queue_records"), 1);
    database.execute("ALTER TABLE lost RENAME TO usage_log");
    eventually("stored", || tracker.flush().is_ok());
    let well = tracker.metrics();
    assert_eq!((well.stored.success, well.stored.requests()), (1, 1));
    assert!(well.commits.count > commits && well.commit_failures >= failing.commit_failures);
    assert_eq!(shown(&tracker, "token_tracker_condition{condition=\"degraded\"}"), 0);
}

#[test]
fn sizes_are_those_of_the_file_system() {
    let database = Database::new();
    let tracker = builder().0.checkpoints(Checkpoints::External).open(database.path()).unwrap();
    (0..20).for_each(|number| drop(opaque(&tracker, &format!("token {number}"))));
    let size = |name| std::fs::metadata(database.directory().join(name)).unwrap().len();
    let metrics = tracker.metrics();
    assert_eq!(metrics.file_bytes, Some(size("tokens.db")));
    assert_eq!(metrics.wal_bytes, Some(size("tokens.db-wal")));
    assert!(metrics.wal_bytes > Some(100_000), "{:?}", metrics.wal_bytes);
    assert_eq!(metrics.max_file_bytes, Some(8 << 30));
    assert_eq!((metrics.checkpoints, metrics.checkpoint_failures), (0, 0), "left to others");

    let metrics = in_memory().0.metrics();
    assert_eq!((metrics.file_bytes, metrics.wal_bytes, metrics.max_file_bytes), (None, None, None));
}

#[test]
fn log_that_is_gone_has_no_bytes_and_a_file_that_is_gone_no_size() {
    let database = Database::new();
    let tracker = database.open();
    tracker.close().unwrap();
    std::fs::remove_file(database.directory().join("tokens.db-wal")).unwrap();
    assert_eq!(tracker.metrics().wal_bytes, Some(0));
    std::fs::remove_file(database.path()).unwrap();
    assert_eq!((tracker.metrics().file_bytes, tracker.metrics().wal_bytes), (None, None));
}

#[test]
fn checkpoints_are_counted() {
    let database = Database::new();
    let tracker = database.open();
    assert_eq!(tracker.metrics().checkpoints, 0);
    let mut number = 0;
    eventually("a checkpoint is made", || {
        (0..50).for_each(|_| {
            number += 1;
            opaque(&tracker, &format!("token {number}"));
        });
        let metrics = tracker.metrics();
        assert!(metrics.wal_bytes < Some(24 << 20), "the first is not counted: {metrics:?}");
        metrics.checkpoints > 0
    });
    assert_eq!(tracker.metrics().checkpoint_failures, 0);
}

#[test]
fn no_label_is_of_a_token_or_of_anything_that_somebody_sent() {
    let (tracker, _clock) = in_memory();
    let lines = |tracker: &TokenTracker| tracker.metrics().to_string().lines().count();
    let before = lines(&tracker);
    let owner = "mallory\"} 1";
    for number in 0..100 {
        let new = NewToken::opaque(owner, format!("name {number}")).scope("scope-of-it");
        let issued = tracker.tokens().issue(new).unwrap();
        let request = AuthRequest::from(&issued.secret)
            .route("/route-of-it")
            .client_address("192.0.2.77".parse::<std::net::IpAddr>().unwrap())
            .user_agent("agent-of-it");
        let access = tracker.authenticate(request.clone()).unwrap();
        tracker.record(Usage::of(access).route("GET", "/route-of-it").status(200));
        drop(denied(&tracker, request.scope("scope-that-it-lacks")));
    }
    tracker.flush().unwrap();
    let text = tracker.metrics().to_string();
    for word in ["mallory", "name ", "-of-it", "-lacks", "192.0.2.77", "tt_", "GET"] {
        assert!(!text.contains(word), "{word}");
    }
    assert_eq!(lines(&tracker), before);
    let families = read(&text).into_values().flat_map(|family| family.samples.into_keys());
    let labels = families.flat_map(|(_, labels)| labels);
    let (names, values): (BTreeSet<_>, BTreeSet<_>) = labels.unzip();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(names, ["condition", "le", "outcome", "reason", "version"]);
    let numbers = values.iter().filter(|value| value.parse::<f64>().is_ok()).count();
    assert_eq!(numbers, 10, "the bounds of the histogram alone");
}

#[test]
fn counters_never_go_back_and_stay_when_the_tracker_is_closed() {
    let database = Database::new();
    let tracker = builder().0.queue_capacity(50).open(database.path()).unwrap();
    let counters = || -> BTreeMap<_, _> {
        let families = read(&tracker.metrics().to_string()).into_values();
        let counters = families.filter(|family| family.kind != "gauge");
        counters.flat_map(|family| family.samples).collect()
    };
    let mut last = counters();
    let issued = opaque(&tracker, "laptop");
    let mut step = |what: &str| {
        let now = counters();
        assert_eq!(now.len(), last.len());
        let back = last.iter().find(|(key, value)| now[*key] < **value);
        assert_eq!(back, None, "{what}");
        last = now;
    };
    for number in 0..30 {
        drop(access(&tracker, &issued));
        drop(tracker.authenticate("made-up"));
        if number % 10 == 0 {
            tracker.flush().unwrap();
        }
        step("at work");
    }
    tracker.tokens().revoke(issued.token.id, "").unwrap();
    (0..200).for_each(|_| drop(denied(&tracker, &issued.secret)));
    step("after a flood");
    tracker.close().unwrap();
    step("closed");
    drop(denied(&tracker, &issued.secret));
    step("and asked all the same");
    let metrics = tracker.metrics();
    assert_eq!(metrics.attempts(), 261);
    assert_eq!(metrics.health.dropped, 1);
    assert_eq!(shown(&tracker, "token_tracker_records_dropped_total"), 1);
    assert_eq!(shown(&tracker, "token_tracker_condition{condition=\"closed\"}"), 1);
    assert_eq!(metrics.stored.requests(), metrics.health.stored);
}

struct Panics;

impl Hook for Panics {
    fn denied(&self, _: &DeniedEvent) {
        std::panic::panic_any(());
    }
}

#[test]
fn conditions_are_one_while_they_hold_and_what_a_hook_misses_is_counted() {
    let (builder, clock) = builder();
    let tracker = builder.hook(Panics).in_memory().unwrap();
    let doubt = "token_tracker_condition{condition=\"clock_in_doubt\"}";
    assert_eq!(shown(&tracker, doubt), 0);
    clock.set_wall(clock.now() + Duration::from_secs(3_600));
    assert_eq!(shown(&tracker, doubt), 1);
    tracker.confirm_clock();
    assert_eq!(shown(&tracker, doubt), 0);

    let issued = opaque(&tracker, "laptop");
    let request = AuthRequest::from(&issued.secret).scope("admin");
    drop(denied(&tracker, request.clone()));
    eventually("a panic", || shown(&tracker, "token_tracker_hook_panics_total") == 1);
    tracker.close().unwrap();
    drop(denied(&tracker, request));
    assert_eq!(shown(&tracker, "token_tracker_events_dropped_total"), 1);
}

#[test]
fn unclean_ends_are_shown() {
    let database = Database::new();
    database.open().close().unwrap();
    database.execute("INSERT INTO writers (sequence, opened_at) VALUES (0, 0)");
    assert_eq!(shown(&database.open(), "token_tracker_unclean_ends"), 1);
}

#[test]
fn value_serialises_with_words_and_whole_microseconds() {
    let clock = SlowWriter { clock: ManualClock::default(), step: Duration::from_millis(2) };
    let tracker = builder().0.clock(clock).in_memory().unwrap();
    drop(denied(&tracker, "made-up"));
    tracker.flush().unwrap();
    let json = serde_json::to_value(tracker.metrics()).unwrap();
    let malformed = json["denied"].as_array().unwrap().iter().find(|it| it["attempts"] == 1);
    assert_eq!(malformed.unwrap()["reason"], "malformed");
    assert_eq!(json["commits"]["sum_us"], 2_000);
    assert_eq!(json["commits"]["buckets"][1]["up_to_us"], 5_000);
    assert_eq!(json["commits"]["buckets"][1]["count"], 1);
    assert_eq!(json["health"]["strangers"], 1);
    assert_eq!(json["health"]["degraded"], false);
    assert_eq!(json["file_bytes"], serde_json::Value::Null);
}
