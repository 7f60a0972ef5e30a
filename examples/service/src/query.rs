//! Numbers in a query.

use std::str::FromStr;

use crate::reply::Reply;

/// The first field of this name in a raw query; an answer where it is no such number.
pub(crate) fn number<T: FromStr>(query: Option<&str>, name: &str) -> Result<Option<T>, Reply> {
    let mut fields = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let Some((_, value)) = fields.find(|(found, _)| found == name) else { return Ok(None) };
    let number = value.parse();
    number.map(Some).map_err(|_| Reply::bad_request(&format!("`{name}` must be a whole number")))
}

/// The same, of a number up to `most`.
pub(crate) fn number_up_to(
    query: Option<&str>,
    name: &str,
    default: u64,
    most: u64,
) -> Result<u64, Reply> {
    let number = number(query, name)?.unwrap_or(default);
    if number > most {
        return Err(Reply::bad_request(&format!("`{name}` must be 0 to {most}")));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_field_of_a_name_counts_and_what_is_no_number_is_the_clients_error() {
        let query = Some("limit=5&limit=x&n=%31%30&ms=-1");
        assert_eq!(number(query, "limit").ok(), Some(Some(5)));
        assert_eq!(number(query, "n").ok(), Some(Some(10)));
        assert_eq!(number::<u32>(query, "days").ok(), Some(None));
        assert_eq!(number::<u64>(query, "ms").map_err(|reply| reply.status), Err(400));
        assert_eq!(number_up_to(query, "n", 5, 9).map_err(|reply| reply.status), Err(400));
    }
}
