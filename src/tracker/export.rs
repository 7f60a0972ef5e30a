//! Everything that is kept of an owner, as lines of JSON.

use std::io::Write;

use serde_json::Value;

use super::TokenTracker;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::store::{At, Cursor, Reader, Section, to_error, token_line};
use crate::token::{Token, TokenFilter};

/// How many lines of each type [`TokenTracker::export_owner`] wrote.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ExportReport {
    /// Tokens.
    pub tokens: u64,
    /// What tokens are known by.
    pub credentials: u64,
    /// Late uses of credentials.
    pub late_uses: u64,
    /// Known addresses.
    pub addresses: u64,
    /// User agents that came with a token first.
    pub user_agents: u64,
    /// Windows of quotas.
    pub quota_windows: u64,
    /// Sums of days.
    pub days: u64,
    /// Sums of hours.
    pub hours: u64,
    /// Records.
    pub records: u64,
    /// Entries of the audit.
    pub audit_entries: u64,
}

impl ExportReport {
    /// All lines.
    #[must_use]
    pub fn lines(&self) -> u64 {
        let of_tokens = Section::ALL.into_iter().map(|part| *self.clone().of(part)).sum::<u64>();
        self.tokens + of_tokens + self.audit_entries
    }

    fn of(&mut self, part: Section) -> &mut u64 {
        match part {
            Section::Credentials => &mut self.credentials,
            Section::LateUses => &mut self.late_uses,
            Section::Addresses => &mut self.addresses,
            Section::UserAgents => &mut self.user_agents,
            Section::QuotaWindows => &mut self.quota_windows,
            Section::Days => &mut self.days,
            Section::Hours => &mut self.hours,
            Section::Records => &mut self.records,
        }
    }
}

impl TokenTracker {
    /// Writes everything that is kept of an owner, as JSON lines: one object a line, each with a `type` (GDPR Art. 15
    /// and 20).
    ///
    /// | `type` | what | how many |
    /// |---|---|---|
    /// | `token` | all fields of a token, without its secret | one a token |
    /// | `credential` | issuer, `jti`, `kid`, fragment, state and times, never a hash | one or more a token |
    /// | `late_use` | uses of a dead credential, by reason | |
    /// | `address` | an address that the token was used from | |
    /// | `user_agent` | a user agent that came with the token first | |
    /// | `quota_window` | what was taken of a quota in the newest window of each period, counted since 1970 | |
    /// | `day`, `hour` | sums, with counts by route, user agent, method, status, reason and address | as long as they are kept |
    /// | `record` | a request, newest first | as long as they are kept |
    /// | `audit` | what was done to his tokens, with them, or by him | as long as they are kept |
    ///
    /// Token after token with all that is its own, then the audit. Times are RFC 3339, in UTC; durations end in
    /// `_us`; addresses are as [they are kept](crate::ClientAddresses). What was recorded before the call is in it.
    ///
    /// It may run beside live traffic. Each page of some hundred lines is read in one snapshot of its own and written
    /// when that is over, so that a slow writer keeps neither a connection nor the write-ahead log: a page is
    /// consistent in itself, and what changes meanwhile shows in the pages after it. Blocks, and costs a look-up a
    /// record, one pass over the audit, and a look-up an hour and day for each token.
    ///
    /// ```
    /// # use token_tracker::{NewToken, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice@example.com", "laptop"))?;
    /// # drop(tracker.authenticate(&issued.secret)?);
    /// let mut lines = Vec::new();
    /// let report = tracker.export_owner("alice@example.com", &mut lines)?;
    /// assert_eq!((report.tokens, report.records), (1, 1));
    ///
    /// let first = lines.split(|byte| *byte == b'\n').next().unwrap();
    /// let token: serde_json::Value = serde_json::from_slice(first)?;
    /// assert_eq!((&token["type"], &token["name"]), (&"token".into(), &"laptop".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` where no token is the owner's, before anything is written. `Output` where the writer fails, with
    /// its error as the source; `Storage`, `Busy` or `Closed` where the file cannot be read, or what was recorded
    /// before cannot be stored. What is written by then stays written.
    pub fn export_owner(&self, owner: &str, out: impl Write) -> Result<ExportReport, Error> {
        let engine = self.engine();
        engine.catch_up()?;
        let mut export = Export { engine, out, report: ExportReport::default() };
        export.tokens(owner)?;
        if export.report.tokens == 0 {
            return Err(Error::new(ErrorKind::NotFound, "no token of this owner"));
        }
        export.audit(owner)?;
        export.out.flush().map_err(output)?;
        Ok(export.report)
    }
}

struct Export<'e, W> {
    engine: &'e Engine,
    out: W,
    report: ExportReport,
}

impl<W: Write> Export<'_, W> {
    fn tokens(&mut self, owner: &str) -> Result<(), Error> {
        let (engine, mut filter) = (self.engine, TokenFilter::new().owner(owner));
        loop {
            let now = engine.now();
            let limit = TokenFilter::DEFAULT_LIMIT;
            let at = At { now, tracked_since: engine.tracked_since };
            let rows = self.ask(|reader| reader.catalogue().list(&filter, limit, at))?;
            let Some(last) = rows.last() else { return Ok(()) };
            filter = filter.after(last.id);
            for row in rows {
                self.token(&row.to_token(engine.tracked_since, now))?;
            }
        }
    }

    fn token(&mut self, token: &Token) -> Result<(), Error> {
        self.write(&[token_line(token)])?;
        self.report.tokens += 1;
        for part in Section::ALL {
            let mut place = Some(Cursor::Start);
            while let Some(from) = place {
                let page = self.ask(|reader| reader.export(token.id, part, &from))?;
                self.write(&page.lines)?;
                *self.report.of(part) += page.lines.len() as u64;
                place = page.next;
            }
        }
        Ok(())
    }

    fn audit(&mut self, owner: &str) -> Result<(), Error> {
        let mut place = Some(Cursor::Start);
        while let Some(from) = place {
            let page = self.ask(|reader| reader.export_audit(owner, &from))?;
            self.write(&page.lines)?;
            self.report.audit_entries += page.lines.len() as u64;
            place = page.next;
        }
        Ok(())
    }

    fn ask<T>(&self, question: impl FnOnce(&Reader) -> anyhow::Result<T>) -> Result<T, Error> {
        self.engine.store.ask(question).map_err(to_error)
    }

    fn write(&mut self, lines: &[Value]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        for line in lines {
            bytes.extend_from_slice(line.to_string().as_bytes());
            bytes.push(b'\n');
        }
        self.out.write_all(&bytes).map_err(output)
    }
}

fn output(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Output, "what was to be exported cannot be written")
        .with_source(error.into())
}
