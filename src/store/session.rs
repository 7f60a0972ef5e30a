//! The writing end: batches of usage and changes of the catalogue, each in one immediate transaction.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::append::LogMemory;
use super::census::{self, Census, Place, Survey};
use super::retention::{self, Horizons};
use super::sightings::{self, KnownAddresses, Sightings};
use super::{Catalogue, Store, Synchronous, WriteConnection, fold, late_uses, schema, size};
use crate::durability::Checkpoints;
use crate::error::Error;
use crate::record::Record;
use crate::timestamp::{Timestamp, micros};
use crate::token::TokenId;

/// What one commit stores.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) chunks: Vec<Vec<Record>>,
    /// Denials that were too many, each row of them for several requests.
    pub(crate) excess: Vec<Record>,
    pub(crate) last_uses: Vec<(TokenId, Timestamp)>,
    /// Records that were dropped, by hour.
    pub(crate) gaps: Vec<(i64, u64)>,
}

/// What becomes of days that are over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Days {
    Fold,
    /// For where they cannot be summed up, which must not keep anything else from being done.
    Leave,
}

/// What a step of upkeep came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// There was nothing to do.
    Idle,
    /// What was recorded lately is rolled up. Under load there is always something.
    RolledUp,
    /// There may be more to do.
    Worked,
}

/// Why a transaction is not known to be committed.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// It is certainly not.
    RolledBack(anyhow::Error),
    /// The commit itself failed, and what it did cannot be found out yet.
    Unknown(anyhow::Error),
}

impl CommitError {
    pub(crate) fn into_inner(self) -> anyhow::Error {
        match self {
            Self::RolledBack(error) | Self::Unknown(error) => error,
        }
    }
}

/// The one writer of a process. Owned by its thread.
pub(crate) struct Session {
    store: Arc<Store>,
    connection: Option<WriteConnection>,
    writer: i64,
    opened_at: Timestamp,
    unclean_ends: u64,
    /// Counts committed batches; in the file it stands in the same transaction as the batch.
    sequence: i64,
    log: LogMemory,
    last_use_interval: Duration,
    /// What the last batch showed; `None` where nobody is told.
    sightings: Option<Sightings>,
    addresses: KnownAddresses,
}

/// How long the writer waits for readers to be done.
const EMPTY_LOG_WAIT: Duration = Duration::from_millis(10);

const OPEN_WRITER: &str = "INSERT INTO writers (sequence, opened_at) VALUES (0, ?1) RETURNING id";
const CLOSE_WRITER: &str = "DELETE FROM writers WHERE id = ?1";
const SET_SEQUENCE: &str = "INSERT INTO writers (id, sequence, opened_at) VALUES (?1, ?2, ?3)
    ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence";
const SEQUENCE: &str = "SELECT sequence FROM writers WHERE id = ?1";
const FORGET_WRITERS: &str = "DELETE FROM writers";
const ADD_GAP: &str = "INSERT INTO usage_gaps (hour, dropped) VALUES (?1, ?2)
    ON CONFLICT (hour) DO UPDATE SET dropped = dropped + excluded.dropped";
const SET_LAST_USE: &str = "UPDATE catalogue SET last_used_at = ?2
    WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at <= ?2 - ?3)";
const TRACKED_SINCE: &str = "SELECT value FROM meta WHERE key = 'last_use_tracked_since'";
const SET_TRACKED_SINCE: &str = "UPDATE meta SET value = ?1 WHERE key = 'last_use_tracked_since'";

impl Session {
    /// Opens the writing end. `alone` says that nobody else has the file open, so that the rows of other
    /// writers are those of processes that ended without closing theirs; they are counted and removed.
    pub(crate) fn open(
        store: Arc<Store>,
        last_use_interval: Duration,
        now: Timestamp,
        alone: bool,
    ) -> Result<Self> {
        let connection = store.write_connection()?;
        let mut session = Self {
            store,
            connection: Some(connection),
            writer: 0,
            opened_at: now,
            unclean_ends: 0,
            sequence: 0,
            log: LogMemory::default(),
            last_use_interval,
            sightings: None,
            addresses: KnownAddresses::default(),
        };
        (session.writer, session.unclean_ends) = session.write(|transaction| {
            let unclean = if alone { transaction.execute(FORGET_WRITERS, [])? } else { 0 };
            let writer = transaction.query_row(OPEN_WRITER, [now.as_micros()], |row| row.get(0))?;
            Ok((writer, unclean as u64))
        })?;
        Ok(session)
    }

    /// How many writers before this one were found not to have closed.
    pub(crate) fn unclean_ends(&self) -> u64 {
        self.unclean_ends
    }

    /// Since when the last use of every token is known: from now on where it was not known before, not
    /// at all while tracking is off.
    pub(crate) fn track_last_use(&mut self, on: bool, now: Timestamp) -> Result<Option<Timestamp>> {
        self.write(|transaction| {
            let since: Option<i64> = transaction.query_row(TRACKED_SINCE, [], |row| row.get(0))?;
            let wanted = on.then(|| since.unwrap_or(now.as_micros()));
            if wanted != since {
                transaction.execute(SET_TRACKED_SINCE, [wanted])?;
            }
            Ok(wanted.map(Timestamp::from_micros))
        })
    }

    /// Marks this writer's end as clean: its row is gone.
    pub(crate) fn close(&mut self) -> Result<()> {
        let writer = self.writer;
        self.write(|transaction| {
            transaction.execute(CLOSE_WRITER, [writer])?;
            Ok(())
        })
    }

    /// Forgets everything that was remembered of the file, because the file may not have it.
    pub(crate) fn forget(&mut self) {
        self.log.forget();
        self.addresses = KnownAddresses::default();
    }

    /// From now on batches are looked through for what they show for the first time.
    pub(crate) fn look_out(&mut self) {
        self.sightings = Some(Sightings::default());
    }

    /// What the last batch showed, once it is known to be committed.
    pub(crate) fn take_sightings(&mut self) -> Option<Sightings> {
        self.sightings.as_mut().map(std::mem::take)
    }

    /// A change of the catalogue. It is committed if `work` succeeds, and then on the disk, whatever the mode is:
    /// a revocation that a power cut takes back would let a leaked token in again.
    pub(crate) fn change<T>(
        &mut self,
        work: impl FnOnce(&Catalogue<'_>) -> Result<T>,
    ) -> Result<T, CommitError> {
        self.synchronize(Synchronous::Full).map_err(CommitError::RolledBack)?;
        let changed = self.attempt(|_, transaction| work(&Catalogue::new(transaction)));
        // An answer of the catalogue has touched nothing that is remembered of the log.
        match &changed {
            Err(CommitError::RolledBack(error)) if error.downcast_ref::<Error>().is_some() => {}
            Err(_) => self.forget(),
            Ok(_) => {}
        }
        // Where this fails, the next commits are synced as well, which costs time and nothing else.
        let _ = self.synchronize(self.store.options.synchronous());
        changed
    }

    fn synchronize(&mut self, synchronous: Synchronous) -> Result<()> {
        self.connection()?.with(|connection| Ok(synchronous.set(connection)?))
    }

    /// Stores a batch. Returns how many last-use columns moved.
    ///
    /// After [`CommitError::Unknown`] call [`Session::was_committed`] before the batch is tried again.
    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<u64, CommitError> {
        let sequence = self.sequence + 1;
        let moved = self.transact(|session, transaction| {
            let row = (session.writer, sequence, session.opened_at.as_micros());
            transaction.prepare_cached(SET_SEQUENCE)?.execute(row)?;
            session.make_room(transaction, batch)?;
            session.log.append(transaction, &batch.chunks, &batch.excess)?;
            late_uses::add(transaction, batch.chunks.iter().flatten().chain(&batch.excess))?;
            for (hour, dropped) in &batch.gaps {
                let dropped = i64::try_from(*dropped)?;
                transaction.prepare_cached(ADD_GAP)?.execute((*hour, dropped))?;
            }
            session.sight(transaction, batch)?;
            session.set_last_uses(transaction, &batch.last_uses)
        })?;
        self.sequence = sequence;
        Ok(moved)
    }

    /// Finds out on a fresh connection whether the batch after the last known one is in the file.
    pub(crate) fn was_committed(&mut self) -> Result<bool> {
        self.connection = None;
        let writer = self.writer;
        let stored: Option<i64> = self.connection()?.with(|connection| {
            Ok(connection.query_row(SEQUENCE, [writer], |row| row.get(0)).optional()?)
        })?;
        let committed = stored == Some(self.sequence + 1);
        if committed {
            self.sequence += 1;
        }
        Ok(committed)
    }

    /// One step of what is not urgent: removes what is too much, sums up a day, removes what is old, or where there
    /// is nothing of these rolls up. Without horizons, because the clock is in doubt, only the last.
    pub(crate) fn upkeep(
        &mut self,
        horizons: Option<&Horizons>,
        days: Days,
    ) -> Result<Step, CommitError> {
        self.transact(|session, transaction| {
            let most = session.store.max_file_size();
            if let Some(horizons) = horizons
                && (size::shrink(transaction, most)?
                    || (days == Days::Fold && fold::fold_days(transaction, horizons.now.day())?)
                    || retention::prune(transaction, horizons)?)
            {
                session.log.forget_names();
                return Ok(Step::Worked);
            }
            Ok(if session.log.roll_up(transaction)? { Step::RolledUp } else { Step::Idle })
        })
    }

    /// One step of a census. What it removes is handed to `removing` before the commit starts, with the generation
    /// that the commit makes the newest one.
    pub(crate) fn census(
        &mut self,
        survey: &Survey,
        place: Place,
        removing: impl FnOnce(&[TokenId], u64),
    ) -> Result<Census, CommitError> {
        self.transact(|_, transaction| {
            let census = census::step(transaction, survey, place)?;
            if !census.removed.is_empty() {
                removing(&census.removed, census.generation);
            }
            Ok(census)
        })
    }

    /// Moves what is left of the write-ahead log into the file, so that the log can start over. Quick where a
    /// checkpoint has just been made beside the writer.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        self.connection()?.with(|connection| super::checkpoint::run(connection).map(drop))
    }

    /// Empties the write-ahead log, where that is ours to do and nobody reads it for ten milliseconds. Returns
    /// whether it is empty.
    pub(crate) fn empty_log(&mut self) -> Result<bool> {
        let options = &self.store.options;
        if options.checkpoints == Checkpoints::External {
            return Ok(false);
        }
        let timeout = options.busy_timeout;
        self.connection()?.with(|connection| {
            connection.busy_timeout(timeout.min(EMPTY_LOG_WAIT))?;
            let emptied = super::checkpoint::empty(connection);
            connection.busy_timeout(timeout)?;
            emptied
        })
    }

    /// Removes the oldest rows of the log where the file is near its cap.
    fn make_room(&mut self, transaction: &Connection, batch: &Batch) -> Result<()> {
        let most = self.store.max_file_size();
        let rows: usize = batch.chunks.iter().map(Vec::len).sum();
        let needed = self.log.bytes_to_write(rows as u64);
        if !size::is_near(transaction, most, needed)? {
            return Ok(());
        }
        self.log.roll_up(transaction)?;
        size::make_room(transaction, most, needed)
    }

    /// Looks for what is new, before the last uses are written. What an earlier try of the batch found is forgotten.
    fn sight(&mut self, transaction: &Connection, batch: &Batch) -> Result<()> {
        let Some(sightings) = &mut self.sightings else { return Ok(()) };
        *sightings = Sightings::default();
        for (token, at) in &batch.last_uses {
            sightings.first_uses.extend(sightings::first_use(transaction, *token, *at)?);
        }
        sightings.new_addresses = self.addresses.note(transaction, batch)?;
        Ok(())
    }

    /// Forward only and at most once an interval, whoever else writes the same column.
    fn set_last_uses(
        &self,
        transaction: &Connection,
        last_uses: &[(TokenId, Timestamp)],
    ) -> Result<u64> {
        let interval = micros(self.last_use_interval);
        let mut statement = transaction.prepare_cached(SET_LAST_USE)?;
        let mut moved = 0;
        for (token, at) in last_uses {
            moved += statement.execute((token.as_row(), at.as_micros(), interval))? as u64;
        }
        Ok(moved)
    }

    fn connection(&mut self) -> Result<&mut WriteConnection> {
        if self.connection.is_none() {
            self.connection = Some(self.store.write_connection()?);
        }
        Ok(self.connection.as_mut().expect("it was just opened"))
    }

    fn write<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.transact(|_, transaction| work(transaction)).map_err(CommitError::into_inner)
    }

    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &Connection) -> Result<T>,
    ) -> Result<T, CommitError> {
        let outcome = self.attempt(work);
        if outcome.is_err() {
            self.forget();
        }
        outcome
    }

    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &Connection) -> Result<T>,
    ) -> Result<T, CommitError> {
        self.connection().map_err(CommitError::RolledBack)?;
        let mut connection = self.connection.take().expect("it was just opened");
        let mut committing = false;
        let result = connection.with(|connection| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .context("no transaction")?;
            schema::check_version(&transaction)?;
            let value = work(self, &transaction)?;
            committing = true;
            transaction.commit().context("no commit")?;
            Ok(value)
        });
        let error = match result {
            Ok(value) => {
                self.connection = Some(connection);
                return Ok(value);
            }
            Err(error) => error,
        };
        // Where the storage failed, the next try is on a connection of its own: one that was opened while the
        // file was read-only stays so.
        if error.downcast_ref::<Error>().is_some() && !committing {
            self.connection = Some(connection);
        }
        Err(if committing { CommitError::Unknown(error) } else { CommitError::RolledBack(error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durability::Checkpoints;
    use crate::record::{Method, Outcome};
    use crate::store::StoreOptions;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    fn session() -> (Arc<Store>, Session) {
        let options = StoreOptions {
            readers: 2,
            busy_timeout: Duration::from_secs(1),
            synced: false,
            file_mode: 0o600,
            max_file_size: u64::MAX,
            checkpoints: Checkpoints::Automatic,
        };
        let store = Arc::new(Store::open_memory(options).unwrap());
        let session = Session::open(Arc::clone(&store), Duration::from_secs(60), NOW, true);
        (store, session.unwrap())
    }

    fn batch(records: usize) -> Batch {
        let record = Record {
            at: NOW,
            token: TokenId::from_row(1),
            route: None,
            method: Method::named("GET"),
            status: 200,
            outcome: Outcome::Success,
            duration_us: 1,
            response_bytes: 0,
            client_address: None,
            user_agent: None,
            cost: 1,
            weight: 1,
            late: None,
        };
        Batch { chunks: vec![vec![record; records]], ..Batch::default() }
    }

    #[test]
    fn commit_whose_outcome_is_unknown_is_found_out_by_its_sequence() {
        let (_store, mut session) = session();
        session.commit(&batch(3)).unwrap();
        assert!(!session.was_committed().unwrap(), "the next one is not there");
        // As if the commit had gone through and its answer been lost.
        session.sequence -= 1;
        assert!(session.was_committed().unwrap());
        session.commit(&batch(2)).unwrap();
        session.sequence -= 1;
        assert!(session.was_committed().unwrap());
        assert_eq!(session.sequence, 2);
    }
}
