//! Records and sums, written to where the caller wants them.

use std::fmt;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use super::StatsQuery;
use crate::error::{Error, ErrorKind};
use crate::lines::{Begins, Export, ExportFormat, Line, SumLine};
use crate::progress::Progress;
use crate::record::{Place, RecordFilter};
use crate::store::{Buckets, Reader, Search, SumRow, Sums};
use crate::timestamp::Timestamp;

/// Records to a page.
const PAGE: u32 = 512;

impl<'t> StatsQuery<'t> {
    /// Records or sums as lines of text: of whom is asked about, and of the period, if one is said; else of all times
    /// that are kept. Hours and days are those that begin in the period, and a line is of one token. What was recorded
    /// before the call is in it, and records that come later are not.
    ///
    /// ```
    /// # use token_tracker::{Export, ExportFormat, NewToken, TokenTracker, Usage};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// # let access = tracker.authenticate(&issued.secret)?;
    /// # tracker.record(Usage::of(access).route("GET", "=1+1").status(200));
    /// let mut lines = Vec::new();
    /// let records = tracker.stats().owner("alice").export(Export::Records, ExportFormat::Csv);
    /// assert_eq!(records.write(&mut lines)?, 1);
    /// let text = String::from_utf8(lines)?;
    /// assert!(text.starts_with("id,at,token_id,owner,method,route,status,outcome,reason,"));
    /// assert!(text.contains(",alice,GET,'=1+1,200,success,"), "no spreadsheet executes it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn export(&self, what: Export, format: ExportFormat) -> UsageExport<'t> {
        UsageExport { query: self.clone(), what, format, told: None }
    }
}

/// Something to be exported: see [`StatsQuery::export`].
///
/// It may run beside live traffic. Each page of some hundred lines is read in one snapshot of its own and written when
/// that is over, so that neither a slow writer nor whoever is told keeps a connection or the write-ahead log from
/// starting over: a page is consistent in itself, and what changes meanwhile shows in the pages after it. Blocks,
/// with a page in memory. Cost: of records as [`StatsQuery::records`] says, oldest first; of sums a look-up for each
/// hour or day and token asked about, and of all tokens one for each line.
#[must_use = "nothing is written before `write` or `save`"]
pub struct UsageExport<'t> {
    query: StatsQuery<'t>,
    what: Export,
    format: ExportFormat,
    told: Option<Box<dyn FnMut(Progress) -> ControlFlow<()> + 't>>,
}

impl<'t> UsageExport<'t> {
    /// Says after each page how far it is: of records how many of their numbers are looked at, of sums how many hours
    /// or days. Whoever is told may break it off.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use token_tracker::{ErrorKind, Export, ExportFormat, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// let export = tracker.stats().all().export(Export::Hours, ExportFormat::JsonLines);
    /// let cancelled = export.progress(|_| ControlFlow::Break(())).write(Vec::new());
    /// assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::Cancelled);
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    pub fn progress(mut self, told: impl FnMut(Progress) -> ControlFlow<()> + 't) -> Self {
        self.told = Some(Box::new(told));
        self
    }

    /// Writes the lines. Returns how many there are, without the header.
    ///
    /// # Errors
    /// See [`StatsQuery`]; `NotFound` and `InvalidInput` come before anything is written. `Output` where the writer
    /// fails, with its error as the source; `Cancelled` where whoever is told breaks it off; `Closed`, or `Storage` or
    /// `Busy` where what was recorded before cannot be stored. What is written by then stays written.
    pub fn write(mut self, out: impl Write) -> Result<u64, Error> {
        self.run(out)
    }

    /// Writes the lines to a file, at a path where there must be nothing yet. Until it is whole and on the disk it has
    /// another name, which ends in `.part`; nobody else can read it, unless the mode of the
    /// [database](crate::Builder::file_mode) lets him.
    ///
    /// ```
    /// # use token_tracker::{Export, ExportFormat, TokenTracker};
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("hours.csv");
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// let hours = tracker.stats().all().last_days(7).export(Export::Hours, ExportFormat::Csv);
    /// assert_eq!(hours.save(&path)?, 0);
    /// assert!(std::fs::read_to_string(path)?.starts_with("hour,token_id,owner,name,success,"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`write`](UsageExport::write), and `InvalidInput` names `path` where something is there, or nothing can be.
    /// After every error nothing is left of it.
    pub fn save(mut self, path: impl AsRef<Path>) -> Result<u64, Error> {
        let (part, mut file) = self.query.engine.store.new_file(path.as_ref())?;
        let lines = self.run(&mut file)?;
        drop(file);
        part.finish()?;
        Ok(lines)
    }

    fn run(&mut self, mut out: impl Write) -> Result<u64, Error> {
        let period = self.query.wanted_period()?;
        self.query.ask(|_| Ok(()))?;
        self.query.engine.catch_up()?;
        // What comes later, while the first lines are written, is none of it.
        let end = self.query.ask(Reader::next_record)?;
        out.write_all(&self.format.header(self.what)?).map_err(unwritable)?;
        let lines = match self.what {
            Export::Days => self.sums(&mut out, Sums::Days, period)?,
            Export::Hours => self.sums(&mut out, Sums::Hours, period)?,
            Export::Records => self.records(&mut out, period, end)?,
        };
        out.flush().map_err(unwritable)?;
        Ok(lines)
    }

    fn records(
        &mut self,
        out: &mut impl Write,
        period: Option<(Timestamp, Timestamp)>,
        end: i64,
    ) -> Result<u64, Error> {
        let (scope, filter) = (self.query.scope.clone(), RecordFilter::new().oldest_first());
        let search = Search { period, last: end - 1, ..Search::new(&scope, &filter, PAGE) };
        let (mut first, mut place, mut lines) = (None, None, 0);
        loop {
            let found = self.query.ask(|reader| reader.records(&search, place.as_ref()))?;
            let first = *first.get_or_insert(found.ids.0);
            let total = found.ids.1.saturating_add(1).saturating_sub(first).max(0);
            let done = match &found.next {
                Some(Place::Up(next)) => next.saturating_sub(first),
                _ => total,
            };
            lines += self.page(out, &found.records, done, total)?;
            place = found.next;
            if place.is_none() {
                return Ok(lines);
            }
        }
    }

    fn sums(
        &mut self,
        out: &mut impl Write,
        of: Sums,
        period: Option<(Timestamp, Timestamp)>,
    ) -> Result<u64, Error> {
        let starts = |at: Timestamp| match of {
            Sums::Days => at.next_hour().saturating_add(23).div_euclid(24),
            Sums::Hours => at.next_hour(),
        };
        let (from, until) =
            period.map_or((i64::MIN, i64::MAX), |(from, until)| (starts(from), starts(until)));
        let scope = self.query.scope.clone();
        let (mut buckets, mut lines) = (Buckets::new(of, from, until), 0);
        loop {
            let page = self.query.ask(|reader| reader.sums(&scope, &buckets))?;
            let rows: Vec<_> = page.rows.into_iter().map(|row| line(of, row)).collect();
            lines += self.page(out, &rows, page.done, page.total)?;
            let Some(next) = page.next else { return Ok(lines) };
            buckets.after = next;
        }
    }

    /// Writes lines, and says so. Returns how many.
    fn page<L: Line>(
        &mut self,
        out: &mut impl Write,
        lines: &[L],
        done: i64,
        total: i64,
    ) -> Result<u64, Error> {
        out.write_all(&self.format.encode(lines)?).map_err(unwritable)?;
        if let Some(told) = &mut self.told
            && told(Progress::new(done.unsigned_abs(), total.unsigned_abs())).is_break()
        {
            return Err(Error::new(ErrorKind::Cancelled, "the export was cancelled"));
        }
        Ok(lines.len() as u64)
    }
}

impl fmt::Debug for UsageExport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageExport")
            .field("query", &self.query)
            .field("what", &self.what)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

fn line(of: Sums, row: SumRow) -> SumLine {
    let begins = match of {
        Sums::Days => Begins::day(row.bucket),
        Sums::Hours => Begins::hour(row.bucket),
    };
    SumLine::new(begins, row.token, row.owner, row.name, &row.tally)
}

fn unwritable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Output, "what was to be exported cannot be written")
        .with_source(error.into())
}
