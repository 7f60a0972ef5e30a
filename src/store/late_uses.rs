//! Counts of requests with credentials that are dead or on their way out.

use std::collections::HashMap;

use anyhow::{Context, Result};
use rusqlite::{CachedStatement, Connection, Row, Rows, named_params, params};

use super::log_rows::column;
use super::{Reader, log};
use crate::address::{AddressBytes, ClientAddress};
use crate::late_use::{LateUse, LateUseFilter, Lateness};
use crate::reason::DenialReason;
use crate::record::{Record, Sighting};
use crate::timestamp::Timestamp;
use crate::token::{CredentialId, TokenId};

/// Of a credential that was removed meanwhile nothing is written. The count stops at its largest value: an overflow
/// would make a real number, which the column refuses.
const ADD: &str = "INSERT INTO late_uses
        (credential_id, reason, count, first_at, last_at, last_address, last_agent, last_route)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE EXISTS (SELECT 1 FROM credentials WHERE id = ?1)
    ON CONFLICT (credential_id, reason) DO UPDATE SET
        count = count + min(excluded.count, 9223372036854775807 - count),
        first_at = min(first_at, excluded.first_at),
        last_address = iif(excluded.last_at >= last_at, excluded.last_address, last_address),
        last_agent = iif(excluded.last_at >= last_at, excluded.last_agent, last_agent),
        last_route = iif(excluded.last_at >= last_at, excluded.last_route, last_route),
        last_at = max(last_at, excluded.last_at)";

/// What a batch adds for one credential and reason.
struct Sum {
    count: u64,
    first_at: Timestamp,
    newest: Sighting,
}

/// Counts the late ones among records.
pub(super) fn add<'r>(
    transaction: &Connection,
    records: impl Iterator<Item = &'r Record>,
) -> Result<()> {
    let mut sums = HashMap::<(CredentialId, u8), Sum>::new();
    for record in records {
        let Some(late) = &record.late else { continue };
        let code = record.outcome.reason().map_or(0, DenialReason::code);
        let newest = || late.newest.clone().unwrap_or_else(|| record.sighting());
        let sum = sums.entry((late.credential, code)).or_insert_with(|| Sum {
            count: 0,
            first_at: record.at,
            newest: newest(),
        });
        sum.count = sum.count.saturating_add(record.weight.into());
        sum.first_at = sum.first_at.min(record.at);
        let newest = newest();
        if newest.at >= sum.newest.at {
            sum.newest = newest;
        }
    }
    if sums.is_empty() {
        return Ok(());
    }
    let mut add = transaction.prepare_cached(ADD)?;
    for ((credential, code), Sum { count, first_at, newest }) in sums {
        let address = newest.address.map(ClientAddress::to_bytes);
        add.execute(params![
            credential.as_row(),
            code,
            column(count),
            first_at.as_micros(),
            newest.at.as_micros(),
            address.as_ref().map(AddressBytes::as_slice),
            newest.user_agent.as_deref(),
            newest.route.as_deref(),
        ])?;
    }
    Ok(())
}

macro_rules! columns {
    () => {
        "SELECT credentials.token_id, late.credential_id, reason, count, first_at, last_at, last_address, last_agent,
            last_route "
    };
}

macro_rules! conditions {
    () => {
        " (late.credential_id, reason) > (:credential, :reason)
            AND (:since IS NULL OR last_at >= :since) AND (:dead IS NULL OR (reason > 0) = :dead)
            ORDER BY late.credential_id, reason LIMIT :limit"
    };
}

const LIST: &str = concat!(
    columns!(),
    "FROM late_uses AS late CROSS JOIN credentials ON credentials.id = late.credential_id WHERE",
    conditions!()
);
const LIST_OF_TOKEN: &str = concat!(
    columns!(),
    "FROM credentials CROSS JOIN late_uses AS late ON late.credential_id = credentials.id
        WHERE token_id = :token AND (:owner IS NULL
            OR EXISTS (SELECT 1 FROM catalogue WHERE catalogue.id = token_id AND owner = :owner)) AND",
    conditions!()
);
const LIST_OF_OWNER: &str = concat!(
    columns!(),
    "FROM catalogue CROSS JOIN credentials ON credentials.token_id = catalogue.id
        CROSS JOIN late_uses AS late ON late.credential_id = credentials.id
        WHERE owner = :owner AND",
    conditions!()
);
const ALL_OF_TOKEN: &str = concat!(
    columns!(),
    "FROM credentials CROSS JOIN late_uses AS late ON late.credential_id = credentials.id
        WHERE token_id = ?1 AND late.credential_id >= ?2 ORDER BY late.credential_id, reason"
);

impl Reader {
    /// Late use, in the order of credentials and reasons.
    pub(crate) fn late_uses(&self, filter: &LateUseFilter, limit: u32) -> Result<Vec<LateUse>> {
        let (credential, reason) = filter.place();
        let since = filter.since.map(Timestamp::as_micros);
        let dead = filter.lateness.map(|lateness| lateness == Lateness::Dead);
        let mut list;
        let rows = match (filter.token, &filter.owner) {
            (Some(token), owner) => {
                list = self.prepared(LIST_OF_TOKEN)?;
                list.query(named_params! {
                    ":token": token.as_row(), ":owner": owner, ":credential": credential,
                    ":reason": reason, ":since": since, ":dead": dead, ":limit": limit,
                })?
            }
            (None, Some(owner)) => {
                list = self.prepared(LIST_OF_OWNER)?;
                list.query(named_params! {
                    ":owner": owner, ":credential": credential, ":reason": reason,
                    ":since": since, ":dead": dead, ":limit": limit,
                })?
            }
            (None, None) => {
                list = self.prepared(LIST)?;
                list.query(named_params! {
                    ":credential": credential, ":reason": reason, ":since": since,
                    ":dead": dead, ":limit": limit,
                })?
            }
        };
        collect(rows)
    }

    /// The late use of a token's credentials from this one on.
    pub(crate) fn late_uses_from(
        &self,
        token: TokenId,
        first: CredentialId,
    ) -> Result<Vec<LateUse>> {
        let mut list = self.prepared(ALL_OF_TOKEN)?;
        collect(list.query((token.as_row(), first.as_row()))?)
    }

    fn prepared(&self, sql: &str) -> Result<CachedStatement<'_>> {
        Ok(self.0.prepare_cached(sql)?)
    }
}

fn collect(mut rows: Rows<'_>) -> Result<Vec<LateUse>> {
    let mut late_uses = Vec::new();
    while let Some(row) = rows.next()? {
        late_uses.push(late_use(row)?);
    }
    Ok(late_uses)
}

fn late_use(row: &Row<'_>) -> Result<LateUse> {
    let reason = match row.get(2)? {
        0 => None,
        code => Some(DenialReason::from_code(code).context("late use for an unknown reason")?),
    };
    Ok(LateUse {
        token_id: TokenId::from_row(row.get(0)?),
        credential_id: CredentialId::from_row(row.get(1)?),
        reason,
        count: row.get::<_, i64>(3)?.unsigned_abs(),
        first_at: Timestamp::from_micros(row.get(4)?).to_date_time(),
        last_at: Timestamp::from_micros(row.get(5)?).to_date_time(),
        last_address: log::address(row.get_ref(6)?),
        last_user_agent: row.get(7)?,
        last_route: row.get(8)?,
    })
}
