//! What narrows a token, beside its scopes: where it is good, from where, from when on, and how much.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::bounds::check_text;
use crate::error::Error;
use crate::network::{Network, check_networks};
use crate::objects::only_from_objects;
use crate::quota::Quota;

/// What narrows a token: in the catalogue, in force from its next request on. Nothing, unless said.
///
/// Deny on doubt: a token that is limited to networks is refused where the client's address is not known, and
/// one that is limited to a resource where none is named.
///
/// ```
/// use token_tracker::{NewToken, Restrictions};
///
/// let restrictions: Restrictions = serde_json::from_str(
///     r#"{"networks": ["192.0.2.0/24", "2001:db8::/48"], "not_before": "2026-12-01T00:00:00Z",
///         "quota": {"per_day": 50000}}"#,
/// )?;
/// let new = NewToken::opaque("alice", "nightly export").restrictions(restrictions);
/// # let _ = new;
/// assert!(serde_json::from_str::<Restrictions>(r#"{"network": "192.0.2.0/24"}"#).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct Restrictions {
    /// The one resource that the token is good for, 1 to 512 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The networks that its client may come from, 1 to 64 that do not overlap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<Network>>,
    /// From when on it can be used: in the years 0 to 9999, with an offset of whole minutes.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    /// How much it may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

only_from_objects!(Restrictions, "an object of restrictions");

impl Restrictions {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(resource) = &self.resource {
            check_text("resource", resource, 1, 512)?;
        }
        if self.not_before.is_some_and(|not_before| not_before.format(&Rfc3339).is_err()) {
            let message = "must be in the years 0 to 9999, with an offset of whole minutes";
            return Err(Error::invalid("not_before", message));
        }
        self.networks.as_deref().map_or(Ok(()), check_networks)?;
        self.quota.map_or(Ok(()), |quota| quota.check())
    }

    /// Whether it allows nothing that `other` does not.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let resource = other.resource.is_none() || self.resource == other.resource;
        let not_before = match (self.not_before, other.not_before) {
            (_, None) => true,
            (ours, Some(theirs)) => ours.is_some_and(|ours| ours >= theirs),
        };
        let quota = match (&self.quota, &other.quota) {
            (_, None) => true,
            (ours, Some(theirs)) => ours.is_some_and(|ours| ours.is_within(theirs)),
        };
        let networks = match (&self.networks, &other.networks) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(ours), Some(theirs)) => {
                ours.iter().all(|ours| theirs.iter().any(|theirs| theirs.contains_network(ours)))
            }
        };
        resource && not_before && quota && networks
    }
}
