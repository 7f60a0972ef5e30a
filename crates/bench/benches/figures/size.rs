//! How many bytes of the file records and their sums take.

use rusqlite::Connection;

use crate::measure::{Figure, Scale};
use crate::volume::{RECORDS, million};

pub(crate) const FIGURES: &[Figure] = &[
    Figure { name: "bytes_per_record", unit: "bytes", measure: bytes_per_record },
    Figure { name: "rollup_bytes_per_key", unit: "bytes", measure: rollup_bytes_per_key },
];

/// Whole pages, with those of the indexes.
const PAGES: &str = "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema
    WHERE tbl_name IN ('usage_log', 'usage_groups', 'usage_heads', 'names'))";

fn bytes_per_record(_: Scale) -> f64 {
    number(&million().connect(), PAGES) / RECORDS as f64
}

const HOURLY: &str =
    "SELECT (sum(payload) - (SELECT sum(length(addresses)) FROM hourly_sums)) * 1.0 / sum(ncell)
    FROM dbstat WHERE name = 'hourly_sums'";
const ADDRESSES: &str = "SELECT avg(length(addresses)) FROM hourly_sums";
const COUNTS: &str =
    "SELECT sum(payload) * 1.0 / sum(ncell) FROM dbstat WHERE name = 'hourly_counts'";

fn rollup_bytes_per_key(_: Scale) -> f64 {
    let connection = million().connect();
    eprintln!(
        "a row of counts by route, agent and so on: {:.1} bytes",
        number(&connection, COUNTS)
    );
    eprintln!("of it by address: {:.1} bytes", number(&connection, ADDRESSES));
    number(&connection, HOURLY)
}

fn number(connection: &Connection, sql: &str) -> f64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}
