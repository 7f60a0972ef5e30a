//! What the texts of a token may be.

use std::collections::BTreeMap;

use crate::error::Error;

pub(super) fn check_details(
    description: Option<&str>,
    tags: &[String],
    scopes: &[String],
    resource: Option<&str>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    check_prose("description", description.unwrap_or_default(), 2_000)?;
    if let Some(resource) = resource {
        check_text("resource", resource, 1, 512)?;
    }
    check_count("tags", tags.len(), 32)?;
    tags.iter().try_for_each(|tag| check_text("tags", tag, 1, 64))?;
    check_count("scopes", scopes.len(), 64)?;
    scopes.iter().try_for_each(|scope| check_scope(scope))?;
    check_count("metadata", metadata.len(), 32)?;
    metadata.iter().try_for_each(|(key, value)| {
        check_text("metadata", key, 1, 64)?;
        check_prose("metadata", value, 1_024)
    })
}

fn check_count(field: &'static str, count: usize, most: usize) -> Result<(), Error> {
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
fn check_prose(field: &'static str, text: &str, most: usize) -> Result<(), Error> {
    if text.len() > most {
        return Err(Error::invalid(field, format!("may have {most} bytes, not {}", text.len())));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Error::invalid(field, "must not have control characters but line breaks"));
    }
    Ok(())
}

/// `scope-token` of RFC 6749 §3.3: visible ASCII but `"` and `\`.
pub(crate) fn check_scope(scope: &str) -> Result<(), Error> {
    let well_formed = (1..=128).contains(&scope.len())
        && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if !well_formed {
        return Err(Error::invalid(
            "scopes",
            "must be 1 to 128 visible ASCII characters each, without space, `\"` and `\\`",
        ));
    }
    Ok(())
}
