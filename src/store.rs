//! The one place that speaks SQL. Its methods are whole operations.

mod append;
mod audit;
mod backup;
mod catalogue;
mod census;
mod checkpoint;
mod compact;
mod dictionary;
mod erase;
mod export;
mod failure;
mod fold;
mod late_uses;
mod log;
mod log_rows;
mod quota;
mod records;
mod retention;
mod rollup;
mod schema;
mod session;
mod sightings;
mod size;
mod statistics;
mod sums;
mod tier;
mod verify;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::{Condvar, Mutex};
use r2d2::{Pool, PooledConnection};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::clock::deadline;
use crate::durability::Checkpoints;
use crate::error::{Error, ErrorKind};
use crate::part_file::create_private;
use crate::timestamp::Timestamp;
use catalogue::Changes;
pub(crate) use catalogue::{
    At, Authority, Catalogue, CredentialKey, Named, NewCredential, Part, TokenRow,
};
pub(crate) use census::{Notices, Place, Survey};
pub(crate) use checkpoint::{Checkpoint, Checkpointer};
pub(crate) use erase::{Stepped, Sums};
pub(crate) use export::{Cursor, Section, token_line};
pub(crate) use failure::{describe, to_error};
pub(crate) use records::Search;
pub(crate) use retention::Horizons;
pub(crate) use session::{Batch, CommitError, Days, Session, Step};
pub(crate) use sums::{Buckets, SumRow};

/// How the file is opened.
#[derive(Clone, Debug)]
pub(crate) struct StoreOptions {
    pub(crate) readers: u32,
    pub(crate) busy_timeout: Duration,
    pub(crate) synced: bool,
    pub(crate) file_mode: u32,
    /// In bytes.
    pub(crate) max_file_size: u64,
    pub(crate) checkpoints: Checkpoints,
}

impl StoreOptions {
    /// As the mode has it for records.
    fn synchronous(&self) -> Synchronous {
        if self.synced { Synchronous::Full } else { Synchronous::Normal }
    }
}

/// How long the first connection may take at least, however busy the machine is.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// How long to wait for the only connection of a database in memory.
const ONLY_WAIT: Duration = Duration::from_secs(30);

/// The pages that a connection keeps which reads the same few again and again: 256 KiB instead of 2 MB.
const FEW_PAGES: i64 = -256;

/// Where the database is.
#[derive(Clone, Debug)]
enum Location {
    File(PathBuf),
    Memory,
}

/// A database: connections to read with, and what is needed to open the one that writes.
///
/// A file has one writing connection, owned by the writer's thread, and a pool of reading ones. A
/// database in memory has one connection for everything: a pool of one.
pub(crate) struct Store {
    location: Location,
    options: StoreOptions,
    pool: Pool<SqliteConnectionManager>,
    questions: Questions,
}

/// How many questions may be asked at the same time: one fewer than there are connections, so that
/// authentication never waits behind statistics.
struct Questions {
    free: Mutex<u32>,
    freed: Condvar,
}

/// Leave to ask one question.
struct Question<'s>(&'s Questions);

/// A reading connection of its own, for whoever must not wait for a free one.
pub(crate) struct Watch {
    connection: Mutex<Connection>,
}

/// A connection taken for one reading operation.
pub(crate) struct Reader(PooledConnection<SqliteConnectionManager>);

/// The connection that writes, for one operation.
enum WriteConnection {
    Owned(Connection),
    Pooled(Pool<SqliteConnectionManager>),
}

impl Store {
    pub(crate) fn open_file(path: &Path, options: StoreOptions) -> Result<Self> {
        create(path, options.file_mode)?;
        let location = Location::File(path.to_owned());
        let mut connection = open_writing(path, &options)?;
        schema::migrate(&mut connection)?;
        schema::check_ends(&connection)?;
        let (timeout, checkpoints) = (options.busy_timeout, options.checkpoints);
        let manager = SqliteConnectionManager::file(path)
            .with_flags(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .with_init(move |connection| prepare_reading(connection, timeout, checkpoints));
        let pool = pool(manager, options.readers, timeout.max(FIRST_WAIT))?;
        let questions = Questions::new(options.readers - 1);
        Ok(Self { location, options, pool, questions })
    }

    pub(crate) fn open_memory(options: StoreOptions) -> Result<Self> {
        let pool = pool(SqliteConnectionManager::memory(), 1, ONLY_WAIT)?;
        let mut connection = pool.get()?;
        compact::prepare(&connection)?;
        schema::migrate(&mut connection)?;
        drop(connection);
        let questions = Questions::new(1);
        Ok(Self { location: Location::Memory, options, pool, questions })
    }

    /// Reads something that is quickly found.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let connection = self.pool.get_timeout(self.patience());
        let reader = Reader(connection.context("no connection to read with")?);
        forgetting(&reader.0, work(&reader))
    }

    /// Reads something that may take long: fewer at a time, so that authentication never waits behind it.
    pub(crate) fn ask<T>(&self, work: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let _question = self.questions.enter(self.options.busy_timeout)?;
        self.read(work)
    }

    /// A connection of its own. `None` where nobody else can write: there is nothing to watch.
    pub(crate) fn watch(&self) -> Result<Option<Watch>> {
        let Location::File(path) = &self.location else { return Ok(None) };
        let mut connection = connect(path)?;
        prepare_reading(&mut connection, self.options.busy_timeout, self.options.checkpoints)?;
        connection.pragma_update(None, "cache_size", FEW_PAGES)?;
        Ok(Some(Watch { connection: Mutex::new(connection) }))
    }

    /// A connection to make checkpoints with. `None` where that is not for us to do.
    pub(crate) fn checkpointer(&self) -> Result<Option<Checkpointer>> {
        match &self.location {
            Location::File(path) if self.options.checkpoints == Checkpoints::Automatic => {
                let connection = connect(path)?;
                connection.busy_timeout(self.options.busy_timeout)?;
                self.options.synchronous().set(&connection)?;
                connection.pragma_update(None, "cache_size", FEW_PAGES)?;
                Ok(Some(Checkpointer::new(connection)))
            }
            _ => Ok(None),
        }
    }

    /// How long to wait for a free connection.
    fn patience(&self) -> Duration {
        match self.location {
            Location::File(_) => self.options.busy_timeout,
            Location::Memory => ONLY_WAIT,
        }
    }

    fn max_file_size(&self) -> u64 {
        self.options.max_file_size
    }

    fn write_connection(&self) -> Result<WriteConnection> {
        Ok(match &self.location {
            Location::Memory => WriteConnection::Pooled(self.pool.clone()),
            Location::File(path) => WriteConnection::Owned(open_writing(path, &self.options)?),
        })
    }
}

impl Reader {
    pub(crate) fn catalogue(&self) -> Catalogue<'_> {
        Catalogue::new(&self.0)
    }
}

impl Watch {
    /// What changed after `generation`.
    pub(crate) fn changes_since(&self, generation: u64) -> Result<Changes> {
        let connection = self.connection.lock();
        forgetting(&connection, Catalogue::new(&connection).changes_since(generation))
    }
}

impl Questions {
    fn new(free: u32) -> Self {
        Self { free: Mutex::new(free), freed: Condvar::new() }
    }

    fn enter(&self, timeout: Duration) -> Result<Question<'_>> {
        let end = deadline(timeout);
        let mut free = self.free.lock();
        while *free == 0 {
            if self.freed.wait_until(&mut free, end).timed_out() && *free == 0 {
                let message = "too many questions are being asked at the same time";
                return Err(Error::new(ErrorKind::Busy, message).into());
            }
        }
        *free -= 1;
        Ok(Question(self))
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

/// After a failure nothing that was read is kept: it may be what is wrong, and be right by now in the file.
fn forgetting<T>(connection: &Connection, result: Result<T>) -> Result<T> {
    result.inspect_err(|_| drop(connection.release_memory()))
}

impl WriteConnection {
    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        match self {
            Self::Owned(connection) => work(connection),
            Self::Pooled(pool) => work(&mut *pool.get()?),
        }
    }
}

/// The check on check-out is off: it costs 2 µs of the 2.3 µs that taking a connection takes, and
/// a local file does not hang up.
fn pool(
    manager: SqliteConnectionManager,
    size: u32,
    wait: Duration,
) -> Result<Pool<SqliteConnectionManager>> {
    let builder = Pool::builder()
        .max_size(size)
        .min_idle(Some(1))
        .test_on_check_out(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connection_timeout(wait)
        .error_handler(Box::new(r2d2::NopErrorHandler));
    builder.build(manager).context("no connection to read with")
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

fn prepare_reading(
    connection: &mut Connection,
    timeout: Duration,
    checkpoints: Checkpoints,
) -> rusqlite::Result<()> {
    connection.busy_timeout(timeout)?;
    leave_checkpoints(connection, checkpoints)?;
    connection.pragma_update(None, "query_only", true)?;
    // The write-ahead log is opened by the first read. A connection that cannot is none to be had from the pool.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Without this the last connection to close makes a checkpoint, whoever has that for his task.
fn leave_checkpoints(connection: &Connection, to: Checkpoints) -> rusqlite::Result<()> {
    let leave = to == Checkpoints::External;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave).map(drop)
}

/// When a commit is on the disk.
#[derive(Clone, Copy)]
enum Synchronous {
    /// At the commit.
    Full,
    /// At the next checkpoint.
    Normal,
}

impl Synchronous {
    fn set(self, connection: &Connection) -> rusqlite::Result<()> {
        let mode = match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", mode)
    }
}

/// Where what is deleted or changed is overwritten.
#[derive(Clone, Copy)]
enum OverwriteFreed {
    /// In pages that nothing else is in, too, which costs writing them.
    Everywhere,
    /// In pages that are written anyway.
    InPages,
}

impl OverwriteFreed {
    fn set(self, connection: &Connection) -> rusqlite::Result<()> {
        let mode = match self {
            Self::Everywhere => "ON",
            Self::InPages => "FAST",
        };
        connection.pragma_update_and_check(None, "secure_delete", mode, |_| Ok(()))
    }
}

fn open_writing(path: &Path, options: &StoreOptions) -> Result<Connection> {
    let connection = connect(path)?;
    connection.busy_timeout(options.busy_timeout)?;
    anyhow::ensure!(!connection.is_readonly("main")?, "the database file is read-only");
    // Before the journal mode is touched: a file that is not ours is left as it is.
    if schema::check(&connection)? == 0 {
        compact::prepare(&connection)?;
    }
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    anyhow::ensure!(mode.eq_ignore_ascii_case("wal"), "the file system gives no write-ahead log");
    options.synchronous().set(&connection)?;
    leave_checkpoints(&connection, options.checkpoints)?;
    OverwriteFreed::Everywhere.set(&connection)?;
    // No commit makes a checkpoint: there is a connection for that, or a replicator.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    let pages = size::max_pages(&connection, options.max_file_size)?;
    connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

/// Creates the file before SQLite does, so that nobody else can read it even for a moment. SQLite gives
/// the files beside it the same mode.
fn create(path: &Path, mode: u32) -> Result<()> {
    match create_private(path, mode) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => {
            let message = format!("the database file cannot be created: {error}");
            Err(Error::new(ErrorKind::Storage, message).with_source(error.into()).into())
        }
    }
}

/// Reads an instant from a column.
fn instant(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}
