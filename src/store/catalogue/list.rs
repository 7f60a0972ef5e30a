//! Lists of tokens.

use anyhow::Result;
use rusqlite::Row;
use rusqlite::types::ToSql;

use super::Catalogue;
use super::row::{TokenRow, token, token_columns};
use crate::timestamp::Timestamp;
use crate::token::{TokenFilter, TokenId, TokenState, TokenStatus};

/// What a filter asks for, the owner aside. The status is compared as a number, in the order of the states.
macro_rules! is_asked_for {
    () => {
        "catalogue.id > :after AND catalogue.id <= :until
        AND (:name IS NULL OR name = :name)
        AND (:status IS NULL OR :status = CASE
            WHEN state = 2 THEN 2
            WHEN state IN (3, 4) OR expires_at <= :now THEN 3
            ELSE state END)
        AND (:issued_before IS NULL OR created_at < :issued_before)
        AND (:unused_since IS NULL OR (state IN (0, 1) AND (expires_at IS NULL OR expires_at > :now)
            AND max(coalesce(last_used_at, created_at), :tracked_since) < :unused_since))
        AND (:never_used IS NULL OR (last_used_at IS NULL AND created_at >= :tracked_since))
        AND (:not_tracked IS NULL
            OR (last_used_at IS NULL AND coalesce(created_at < :tracked_since, 1)))
        AND (:expiring_until IS NULL
            OR (state IN (0, 1) AND expires_at > :now AND expires_at <= :expiring_until))
        AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) WHERE value = :tag))
        AND (:kid IS NULL
            OR EXISTS (SELECT 1 FROM credentials WHERE token_id = catalogue.id AND kid = :kid))"
    };
}

/// The tokens of everybody, or of an owner by the index: two statements of one meaning.
macro_rules! of_everybody_and_of_owner {
    ($start:expr, $end:literal) => {
        [
            concat!($start, " FROM catalogue WHERE :owner IS NULL AND ", is_asked_for!(), $end),
            concat!($start, " FROM catalogue WHERE owner = :owner AND ", is_asked_for!(), $end),
        ]
    };
}

const LIST: [&str; 2] = of_everybody_and_of_owner!(
    concat!("SELECT ", token_columns!()),
    " ORDER BY catalogue.id LIMIT :limit"
);
const COUNT: [&str; 2] = of_everybody_and_of_owner!("SELECT count(*)", "");
const FIND: [&str; 2] =
    of_everybody_and_of_owner!("SELECT catalogue.id, state", " ORDER BY catalogue.id LIMIT :limit");
const SURVEY: [&str; 2] = of_everybody_and_of_owner!(
    "SELECT count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state <> 2),
        count(*) FILTER (WHERE state <> 2 AND last_used_at >= :used_since),
        count(*) FILTER (WHERE state <> 2 AND coalesce(last_used_at < :used_since, 1)
            AND (:tracked_since IS NULL OR max(created_at, :used_since) < :tracked_since))",
    ""
);
const NEWEST: &str = "SELECT coalesce(max(id), 0) FROM catalogue";

/// The moment that a filter is read at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) now: Timestamp,
    /// Since when every token's last use is known.
    pub(crate) tracked_since: Option<Timestamp>,
}

/// Which part of what a filter finds is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) after: TokenId,
    pub(crate) until: TokenId,
    pub(crate) limit: u32,
}

/// What a filter finds, in numbers.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Survey {
    pub(crate) revoked: u64,
    pub(crate) others: u64,
    /// Of the others, those that were used since then, and those of which that is not known.
    pub(crate) used: u64,
    pub(crate) unknown: u64,
}

impl Part {
    fn all() -> Self {
        Self { after: TokenId::from_row(0), until: TokenId::from_row(i64::MAX), limit: u32::MAX }
    }
}

impl Catalogue<'_> {
    pub(crate) fn list(&self, filter: &TokenFilter, limit: u32, at: At) -> Result<Vec<TokenRow>> {
        let after = filter.after.unwrap_or(TokenId::from_row(0));
        self.filtered(LIST, filter, Part { after, limit, ..Part::all() }, at, None, token)
    }

    pub(crate) fn count(&self, filter: &TokenFilter, at: At) -> Result<u64> {
        let counts = self.filtered(COUNT, filter, Part::all(), at, None, |row| {
            Ok(row.get::<_, i64>(0)?.unsigned_abs())
        })?;
        Ok(counts.into_iter().sum())
    }

    /// The newest token that there ever was, whatever became of it.
    pub(crate) fn newest(&self) -> Result<TokenId> {
        let mut statement = self.connection.prepare_cached(NEWEST)?;
        Ok(TokenId::from_row(statement.query_row([], |row| row.get(0))?))
    }

    /// The tokens that a filter finds, whatever its page, and whether each is revoked: oldest first.
    pub(crate) fn find_all(
        &self,
        filter: &TokenFilter,
        part: Part,
        at: At,
    ) -> Result<Vec<(TokenId, bool)>> {
        let revoked = TokenState::Revoked.code();
        self.filtered(FIND, filter, part, at, None, |row| {
            Ok((TokenId::from_row(row.get(0)?), row.get::<_, u8>(1)? == revoked))
        })
    }

    /// How many tokens a filter finds, whatever its page, and how many of them were used since then.
    pub(crate) fn survey(
        &self,
        filter: &TokenFilter,
        at: At,
        used_since: Timestamp,
    ) -> Result<Survey> {
        let mut found =
            self.filtered(SURVEY, filter, Part::all(), at, Some(used_since), |row| {
                let number =
                    |column| Ok::<_, anyhow::Error>(row.get::<_, i64>(column)?.unsigned_abs());
                Ok(Survey {
                    revoked: number(0)?,
                    others: number(1)?,
                    used: number(2)?,
                    unknown: number(3)?,
                })
            })?;
        anyhow::ensure!(found.len() == 1, "sums without a row");
        Ok(found.remove(0))
    }

    fn filtered<T>(
        &self,
        [of_everybody, of_owner]: [&str; 2],
        filter: &TokenFilter,
        part: Part,
        at: At,
        used_since: Option<Timestamp>,
        read: impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let sql = if filter.owner.is_some() { of_owner } else { of_everybody };
        let mut statement = self.connection.prepare_cached(sql)?;
        let asked = |flag: bool| flag.then_some(1);
        let parameters: [(&str, &dyn ToSql); 16] = [
            (":owner", &filter.owner),
            (":after", &part.after.as_row()),
            (":until", &part.until.as_row()),
            (":limit", &part.limit),
            (":name", &filter.name),
            (":status", &filter.status.map(status_code)),
            (":now", &at.now.as_micros()),
            (":tracked_since", &at.tracked_since.map(Timestamp::as_micros)),
            (":issued_before", &filter.issued_before.map(Timestamp::as_micros)),
            (
                ":unused_since",
                &filter.unused_for.map(|time| at.now.saturating_sub(time).as_micros()),
            ),
            (":never_used", &asked(filter.never_used)),
            (":not_tracked", &asked(filter.not_tracked)),
            (
                ":expiring_until",
                &filter.expiring_within.map(|time| at.now.saturating_add(time).as_micros()),
            ),
            (":tag", &filter.tag),
            (":kid", &filter.signing_key),
            (":used_since", &used_since.map(Timestamp::as_micros)),
        ];
        for (name, value) in parameters {
            // Sums have no limit, and lists no use to sum up.
            if let Some(index) = statement.parameter_index(name)? {
                statement.raw_bind_parameter(index, value)?;
            }
        }
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
        Ok(found)
    }
}

fn status_code(status: TokenStatus) -> u8 {
    match status {
        TokenStatus::Active => TokenState::Active,
        TokenStatus::Expired => TokenState::MarkedExpired,
        TokenStatus::Revoked => TokenState::Revoked,
        TokenStatus::Suspended => TokenState::Suspended,
    }
    .code()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn tokens_of_an_owner_are_found_by_the_index_and_pages_need_no_sorting() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::store::schema::migrate(&mut connection).unwrap();
        let plan = |sql: &str| {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let (mut rows, mut lines) = (statement.raw_query(), Vec::new());
            while let Some(row) = rows.next().unwrap() {
                lines.push(row.get::<_, String>(3).unwrap());
            }
            lines.join("\n")
        };
        for [of_everybody, of_owner] in [LIST, COUNT, FIND, SURVEY] {
            let (of_everybody, of_owner) = (plan(of_everybody), plan(of_owner));
            assert!(of_owner.contains("tokens_of_owner (owner=? AND rowid>?"), "{of_owner}");
            assert!(of_everybody.contains("PRIMARY KEY (rowid>? AND rowid<?)"), "{of_everybody}");
            for plan in [of_everybody, of_owner] {
                assert!(!plan.contains("TEMP B-TREE"), "{plan}");
                assert!(plan.contains("credentials_of_token"), "{plan}");
            }
        }
    }
}
