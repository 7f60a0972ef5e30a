//! Sums over the usage log.

use anyhow::{Context, Result};
use rusqlite::Statement;

use super::Reader;
use super::dictionary::OTHER;
use super::log::{UNMATCHED, chain_of_token};
use crate::query::{Latency, Period, RouteCount, Scope, Summary};
use crate::record::Outcome;

macro_rules! summary_columns {
    () => {
        "SELECT outcome, status, duration_us, response_bytes, coalesce(cost, 1), coalesce(weight, 1) "
    };
}

const SUMMARY_OF_TOKEN: &str =
    concat!(chain_of_token!("?3"), summary_columns!(), "FROM chain WHERE at >= ?1 AND at < ?2");
const SUMMARY_OF_OWNER: &str = concat!(
    summary_columns!(),
    "FROM usage_log WHERE at >= ?1 AND at < ?2
        AND token_id IN (SELECT id FROM tokens WHERE owner = ?3)"
);
const SUMMARY: &str =
    concat!(summary_columns!(), "FROM usage_log WHERE at >= ?1 AND at < ?2 AND ?3 IS NULL");

macro_rules! routes {
    ($source:literal) => {
        concat!(
            "SELECT route.text, route, requests FROM (
                SELECT route, sum(coalesce(weight, 1)) AS requests FROM ",
            $source,
            " GROUP BY route) AS counted
            LEFT JOIN names AS route ON route.id = counted.route
            ORDER BY requests DESC, route.text LIMIT ?4"
        )
    };
}

const ROUTES_OF_TOKEN: &str =
    concat!(chain_of_token!("?3"), routes!("chain WHERE at >= ?1 AND at < ?2"));
const ROUTES_OF_OWNER: &str = routes!(
    "usage_log WHERE at >= ?1 AND at < ?2 AND token_id IN (SELECT id FROM tokens WHERE owner = ?3)"
);
const ROUTES: &str = routes!("usage_log WHERE at >= ?1 AND at < ?2 AND ?3 IS NULL");

impl Reader {
    /// Totals over a period. Cost: a row at a time, 8 bytes of memory each.
    pub(crate) fn summary(&self, scope: &Scope, period: Period) -> Result<Summary> {
        let mut statement = self.0.prepare_cached(match scope {
            Scope::All => SUMMARY,
            Scope::Owner(_) => SUMMARY_OF_OWNER,
            Scope::Token(_) => SUMMARY_OF_TOKEN,
        })?;
        bind(&mut statement, scope, period)?;
        let mut summary = Summary { period_days: period.days(), ..Summary::default() };
        let mut durations = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let outcome =
                Outcome::from_code(row.get(0)?).context("a row with an unknown outcome")?;
            let weight = u64::from(row.get::<_, u32>(5)?);
            add(&mut summary, outcome, row.get(1)?, weight);
            durations.push((row.get(2)?, weight));
            let bytes = row.get::<_, i64>(3)?.unsigned_abs();
            summary.response_bytes = summary.response_bytes.saturating_add(bytes);
            summary.cost = summary.cost.saturating_add(u64::from(row.get::<_, u32>(4)?));
        }
        summary.latency = Latency::from_weighted(durations);
        Ok(summary)
    }

    /// The routes with most requests, most first.
    pub(crate) fn top_routes(
        &self,
        scope: &Scope,
        period: Period,
        limit: u32,
    ) -> Result<Vec<RouteCount>> {
        let mut statement = self.0.prepare_cached(match scope {
            Scope::All => ROUTES,
            Scope::Owner(_) => ROUTES_OF_OWNER,
            Scope::Token(_) => ROUTES_OF_TOKEN,
        })?;
        bind(&mut statement, scope, period)?;
        statement.raw_bind_parameter(4, limit)?;
        let mut routes = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let (text, id): (Option<String>, Option<i64>) = (row.get(0)?, row.get(1)?);
            let nameless = if id.is_some() { OTHER } else { UNMATCHED };
            let requests = row.get::<_, i64>(2)?.unsigned_abs();
            routes
                .push(RouteCount { route: text.unwrap_or_else(|| nameless.to_owned()), requests });
        }
        Ok(routes)
    }
}

fn bind(statement: &mut Statement<'_>, scope: &Scope, period: Period) -> Result<()> {
    statement.raw_bind_parameter(1, period.from.as_micros())?;
    statement.raw_bind_parameter(2, period.until.as_micros())?;
    match scope {
        Scope::All => statement.raw_bind_parameter(3, None::<i64>)?,
        Scope::Owner(owner) => statement.raw_bind_parameter(3, owner)?,
        Scope::Token(token) => statement.raw_bind_parameter(3, token.as_row())?,
    }
    Ok(())
}

fn add(summary: &mut Summary, outcome: Outcome, status: u16, weight: u64) {
    summary.total += weight;
    if status < 400 {
        summary.below_400 += weight;
    }
    *match outcome {
        Outcome::ClientError => &mut summary.client_error,
        Outcome::Denied(_) => &mut summary.denied,
        Outcome::ServerError => &mut summary.server_error,
        Outcome::Success => &mut summary.success,
        Outcome::Unfinished => &mut summary.unfinished,
    } += weight;
}
