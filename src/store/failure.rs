//! What SQLite's errors mean to a caller.

use rusqlite::ErrorCode;

use crate::error::{Error, ErrorKind};

/// The error of the public interface for whatever went wrong inside.
pub(crate) fn to_error(failure: anyhow::Error) -> Error {
    let failure = match failure.downcast::<Error>() {
        Ok(error) => return error,
        Err(failure) => failure,
    };
    let (kind, message) = match code(&failure) {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Busy, "the database is locked by someone else")
        }
        Some(ErrorCode::NotADatabase) => (ErrorKind::NotADatabase, "the file is not a database"),
        Some(ErrorCode::DatabaseCorrupt) => (ErrorKind::Storage, "the database file is damaged"),
        Some(ErrorCode::DiskFull) => (ErrorKind::Storage, "the disk is full"),
        Some(ErrorCode::ReadOnly) => (ErrorKind::Storage, "the database file cannot be written"),
        Some(ErrorCode::CannotOpen) => (ErrorKind::Storage, "the database file cannot be opened"),
        _ => (ErrorKind::Storage, "the storage failed"),
    };
    Error::new(kind, message).with_source(failure)
}

/// What went wrong, down to its cause, for whoever looks after the service.
pub(crate) fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn code(failure: &anyhow::Error) -> Option<ErrorCode> {
    failure
        .chain()
        .find_map(|cause| cause.downcast_ref::<rusqlite::Error>())
        .and_then(rusqlite::Error::sqlite_error_code)
}
