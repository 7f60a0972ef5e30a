//! What texts and numbers may be.

use crate::error::Error;

/// A number from one on.
pub(crate) fn check_number(field: &'static str, number: i64, most: u32) -> Result<(), Error> {
    if (1..=i64::from(most)).contains(&number) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("must be 1 to {most}, not {number}")))
}

pub(crate) fn check_count(field: &'static str, count: usize, most: usize) -> Result<(), Error> {
    if count > most {
        return Err(Error::invalid(field, format!("may have {most} entries, not {count}")));
    }
    Ok(())
}

/// A line of text.
pub(crate) fn check_text(
    field: &'static str,
    text: &str,
    least: usize,
    most: usize,
) -> Result<(), Error> {
    if text.len() < least || text.len() > most {
        let length = text.len();
        return Err(Error::invalid(
            field,
            format!("must be {least} to {most} bytes, not {length}"),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must not have control characters"));
    }
    Ok(())
}

/// Text of several lines.
pub(crate) fn check_prose(field: &'static str, text: &str, most: usize) -> Result<(), Error> {
    if text.len() > most {
        return Err(Error::invalid(field, format!("may have {most} bytes, not {}", text.len())));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Error::invalid(field, "must not have control characters but line breaks"));
    }
    Ok(())
}
