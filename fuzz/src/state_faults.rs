//! A storage that fails for a while.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::state_plan::Fault;

/// Somebody else's connection, and what it does to the file until it is dropped.
pub struct Trouble {
    connection: Connection,
    pub fault: Fault,
    /// Steps that it lasts.
    pub steps: u8,
}

impl Trouble {
    pub fn begin(path: &Path, fault: Fault, steps: u8) -> Self {
        let connection = Connection::open(path).expect("a file");
        connection.busy_timeout(Duration::from_secs(5)).expect("a time");
        let begin = match fault.table() {
            None => "BEGIN IMMEDIATE".to_owned(),
            Some(table) => format!("ALTER TABLE {table} RENAME TO {table}_away"),
        };
        connection.execute_batch(&begin).expect("nobody holds the file for long");
        Self { connection, fault, steps }
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        let end = match self.fault.table() {
            None => "ROLLBACK".to_owned(),
            Some(table) => format!("ALTER TABLE {table}_away RENAME TO {table}"),
        };
        self.connection.execute_batch(&end).expect("nobody holds the file for long");
    }
}

impl Fault {
    fn table(self) -> Option<&'static str> {
        match self {
            Self::Lock => None,
            Self::NoAudit => Some("audit"),
            Self::NoChanges => Some("changes"),
            Self::NoQuotas => Some("quota_windows"),
        }
    }

    /// Whether it keeps changes of tokens from being stored.
    pub fn hinders_changes(self) -> bool {
        self != Self::NoQuotas
    }

    /// Whether it keeps units from being taken out of the file.
    pub fn hinders_leases(self) -> bool {
        matches!(self, Self::Lock | Self::NoQuotas)
    }
}
