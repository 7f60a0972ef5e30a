//! Random requests, made of a tracker and written down in a plain table beside it, to be summed up by plain SQL.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};
use time::{OffsetDateTime, UtcOffset};
use token_tracker::{
    AuthError, AuthRequest, Clock, GroupKey, Grouping, Groups, Issued, ManualClock, NewToken,
    StatsQuery, TokenId, TokenTracker, Usage,
};

const PLAIN: &str =
    "CREATE TABLE plain (at INTEGER, token INTEGER, owner TEXT, tag TEXT, route TEXT,
    method TEXT, status INTEGER, outcome TEXT, reason TEXT, agent TEXT, address TEXT,
    duration_us INTEGER, bytes INTEGER, cost INTEGER);
    CREATE INDEX plain_at ON plain (at);";
const INSERT: &str = "INSERT INTO plain VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Numbers without a pattern, the same in each run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % sides
    }

    /// Small numbers far more often than large ones.
    fn skewed(&mut self, sides: u64) -> u64 {
        let most = self.roll(sides) + 1;
        self.roll(most)
    }
}

/// Whose usage is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Whose {
    All,
    Owner(String),
    Tag(String),
    Token(TokenId),
}

pub(crate) struct Ledger {
    pub(crate) tokens: Vec<Issued>,
    plain: Connection,
    routes: Vec<String>,
    agents: Vec<String>,
}

pub(crate) fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap()
}

impl Ledger {
    pub(crate) fn new(tracker: &TokenTracker, tokens: usize) -> Self {
        let plain = Connection::open_in_memory().unwrap();
        plain.execute_batch(PLAIN).unwrap();
        let issue = |number: usize| {
            let new = NewToken::opaque(format!("owner {}", number % 7), format!("token {number}"));
            tracker.tokens().issue(new.tag(format!("tag {}", number % 3)).scope("read")).unwrap()
        };
        Self {
            tokens: (0..tokens).map(issue).collect(),
            plain,
            routes: (0..60).map(|number| format!("/route/{number}")).collect(),
            agents: (0..20).map(|number| format!("agent/{number}")).collect(),
        }
    }

    /// Makes requests, with a pause between two of them.
    pub(crate) fn live(
        &self,
        tracker: &TokenTracker,
        clock: &ManualClock,
        dice: &mut Dice,
        (requests, pause): (usize, Duration),
    ) {
        let mut insert = self.plain.prepare_cached(INSERT).unwrap();
        self.plain.execute_batch("BEGIN").unwrap();
        for number in 0..requests {
            clock.advance(pause.mul_f64(dice.roll(1_000) as f64 / 500.0));
            self.request(tracker, clock, dice, &mut insert);
            if number % 20_000 == 19_999 {
                tracker.flush().unwrap();
            }
        }
        drop(insert);
        self.plain.execute_batch("COMMIT").unwrap();
        tracker.flush().unwrap();
    }

    fn request(
        &self,
        tracker: &TokenTracker,
        clock: &ManualClock,
        dice: &mut Dice,
        insert: &mut rusqlite::CachedStatement<'_>,
    ) {
        let issued = &self.tokens[dice.skewed(self.tokens.len() as u64) as usize];
        let route = (dice.roll(12) > 0).then(|| &self.routes[dice.skewed(60) as usize]);
        let agent = (dice.roll(9) > 0).then(|| &self.agents[dice.skewed(20) as usize]);
        let address = (dice.roll(8) > 0).then(|| any_address(dice));
        let method = ["GET", "POST", "PUT", "DELETE"][dice.skewed(4) as usize];
        let took = Duration::from_micros(dice.roll(3_000) * dice.roll(300));
        let (bytes, cost) = (dice.roll(100_000), 1 + dice.roll(3) as u32);
        let mut request = AuthRequest::from(&issued.secret).method(method);
        if let Some(route) = route {
            request = request.route(route.as_str());
        }
        if let Some(agent) = agent {
            request = request.user_agent(agent.as_str());
        }
        if let Some(address) = &address {
            request = request.client_address(address.parse::<std::net::IpAddr>().unwrap());
        }
        let (usage, status, outcome, reason) = ended(tracker, request, dice);
        tracker.record(usage.elapsed(took).response_bytes(bytes).cost(cost));
        let token = &issued.token;
        let row = params![
            micros(clock.now()),
            number(token.id),
            token.owner,
            token.tags.first(),
            route.map_or("<unmatched>", String::as_str),
            method,
            status,
            outcome,
            reason,
            agent,
            address,
            i64::try_from(took.as_micros()).unwrap(),
            i64::try_from(bytes).unwrap(),
            i64::from(cost),
        ];
        insert.execute(row).unwrap();
    }

    pub(crate) fn anyone(&self, dice: &mut Dice) -> Whose {
        match dice.roll(4) {
            0 => Whose::All,
            1 => Whose::Owner(format!("owner {}", dice.roll(7))),
            2 => Whose::Tag(format!("tag {}", dice.roll(3))),
            _ => Whose::Token(self.tokens[dice.roll(self.tokens.len() as u64) as usize].token.id),
        }
    }

    /// One row of an aggregate over a period.
    pub(crate) fn sums<const N: usize>(
        &self,
        whose: &Whose,
        (from, until): (OffsetDateTime, OffsetDateTime),
        columns: [&str; N],
    ) -> [i64; N] {
        let (clause, mut values) = whose.clause();
        let sql = format!(
            "SELECT {} FROM plain WHERE at >= ?1 AND at < ?2 AND {clause}",
            columns.map(|column| format!("coalesce({column}, 0)")).join(", ")
        );
        values.splice(0..0, [micros(from).into(), micros(until).into()]);
        let mut statement = self.plain.prepare_cached(&sql).unwrap();
        statement
            .query_row(params_from_iter(values), |row| {
                Ok(std::array::from_fn(|at| row.get(at).unwrap()))
            })
            .unwrap()
    }

    /// How many requests there are of each value.
    pub(crate) fn groups(
        &self,
        whose: &Whose,
        (from, until): (OffsetDateTime, OffsetDateTime),
        by: Grouping,
        offset: UtcOffset,
    ) -> BTreeMap<String, u64> {
        let (clause, mut values) = whose.clause();
        let shift = i64::from(offset.whole_seconds()) * 1_000_000;
        let text = match by {
            Grouping::ClientAddress => "coalesce(address, '<none>')".to_owned(),
            Grouping::Day => format!("(at + {shift}) / 86400000000 * 86400000000 - {shift}"),
            Grouping::Hour => format!("(at + {shift}) / 3600000000 * 3600000000 - {shift}"),
            Grouping::Method => "method".to_owned(),
            Grouping::Outcome => "outcome".to_owned(),
            Grouping::Owner => "owner".to_owned(),
            Grouping::Reason => "reason".to_owned(),
            Grouping::Route => "route".to_owned(),
            Grouping::Status => "status".to_owned(),
            Grouping::StatusClass => "(status / 100) || 'xx'".to_owned(),
            Grouping::Token => "token".to_owned(),
            Grouping::UserAgent => "coalesce(agent, '<none>')".to_owned(),
            other => panic!("what is {other}?"),
        };
        let sql = format!(
            "SELECT {text}, count(*) FROM plain
            WHERE at >= ?1 AND at < ?2 AND {clause} AND {text} IS NOT NULL GROUP BY 1"
        );
        values.splice(0..0, [micros(from).into(), micros(until).into()]);
        let mut statement = self.plain.prepare_cached(&sql).unwrap();
        let groups = statement.query_map(params_from_iter(values), |row| {
            let key = match row.get(0)? {
                Value::Integer(number) => number.to_string(),
                Value::Text(text) => text,
                other => panic!("{other:?}"),
            };
            Ok((key, row.get::<_, i64>(1)?.unsigned_abs()))
        });
        groups.unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }
}

impl Whose {
    pub(crate) fn ask<'t>(&self, tracker: &'t TokenTracker) -> StatsQuery<'t> {
        match self {
            Self::All => tracker.stats().all(),
            Self::Owner(owner) => tracker.stats().owner(owner),
            Self::Tag(tag) => tracker.stats().tag(tag),
            Self::Token(token) => tracker.stats().token(*token),
        }
    }

    fn clause(&self) -> (&'static str, Vec<Value>) {
        match self {
            Self::All => ("1", Vec::new()),
            Self::Owner(owner) => ("owner = ?3", vec![owner.clone().into()]),
            Self::Tag(tag) => ("tag = ?3", vec![tag.clone().into()]),
            Self::Token(token) => ("token = ?3", vec![number(*token).into()]),
        }
    }
}

fn any_address(dice: &mut Dice) -> String {
    let number = dice.skewed(120);
    if number.is_multiple_of(2) {
        format!("192.0.2.{number}")
    } else {
        format!("2001:db8::{number:x}")
    }
}

/// Makes a request, and says how it ended: status, outcome and reason.
fn ended(
    tracker: &TokenTracker,
    request: AuthRequest<'_>,
    dice: &mut Dice,
) -> (Usage, u16, &'static str, Option<&'static str>) {
    let statuses = [200, 200, 200, 201, 204, 302, 400, 404, 409, 500, 503];
    let status = statuses[dice.roll(11) as usize];
    match dice.roll(20) {
        0 => match tracker.authenticate(request.scope("admin")) {
            Err(AuthError::Denied(denied)) => {
                (Usage::of(denied), 403, "denied", Some("missing_scope"))
            }
            other => panic!("not denied: {other:?}"),
        },
        1 => (Usage::of(tracker.authenticate(request).unwrap()), 499, "unfinished", None),
        _ => {
            let outcome = match status {
                0..400 => "success",
                400..500 => "client_error",
                _ => "server_error",
            };
            let access = tracker.authenticate(request).unwrap();
            (Usage::of(access).status(status), status, outcome, None)
        }
    }
}

fn number(token: TokenId) -> i64 {
    token.to_string().parse().unwrap()
}

/// What an answer says, as [`Ledger::groups`] does.
pub(crate) fn counted(groups: &Groups) -> BTreeMap<String, u64> {
    let key = |key: &GroupKey| match key {
        GroupKey::Time(at) => micros(*at).to_string(),
        other => other.to_string(),
    };
    let groups = groups.groups.iter().filter(|group| group.requests > 0);
    groups.map(|group| (key(&group.key), group.requests)).collect()
}

pub(crate) fn any_instant(
    start: OffsetDateTime,
    end: OffsetDateTime,
    dice: &mut Dice,
) -> OffsetDateTime {
    let seconds = (end - start).whole_seconds().unsigned_abs();
    start + Duration::from_micros(dice.roll(seconds) * 1_000_000 + dice.roll(1_000_000))
}

/// The seven numbers of a period are those of the plain table.
pub(crate) fn assert_seven(
    ledger: &Ledger,
    whose: &Whose,
    tracker: &TokenTracker,
    period: (OffsetDateTime, OffsetDateTime),
) {
    let seven = whose.ask(tracker).between(period.0, period.1).compatibility_summary().unwrap();
    let columns = ["count(*)", "sum(status < 400)", "sum(outcome = 'denied')", "sum(duration_us)"];
    let [total, below_400, denied, duration] = ledger.sums(whose, period, columns);
    let told = [seven.total_requests, seven.successful_requests, seven.blocked_requests];
    assert_eq!(told.map(|count| count as i64), [total, below_400, denied], "{whose:?} {period:?}");
    let rate = if total == 0 { 0.0 } else { below_400 as f64 / total as f64 };
    assert_eq!(seven.success_rate, rate);
    let mean = duration as f64 / total.max(1) as f64 / 1_000.0;
    assert!((seven.average_response_time_ms - mean).abs() <= 0.001, "to the microsecond");
    let days = (period.1 - period.0).as_seconds_f64() / 86_400.0;
    assert!((seven.period_days - days).abs() < 1e-9);
    let routes = ledger.groups(whose, period, Grouping::Route, UtcOffset::UTC);
    let mut most: Vec<_> = routes.values().copied().collect();
    most.sort_unstable_by(|one, two| two.cmp(one));
    most.truncate(5);
    let top: Vec<_> = seven.top_endpoints.iter().map(|route| route.requests).collect();
    assert_eq!(top, most);
    for route in &seven.top_endpoints {
        assert_eq!(routes[&route.route], route.requests);
    }
}
