//! What all processes together have taken of quotas.

use anyhow::{Result, ensure};
use rusqlite::{Connection, OptionalExtension};

use super::{Catalogue, CommitError, Session};
use crate::meter::{Ask, Holding, Lease, WindowRow, leases};
use crate::quota::Period;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

const FIND: &str = "SELECT window_number, granted, told, resets FROM quota_windows
    WHERE token_id = ?1 AND period = ?2";
/// Windows go forward, and what was taken of one stays taken.
const GRANT: &str =
    "INSERT INTO quota_windows (token_id, period, window_number, granted, told, resets)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (token_id, period) DO UPDATE
    SET window_number = excluded.window_number, granted = excluded.granted, told = excluded.told
    WHERE excluded.resets = resets AND (excluded.window_number > window_number
        OR (excluded.window_number = window_number AND excluded.granted >= granted))";
const GIVE_BACK: &str = "UPDATE quota_windows SET granted = max(0, granted - ?5)
    WHERE token_id = ?1 AND period = ?2 AND window_number = ?3 AND resets = ?4";
const RESET: &str = "UPDATE quota_windows
    SET window_number = ?3, granted = 0, told = 0, resets = resets + 1
    WHERE token_id = ?1 AND period = ?2 RETURNING resets";

impl Session {
    /// Leases units of all periods that are asked for, or of none. What is leased is committed when this returns; where
    /// it fails, it may be all the same, and is then nobody's.
    pub(crate) fn lease(
        &mut self,
        token: TokenId,
        asks: &[Ask],
    ) -> Result<Vec<Lease>, CommitError> {
        self.transact(|_, transaction| {
            let mut asked = Vec::with_capacity(asks.len());
            for ask in asks {
                asked.push((*ask, find(transaction, token, ask.period)?));
            }
            let leases = leases(&asked);
            for (lease, (_, before)) in leases.iter().zip(&asked) {
                if *before != Some(lease.row) {
                    grant(transaction, token, lease)?;
                }
            }
            Ok(leases)
        })
    }

    /// Puts back what was leased and not granted, where its window is still the newest and was not reset.
    pub(crate) fn give_back(
        &mut self,
        held: &[(TokenId, Period, Holding)],
    ) -> Result<(), CommitError> {
        self.transact(|_, transaction| {
            let mut give_back = transaction.prepare_cached(GIVE_BACK)?;
            for (token, period, Holding { number, resets, left }) in held {
                give_back.execute((token.as_row(), period.code(), number, resets, left))?;
            }
            Ok(())
        })
    }
}

impl Catalogue<'_> {
    /// Sets what was taken of a token's quota to nothing, in the windows of this instant. Returns how often that has
    /// been done, by period.
    pub(crate) fn reset_quota(&self, token: TokenId, now: Timestamp) -> Result<Vec<(Period, i64)>> {
        let mut reset = self.connection.prepare_cached(RESET)?;
        let mut resets = Vec::new();
        for period in Period::ALL {
            let row = (token.as_row(), period.code(), period.number(now));
            let times = reset.query_row(row, |row| row.get(0)).optional()?;
            resets.extend(times.map(|times| (period, times)));
        }
        Ok(resets)
    }
}

fn find(transaction: &Connection, token: TokenId, period: Period) -> Result<Option<WindowRow>> {
    let mut find = transaction.prepare_cached(FIND)?;
    let row = find.query_row((token.as_row(), period.code()), |row| {
        Ok(WindowRow {
            number: row.get(0)?,
            granted: row.get::<_, i64>(1)?.unsigned_abs(),
            told: row.get(2)?,
            resets: row.get(3)?,
        })
    });
    Ok(row.optional()?)
}

fn grant(transaction: &Connection, token: TokenId, lease: &Lease) -> Result<()> {
    let WindowRow { number, granted, told, resets } = lease.row;
    let granted = i64::try_from(granted)?;
    let row = (token.as_row(), lease.period.code(), number, granted, told, resets);
    let changed = transaction.prepare_cached(GRANT)?.execute(row)?;
    ensure!(changed == 1, "a quota's window went back");
    Ok(())
}
