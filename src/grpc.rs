//! What gRPC says in its own words, in those of HTTP.

/// UNIMPLEMENTED: what is called is not there, or does nothing.
const UNIMPLEMENTED: usize = 12;

/// The HTTP status of each status code, by its number, as `google.rpc.Code` gives them.
const HTTP_STATUS: [u16; 17] =
    [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];

/// Whether a `Content-Type` is that of gRPC: `application/grpc`, and that with a `+` and a format.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    content_type.split_at_checked(NAME.len()).is_some_and(|(name, rest)| {
        name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}

/// The HTTP status that stands for a `grpc-status`; 500 for what is none.
pub(crate) fn http_status(code: &[u8], has_route: bool) -> u16 {
    let code: Option<usize> = std::str::from_utf8(code).ok().and_then(|code| code.parse().ok());
    match code {
        Some(UNIMPLEMENTED) if !has_route => 404,
        Some(code) => HTTP_STATUS.get(code).copied().unwrap_or(500),
        None => 500,
    }
}

/// The status code that stands for the HTTP status of a refusal.
pub(crate) fn code_of_refusal(status: u16) -> u8 {
    match status {
        400 => 3,
        401 => 16,
        403 => 7,
        429 => 8,
        503 => 14,
        _ => 2,
    }
}
