//! Why requests are refused, and what RFC 6750 says to answer.

use std::fmt;

/// Why a request was refused.
///
/// Refusals marked *verified* are recorded under the token they were presented with; the others only
/// count as strangers, because anybody can write a token's number on a forged one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum DenialReason {
    /// The request carries no bearer credential.
    CredentialMissing,
    /// The request carries more than one credential (RFC 6750 §2).
    CredentialRepeated,
    /// Verified: the credential was replaced by rotation, and its time is over (RFC 9700 §4.14.2: reuse).
    CredentialRetired,
    /// Verified: past its `exp` claim or the catalogue's expiry.
    Expired,
    /// Verified: it lives longer than the issuer's tokens may.
    LifetimeTooLong,
    /// The token is not a well-formed bearer token, JWT or opaque token.
    Malformed,
    /// Verified: a claim has the wrong type.
    MalformedClaim,
    /// Verified: a required claim is not there.
    MissingClaim,
    /// Verified: the token lacks the scope that the request needs.
    MissingScope,
    /// Verified: before its `nbf` claim.
    NotYetValid,
    /// Verified: the token has used up its quota of a minute, hour, day or month.
    QuotaExceeded,
    /// Verified: the token is used faster than its rate allows.
    RateExceeded,
    /// Verified: revoked in the catalogue, for good.
    Revoked,
    /// The signature is wrong.
    SignatureInvalid,
    /// Verified: suspended in the catalogue, until resumed.
    Suspended,
    /// The token is longer than the configured cap.
    TooLong,
    /// No key of the issuer fits the token's `kid` and algorithm.
    UnknownKey,
    /// The signature is good or was not needed, but no catalogue knows the token.
    UnknownToken,
    /// Verified: the client's address is in none of the networks that the token is limited to, or not known.
    WrongAddress,
    /// Verified: none of the audiences is one that is accepted.
    WrongAudience,
    /// The `iss` claim names no configured issuer.
    WrongIssuer,
    /// Verified: the token is limited to another resource.
    WrongResource,
    /// Verified: the `sub` claim is not the configured one.
    WrongSubject,
    /// Verified: the `typ` header is not the configured one (RFC 8725 §3.11).
    WrongType,
}

/// One row a reason: code in the store (never reused), name, HTTP status, RFC 6750 error, description.
type Row = (DenialReason, u8, &'static str, u16, Option<&'static str>, &'static str);

const INVALID_REQUEST: Option<&str> = Some("invalid_request");
const INVALID_TOKEN: Option<&str> = Some("invalid_token");
const INSUFFICIENT_SCOPE: Option<&str> = Some("insufficient_scope");

#[rustfmt::skip]
const ROWS: [Row; 24] = {
    use DenialReason as R;
    [
        (R::CredentialMissing,   1, "credential_missing",   401, None,               "no bearer token was presented"),
        (R::CredentialRepeated,  2, "credential_repeated",  400, INVALID_REQUEST,    "more than one credential was presented"),
        (R::Expired,             3, "expired",              401, INVALID_TOKEN,      "the token expired"),
        (R::Malformed,           4, "malformed",            401, INVALID_TOKEN,      "the token is malformed"),
        (R::MalformedClaim,      5, "malformed_claim",      401, INVALID_TOKEN,      "a claim of the token is malformed"),
        (R::MissingClaim,        6, "missing_claim",        401, INVALID_TOKEN,      "a required claim of the token is missing"),
        (R::MissingScope,        7, "missing_scope",        403, INSUFFICIENT_SCOPE, "the request needs a scope that the token does not have"),
        (R::NotYetValid,         8, "not_yet_valid",        401, INVALID_TOKEN,      "the token is not valid yet"),
        (R::Revoked,             9, "revoked",              401, INVALID_TOKEN,      "the token was revoked"),
        (R::SignatureInvalid,   10, "signature_invalid",    401, INVALID_TOKEN,      "the signature of the token is wrong"),
        (R::Suspended,          11, "suspended",            401, INVALID_TOKEN,      "the token is suspended"),
        (R::TooLong,            12, "too_long",             401, INVALID_TOKEN,      "the token is too long"),
        (R::UnknownKey,         13, "unknown_key",          401, INVALID_TOKEN,      "the token was signed with an unknown key"),
        (R::UnknownToken,       14, "unknown_token",        401, INVALID_TOKEN,      "the token is unknown"),
        (R::WrongAudience,      15, "wrong_audience",       401, INVALID_TOKEN,      "the token is for another audience"),
        (R::WrongIssuer,        16, "wrong_issuer",         401, INVALID_TOKEN,      "the token is from an unknown issuer"),
        (R::WrongResource,      17, "wrong_resource",       403, INSUFFICIENT_SCOPE, "the token is limited to another resource"),
        (R::WrongType,          18, "wrong_type",           401, INVALID_TOKEN,      "the token is of another type"),
        (R::LifetimeTooLong,    19, "lifetime_too_long",    401, INVALID_TOKEN,      "the token lives longer than it may"),
        (R::WrongSubject,       20, "wrong_subject",        401, INVALID_TOKEN,      "the token is for another subject"),
        (R::WrongAddress,       21, "wrong_address",        403, INSUFFICIENT_SCOPE, "the token is limited to other networks"),
        (R::CredentialRetired,  22, "credential_retired",   401, INVALID_TOKEN,      "the token was replaced by another"),
        (R::RateExceeded,       23, "rate_exceeded",        429, None,               "the token is used faster than it may"),
        (R::QuotaExceeded,      24, "quota_exceeded",       429, None,               "the token has used up its quota"),
    ]
};

/// The reasons, in the order of their places.
const ALL: [DenialReason; DenialReason::COUNT] = {
    let mut all = [DenialReason::CredentialMissing; DenialReason::COUNT];
    let mut at = 0;
    while at < ROWS.len() {
        all[ROWS[at].0.place()] = ROWS[at].0;
        at += 1;
    }
    all
};

impl DenialReason {
    /// How many there are.
    pub(crate) const COUNT: usize = ROWS.len();

    /// All of them, in alphabetical order.
    pub(crate) const fn all() -> [Self; Self::COUNT] {
        ALL
    }

    /// Its place among all of them.
    pub(crate) const fn place(self) -> usize {
        self as usize
    }

    fn row(self) -> &'static Row {
        ROWS.iter().find(|row| row.0 == self).expect("every reason has its row, as a test proves")
    }

    pub(crate) fn code(self) -> u8 {
        self.row().1
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        ROWS.iter().find(|row| row.1 == code).map(|row| row.0)
    }

    /// The reason as it appears in records and answers, such as `missing_scope`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().2
    }

    /// The HTTP status to answer with: 400, 401 or 403 (RFC 6750 §3.1), or 429 (RFC 6585 §4).
    #[must_use]
    pub fn status(self) -> u16 {
        self.row().3
    }

    /// The `error` code of RFC 6750 §3.1; `None` where no credential was presented, or too many requests were made.
    #[must_use]
    pub fn error_code(self) -> Option<&'static str> {
        self.row().4
    }

    /// A sentence for people, without a full stop.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.row().5
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_distinct_and_lead_back() {
        for (at, row) in ROWS.iter().enumerate() {
            assert_eq!(DenialReason::from_code(row.1), Some(row.0));
            assert_eq!(row.0.row(), row);
            assert!(ROWS[at + 1..].iter().all(|other| other.1 != row.1 && other.2 != row.2));
        }
    }

    #[test]
    fn every_reason_has_a_row() {
        use DenialReason::*;
        for reason in [
            CredentialMissing,
            CredentialRepeated,
            Expired,
            Malformed,
            MalformedClaim,
            MissingClaim,
            MissingScope,
            NotYetValid,
            Revoked,
            SignatureInvalid,
            Suspended,
            TooLong,
            UnknownKey,
            UnknownToken,
            WrongAudience,
            WrongIssuer,
            WrongResource,
            WrongType,
            LifetimeTooLong,
            WrongSubject,
            WrongAddress,
            CredentialRetired,
            RateExceeded,
            QuotaExceeded,
        ] {
            assert_eq!(reason.row().0, reason);
        }
    }

    #[test]
    fn every_reason_has_its_place_in_alphabetical_order() {
        let all = DenialReason::all();
        assert!(all.iter().enumerate().all(|(place, reason)| reason.place() == place));
        assert!(all.is_sorted_by_key(|reason| reason.as_str()));
    }

    #[test]
    fn descriptions_need_no_quoting() {
        for row in &ROWS {
            assert!(
                row.5.bytes().all(|byte| byte == b' ' || byte.is_ascii_alphanumeric()),
                "{row:?}"
            );
        }
    }
}
