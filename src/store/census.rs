//! A walk over all tokens by their numbers: who is dormant, whose time is nearly over, and who can go. Then over what
//! they are and were known by.

mod sweeps;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::retention::Horizons;
use super::rollup::{HOURS_A_DAY, Progress};
use super::{Catalogue, instant};
use crate::audit::{Act, Behalf, Deed};
use crate::events::{DormantEvent, ExpiringEvent, Subject};
use crate::timestamp::Timestamp;
use crate::token::TokenId;
use sweeps::{ADDRESSES, HEADS, LATE_USES, QUOTAS};

/// Tokens, or rows of another table, that one step looks at.
const STEP: i64 = 1_000;

/// Dead tokens that one step removes, a dozen statements each, with so many credentials, and the sums of them that it
/// looks for. As many credentials of living ones.
const MOST_REMOVED: usize = 128;
const MOST_CREDENTIALS: usize = 1_024;
const LOOK_UPS: usize = 4_096;

/// How long the own expiry of a JWT must be over: leeway is no more than five minutes.
const DAY: i64 = 86_400_000_000;

/// Whom to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survey {
    pub(crate) horizons: Horizons,
    /// `None` where nobody is told.
    pub(crate) notices: Option<Notices>,
}

/// Whom to mark as told of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notices {
    /// Since when last use is tracked; `None` while it is not.
    pub(crate) tracked_since: Option<Timestamp>,
    /// Tokens not used since then are dormant.
    pub(crate) dormant: Timestamp,
    /// Tokens that expire by then expire soon.
    pub(crate) expiring: Timestamp,
    /// How many can be told of in this step.
    pub(crate) most: usize,
}

/// Where a census goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    table: Table,
    /// What was looked at last.
    after: i64,
}

/// What is walked over, in this order: tokens, their credentials, and then what may refer to none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Table {
    Tokens,
    Credentials,
    LateUses,
    Addresses,
    Quotas,
    Heads,
}

/// What a step found and did.
#[derive(Debug, Default)]
pub(crate) struct Census {
    pub(crate) dormant: Vec<DormantEvent>,
    pub(crate) expiring: Vec<ExpiringEvent>,
    pub(crate) removed: Vec<TokenId>,
    /// The generation of their removal, where there were any.
    pub(crate) generation: u64,
    /// Where to go on; `None` at the end.
    pub(crate) next: Option<Place>,
}

const PAGE: &str =
    "SELECT max(id) FROM (SELECT id FROM catalogue WHERE id > ?1 ORDER BY id LIMIT ?2)";

/// Dead, and neither used nor asked for nor in the audit since daily sums begin, of which nobody could tell any longer
/// whose it is; no JWT among its credentials would be taken for one that nobody knows; no row of the log is its own.
const CAN_GO: &str = "SELECT id FROM catalogue NOT INDEXED
    WHERE id > :after AND id <= :end AND (state = 2 OR expires_at <= :now)
        AND max(created_at, coalesce(revoked_at, created_at), coalesce(expires_at, created_at),
            coalesce(last_used_at, created_at)) < :daily
        AND NOT EXISTS (SELECT 1 FROM credentials JOIN late_uses ON credential_id = credentials.id
            WHERE token_id = catalogue.id AND last_at >= :daily)
        AND NOT EXISTS (SELECT 1 FROM audit WHERE token_id = catalogue.id AND at >= :daily)
        AND NOT EXISTS (SELECT 1 FROM credentials WHERE token_id = catalogue.id AND jti IS NOT NULL
            AND (credentials.expires_at IS NULL OR credentials.expires_at > :now - :day))
        AND NOT EXISTS (SELECT 1 FROM usage_heads JOIN usage_log ON usage_log.id = last_id
            WHERE usage_heads.token_id = catalogue.id)
    ORDER BY id LIMIT :most";
/// Of a living token, retired and not asked for since daily sums begin, and no JWT that could be taken for one that
/// nobody knows. Where there is one that was not used yet, all stay: it has to be known whose place it takes.
const CREDENTIALS_CAN_GO: &str =
    "SELECT credentials.id, token_id FROM credentials NOT INDEXED CROSS JOIN catalogue ON catalogue.id = token_id
    WHERE credentials.id > :after AND credentials.id <= :end AND catalogue.state IN (0, 1)
        AND (credentials.state = 3 OR (credentials.state = 2 AND ends_at <= :now))
        AND coalesce(retired_at, ends_at) < :daily
        AND (jti IS NULL OR credentials.expires_at <= :now - :day)
        AND NOT EXISTS (SELECT 1 FROM late_uses
            WHERE credential_id = credentials.id AND last_at >= :daily)
        AND NOT EXISTS (SELECT 1 FROM credentials AS new
            WHERE new.token_id = credentials.token_id AND new.state = 1)
    ORDER BY credentials.id LIMIT :most";
const CREDENTIALS_PAGE: &str =
    "SELECT max(id) FROM (SELECT id FROM credentials WHERE id > ?1 ORDER BY id LIMIT ?2)";
/// What is known of a credential, and last the credential.
const REMOVE_CREDENTIAL: [&str; 2] =
    ["DELETE FROM late_uses WHERE credential_id = ?1", "DELETE FROM credentials WHERE id = ?1"];

const DAYS: &str = "WITH RECURSIVE days (day) AS (SELECT min(day) FROM daily_sums UNION ALL
        SELECT (SELECT min(day) FROM daily_sums WHERE day > days.day) FROM days WHERE day IS NOT NULL)
    SELECT day FROM days WHERE day IS NOT NULL";
const HOURS: &str = "WITH RECURSIVE hours (hour) AS
    (SELECT min(hour) FROM hourly_sums WHERE hour >= ?1 UNION ALL
        SELECT (SELECT min(hour) FROM hourly_sums WHERE hour > hours.hour) FROM hours
        WHERE hour IS NOT NULL)
    SELECT hour FROM hours WHERE hour IS NOT NULL";
const SUM_OF_DAY: &str = "SELECT 1 FROM daily_sums WHERE day = ?1 AND token_id = ?2";
const SUM_OF_HOUR: &str = "SELECT 1 FROM hourly_sums WHERE hour = ?1 AND token_id = ?2";

/// A token that is rotated each hour has thousands. Which of them go first does not matter: none is good any longer.
const REMOVE_LATE_USES: &str = "DELETE FROM late_uses WHERE credential_id IN
    (SELECT id FROM credentials WHERE token_id = ?1 LIMIT ?2)";
const REMOVE_CREDENTIALS: &str = "DELETE FROM credentials WHERE id IN
    (SELECT id FROM credentials WHERE token_id = ?1 LIMIT ?2)";

/// What else is known of a token, and last the token.
const REMOVE: [&str; 4] = [
    "DELETE FROM token_addresses WHERE token_id = ?1",
    "DELETE FROM quota_windows WHERE token_id = ?1",
    "DELETE FROM usage_heads WHERE token_id = ?1",
    "DELETE FROM catalogue WHERE id = ?1",
];

/// By their numbers, as all of a page: by the index of expiries each page would look at all of those.
const MARK_DORMANT: &str = "UPDATE catalogue SET told_dormant = :now WHERE id IN
    (SELECT id FROM catalogue NOT INDEXED WHERE id > :after AND id <= :end AND state = 0
        AND (expires_at IS NULL OR expires_at > :now)
        AND max(created_at, coalesce(last_used_at, created_at), :since) <= :dormant
        AND (told_dormant IS NULL OR last_used_at > told_dormant)
    ORDER BY id LIMIT :most)
    RETURNING id, owner, name, last_used_at";
const MARK_EXPIRING: &str = "UPDATE catalogue SET told_expiring = expires_at WHERE id IN
    (SELECT id FROM catalogue NOT INDEXED WHERE id > :after AND id <= :end AND state IN (0, 1)
        AND expires_at > :now AND expires_at <= :expiring AND told_expiring IS NOT expires_at
    ORDER BY id LIMIT :most)
    RETURNING id, owner, name, expires_at";

impl Place {
    /// Where a census begins.
    pub(crate) const START: Self = Self::of(Table::Tokens);

    const fn of(table: Table) -> Self {
        Self { table, after: i64::MIN }
    }
}

/// One step. Cost: with nothing to do, a read of the rows of a thousand tokens.
pub(super) fn step(transaction: &Connection, survey: &Survey, place: Place) -> Result<Census> {
    let (sweep, next) = match place.table {
        Table::Tokens => return tokens(transaction, survey, place.after),
        Table::Credentials => return credentials(transaction, &survey.horizons, place.after),
        Table::LateUses => (LATE_USES, Some(Table::Addresses)),
        Table::Addresses => (ADDRESSES, Some(Table::Quotas)),
        Table::Quotas => (QUOTAS, Some(Table::Heads)),
        Table::Heads => (HEADS, None),
    };
    let end = page_end(transaction, sweep.page, place.after)?;
    if let Some(end) = end {
        transaction.prepare_cached(sweep.forget)?.execute((place.after, end))?;
        if let Some(forget) = sweep.forget_old {
            let daily = survey.horizons.daily.as_micros();
            transaction.prepare_cached(forget)?.execute((place.after, end, daily))?;
        }
    }
    let same = end.map(|after| Place { after, ..place });
    Ok(Census { next: same.or(next.map(Place::of)), ..Census::default() })
}

fn page_end(transaction: &Connection, sql: &str, after: i64) -> Result<Option<i64>> {
    Ok(transaction.prepare_cached(sql)?.query_row((after, STEP), |row| row.get(0))?)
}

fn tokens(transaction: &Connection, survey: &Survey, after: i64) -> Result<Census> {
    let Some(page_end) = page_end(transaction, PAGE, after)? else {
        return Ok(Census { next: Some(Place::of(Table::Credentials)), ..Census::default() });
    };
    let (mut removed, mut end) = removable(transaction, &survey.horizons, (after, page_end))?;
    let generation = remove(transaction, &mut removed, &mut end, survey.horizons.now)?;
    let mut census = Census {
        generation,
        removed,
        next: Some(Place { table: Table::Tokens, after: end }),
        ..Census::default()
    };
    if let Some(notices) = &survey.notices {
        mark(transaction, notices, survey.horizons.now, (after, end), &mut census)?;
    }
    Ok(census)
}

/// Removes what living tokens were known by, each in the audit. It was refused before and is afterwards: nobody has to learn of it.
fn credentials(transaction: &Connection, horizons: &Horizons, after: i64) -> Result<Census> {
    let Some(page_end) = page_end(transaction, CREDENTIALS_PAGE, after)? else {
        return Ok(Census { next: Some(Place::of(Table::LateUses)), ..Census::default() });
    };
    let mut statement = transaction.prepare_cached(CREDENTIALS_CAN_GO)?;
    let found = statement.query_map(
        named_params! {
            ":after": after, ":end": page_end, ":now": horizons.now.as_micros(), ":day": DAY,
            ":daily": horizons.daily.as_micros(), ":most": i64::try_from(MOST_REMOVED)?,
        },
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let removable: Vec<(i64, i64)> = found.collect::<rusqlite::Result<_>>()?;
    let mut deeds = Vec::with_capacity(removable.len());
    for (credential, token) in &removable {
        for statement in REMOVE_CREDENTIAL {
            transaction.prepare_cached(statement)?.execute([credential])?;
        }
        let detail = serde_json::json!({ "credential": credential }).to_string();
        deeds.push(Deed::of(Act::Remove, TokenId::from_row(*token)).with(Some(detail)));
    }
    Catalogue::new(transaction).enter(&deeds, &Behalf::default(), horizons.now)?;
    // Where there are as many as can be removed, there may be more.
    let last = removable.last().filter(|_| removable.len() == MOST_REMOVED);
    let next = Place { table: Table::Credentials, after: last.map_or(page_end, |(last, _)| *last) };
    Ok(Census { next: Some(next), ..Census::default() })
}

/// The tokens of a page that can go, and up to where the page was looked at.
fn removable(
    transaction: &Connection,
    horizons: &Horizons,
    (after, page_end): (i64, i64),
) -> Result<(Vec<TokenId>, i64)> {
    let mut statement = transaction.prepare_cached(CAN_GO)?;
    let found = statement.query_map(
        named_params! {
            ":after": after, ":end": page_end, ":now": horizons.now.as_micros(), ":day": DAY,
            ":daily": horizons.daily.as_micros(), ":most": i64::try_from(MOST_REMOVED)?,
        },
        |row| Ok(TokenId::from_row(row.get(0)?)),
    )?;
    let mut candidates: Vec<TokenId> = found.collect::<rusqlite::Result<_>>()?;
    if candidates.is_empty() {
        return Ok((candidates, page_end));
    }
    let buckets = Buckets::read(transaction)?;
    let most = buckets.tokens_a_step();
    candidates.truncate(most);
    // Where there are as many as can be looked at, there may be more.
    let last = candidates.last().filter(|_| candidates.len() == most);
    let end = last.map_or(page_end, |last| last.as_row());
    let mut removable = Vec::new();
    for token in candidates {
        if !buckets.have_a_sum_of(transaction, token)? {
            removable.push(token);
        }
    }
    Ok((removable, end))
}

/// The days and hours that have sums: all days, and the hours that are not in a day yet.
struct Buckets {
    days: Vec<i64>,
    hours: Vec<i64>,
}

impl Buckets {
    fn read(transaction: &Connection) -> Result<Self> {
        let (folded_day, _) = Progress::read(transaction)?.folded;
        let numbers = |sql: &str, parameters: &[i64]| -> Result<Vec<i64>> {
            let mut statement = transaction.prepare_cached(sql)?;
            let parameters = rusqlite::params_from_iter(parameters);
            let numbers = statement.query_map(parameters, |row| row.get(0))?;
            Ok(numbers.collect::<rusqlite::Result<_>>()?)
        };
        let first_hour = folded_day.saturating_mul(HOURS_A_DAY);
        Ok(Self { days: numbers(DAYS, &[])?, hours: numbers(HOURS, &[first_hour])? })
    }

    /// How many tokens can be looked for in them in one step.
    fn tokens_a_step(&self) -> usize {
        (LOOK_UPS / (self.days.len() + self.hours.len()).max(1)).clamp(1, MOST_REMOVED)
    }

    fn have_a_sum_of(&self, transaction: &Connection, token: TokenId) -> Result<bool> {
        for (sql, buckets) in [(SUM_OF_DAY, &self.days), (SUM_OF_HOUR, &self.hours)] {
            let mut statement = transaction.prepare_cached(sql)?;
            for bucket in buckets {
                if statement.exists((*bucket, token.as_row()))? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Removes tokens with all that is known of them, in the book and in the log of changes. Where that is too much for one
/// step, the page ends before the token with which the next one goes on. Returns the generation.
fn remove(
    transaction: &Connection,
    tokens: &mut Vec<TokenId>,
    end: &mut i64,
    now: Timestamp,
) -> Result<u64> {
    let catalogue = Catalogue::new(transaction);
    let mut left = MOST_CREDENTIALS;
    let mut is_bare = |token: TokenId| -> Result<bool> {
        let credentials = (token.as_row(), i64::try_from(left)?);
        transaction.prepare_cached(REMOVE_LATE_USES)?.execute(credentials)?;
        left -= transaction.prepare_cached(REMOVE_CREDENTIALS)?.execute(credentials)?;
        Ok(left > 0)
    };
    for (place, token) in tokens.iter().enumerate() {
        if !is_bare(*token)? {
            *end = token.as_row() - 1;
            tokens.truncate(place);
            break;
        }
    }
    for token in &*tokens {
        for statement in REMOVE {
            transaction.prepare_cached(statement)?.execute([token.as_row()])?;
        }
        catalogue.log_change(*token)?;
    }
    let deeds: Vec<_> = tokens.iter().map(|token| Deed::of(Act::Remove, *token)).collect();
    catalogue.enter(&deeds, &Behalf::default(), now)?;
    catalogue.generation()
}

fn mark(
    transaction: &Connection,
    notices: &Notices,
    now: Timestamp,
    (after, end): (i64, i64),
    census: &mut Census,
) -> Result<()> {
    let now = now.as_micros();
    if let Some(since) = notices.tracked_since {
        let mut statement = transaction.prepare_cached(MARK_DORMANT)?;
        let mut rows = statement.query(named_params! {
            ":after": after, ":end": end, ":now": now, ":since": since.as_micros(),
            ":dormant": notices.dormant.as_micros(), ":most": i64::try_from(notices.most)?,
        })?;
        while let Some(row) = rows.next()? {
            let last_used_at = instant(row.get(3)?).map(Timestamp::to_date_time);
            census.dormant.push(DormantEvent { subject: subject(row)?, last_used_at });
        }
    }
    let most = notices.most.saturating_sub(census.dormant.len());
    let mut statement = transaction.prepare_cached(MARK_EXPIRING)?;
    let mut rows = statement.query(named_params! {
        ":after": after, ":end": end, ":now": now, ":expiring": notices.expiring.as_micros(),
        ":most": i64::try_from(most)?,
    })?;
    while let Some(row) = rows.next()? {
        let expires_at = Timestamp::from_micros(row.get(3)?).to_date_time();
        census.expiring.push(ExpiringEvent { subject: subject(row)?, expires_at });
    }
    Ok(())
}

const SUBJECT: &str = "SELECT id, owner, name FROM catalogue WHERE id = ?1";

/// Whose token it is, if there is one.
pub(super) fn subject_of(connection: &Connection, token: TokenId) -> Result<Option<Subject>> {
    let mut statement = connection.prepare_cached(SUBJECT)?;
    Ok(statement.query_row([token.as_row()], subject).optional()?)
}

pub(super) fn subject(row: &Row<'_>) -> rusqlite::Result<Subject> {
    Ok(Subject { token_id: TokenId::from_row(row.get(0)?), owner: row.get(1)?, name: row.get(2)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema;

    const LATE: Timestamp = Timestamp::from_seconds(1_000 * 86_400);

    fn database(tokens: u32, days: u32) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        for id in 1..=tokens {
            let token = "INSERT INTO catalogue (id, owner, name, kind, state, tags, scopes, metadata, fragment,
                created_at, revoked_at) VALUES (?1, '', ?1, 2, 2, '[]', '[]', '{}', '', 1, 1)";
            connection.prepare_cached(token).unwrap().execute([id]).unwrap();
        }
        for day in 1..=days {
            let sum =
                "INSERT INTO daily_sums VALUES (?1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, x'', x'')";
            connection.prepare_cached(sum).unwrap().execute([day]).unwrap();
        }
        connection
    }

    /// How many tokens each step removed.
    fn walk(connection: &Connection) -> Vec<usize> {
        let horizons = Horizons { now: LATE, raw: LATE, hourly: LATE, daily: LATE };
        let survey = Survey { horizons, notices: None };
        let (mut place, mut removed) = (Some(Place::START), Vec::new());
        while let Some(at) = place {
            let census = step(connection, &survey, at).unwrap();
            removed.push(census.removed.len());
            place = census.next;
        }
        removed
    }

    #[test]
    fn no_step_removes_more_than_it_may_or_looks_for_more_sums() {
        for (tokens, days, most) in [(300, 0, 128), (300, 64, 64), (20, 1_000, 4), (5, 8_192, 1)] {
            let connection = database(tokens, days);
            let removed = walk(&connection);
            assert_eq!(removed.iter().sum::<usize>(), tokens as usize, "{days} days");
            assert_eq!(removed.iter().max(), Some(&most), "{days} days");
        }
    }

    #[test]
    fn no_step_removes_more_credentials_than_it_may() {
        let connection = database(5, 0);
        let credentials = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000)
            INSERT INTO credentials (token_id, state, hash, fragment, created_at)
                SELECT id, 3, CAST(id || '-' || n AS BLOB), '', 1 FROM catalogue, n WHERE id IN (2, 3)";
        connection.execute(credentials, []).unwrap();
        let late = "INSERT INTO late_uses SELECT id, 0, 1, 1, 1, NULL, NULL, NULL FROM credentials";
        connection.execute(late, []).unwrap();
        let count = |table: &str| {
            let sql = format!("SELECT count(*) FROM {table}");
            connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        let horizons = Horizons { now: LATE, raw: LATE, hourly: LATE, daily: LATE };
        let survey = Survey { horizons, notices: None };
        let (mut place, mut left) = (Some(Place::START), count("credentials"));
        while let Some(at) = place {
            place = step(&connection, &survey, at).unwrap().next;
            assert!(left - count("credentials") <= MOST_CREDENTIALS as i64);
            left = count("credentials");
        }
        assert_eq!(["catalogue", "credentials", "late_uses"].map(count), [0, 0, 0]);
        let removals = "SELECT count(*) FROM audit WHERE act = 11";
        assert_eq!(
            connection.query_row(removals, [], |row| row.get::<_, i64>(0)),
            Ok(5),
            "each once"
        );
    }

    #[test]
    fn tokens_that_cannot_go_do_not_hold_up_the_walk() {
        let connection = database(700, 1);
        let sums = "INSERT INTO daily_sums SELECT 1, id, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, x'', x'' FROM catalogue WHERE id < 600";
        connection.execute(sums, []).unwrap();
        assert_eq!(walk(&connection).iter().sum::<usize>(), 101);
        let hours = "INSERT INTO hourly_sums SELECT 1, id, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, x'', x'' FROM catalogue WHERE id < 599";
        connection.execute_batch(&format!("{hours}; DELETE FROM daily_sums")).unwrap();
        assert_eq!(
            walk(&connection).iter().sum::<usize>(),
            1,
            "an hour that is in no day yet counts"
        );
    }

    #[test]
    fn token_stays_as_long_as_the_log_has_a_row_of_it() {
        let connection = database(2, 0);
        let row = "INSERT INTO usage_heads VALUES (1, 5), (2, 4);
            INSERT INTO usage_log (id, after_us, token_id, back, endpoint, status, outcome, duration_us,
                response_bytes) VALUES (5, 0, 1, 0, 0, 200, 0, 0, 0)";
        connection.execute_batch(row).unwrap();
        assert_eq!(walk(&connection).iter().sum::<usize>(), 1);
        connection.execute("DELETE FROM usage_log", []).unwrap();
        assert_eq!(walk(&connection).iter().sum::<usize>(), 1);
    }
}
