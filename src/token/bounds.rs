//! What the details of a token may be.

use std::collections::BTreeMap;

use crate::bounds::{check_count, check_prose, check_text};
use crate::error::Error;
use crate::scope::check_scope;

pub(super) fn check_details(
    description: Option<&str>,
    tags: &[String],
    scopes: &[String],
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    check_prose("description", description.unwrap_or_default(), 2_000)?;
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
