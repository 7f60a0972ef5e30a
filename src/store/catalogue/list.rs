//! Lists of tokens.

use anyhow::Result;
use rusqlite::named_params;

use super::Catalogue;
use super::row::{TokenRow, token, token_columns};
use crate::timestamp::Timestamp;
use crate::token::{TokenFilter, TokenId, TokenState, TokenStatus};

/// The status as a number, in the order of the states, for comparing with what is asked for.
macro_rules! is_status {
    () => {
        "(:status IS NULL OR :status = CASE
            WHEN state = 2 THEN 2
            WHEN state = 3 OR expires_at <= :now THEN 3
            ELSE state END)"
    };
}

const LIST: &str = concat!(
    "SELECT ",
    token_columns!(),
    " FROM tokens WHERE tokens.id > :after AND (:name IS NULL OR name = :name) AND ",
    is_status!(),
    " ORDER BY tokens.id LIMIT :limit"
);
const LIST_OF_OWNER: &str = concat!(
    "SELECT ",
    token_columns!(),
    " FROM tokens WHERE owner = :owner AND tokens.id > :after
        AND (:name IS NULL OR name = :name) AND ",
    is_status!(),
    " ORDER BY tokens.id LIMIT :limit"
);
const COUNT: &str = concat!(
    "SELECT count(*) FROM tokens
        WHERE (:owner IS NULL OR owner = :owner) AND (:name IS NULL OR name = :name) AND ",
    is_status!()
);

impl Catalogue<'_> {
    pub(crate) fn list(
        &self,
        filter: &TokenFilter,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<TokenRow>> {
        let sql = if filter.owner.is_some() { LIST_OF_OWNER } else { LIST };
        let mut statement = self.connection.prepare_cached(sql)?;
        let after = filter.after.map_or(0, TokenId::as_row);
        let status = filter.status.map(status_code);
        let now = now.as_micros();
        let name = &filter.name;
        let mut rows = match &filter.owner {
            Some(owner) => statement.query(named_params! {
                ":owner": owner, ":after": after, ":name": name, ":status": status, ":now": now,
                ":limit": limit,
            })?,
            None => statement.query(named_params! {
                ":after": after, ":name": name, ":status": status, ":now": now, ":limit": limit,
            })?,
        };
        let mut tokens = Vec::new();
        while let Some(row) = rows.next()? {
            tokens.push(token(row)?);
        }
        Ok(tokens)
    }

    pub(crate) fn count(&self, filter: &TokenFilter, now: Timestamp) -> Result<u64> {
        let mut statement = self.connection.prepare_cached(COUNT)?;
        let count: i64 = statement.query_row(
            named_params! {
                ":owner": filter.owner, ":name": filter.name, ":now": now.as_micros(),
                ":status": filter.status.map(status_code),
            },
            |row| row.get(0),
        )?;
        Ok(count.unsigned_abs())
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
