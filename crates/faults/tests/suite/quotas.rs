//! Processes that take units of the same quotas would together grant more than the limit, or lose what one of them had
//! taken: for good, where it comes to its end, and more than a lease, where it is killed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use token_tracker::{NewToken, Quota, TokenTracker};
use token_tracker_faults::{
    Child, Deadline, Entry, Ledger, Scene, Shared, Spending, Tmpfs, Worth, alone, at_us, pause,
    rounds, secret_of, terminate,
};

const THREADS: u32 = 3;

const PATIENCE: Duration = Duration::from_secs(60);

/// A token with a quota.
struct Metered {
    row: i64,
    secret: String,
    limit: u64,
    worth: Worth,
}

impl Metered {
    fn lease(&self) -> u64 {
        (self.limit / 100).max(1)
    }

    /// What one process may have taken and not granted, and what its threads may be about to grant.
    fn forfeit(&self) -> u64 {
        self.lease() + in_flight(self.worth)
    }

    fn most_over(&self) -> u64 {
        u64::from(THREADS * self.worth.most_over())
    }
}

fn in_flight(worth: Worth) -> u64 {
    u64::from(THREADS * (worth.most_reserved() + worth.most_over()))
}

/// Some tokens on one file, and what was granted of them by processes that have ended.
struct Market {
    database: PathBuf,
    tokens: Vec<Metered>,
    ledger: Ledger,
    started: u32,
    /// Processes that were killed before they had come to their end.
    killed: u64,
    unavailable: u64,
}

impl Market {
    fn new(database: PathBuf, limits: &[(u64, Worth)]) -> Self {
        await_a_whole_window();
        let tracker = open(&database);
        let issue = |(at, (limit, worth)): (usize, &(u64, Worth))| {
            let quota = match at % 3 {
                0 => Quota::new().per_day(*limit),
                1 => Quota::new().per_month(*limit),
                _ => Quota::new().per_day(*limit).per_month(*limit),
            };
            let name = format!("{at} of {}", at_us());
            let new = NewToken::opaque("alice@example.com", name).quota(quota);
            let (row, secret) = secret_of(&tracker.tokens().issue(new).unwrap());
            Metered { row, secret, limit: *limit, worth: *worth }
        };
        let tokens = limits.iter().enumerate().map(issue).collect();
        tracker.close().unwrap();
        let ledger = Ledger::default();
        Self { database, tokens, ledger, started: 0, killed: 0, unavailable: 0 }
    }

    fn spending(&self, seed: u32) -> Spending {
        let tokens = self.tokens.iter().map(|token| (token.worth, token.secret.clone())).collect();
        Spending { database: self.database.clone(), threads: THREADS, seed, tokens }
    }

    fn start(&mut self) -> Child {
        self.started += 1;
        let args = self.spending(self.started).to_args();
        Child::start(env!("CARGO_BIN_EXE_spending"), &args)
    }

    fn start_all<const N: usize>(&mut self) -> [Child; N] {
        let mut children = [(); N].map(|()| self.start());
        children.iter_mut().for_each(|child| child.await_note("ready"));
        children
    }

    fn kill(&mut self, mut child: Child) {
        child.kill();
        let said = child.ledger().copy();
        self.killed += u64::from(said.number("unavailable ").is_none());
        self.ledger.absorb(said);
    }

    /// Waits for the end of processes, while the file never says more than the limit.
    fn finish(&mut self, children: impl IntoIterator<Item = Child>) {
        for mut child in children {
            let patience = Deadline::after(PATIENCE);
            while child.is_running() {
                self.assert_within_limits();
                assert!(!patience.is_over(), "it does not come to its end");
                pause(20);
            }
            assert!(child.finish(PATIENCE).success());
            let said = child.ledger().copy();
            self.unavailable += said.number("unavailable ").unwrap();
            self.ledger.absorb(said);
        }
    }

    fn granted(&self) -> BTreeMap<i64, Vec<u64>> {
        let mut granted = BTreeMap::<_, Vec<u64>>::new();
        for (row, units) in granted_units(&self.database) {
            granted.entry(row).or_default().push(units);
        }
        granted
    }

    fn assert_within_limits(&self) {
        let granted = self.granted();
        for token in &self.tokens {
            // A debt is put down by a process that ends, beyond the limit too.
            let most = token.limit + u64::from(self.started) * token.most_over();
            let granted = granted.get(&token.row).into_iter().flatten();
            granted.for_each(|granted| assert!(*granted <= most, "{granted} of {}", token.limit));
        }
    }

    /// Grants what is left, and holds what was granted by all against the limits and the file. Returns what was
    /// forfeited.
    fn balance(&mut self) -> u64 {
        let rest = Shared::default();
        let tracker = open(&self.database);
        let spending = Spending { threads: 1, ..self.spending(0) };
        self.unavailable +=
            spending.run(&tracker, &AtomicBool::new(false), &|entry: Entry| rest.enter(entry));
        tracker.close().unwrap();
        self.started += 1;
        self.ledger.absorb(rest.copy());
        self.assert_within_limits();
        let (granted, killed) = (self.granted(), self.killed);
        let mut forfeited = 0;
        for Metered { row, limit, worth, .. } in &self.tokens {
            let spent = self.ledger.spent.get(row).copied().unwrap_or_default();
            for granted in &granted[row] {
                assert!(granted >= limit, "{granted} of {limit} are granted, and the rest refused");
            }
            // A debt of a process that is killed is written down nowhere.
            let unpaid = killed * in_flight(*worth) * u64::from(*worth == Worth::More);
            let most = granted[row].iter().min().unwrap() + unpaid;
            assert!(spent <= most, "{spent} were granted of {limit}: the file says {most}");
            forfeited += most.saturating_sub(unpaid).saturating_sub(spent);
        }
        for token in &self.tokens {
            let spent = self.ledger.spent.get(&token.row).copied().unwrap_or_default();
            let (lost, allowed) = (token.limit.saturating_sub(spent), killed * token.forfeit());
            assert!(lost <= allowed, "{lost} of {} lost by {killed} kills", token.limit);
        }
        // Each thread had one request under way, whichever token that was for.
        let leases: u64 = self.tokens.iter().map(Metered::lease).sum();
        let under_way = [Worth::One, Worth::Less, Worth::More].map(in_flight).into_iter().max();
        let allowed = killed * (leases + under_way.unwrap());
        assert!(forfeited <= allowed, "{forfeited} lost by {killed} kills: {allowed} at most");
        forfeited
    }

    fn sum(&self) -> u64 {
        self.ledger.spent.values().sum()
    }
}

fn open(database: &Path) -> TokenTracker {
    TokenTracker::builder().without_usage_recording().open(database).unwrap()
}

/// All units that the file says are taken, by token.
fn granted_units(database: &Path) -> Vec<(i64, u64)> {
    let file = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    file.busy_timeout(Duration::from_secs(5)).unwrap();
    let mut statement = file.prepare("SELECT token_id, granted FROM quota_windows").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
    rows.unwrap().map(|row| row.map(|(row, units)| (row, units.unsigned_abs())).unwrap()).collect()
}

/// A day or a month that ended meanwhile would give twice as much.
fn await_a_whole_window() {
    const DAY_S: i64 = 86_400;
    while DAY_S - at_us() / 1_000_000 % DAY_S < 60 {
        pause(500);
    }
}

const LIMITS: [(u64, Worth); 12] = [
    (1, Worth::One),
    (2, Worth::One),
    (7, Worth::One),
    (40, Worth::One),
    (40, Worth::Less),
    (40, Worth::More),
    (199, Worth::One),
    (300, Worth::Less),
    (300, Worth::More),
    (5_000, Worth::One),
    (10_000, Worth::Less),
    (10_000, Worth::More),
];

#[test]
fn processes_together_grant_each_unit_once_and_none_is_lost() {
    let _alone = alone();
    for round in 1..=rounds(2, 40) {
        let scene = Scene::new();
        let mut market = Market::new(scene.database(), &LIMITS);
        let [first, second, third] = market.start_all::<3>();
        pause(u64::from(round * 7_919 % 80));
        // Ends half way, and puts back what it holds.
        terminate(&first);
        market.finish([first, second, third]);
        assert_eq!(market.balance(), 0, "nobody was killed");
        let (sum, limits): (_, u64) = (market.sum(), LIMITS.iter().map(|(limit, _)| limit).sum());
        eprintln!("{sum} of {limits} granted, {} times unavailable", market.unavailable);
        assert!(sum >= limits);
    }
}

#[test]
fn kill_forfeits_at_most_a_lease_and_never_makes_more_of_a_limit() {
    let _alone = alone();
    let (mut killed, mut forfeited) = (0, 0);
    let scene = Scene::new();
    for round in 0..rounds(4, 100) {
        let mut market = Market::new(scene.database(), &LIMITS);
        let [first, second, third] = market.start_all::<3>();
        pause(u64::from(round * 7_919 % 60));
        market.kill(first);
        let fourth = market.start();
        pause(u64::from(round * 104_729 % 120));
        market.kill(second);
        market.finish([third, fourth]);
        forfeited += market.balance();
        killed += market.killed;
    }
    eprintln!("{killed} killed, {forfeited} forfeited");
    assert!(killed >= u64::from(rounds(4, 100)), "hardly any was killed half way");
}

/// Whoever cannot lease does not know: the request is neither granted nor refused.
fn spend_while(database: PathBuf, strike: impl FnOnce(), heal: impl FnOnce()) -> (Market, u64) {
    let mut market = Market::new(database, &LIMITS);
    let mut children = market.start_all::<2>();
    let sum = |child: &Child| -> u64 { child.ledger().with(|ledger| ledger.spent.values().sum()) };
    pause(100);
    strike();
    pause(300);
    let before: u64 = children.iter().map(sum).sum();
    pause(400);
    let during = children.iter().map(sum).sum::<u64>() - before;
    assert!(children.iter_mut().all(Child::is_running), "it was over before it began");
    heal();
    market.finish(children);
    let leases: u64 = market.tokens.iter().map(Metered::forfeit).sum();
    assert!(during <= 2 * leases, "{during} were granted that nobody could lease");
    assert!(market.unavailable >= 4, "all could be leased");
    let forfeited = market.balance();
    eprintln!(
        "{} granted, {during} of them meanwhile, {} times unavailable",
        market.sum(),
        market.unavailable
    );
    (market, forfeited)
}

#[test]
fn foreign_write_lock_makes_what_cannot_be_leased_unavailable() {
    let _alone = alone();
    for _ in 0..rounds(1, 20) {
        let scene = Scene::new();
        let holder = RefCell::new(None);
        let strike = || {
            let database = scene.database();
            let args = ["sql", database.to_str().unwrap(), "BEGIN IMMEDIATE"].map(str::to_owned);
            let mut child = Child::start(env!("CARGO_BIN_EXE_hold"), &args);
            child.await_note("done");
            drop(holder.replace(Some(child)));
        };
        let (_, forfeited) = spend_while(scene.database(), strike, || drop(holder.take()));
        assert_eq!(forfeited, 0, "nobody was killed");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_makes_what_cannot_be_leased_unavailable() {
    let _alone = alone();
    for _ in 0..rounds(1, 20) {
        let Some(disk) = Tmpfs::mount(16) else { return };
        let filler = RefCell::new(None);
        let database = disk.path().join("tokens.db");
        let strike = || drop(filler.replace(Some(disk.fill())));
        let (_, forfeited) = spend_while(database, strike, || drop(filler.take()));
        assert_eq!(forfeited, 0, "nobody was killed");
    }
}
