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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::durability::Checkpoints;
    use crate::store::{Store, StoreOptions};

    const TOKEN: TokenId = TokenId::from_row(7);

    fn store() -> (tempfile::TempDir, Arc<Store>) {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            readers: 2,
            busy_timeout: Duration::from_secs(1),
            synced: false,
            file_mode: 0o600,
            max_file_size: 1 << 30,
            checkpoints: Checkpoints::Automatic,
        };
        let store = Store::open_file(&directory.path().join("tokens.db"), options).unwrap();
        (directory, Arc::new(store))
    }

    fn session(store: &Arc<Store>) -> Session {
        let now = Timestamp::from_seconds(0);
        Session::open(Arc::clone(store), Duration::from_secs(60), now, false).unwrap()
    }

    fn ask(number: i64, limit: u64) -> Ask {
        let has = Holding { number, resets: None, left: 0 };
        Ask { period: Period::Day, number, limit, cost: 1, has }
    }

    #[test]
    fn threshold_is_told_once_a_window_whichever_process_crosses_it() {
        let (_directory, store) = store();
        let mut sessions = [session(&store), session(&store)];
        let mut told = Vec::new();
        for (at, day) in [1; 6].into_iter().chain([2; 6]).enumerate() {
            let leases = sessions[at % 2].lease(TOKEN, &[ask(day, 5)]).unwrap();
            told.extend(leases[0].crossed.map(|percent| (day, at % 2, percent)));
        }
        assert_eq!(told, [(1, 1, 80), (1, 0, 100), (2, 1, 80), (2, 0, 100)]);
    }

    #[test]
    fn lease_that_is_not_committed_is_nobodys() {
        let (_directory, store) = store();
        let mut session = session(&store);
        let failed = session.transact(|_, transaction| {
            let lease = leases(&[(ask(1, 5), None)])[0];
            grant(transaction, TOKEN, &lease)?;
            anyhow::bail!("the disk is full")
        });
        assert!(matches!(failed, Err::<(), _>(CommitError::RolledBack(_))));
        let leases = session.lease(TOKEN, &[ask(1, 5)]).unwrap();
        assert_eq!(leases[0].row.granted, 1);
    }

    #[test]
    fn row_goes_neither_back_to_an_older_window_nor_to_less() {
        let (_directory, store) = store();
        let mut session = session(&store);
        session.lease(TOKEN, &[ask(5, 1_000)]).unwrap();
        let mut older = leases(&[(ask(4, 1_000), None)])[0];
        let refused = session.transact(|_, transaction| grant(transaction, TOKEN, &older));
        assert!(refused.is_err());
        older.row.number = 5;
        older.row.granted = 9;
        let refused = session.transact(|_, transaction| grant(transaction, TOKEN, &older));
        assert!(refused.is_err());
        assert_eq!(session.lease(TOKEN, &[ask(4, 1_000)]).unwrap()[0].row.number, 5);
    }

    #[test]
    fn what_is_given_back_after_a_reset_or_in_another_window_counts_for_nothing() {
        let (_directory, store) = store();
        let mut session = session(&store);
        let leases = session.lease(TOKEN, &[ask(0, 1_000)]).unwrap();
        assert_eq!(leases[0].row.granted, 10);
        let now = Timestamp::from_seconds(3);
        let resets = session.change(|catalogue| catalogue.reset_quota(TOKEN, now)).unwrap();
        assert_eq!(resets, [(Period::Day, 1)]);
        session.lease(TOKEN, &[ask(0, 1_000)]).unwrap();
        let held = |number, resets, left| {
            (TOKEN, Period::Day, Holding { number, resets: Some(resets), left })
        };
        session.give_back(&[held(0, 0, 9), held(1, 1, 9)]).unwrap();
        let granted = |session: &mut Session| {
            let asked = Ask { cost: 1_000, ..ask(0, 1) };
            session.lease(TOKEN, &[asked]).unwrap()[0].row.granted
        };
        assert_eq!(granted(&mut session), 10);
        session.give_back(&[held(0, 1, 9)]).unwrap();
        assert_eq!(granted(&mut session), 1);
        session.give_back(&[held(0, 1, -4), held(0, 1, 2)]).unwrap();
        assert_eq!(granted(&mut session), 3, "a debt is put down, too");
    }
}
