//! Lines of an export: as JSON, or as CSV that no spreadsheet executes.

mod cells;
mod sum;

use serde::Serialize;

use crate::error::{Error, ErrorKind};
use crate::reason::DenialReason;
use crate::record::UsageRecord;
pub(crate) use cells::Cells;
pub(crate) use sum::{Begins, SumLine};

/// What is exported, a line each.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Export {
    /// What the requests of a token came to in a day (UTC), for the days that are over and summed up.
    Days,
    /// What the requests of a token came to in an hour.
    Hours,
    /// Records, oldest first in the order of commit.
    Records,
}

/// How lines are written.
///
/// # CSV
///
/// By RFC 4180: a header, commas, lines that end with CR LF, and quotes where they are needed; UTF-8, without a byte
/// order mark. What is not known is an empty cell.
///
/// Route, user agent, method, owner and name are what clients and owners have chosen, and a spreadsheet executes a cell that begins like
/// a formula. So one `'` is put before a text that begins with `'`, that is empty, or that begins (after spaces, control
/// characters and marks that are not seen, if any) with `=`, `+`, `-`, `@` or a form of these, or with a tab, a line
/// break or a byte order mark. Whoever reads it takes one `'` away from where a cell begins with one, and has the text as it was. Numbers,
/// times and addresses are never changed. This holds where the file is read with commas as the separators that
/// they are.
///
/// # JSON lines
///
/// One object a line, with a `type`: `day`, `hour` or `record`. Members are those of the CSV's columns, texts are as they
/// are, and what is not known is null. Numbers are up to 2^63.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ExportFormat {
    /// Comma-separated values.
    Csv,
    /// A JSON object a line.
    JsonLines,
}

/// What can be a line.
pub(crate) trait Line: Serialize {
    /// Its `type`.
    fn kind(&self) -> &'static str;
    fn fill(&self, cells: &mut Cells);
}

/// A line with its `type`.
#[derive(Serialize)]
struct Typed<'l, L> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    line: &'l L,
}

impl ExportFormat {
    /// What comes before the first line.
    pub(crate) fn header(self, of: Export) -> Result<Vec<u8>, Error> {
        match self {
            Self::Csv => cells::encode([of.columns()]),
            Self::JsonLines => Ok(Vec::new()),
        }
    }

    pub(crate) fn encode<L: Line>(self, lines: &[L]) -> Result<Vec<u8>, Error> {
        match self {
            Self::Csv => cells::encode(lines.iter().map(|line| {
                let mut cells = Cells::default();
                line.fill(&mut cells);
                cells
            })),
            Self::JsonLines => {
                let mut bytes = Vec::new();
                for line in lines {
                    serde_json::to_writer(&mut bytes, &Typed { kind: line.kind(), line })
                        .map_err(unwritable)?;
                    bytes.push(b'\n');
                }
                Ok(bytes)
            }
        }
    }
}

fn unwritable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Output, "a line cannot be written").with_source(error.into())
}

macro_rules! sum_columns {
    ($bucket:literal) => {
        &[
            $bucket,
            "token_id",
            "owner",
            "name",
            "success",
            "client_error",
            "server_error",
            "denied",
            "unfinished",
            "below_400",
            "response_bytes",
            "cost",
            "mean_us",
            "p50_us",
            "p90_us",
            "p95_us",
            "p99_us",
            "max_us",
        ]
    };
}

impl Export {
    pub(crate) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Days => sum_columns!("day"),
            Self::Hours => sum_columns!("hour"),
            Self::Records => &[
                "id",
                "at",
                "token_id",
                "owner",
                "method",
                "route",
                "status",
                "outcome",
                "reason",
                "duration_us",
                "response_bytes",
                "client_address",
                "user_agent",
                "cost",
                "weight",
            ],
        }
    }
}

impl Line for UsageRecord {
    fn kind(&self) -> &'static str {
        "record"
    }

    fn fill(&self, cells: &mut Cells) {
        cells.plain(Some(self.id));
        cells.plain(self.at_text());
        cells.plain(Some(self.token_id));
        cells.text(self.owner.as_deref());
        // An empty one is none.
        cells.text(Some(&*self.method).filter(|method| !method.is_empty()));
        cells.text(Some(&self.route));
        cells.plain(Some(self.status));
        cells.plain(Some(self.outcome));
        cells.plain(self.outcome.reason().map(DenialReason::as_str));
        cells.plain(Some(self.duration_us()));
        cells.plain(Some(self.response_bytes));
        cells.plain(self.client_address);
        cells.text(self.user_agent.as_deref());
        cells.plain(Some(self.cost));
        cells.plain(Some(self.weight));
    }
}
