//! What the features `tracing` and `metrics` add tells the same as the library itself, under the names of
//! OpenTelemetry, and no secret. In a process of its own, of which the subscriber is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};
use token_tracker::{
    AuthRequest, Builder, Clock, DeniedEvent, DormantEvent, ExpiringEvent, FirstUseEvent, Health,
    Hook, ManualClock, Metrics, MetricsPublisher, NewAddressEvent, NewToken, Quota, Rotation,
    ThresholdEvent, TokenTracker, TracingHook, Usage,
};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, span};

/// An event as a subscriber sees it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    name: &'static str,
    level: Level,
    fields: BTreeMap<&'static str, String>,
}

/// All events with the library's target.
static SEEN: OnceLock<Mutex<Vec<Seen>>> = OnceLock::new();

struct Collect;

impl Subscriber for Collect {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "token_tracker"
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        panic!("the library makes no spans")
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (name, level) = (event.metadata().name(), *event.metadata().level());
        SEEN.get().unwrap().lock().unwrap().push(Seen { name, level, fields: fields.0 });
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Texts as they are, everything else as it is shown.
#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        assert_eq!(self.0.insert(field.name(), value.to_owned()), None);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        assert_eq!(self.0.insert(field.name(), format!("{value:?}")), None);
    }
}

fn listen() -> &'static Mutex<Vec<Seen>> {
    SEEN.get_or_init(|| {
        tracing::subscriber::set_global_default(Collect).unwrap();
        Mutex::default()
    })
}

/// The events about tokens of this owner, in their order.
fn seen_of(owner: &str) -> Vec<Seen> {
    let seen = listen().lock().unwrap().clone();
    seen.into_iter()
        .filter(|seen| seen.fields.get("enduser.id").is_some_and(|id| id == owner))
        .collect()
}

fn fields(pairs: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// A hook that counts what it is told by kind.
#[derive(Clone, Default)]
struct Count(Arc<Mutex<BTreeMap<&'static str, u32>>>);

impl Count {
    fn note(&self, kind: &'static str) {
        *self.0.lock().unwrap().entry(kind).or_default() += 1;
    }
}

impl Hook for Count {
    fn denied(&self, _: &DeniedEvent) {
        self.note("denied");
    }
    fn dormant(&self, _: &DormantEvent) {
        self.note("dormant");
    }
    fn expiring(&self, _: &ExpiringEvent) {
        self.note("expiring");
    }
    fn first_use(&self, _: &FirstUseEvent) {
        self.note("first_use");
    }
    fn health_changed(&self, _: &Health) {
        self.note("health_changed");
    }
    fn new_address(&self, _: &NewAddressEvent) {
        self.note("new_address");
    }
    fn reuse(&self, _: &DeniedEvent) {
        self.note("reuse");
    }
    fn threshold(&self, _: &ThresholdEvent) {
        self.note("threshold");
    }
}

fn builder() -> (Builder, ManualClock) {
    let clock = ManualClock::default();
    (TokenTracker::builder().clock(clock.clone()), clock)
}

const DAY: Duration = Duration::from_secs(86_400);

const OWNER: &str = "alice@example.com";

/// An event about the token with this number.
fn of_token(
    id: &str,
    name: &'static str,
    level: Level,
    message: &str,
    more: &[(&'static str, &str)],
) -> Seen {
    let token = [
        ("token_tracker.token.id", id),
        ("token_tracker.token.name", "laptop"),
        ("enduser.id", OWNER),
        ("message", message),
    ];
    Seen { name, level, fields: fields(&[&token, more].concat()) }
}

/// All but those about quotas, by their names.
fn expected_events(id: &str) -> [Seen; 6] {
    let denial = |reason: &'static str| {
        [
            ("error.type", reason),
            ("http.route", "/items/{id}"),
            ("client.address", "192.0.2.1"),
            ("user_agent.original", "curl/8.5"),
        ]
    };
    let of_token = |name, level, message, more: &[(&'static str, &str)]| {
        of_token(id, name, level, message, more)
    };
    [
        of_token(
            "token_tracker.token.denied",
            Level::INFO,
            "a token was refused",
            &denial("missing_scope"),
        ),
        of_token(
            "token_tracker.token.dormant",
            Level::INFO,
            "a token is not used any longer",
            &[("token_tracker.token.last_used_at", "2026-01-01T00:00:00Z")],
        ),
        of_token(
            "token_tracker.token.expiring",
            Level::WARN,
            "a token expires soon",
            &[("token_tracker.token.expires_at", "2026-03-02T00:00:00Z")],
        ),
        of_token(
            "token_tracker.token.first_use",
            Level::INFO,
            "a token was used for the first time",
            &[],
        ),
        of_token(
            "token_tracker.token.new_address",
            Level::INFO,
            "a token was used from a new address",
            &[("client.address", "192.0.2.2")],
        ),
        of_token(
            "token_tracker.token.reuse",
            Level::WARN,
            "a replaced token was used",
            &denial("credential_retired"),
        ),
    ]
}

#[test]
fn each_event_is_an_event_of_tracing_with_its_attributes_and_told_to_the_next_hook_too() {
    listen();
    let count = Count::default();
    let (builder, clock) = builder();
    let builder = builder.dormant_after(30 * DAY).hook(TracingHook::new().then(count.clone()));
    let tracker = builder.in_memory().unwrap();
    let quota = Quota::new().per_day(10);
    let new = NewToken::opaque(OWNER, "laptop").quota(quota).expires_at(clock.now() + 60 * DAY);
    let issued = tracker.tokens().issue(new).unwrap();
    let request = |last: u8| {
        AuthRequest::from(&issued.secret)
            .route("/items/{id}")
            .client_address(std::net::IpAddr::from([192, 0, 2, last]))
            .user_agent("curl/8.5")
    };
    for last in [1, 2] {
        let access = tracker.authenticate(request(last)).unwrap();
        tracker.record(Usage::of(access).status(200));
        tracker.flush().unwrap();
    }
    assert!(tracker.authenticate(request(1).scope("admin")).is_err());
    for units in [6, 2] {
        drop(tracker.authenticate(request(1).cost(units)).unwrap());
    }
    clock.advance(54 * DAY);
    tracker.upkeep().unwrap();
    let rotation = Rotation::within(Duration::ZERO);
    let other = tracker.tokens().rotate(issued.token.credential_id, rotation).unwrap();
    assert!(tracker.authenticate(request(1)).is_err());
    tracker.close().unwrap();

    let id = issued.token.id.to_string();
    let mut seen = seen_of(OWNER);
    let thresholds: Vec<_> = seen.extract_if(.., |seen| seen.name.contains("quota")).collect();
    seen.sort_by_key(|seen| seen.name);
    assert_eq!(seen, expected_events(&id));
    let threshold = |percent, level| {
        let more = [
            ("token_tracker.quota.window", "day"),
            ("token_tracker.quota.limit", "10"),
            ("token_tracker.quota.percent", percent),
            ("token_tracker.quota.reset_s", "86400.0"),
        ];
        let message = "a quota is used up to a threshold";
        of_token(&id, "token_tracker.quota.threshold", level, message, &more)
    };
    assert_eq!(thresholds, [threshold("80", Level::INFO), threshold("100", Level::WARN)]);

    let told: Vec<_> =
        count.0.lock().unwrap().iter().map(|(kind, times)| (*kind, *times)).collect();
    let expected = [
        ("denied", 1),
        ("dormant", 1),
        ("expiring", 1),
        ("first_use", 1),
        ("new_address", 1),
        ("reuse", 1),
        ("threshold", 2),
    ];
    assert_eq!(told, expected);
    let secrets = [issued.secret.expose(), other.secret.expose()];
    let everything = format!("{:?}", listen().lock().unwrap());
    assert!(secrets.iter().all(|secret| !everything.contains(secret)));
}

#[test]
fn what_is_not_known_is_left_out_and_text_stays_text() {
    let owner = "bob=admin level=ERROR";
    listen();
    let tracker = builder().0.hook(TracingHook::new()).in_memory().unwrap();
    let issued = tracker.tokens().issue(NewToken::opaque(owner, "x\" y=\"z")).unwrap();
    assert!(tracker.authenticate(AuthRequest::from(&issued.secret).scope("admin")).is_err());
    tracker.close().unwrap();
    let seen = seen_of(owner);
    let expected = fields(&[
        ("token_tracker.token.id", &issued.token.id.to_string()),
        ("token_tracker.token.name", "x\" y=\"z"),
        ("enduser.id", owner),
        ("error.type", "missing_scope"),
        ("message", "a token was refused"),
    ]);
    assert_eq!(seen.iter().map(|seen| &seen.fields).collect::<Vec<_>>(), [&expected]);
}

#[test]
fn condition_is_told_at_a_level_that_fits_it() {
    listen();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let (builder, clock) = builder();
    let count = Count::default();
    let hook = TracingHook::new().then(count.clone());
    let tracker = builder.without_last_used().hook(hook).open(&path).unwrap();
    let issued = tracker.tokens().issue(NewToken::opaque("carol", "laptop")).unwrap();
    let changes = || -> Vec<Seen> {
        let seen = listen().lock().unwrap().clone();
        seen.into_iter().filter(|seen| seen.name == "token_tracker.health.changed").collect()
    };
    let execute =
        |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let wait_for = |what: &str, holds: &dyn Fn(&Seen) -> bool| {
        let patience = token_tracker::SystemClock::new();
        loop {
            if let Some(found) = changes().into_iter().find(|seen| holds(seen)) {
                break found;
            }
            assert!(patience.monotonic() < Duration::from_secs(10), "{what}: {:?}", changes());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let holds = |seen: &Seen, condition| seen.fields[condition] == "true";
    const DEGRADED: &str = "token_tracker.condition.degraded";
    const IN_DOUBT: &str = "token_tracker.condition.clock_in_doubt";
    const DROPPED: &str = "token_tracker.records.dropped";

    clock.set_wall(clock.now() + Duration::from_secs(3_600));
    tracker.flush().unwrap();
    let doubt = wait_for("in doubt", &|seen| holds(seen, IN_DOUBT));
    assert_eq!((doubt.level, doubt.fields.get("exception.message")), (Level::WARN, None));
    tracker.confirm_clock();
    tracker.flush().unwrap();
    let well = wait_for("well", &|seen| seen.level == Level::INFO);
    assert!(!holds(&well, IN_DOUBT) && !holds(&well, DEGRADED));
    assert_eq!(well.fields[DROPPED], "0");

    execute("ALTER TABLE usage_log RENAME TO lost");
    drop(tracker.authenticate(&issued.secret).unwrap());
    tracker.flush().unwrap_err();
    let failing = wait_for("degraded", &|seen| holds(seen, DEGRADED));
    assert_eq!(failing.level, Level::ERROR);
    assert!(failing.fields["exception.message"].contains("usage_log"), "{failing:?}");
    execute("ALTER TABLE lost RENAME TO usage_log");
    drop(tracker.close());
    assert_eq!(count.0.lock().unwrap()["health_changed"] as usize, changes().len());

    // Drops alone are a warning, as often as there are more of them.
    let before = changes().len();
    let hook = TracingHook::new();
    for dropped in [3, 3, 4] {
        let mut health = Health::default();
        health.dropped = dropped;
        hook.health_changed(&health);
    }
    let levels: Vec<_> = changes()[before..].iter().map(|seen| seen.level).collect();
    assert_eq!(levels, [Level::WARN, Level::INFO, Level::WARN]);
}

/// What was set, under its name and labels, and what was described.
#[derive(Default)]
struct Recorded {
    values: Mutex<BTreeMap<String, Arc<Cell>>>,
    described: Mutex<BTreeMap<String, (Unit, String, u32)>>,
}

#[derive(Default)]
struct Cell {
    kind: OnceLock<&'static str>,
    bits: AtomicU64,
}

impl CounterFn for Cell {
    fn increment(&self, _: u64) {
        panic!("counters are set")
    }
    fn absolute(&self, value: u64) {
        self.bits.fetch_max(value, Ordering::Relaxed);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, _: f64) {
        panic!("gauges are set")
    }
    fn decrement(&self, _: f64) {
        panic!("gauges are set")
    }
    fn set(&self, value: f64) {
        self.bits.store(value as u64, Ordering::Relaxed);
    }
}

impl Recorded {
    fn cell(&self, key: &Key, kind: &'static str) -> Arc<Cell> {
        let mut name = key.name().to_owned();
        key.labels().for_each(|label| write!(name, " {}={}", label.key(), label.value()).unwrap());
        let mut values = self.values.lock().unwrap();
        let cell = Arc::clone(values.entry(name).or_default());
        assert_eq!(*cell.kind.get_or_init(|| kind), kind);
        cell
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, description: SharedString) {
        let mut described = self.described.lock().unwrap();
        let new = (unit.unwrap(), description.into_owned(), 0);
        described.entry(name.as_str().to_owned()).or_insert(new).2 += 1;
    }

    fn value(&self, name: &str) -> u64 {
        let values = self.values.lock().unwrap();
        let cell = values.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", values.keys()));
        cell.bits.load(Ordering::Relaxed)
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, unit, description);
    }
    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, unit, description);
    }
    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("no histogram is described: {name:?}")
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key, "counter"))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key, "gauge"))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("no histogram is recorded: {key:?}")
    }
}

#[test]
fn publisher_sets_what_the_snapshot_says_and_describes_it_once() {
    let directory = tempfile::tempdir().unwrap();
    let tracker = builder().0.open(directory.path().join("tokens.db")).unwrap();
    let issued = tracker.tokens().issue(NewToken::opaque("dave", "laptop")).unwrap();
    let (recorded, publisher) = (Recorded::default(), MetricsPublisher::new());
    let publish = |metrics: &Metrics| {
        metrics::with_local_recorder(&recorded, || publisher.publish(metrics));
    };
    publish(&tracker.metrics());
    for _ in 0..3 {
        let access = tracker.authenticate(&issued.secret).unwrap();
        tracker.record(Usage::of(access).status(200).response_bytes(5));
    }
    assert!(tracker.authenticate("made-up").is_err());
    tracker.flush().unwrap();
    let metrics = tracker.metrics();
    publish(&metrics);

    for (name, expected) in [
        ("token_tracker.authentication.attempts outcome=allowed", 3),
        ("token_tracker.authentication.attempts outcome=denied error.type=malformed", 1),
        ("token_tracker.authentication.attempts outcome=denied error.type=revoked", 0),
        ("token_tracker.authentication.attempts outcome=unavailable", 0),
        ("token_tracker.authentication.strangers", 1),
        ("token_tracker.cache.hits", 2),
        ("token_tracker.cache.misses", 1),
        ("token_tracker.cache.tokens", 1),
        ("token_tracker.commit.count", metrics.commits.count),
        ("token_tracker.commit.time", 0),
        ("token_tracker.condition condition=degraded", 0),
        ("token_tracker.database.file.size", metrics.file_bytes.unwrap()),
        ("token_tracker.database.wal.size", metrics.wal_bytes.unwrap()),
        ("token_tracker.queue.capacity", metrics.queue_capacity),
        ("token_tracker.queue.records", 0),
        ("token_tracker.records.accepted", 3),
        ("token_tracker.records.response.size", 15),
        ("token_tracker.records.stored outcome=success", 3),
    ] {
        assert_eq!(recorded.value(name), expected, "{name}");
    }
    // As many as the text has, with two for the histogram's eighteen lines.
    let lines = metrics.to_string().lines().filter(|line| !line.starts_with('#')).count();
    let values = recorded.values.lock().unwrap().len();
    let of_histogram = metrics.commits.buckets.len() + 3;
    assert_eq!(values, lines - of_histogram - 1 + 2, "and the text says its version");

    let described = recorded.described.lock().unwrap();
    assert!(described.values().all(|(_, text, times)| *times == 1 && !text.is_empty()));
    let values = recorded.values.lock().unwrap();
    let names = values.keys().map(|name| name.split(' ').next().unwrap());
    assert!(names.clone().all(|name| described.contains_key(name)));
    let mut names: Vec<_> = names.collect();
    names.dedup();
    assert_eq!(names.len(), described.len());
    assert_eq!(described["token_tracker.database.file.size"].0, Unit::Bytes);
    assert_eq!(described["token_tracker.records.response.size"].0, Unit::Bytes);
    assert_eq!(described["token_tracker.commit.time"].0, Unit::Microseconds);
    assert_eq!(described["token_tracker.cache.hits"].0, Unit::Count);
}
