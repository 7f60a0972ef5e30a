//! Each event is told exactly when it should be and exactly once, and no hook, whatever it does, harms anybody.

use std::net::IpAddr;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use token_tracker::{
    AuthRequest, Builder, Clock, DenialReason, DeniedEvent, DormantEvent, ErrorKind, ExpiringEvent,
    FirstUseEvent, Health, Hook, Issued, ManualClock, NewAddressEvent, NewToken, PathFilter,
    SystemClock, TokenTracker, TokenUpdate, Usage, WeakTokenTracker,
};

use crate::support::{
    Database, OWNER, access, builder, denied, eventually, in_memory, opaque, records,
};

const DAY: Duration = Duration::from_secs(86_400);
const MICROSECOND: Duration = Duration::from_micros(1);

/// What a hook was told, each kind in its own words.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Denied(DeniedEvent),
    Dormant(DormantEvent),
    Expiring(ExpiringEvent),
    FirstUse(FirstUseEvent),
    Health(Box<Health>),
    NewAddress(NewAddressEvent),
    Reuse(DeniedEvent),
}

/// A hook that passes everything on.
struct Tell(Mutex<Sender<Told>>);

impl Tell {
    fn pass(&self, told: Told) {
        let _ = self.0.lock().unwrap().send(told);
    }
}

impl Hook for Tell {
    fn denied(&self, event: &DeniedEvent) {
        self.pass(Told::Denied(event.clone()));
    }
    fn dormant(&self, event: &DormantEvent) {
        self.pass(Told::Dormant(event.clone()));
    }
    fn expiring(&self, event: &ExpiringEvent) {
        self.pass(Told::Expiring(event.clone()));
    }
    fn first_use(&self, event: &FirstUseEvent) {
        self.pass(Told::FirstUse(event.clone()));
    }
    fn health_changed(&self, health: &Health) {
        self.pass(Told::Health(Box::new(health.clone())));
    }
    fn new_address(&self, event: &NewAddressEvent) {
        self.pass(Told::NewAddress(event.clone()));
    }
    fn reuse(&self, event: &DeniedEvent) {
        self.pass(Told::Reuse(event.clone()));
    }
}

/// A tracker and what its hook was told so far.
struct Heard {
    tracker: TokenTracker,
    told: Receiver<Told>,
}

impl Heard {
    /// Everything that was told until now and not looked at yet: the last event is one of our own making, and events
    /// are told in their order.
    fn told(&self) -> Vec<Told> {
        self.tracker.flush().unwrap();
        let marker = opaque(&self.tracker, "marker");
        self.tracker.tokens().revoke(marker.token.id, "").unwrap();
        drop(denied(&self.tracker, &marker.secret));
        let mut told = Vec::new();
        loop {
            match self.told.recv_timeout(Duration::from_secs(10)).unwrap() {
                Told::Denied(event) if event.subject.name == "marker" => return told,
                other => told.push(other),
            }
        }
    }
}

fn listening(builder: Builder) -> (Builder, Receiver<Told>) {
    let (sender, told) = channel();
    (builder.hook(Tell(Mutex::new(sender))), told)
}

fn heard(build: impl FnOnce(Builder) -> Builder) -> (Heard, ManualClock) {
    let (builder, clock) = builder();
    let (builder, told) = listening(build(builder));
    (Heard { tracker: builder.in_memory().unwrap(), told }, clock)
}

/// Two trackers with a hook each and one clock, on one file.
fn two(database: &Database, build: impl Fn(Builder) -> Builder) -> ([Heard; 2], ManualClock) {
    let clock = builder().1;
    let open = || {
        let (builder, told) = listening(build(builder().0.clock(clock.clone())));
        Heard { tracker: builder.open(database.path()).unwrap(), told }
    };
    ([open(), open()], clock)
}

fn names(told: &[Told]) -> Vec<&'static str> {
    let name = |told: &Told| match told {
        Told::Denied(_) => "denied",
        Told::Dormant(_) => "dormant",
        Told::Expiring(_) => "expiring",
        Told::FirstUse(_) => "first_use",
        Told::Health(_) => "health",
        Told::NewAddress(_) => "new_address",
        Told::Reuse(_) => "reuse",
    };
    told.iter().map(name).collect()
}

fn use_from(tracker: &TokenTracker, issued: &Issued, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    let request = AuthRequest::from(&issued.secret).client_address(address);
    tracker.record(Usage::of(tracker.authenticate(request).unwrap()).status(200));
}

/// The addresses of new-address events; anything else is a mistake.
fn addresses(told: Vec<Told>) -> Vec<String> {
    let address = |told| match told {
        Told::NewAddress(event) => event.client_address.to_string(),
        other => panic!("{other:?}"),
    };
    told.into_iter().map(address).collect()
}

#[test]
fn denial_is_told_with_what_a_record_would_keep_recorded_or_not() {
    for build in [
        |builder: Builder| builder,
        |builder: Builder| builder.without_usage_recording(),
        |builder: Builder| builder.path_filter(PathFilter::none().exact("/health")),
    ] {
        let (heard, clock) = heard(build);
        let issued = opaque(&heard.tracker, "laptop");
        heard.tracker.tokens().revoke(issued.token.id, "").unwrap();
        let long = "é".repeat(200);
        let request = AuthRequest::from(&issued.secret)
            .path("/health")
            .route(long.as_str())
            .user_agent(&long)
            .client_address("::ffff:192.0.2.7".parse::<std::net::IpAddr>().unwrap());
        drop(denied(&heard.tracker, request));
        let told = heard.told();
        let [Told::Denied(event)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(
            (event.subject.token_id, event.subject.owner.as_str(), event.subject.name.as_str()),
            (issued.token.id, OWNER, "laptop")
        );
        assert_eq!((event.at, event.reason), (clock.now(), DenialReason::Revoked));
        assert_eq!(
            event.client_address.map(|address| address.to_string()).as_deref(),
            Some("192.0.2.7")
        );
        assert_eq!(event.route.as_deref(), Some("é".repeat(128).as_str()));
        assert_eq!(event.user_agent.as_deref(), Some("é".repeat(128).as_str()));
    }
}

#[test]
fn ten_denials_a_minute_are_told_and_strangers_never() {
    let (heard, clock) = heard(|builder| builder);
    let issued = opaque(&heard.tracker, "laptop");
    let deny = || {
        for _ in 0..25 {
            let request = AuthRequest::from(&issued.secret).scope("admin");
            drop(denied(&heard.tracker, request));
        }
    };
    deny();
    for stranger in ["tt_forged", "a.b.c", ""] {
        drop(denied(&heard.tracker, stranger));
    }
    assert_eq!(names(&heard.told()), ["denied"; 10]);
    deny();
    assert_eq!(names(&heard.told()), [""; 0]);
    clock.advance(Duration::from_secs(60));
    deny();
    assert_eq!(names(&heard.told()), ["denied"; 10]);
    assert_eq!(heard.tracker.health().events_dropped, 0, "what is not told is no drop");
}

#[test]
fn first_use_is_told_once_by_whichever_process_wrote_it() {
    let database = Database::new();
    let ([one, two], clock) = two(&database, |builder| builder.without_usage_recording());
    let issued = opaque(&one.tracker, "laptop");
    let first = clock.now();
    std::thread::scope(|scope| {
        for heard in [&one, &two] {
            let (tracker, issued) = (&heard.tracker, &issued);
            scope.spawn(move || (0..50).for_each(|_| drop(access(tracker, issued))));
        }
    });
    let told: Vec<_> = [one.told(), two.told()].concat();
    let [Told::FirstUse(event)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((event.subject.token_id, event.at), (issued.token.id, first));
    clock.advance(DAY);
    [&one, &two].iter().for_each(|heard| drop(access(&heard.tracker, &issued)));
    assert_eq!([one.told(), two.told()], [[], []]);
}

/// Commits fail at their very end as long as this is there.
const FAIL_AT_COMMIT: &str =
    "CREATE TABLE fault (token INTEGER REFERENCES catalogue (id) DEFERRABLE INITIALLY DEFERRED);
     CREATE TRIGGER fail_at_commit AFTER INSERT ON usage_log
         BEGIN INSERT INTO fault VALUES (-1); END;";

#[test]
fn sightings_of_a_batch_are_told_once_although_its_commit_fails_first() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let (builder, told) = listening(builder);
    let heard = Heard { tracker: builder.open(database.path()).unwrap(), told };
    let (used, unused) = (opaque(&heard.tracker, "used"), opaque(&heard.tracker, "unused"));
    use_from(&heard.tracker, &used, "192.0.2.1");
    assert_eq!(names(&heard.told()), ["first_use"]);
    database.execute(FAIL_AT_COMMIT);
    use_from(&heard.tracker, &used, "192.0.2.2");
    use_from(&heard.tracker, &unused, "192.0.2.3");
    assert!(heard.tracker.flush().is_err() && heard.tracker.flush().is_err());
    assert_eq!(database.number("SELECT count(*) FROM token_addresses"), 1);
    database.execute("DROP TRIGGER fail_at_commit");
    eventually("stored", || heard.tracker.flush().is_ok());
    assert_eq!(database.number("SELECT count(*) FROM token_addresses"), 3);
    let mut names = names(&heard.told());
    names.retain(|name| *name != "health");
    assert_eq!(names, ["first_use", "new_address"]);
}

#[test]
fn new_address_is_told_once_and_the_first_one_is_not_new() {
    let database = Database::new();
    let ([one, two], clock) = two(&database, |builder| builder.without_last_used());
    let issued = opaque(&one.tracker, "laptop");
    use_from(&one.tracker, &issued, "192.0.2.1");
    assert_eq!(addresses(one.told()), [""; 0]);
    use_from(&two.tracker, &issued, "192.0.2.1");
    use_from(&two.tracker, &issued, "::ffff:192.0.2.1");
    assert_eq!(addresses(two.told()), [""; 0], "known to the other, and the same in other clothes");
    let at = clock.now();
    for heard in [&one, &two, &one] {
        use_from(&heard.tracker, &issued, "2001:db8::1");
        heard.tracker.flush().unwrap();
    }
    let told = one.told();
    let [Told::NewAddress(event)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((event.subject.token_id, event.at), (issued.token.id, at));
    assert_eq!(event.client_address.to_string(), "2001:db8::1");
    assert_eq!(addresses(two.told()), [""; 0]);

    // A refused request is no use, and one without an address is from nowhere.
    let request = AuthRequest::from(&issued.secret).scope("admin");
    drop(denied(
        &one.tracker,
        request.client_address("192.0.2.9".parse::<std::net::IpAddr>().unwrap()),
    ));
    drop(access(&one.tracker, &issued));
    assert_eq!(names(&one.told()), ["denied"]);
    use_from(&one.tracker, &opaque(&one.tracker, "another"), "192.0.2.9");
    assert_eq!(addresses(one.told()), [""; 0], "the first of another token");
}

#[test]
fn sixty_four_addresses_are_known_and_the_one_not_seen_for_longest_goes() {
    let database = Database::new();
    let ([one, _two], clock) = two(&database, |builder| builder.without_last_used());
    let issued = opaque(&one.tracker, "laptop");
    let seen_at = || database.number("SELECT min(seen_at) FROM token_addresses");
    for number in 0..64 {
        use_from(&one.tracker, &issued, &format!("192.0.2.{number}"));
        one.tracker.flush().unwrap();
        clock.advance(Duration::from_secs(10));
    }
    assert_eq!(one.told().len(), 63);
    let first = seen_at();
    use_from(&one.tracker, &issued, "192.0.2.0");
    one.tracker.flush().unwrap();
    assert_eq!(seen_at(), first, "moved once a day at most");
    for address in ["192.0.2.64", "192.0.2.0"] {
        use_from(&one.tracker, &issued, address);
        one.tracker.flush().unwrap();
        assert_eq!(database.number("SELECT count(*) FROM token_addresses"), 64);
    }
    assert_eq!(addresses(one.told()), ["192.0.2.64", "192.0.2.0"], "the first was forgotten");
    assert_eq!(seen_at(), first + 20_000_000);
    clock.advance(DAY);
    use_from(&one.tracker, &issued, "192.0.2.2");
    assert_eq!(addresses(one.told()), [""; 0]);
    assert_eq!(seen_at(), first + 30_000_000, "seen again, a day later");
}

#[test]
fn client_with_an_address_for_each_request_hides_nothing_and_is_told_of_ten_times_a_minute() {
    let database = Database::new();
    let ([one, _two], clock) = two(&database, |builder| builder.without_last_used());
    let (restless, another) = (opaque(&one.tracker, "restless"), opaque(&one.tracker, "another"));
    use_from(&one.tracker, &restless, "2001:db8::1");
    use_from(&one.tracker, &another, "192.0.2.1");
    one.tracker.flush().unwrap();
    let of = |issued: &Issued| {
        let id = issued.token.id;
        database.number(&format!("SELECT count(*) FROM token_addresses WHERE token_id = {id}"))
    };
    let used = |from: &str| {
        // One batch, with the other token's address at its end.
        for number in 0..2_000 {
            use_from(&one.tracker, &restless, &format!("2001:db8::{from}:{number:x}"));
        }
        use_from(&one.tracker, &another, &format!("198.51.100.{from}"));
        one.tracker.flush().unwrap();
        let told = one.told();
        let is_of = |told: &&Told, issued: &Issued| match told {
            Told::NewAddress(event) => event.subject.token_id == issued.token.id,
            _ => false,
        };
        [&restless, &another].map(|issued| told.iter().filter(|told| is_of(told, issued)).count())
    };
    assert_eq!(used("1"), [10, 1]);
    assert!(of(&restless) <= 64, "{}", of(&restless));
    assert_eq!(used("2"), [0, 1], "in the same minute");
    clock.advance(Duration::from_secs(60));
    assert_eq!(used("3"), [10, 1]);
    assert_eq!((of(&restless), of(&another)), (64, 4));
    assert_eq!(one.tracker.health().events_dropped, 0);
}

#[test]
fn dormant_token_is_told_once_a_dormancy_by_one_of_two_processes() {
    let database = Database::new();
    let ([one, two], clock) = two(&database, |builder| builder.dormant_after(30 * DAY));
    let (used, unused) = (opaque(&one.tracker, "used"), opaque(&one.tracker, "unused"));
    let suspended = opaque(&one.tracker, "suspended");
    one.tracker.tokens().suspend(suspended.token.id).unwrap();
    let short = NewToken::opaque(OWNER, "expired").expires_in(30 * DAY);
    one.tracker.tokens().issue(short).unwrap();
    clock.advance(DAY);
    let last_used = clock.now();
    drop(access(&one.tracker, &used));
    let look = || {
        one.tracker.flush().unwrap();
        [&one, &two].iter().for_each(|heard| heard.tracker.upkeep().unwrap());
        let mut told = [one.told(), two.told()].concat();
        told.retain(|told| matches!(told, Told::Dormant(_)));
        let told = told.into_iter().map(|told| match told {
            Told::Dormant(event) => (event.subject.name, event.last_used_at),
            other => panic!("{other:?}"),
        });
        told.collect::<Vec<_>>()
    };
    clock.advance(29 * DAY - MICROSECOND);
    assert_eq!(look(), []);
    clock.advance(MICROSECOND);
    assert_eq!(look(), [("unused".to_owned(), None)]);
    clock.advance(DAY);
    let mut told = look();
    told.retain(|(name, _)| name != "marker");
    assert_eq!(told, [("used".to_owned(), Some(last_used))]);
    clock.advance(60 * DAY);
    assert_eq!(look(), [], "once");
    drop(access(&two.tracker, &used));
    two.tracker.flush().unwrap();
    let last_used = clock.now();
    assert_eq!(look(), []);
    clock.advance(30 * DAY);
    assert_eq!(look(), [("used".to_owned(), Some(last_used))], "again after it was used");
    one.tracker.tokens().resume(suspended.token.id).unwrap();
    assert_eq!(look(), [("suspended".to_owned(), None)]);
    drop(unused);
}

#[test]
fn token_whose_use_is_not_tracked_is_not_dormant_and_time_counts_from_when_it_is() {
    let database = Database::new();
    let clock = builder().1;
    let open = |build: fn(Builder) -> Builder| {
        let (builder, told) = listening(build(builder().0.clock(clock.clone())));
        Heard { tracker: builder.open(database.path()).unwrap(), told }
    };
    let dormant = |heard: &Heard| {
        heard.tracker.upkeep().unwrap();
        heard.told().len()
    };
    let heard = open(|builder| builder.without_last_used());
    opaque(&heard.tracker, "laptop");
    clock.advance(200 * DAY);
    assert_eq!(dormant(&heard), 0);
    drop(heard);
    let heard = open(|builder| builder);
    assert_eq!(dormant(&heard), 0);
    clock.advance(90 * DAY - MICROSECOND);
    assert_eq!(dormant(&heard), 0);
    clock.advance(MICROSECOND);
    assert_eq!(dormant(&heard), 1);
}

#[test]
fn expiry_is_told_once_and_an_edited_one_again() {
    let (heard, clock) = heard(|builder| builder);
    let new = |name| NewToken::opaque(OWNER, name).expires_in(10 * DAY);
    let issued = heard.tracker.tokens().issue(new("laptop")).unwrap();
    let suspended = heard.tracker.tokens().issue(new("suspended")).unwrap();
    heard.tracker.tokens().suspend(suspended.token.id).unwrap();
    let revoked = heard.tracker.tokens().issue(new("revoked")).unwrap();
    heard.tracker.tokens().revoke(revoked.token.id, "").unwrap();
    let expires_at = clock.now() + 10 * DAY;
    let look = || {
        heard.tracker.upkeep().unwrap();
        let told = heard.told().into_iter().map(|told| match told {
            Told::Expiring(event) => (event.subject.name, event.expires_at),
            other => panic!("{other:?}"),
        });
        told.collect::<Vec<_>>()
    };
    clock.advance(3 * DAY - MICROSECOND);
    assert_eq!(look(), []);
    clock.advance(MICROSECOND);
    let both = ["laptop", "suspended"].map(|name| (name.to_owned(), expires_at));
    assert_eq!(look(), both);
    clock.advance(DAY);
    assert_eq!(look(), []);
    let edited = expires_at + DAY;
    let update = TokenUpdate::new().expires_at(Some(edited));
    heard.tracker.tokens().update(issued.token.id, update).unwrap();
    assert_eq!(look(), [("laptop".to_owned(), edited)]);
    clock.advance(30 * DAY);
    assert_eq!(look(), [], "what is over is told no more");
}

#[test]
fn census_begins_by_itself_and_with_each_call_of_upkeep() {
    let (heard, clock) = heard(|builder| builder);
    let expiring = |name: &str| {
        let new = NewToken::opaque(OWNER, name).expires_in(2 * DAY);
        heard.tracker.tokens().issue(new).unwrap();
    };
    expiring("first");
    let next = || heard.told.recv_timeout(Duration::from_secs(10)).unwrap();
    let Told::Expiring(event) = next() else { panic!("the first upkeep comes after a second") };
    assert_eq!(event.subject.name, "first");
    clock.advance(Duration::from_secs(3_600));
    expiring("second");
    heard.tracker.upkeep().unwrap();
    assert_eq!(names(&heard.told()), ["expiring"]);
    expiring("third");
    heard.tracker.upkeep().unwrap();
    assert_eq!(names(&heard.told()), ["expiring"], "one is begun by each call");
}

#[test]
fn more_findings_than_the_queue_holds_are_told_by_later_censuses_and_none_is_dropped() {
    let (blocking, release) = blocking();
    let (builder, clock) = builder();
    let tracker = builder.hook(blocking.hook).open(Database::new().path()).unwrap();
    for number in 0..1_500 {
        let new = NewToken::opaque(OWNER, format!("{number}")).expires_in(DAY);
        tracker.tokens().issue(new).unwrap();
    }
    tracker.upkeep().unwrap();
    blocking.entered.recv_timeout(Duration::from_secs(10)).unwrap();
    drop(release);
    let told = || blocking.count.lock().unwrap().expiring;
    for _ in 0..20 {
        clock.advance(Duration::from_secs(60));
        tracker.upkeep().unwrap();
        if told() == 1_500 {
            break;
        }
        eventually("told", || told() > 0);
    }
    eventually("all told", || {
        tracker.upkeep().unwrap();
        told() == 1_500
    });
    assert_eq!(tracker.health().events_dropped, 0);
}

/// A hook whose first call does not return before it may, and counts.
struct Blocking {
    hook: Wait,
    entered: Receiver<()>,
    count: Arc<Mutex<Count>>,
}

#[derive(Default)]
struct Count {
    denied: u64,
    expiring: u64,
}

struct Wait {
    entered: Mutex<Sender<()>>,
    released: Mutex<Receiver<()>>,
    count: Arc<Mutex<Count>>,
}

/// The hook is let go when the sender is dropped.
fn blocking() -> (Blocking, Sender<()>) {
    let ((entered, has_entered), (release, released)) = (channel(), channel());
    let count = Arc::new(Mutex::new(Count::default()));
    let hook = Wait {
        entered: Mutex::new(entered),
        released: Mutex::new(released),
        count: Arc::clone(&count),
    };
    (Blocking { hook, entered: has_entered, count }, release)
}

impl Wait {
    fn wait(&self) {
        let _ = self.entered.lock().unwrap().send(());
        let _ = self.released.lock().unwrap().recv();
    }
}

impl Hook for Wait {
    fn denied(&self, _: &DeniedEvent) {
        self.count.lock().unwrap().denied += 1;
        self.wait();
    }
    fn expiring(&self, _: &ExpiringEvent) {
        self.count.lock().unwrap().expiring += 1;
        self.wait();
    }
}

/// Refuses as many requests of a token, so that each is told.
fn deny(tracker: &TokenTracker, clock: &ManualClock, issued: &Issued, times: usize) {
    for number in 0..times {
        if number % 10 == 0 {
            clock.advance(Duration::from_secs(60));
        }
        drop(denied(tracker, AuthRequest::from(&issued.secret).scope("admin")));
    }
}

#[test]
fn hook_that_does_not_return_holds_up_nobody_and_told_and_dropped_are_all() {
    let (blocking, release) = blocking();
    let (builder, clock) = builder();
    let tracker = builder.hook(blocking.hook).in_memory().unwrap();
    let issued = opaque(&tracker, "laptop");
    deny(&tracker, &clock, &issued, 1);
    blocking.entered.recv_timeout(Duration::from_secs(10)).unwrap();
    deny(&tracker, &clock, &issued, 1_100);
    assert_eq!(tracker.health().events_dropped, 1_100 - 1_024);
    assert_eq!(records(&tracker, issued.token.id).len(), 1_000);
    tracker.upkeep().unwrap();
    let real = SystemClock::new();
    tracker.close().unwrap();
    let took = real.monotonic();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(blocking.count.lock().unwrap().denied, 1);
    assert_eq!(tracker.health().events_dropped, 1_100, "what waited is dropped");
    deny(&tracker, &clock, &issued, 3);
    assert_eq!(tracker.health().events_dropped, 1_103, "and so is what comes later");
    drop(release);
    drop(tracker);
    while blocking.entered.recv_timeout(Duration::from_secs(10)).is_ok() {}
    assert_eq!(blocking.count.lock().unwrap().denied, 1, "the thread ended without another call");
}

#[test]
fn closing_waits_until_what_happened_is_told() {
    let (heard, _clock) = heard(|builder| builder);
    let issued = opaque(&heard.tracker, "laptop");
    drop(access(&heard.tracker, &issued));
    heard.tracker.close().unwrap();
    let told: Vec<_> = heard.told.try_iter().collect();
    assert_eq!(names(&told), ["first_use"]);
    assert_eq!(heard.told.try_recv(), Err(TryRecvError::Disconnected), "the hook is dropped");
}

struct Panics(Sender<()>);

impl Hook for Panics {
    fn denied(&self, _: &DeniedEvent) {
        let _ = self.0.send(());
        std::panic::panic_any(Spiteful);
    }
}

/// Panics once more as it is dropped.
struct Spiteful;

impl Drop for Spiteful {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn hook_that_panics_is_counted_and_called_again() {
    let (sender, called) = channel();
    let (builder, clock) = builder();
    let tracker = builder.hook(Panics(sender)).in_memory().unwrap();
    let issued = opaque(&tracker, "laptop");
    deny(&tracker, &clock, &issued, 5);
    (0..5).for_each(|_| called.recv_timeout(Duration::from_secs(10)).unwrap());
    eventually("counted", || tracker.health().hook_panics == 5);
    tracker.close().unwrap();
    assert_eq!(tracker.health().events_dropped, 0);
}

/// Holds the tracker, and drops its handle once it may.
struct LastHolder {
    tracker: Arc<OnceLock<WeakTokenTracker>>,
    holds: Sender<()>,
    may_drop: Mutex<Receiver<()>>,
    dropped: Sender<bool>,
}

impl Hook for LastHolder {
    fn denied(&self, _: &DeniedEvent) {
        let tracker = || self.tracker.get().and_then(WeakTokenTracker::upgrade);
        if let Some(tracker) = tracker() {
            self.holds.send(()).unwrap();
            let _ = self.may_drop.lock().unwrap().recv();
            drop(tracker);
        }
        let _ = self.dropped.send(tracker().is_none());
    }
}

#[test]
fn hook_that_drops_the_last_handle_closes_the_tracker_and_does_not_wait_for_itself() {
    let database = Database::new();
    let ((holds, held), (may_drop, waits), (dropped, was_dropped)) =
        (channel(), channel(), channel());
    let slot = Arc::new(OnceLock::new());
    let (builder, _clock) = builder();
    let tracker = Arc::clone(&slot);
    let hook = LastHolder { tracker, holds, may_drop: Mutex::new(waits), dropped };
    let tracker = builder.hook(hook).open(database.path()).unwrap();
    slot.set(tracker.downgrade()).unwrap();
    let issued = opaque(&tracker, "laptop");
    for _ in 0..2 {
        drop(denied(&tracker, AuthRequest::from(&issued.secret).scope("admin")));
    }
    held.recv_timeout(Duration::from_secs(10)).unwrap();
    drop(tracker);
    assert_eq!(database.number("SELECT count(*) FROM writers"), 1, "the hook keeps it open");
    drop(may_drop);
    assert!(was_dropped.recv_timeout(Duration::from_secs(10)).unwrap());
    assert_eq!(database.number("SELECT count(*) FROM writers"), 0);
    assert_eq!(database.number("SELECT count(*) FROM usage_log"), 2);
    assert!(was_dropped.recv_timeout(Duration::from_secs(10)).unwrap(), "what waited is told");
    let ended = was_dropped.recv_timeout(Duration::from_secs(10));
    assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
}

struct Suspends(Arc<OnceLock<WeakTokenTracker>>);

impl Hook for Suspends {
    fn denied(&self, event: &DeniedEvent) {
        let tracker = self.0.get().and_then(WeakTokenTracker::upgrade).unwrap();
        tracker.tokens().acting_as("hook").suspend(event.subject.token_id).unwrap();
    }
}

#[test]
fn hook_can_change_the_catalogue() {
    let slot = Arc::new(OnceLock::new());
    let (builder, _clock) = builder();
    let tracker = builder.hook(Suspends(Arc::clone(&slot))).in_memory().unwrap();
    slot.set(tracker.downgrade()).unwrap();
    let issued = opaque(&tracker, "laptop");
    drop(denied(&tracker, AuthRequest::from(&issued.secret).scope("admin")));
    eventually("suspended", || {
        denied(&tracker, AuthRequest::from(&issued.secret).scope("admin")).reason()
            == DenialReason::Suspended
    });
}

#[test]
fn health_is_told_at_each_change_and_not_at_each_failure() {
    let database = Database::new();
    let (builder, clock) = builder();
    let (builder, told) = listening(builder.queue_capacity(10).without_last_used());
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let next = || match told.recv_timeout(Duration::from_secs(10)).unwrap() {
        Told::Health(health) => *health,
        other => panic!("{other:?}"),
    };
    database.execute("ALTER TABLE usage_log RENAME TO lost");
    drop(access(&tracker, &issued));
    assert_eq!(tracker.flush().unwrap_err().kind(), ErrorKind::Storage);
    let degraded = next();
    assert!(degraded.degraded && !degraded.poisoned && degraded.last_error.is_some());
    assert_eq!((degraded.accepted, degraded.buffered, degraded.dropped), (1, 1, 0));
    (0..20).for_each(|_| drop(access(&tracker, &issued)));
    // On a slow machine upkeep has its first turn meanwhile, and fails as well.
    let dropping = std::iter::repeat_with(next).find(|health| health.dropped > 0).unwrap();
    assert!(dropping.degraded, "{dropping:?}");
    (0..20).for_each(|_| drop(access(&tracker, &issued)));
    (0..3).for_each(|_| drop(tracker.flush()));
    database.execute("ALTER TABLE lost RENAME TO usage_log");
    eventually("stored", || tracker.flush().is_ok());
    tracker.upkeep().unwrap();
    let is_well = |health: &Health| !health.degraded && health.upkeep_error.is_none();
    let well = std::iter::repeat_with(next).find(is_well).unwrap();
    assert_eq!(well.last_error, None);

    let right = clock.now();
    clock.set_wall(right + DAY);
    tracker.flush().unwrap();
    assert!(next().clock_in_doubt);
    tracker.flush().unwrap();
    clock.set_wall(right);
    tracker.confirm_clock();
    tracker.flush().unwrap();
    assert!(!next().clock_in_doubt);

    database.execute("ALTER TABLE usage_gaps RENAME TO lost");
    assert!(tracker.upkeep().is_err());
    assert!(next().upkeep_error.is_some());
    assert!(tracker.upkeep().is_err());
    database.execute("ALTER TABLE lost RENAME TO usage_gaps");
    tracker.upkeep().unwrap();
    assert_eq!(next().upkeep_error, None);
    tracker.close().unwrap();
    assert_eq!(told.iter().collect::<Vec<_>>(), []);
}

#[test]
fn records_that_are_lost_at_the_end_are_told() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let (builder, told) = listening(builder.without_last_used());
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    database.execute("ALTER TABLE usage_log RENAME TO lost");
    drop(access(&tracker, &issued));
    assert_eq!(tracker.close().unwrap_err().kind(), ErrorKind::Lost);
    let last = told.iter().last();
    assert!(matches!(last, Some(Told::Health(health)) if health.dropped == 1 && health.closed));
}

const CHILD: &str = "TOKEN_TRACKER_TEST_HOOKLESS";

/// Runs in a process of its own: the others of this one have hooks.
#[test]
fn child_that_looks_for_threads() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        names
            .filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("token-tracker-h")))
            .count()
    };
    let (tracker, _clock) = in_memory();
    drop(access(&tracker, &opaque(&tracker, "laptop")));
    tracker.flush().unwrap();
    assert_eq!(threads(), 0);
    let (heard, _clock) = heard(|builder| builder);
    drop(heard.told());
    assert_eq!(threads(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_hook_there_is_no_thread_for_one() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "events::child_that_looks_for_threads"]).env(CHILD, "1");
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn without_a_hook_nothing_is_marked_and_no_address_is_kept() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let new = NewToken::opaque(OWNER, "laptop").expires_in(100 * DAY);
    let issued = tracker.tokens().issue(new).unwrap();
    use_from(&tracker, &issued, "192.0.2.1");
    tracker.flush().unwrap();
    clock.advance(95 * DAY);
    tracker.upkeep().unwrap();
    assert_eq!(database.number("SELECT count(*) FROM token_addresses"), 0);
    let marked = "SELECT count(*) FROM catalogue WHERE told_dormant IS NOT NULL OR told_expiring IS NOT NULL";
    assert_eq!(database.number(marked), 0);
}

#[test]
fn times_out_of_their_bounds_are_refused_by_name() {
    let hour = Duration::from_secs(3_600);
    let field = |build: fn(Builder, Duration) -> Builder, time| {
        build(TokenTracker::builder(), time).in_memory().err().and_then(|error| error.field())
    };
    for (name, build) in [
        ("dormant_after", Builder::dormant_after as fn(Builder, Duration) -> Builder),
        ("expiring_within", Builder::expiring_within),
    ] {
        for wrong in [hour - MICROSECOND, 3_650 * DAY + MICROSECOND] {
            assert_eq!(field(build, wrong), Some(name));
        }
        for right in [hour, 3_650 * DAY] {
            assert_eq!(field(build, right), None);
        }
    }
    fn often(builder: Builder, time: Duration) -> Builder {
        builder.last_used_interval(Duration::from_secs(3_600)).dormant_after(time)
    }
    assert_eq!(field(often, hour), Some("dormant_after"));
    assert_eq!(field(often, 2 * hour), None);
}
