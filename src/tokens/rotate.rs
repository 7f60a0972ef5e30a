//! Rotation: another secret for a token, and the end of the one before.

use std::sync::Arc;

use time::format_description::well_known::Rfc3339;

use super::Tokens;
use super::change::{Changed, not_found, revoked};
use crate::audit::{Act, Deed};
use crate::credential::{Credential, Rotation};
use crate::error::{Error, ErrorKind};
use crate::identity::Identity;
use crate::late_use::{LateUse, LateUseFilter, LateUsePage};
use crate::store::{Catalogue, Named, NewCredential, TokenRow};
use crate::timestamp::Timestamp;
use crate::token::{CredentialId, Issued, Phase, Standing, TokenId, TokenKind, TokenStatus};

/// How often a rotation is begun anew because the token's expiry was edited meanwhile. Twice is rare already.
const MAX_TRIES: u32 = 8;

/// How many credentials of a token are shown.
const MAX_CREDENTIALS: u32 = 1_000;

impl Tokens<'_> {
    /// Gives a token another secret: same number, history and name, and the old secret goes on as the [`Rotation`]
    /// says. Named is a credential, so that a client can rotate itself
    /// ([`Identity::credential_id`](crate::Identity::credential_id)) and nobody who holds an old secret can; an
    /// administrator finds it as [`Token::credential_id`](crate::Token::credential_id).
    ///
    /// Where the answer was lost, repeat the call, naming the old credential or the new one: until the new one is
    /// used it is replaced by a fresh one, its secret is dead at once, and the old one lives on by the new terms. One
    /// that is over stays over. Once the new one is used, the old one cannot rotate any longer.
    ///
    /// A JWT keeps its kind and its mark, and carries the token's expiry as the catalogue has it. A suspended token
    /// can be rotated and stays suspended. Cost: as [`issue`](Tokens::issue).
    ///
    /// The first request that is allowed with the new secret stores that, and waits for it up to 200 ms. From then on
    /// an old secret that was to live until then is refused here, and within 250 ms by every other process. Where it
    /// cannot be stored the request is allowed all the same, the old secret lives on, and the next use tries again.
    ///
    /// ```
    /// # use token_tracker::{NewToken, Rotation, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let old = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?.secret;
    /// let access = tracker.authenticate(&old)?;
    /// let credential = access.identity().credential_id();
    /// let new = tracker.tokens().rotate(credential, Rotation::until_first_use())?.secret;
    ///
    /// assert!(tracker.authenticate(&old).is_ok(), "the new one may not have arrived");
    /// assert!(tracker.authenticate(&new).is_ok(), "it has");
    /// assert!(tracker.authenticate(&old).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` names `overlap` where that is over 366 days, and `credential` where a JWT is not of the issuer
    /// that signs here, or nobody does. `NotFound` where there is no such credential. `AlreadyRotated` where it was
    /// replaced and the one after it used, and where another one of the token is still alive beside the current one:
    /// unless everything but the new one is to end at once. `Revoked` and `Expired` where the token is.
    pub fn rotate(&self, credential: CredentialId, rotation: Rotation) -> Result<Issued, Error> {
        rotation.check()?;
        let now = self.engine.now();
        for _ in 0..MAX_TRIES {
            let named = self.ask(|reader| reader.catalogue().named(credential))?;
            let named = named.ok_or_else(unknown)?;
            self.check_issuer(&named)?;
            let Named { kind, expires_at, .. } = named;
            let (secret, new) = self.make_credential(kind, &named.owner, now, expires_at)?;
            if let Some(row) = self.replace(credential, named, rotation, new, now)? {
                return Ok(Issued { token: self.show(&row, now), secret });
            }
        }
        Err(Error::new(ErrorKind::Busy, "the token changes faster than it can be rotated"))
    }

    /// All that a token was known by, newest first, at most the newest 1,000. What was rotated out goes when it was
    /// dead and unused for longer than daily sums are kept ([`upkeep`](crate::TokenTracker::upkeep)).
    ///
    /// # Errors
    /// `NotFound`.
    pub fn credentials(&self, id: TokenId) -> Result<Vec<Credential>, Error> {
        let now = self.engine.now();
        let found = self.ask(|reader| {
            let credentials = reader.catalogue().credentials(id, MAX_CREDENTIALS, now)?;
            let Some(oldest) = credentials.last() else { return Ok((credentials, Vec::new())) };
            let late_uses = reader.late_uses_from(id, oldest.id)?;
            Ok((credentials, late_uses))
        });
        let (mut credentials, late_uses) = found?;
        if credentials.is_empty() {
            return Err(not_found());
        }
        for late in late_uses {
            // Newest first.
            let place = credentials.binary_search_by(|other| late.credential_id.cmp(&other.id));
            if let Some(credential) = place.ok().and_then(|place| credentials.get_mut(place)) {
                credential.late_uses.push(late);
            }
        }
        Ok(credentials)
    }

    /// Who still uses what is dead or on its way out: a page of it, in the order of credentials. Counts are of
    /// what is committed; [`flush`](crate::TokenTracker::flush) first to have everything.
    ///
    /// ```
    /// # use token_tracker::{AuthRequest, DenialReason, LateUseFilter, NewToken, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// tracker.tokens().revoke(issued.token.id, "leaked")?;
    /// let request = AuthRequest::from(&issued.secret).user_agent("nightly/1.0");
    /// assert!(tracker.authenticate(request).is_err());
    ///
    /// tracker.flush()?;
    /// let late = tracker.tokens().late_uses(&LateUseFilter::new().dead())?.late_uses.remove(0);
    /// assert_eq!((late.reason, late.count), (Some(DenialReason::Revoked), 1));
    /// assert_eq!(late.last_user_agent.as_deref(), Some("nightly/1.0"));
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` where the limit is out of bounds.
    pub fn late_uses(&self, filter: &LateUseFilter) -> Result<LateUsePage, Error> {
        let limit = filter.page_size()?;
        // One more than a page tells whether there is another.
        let mut late_uses = self.ask(|reader| reader.late_uses(filter, limit + 1))?;
        let more = late_uses.len() > limit as usize;
        late_uses.truncate(limit as usize);
        let next = late_uses.last().filter(|_| more).map(LateUse::place);
        Ok(LateUsePage { late_uses, next })
    }

    /// Stores that a new credential is used, which ends those that were to live until then. Waits for that, but
    /// not for long: where it fails the old ones live on, and the next use tries again.
    pub(crate) fn note_first_use(&self, identity: &Identity) {
        let Standing { id, .. } = identity.grant.standing;
        if !identity.grant.standing.is_new() {
            return;
        }
        let (engine, now) = (self.engine, self.engine.now());
        if let Some(task) = engine.first_uses.begin(id) {
            let promote = self.making(move |catalogue| promote(catalogue, id, now));
            engine.queue.push_job(Box::new(move |session| {
                let _task = task;
                drop(promote(session));
            }));
        }
        engine.first_uses.wait(id);
    }

    fn check_issuer(&self, named: &Named) -> Result<(), Error> {
        if named.kind == TokenKind::Opaque {
            return Ok(());
        }
        let issuers = self.engine.issuers();
        let Ok(ours) = issuers.signing_issuer() else {
            return Err(Error::invalid("credential", "is a JWT, and there is no signing key"));
        };
        if named.issuer.as_deref() != Some(ours.name()) {
            return Err(Error::invalid("credential", "is not of the issuer that signs here"));
        }
        Ok(())
    }

    /// The rotation itself. `None` where the token is not any longer what the new credential was made for.
    fn replace(
        &self,
        credential: CredentialId,
        made_for: Named,
        rotation: Rotation,
        new: NewCredential,
        now: Timestamp,
    ) -> Result<Option<TokenRow>, Error> {
        let (cache, trusted) = (Arc::clone(&self.engine.cache), self.trusted_now());
        let token = made_for.token;
        self.change(move |catalogue| {
            let row = catalogue.find_id(token)?.row.ok_or_else(unknown)?;
            if cache.is_revoked(token) {
                return Err(revoked().into());
            }
            check_living(&row, now)?;
            if (row.expires_at, &row.owner) != (made_for.expires_at, &made_for.owner) {
                return Ok(Changed::nothing(None));
            }
            if let Some(trusted) = trusted {
                catalogue.mark_lapsed(token, trusted)?;
            }
            let replaced = hand_over(catalogue, token, credential, rotation, now)?;
            let new = catalogue.hand_out(token, &new, now)?;
            let detail = serde_json::json!({
                "credential": new,
                "replaces": replaced,
                "ends_at": rotation.ends_at(now).and_then(Timestamp::to_text),
                "ends_on_use": rotation.ends_on_use(),
            });
            let detail = serde_json::to_string(&detail)?;
            let row = catalogue.find_id(token)?.row.ok_or_else(unknown)?;
            let deed = Deed::of(Act::Rotate, token).with(Some(detail));
            Ok(Changed::of(Some(row), vec![token]).noting(deed))
        })
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::NotFound, "no such credential")
}

fn check_living(row: &TokenRow, now: Timestamp) -> Result<(), Error> {
    match row.status(now) {
        TokenStatus::Revoked => Err(revoked()),
        TokenStatus::Expired => {
            Err(Error::new(ErrorKind::Expired, "the token is expired: edit its expiry first"))
        }
        TokenStatus::Active | TokenStatus::Suspended => Ok(()),
    }
}

/// Sees off what is there for a new credential. Returns the one that it takes the place of.
fn hand_over(
    catalogue: &Catalogue<'_>,
    token: TokenId,
    named: CredentialId,
    rotation: Rotation,
    now: Timestamp,
) -> anyhow::Result<Option<CredentialId>> {
    let living = catalogue.living_credentials(token)?;
    let unused = living.iter().find(|other| other.is_new());
    let replaced = match unused {
        None => Some(named),
        Some(unused) => catalogue.replaced_by(token, unused.id)?,
    };
    check_named(named, replaced, &living, rotation, now)?;
    if rotation.is_immediate() {
        catalogue.end_all(token, now)?;
        return Ok(replaced);
    }
    catalogue.end_unused(token, now)?;
    if let Some(replaced) = replaced {
        let (ends_at, on_use) = (rotation.ends_at(now), rotation.ends_on_use());
        catalogue.send_out(replaced, ends_at, on_use, now)?;
    }
    Ok(replaced)
}

/// Whether a credential can be named for a rotation: `replaced` is the one whose place the new one takes.
fn check_named(
    named: CredentialId,
    replaced: Option<CredentialId>,
    living: &[Standing],
    rotation: Rotation,
    now: Timestamp,
) -> Result<(), Error> {
    let is = |phase| living.iter().find(|other| other.phase == phase).map(|other| other.id);
    let unused = is(Phase::New);
    if unused.is_some() {
        let is_named = [unused, replaced].contains(&Some(named));
        return if is_named { Ok(()) } else { Err(already_rotated()) };
    }
    if is(Phase::Current) != Some(named) {
        return Err(already_rotated());
    }
    let lives = |other: &&Standing| other.phase == Phase::Outgoing && !other.is_over(now);
    let outgoing = living.iter().find(lives);
    match outgoing.filter(|_| !rotation.is_immediate()) {
        None => Ok(()),
        Some(outgoing) => Err(under_way(outgoing.ends_at())),
    }
}

fn already_rotated() -> Error {
    Error::new(ErrorKind::AlreadyRotated, "the credential was replaced already")
}

fn under_way(ends_at: Option<Timestamp>) -> Error {
    let until = ends_at.and_then(|ends_at| ends_at.to_date_time().format(&Rfc3339).ok());
    let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
    let message = format!("a rotation of the token is under way{until}");
    Error::new(ErrorKind::AlreadyRotated, message)
}

fn promote(
    catalogue: &Catalogue<'_>,
    id: CredentialId,
    now: Timestamp,
) -> anyhow::Result<Changed<()>> {
    // Somebody else may have stored an earlier use.
    let Some(token) = catalogue.promote(id, now)? else { return Ok(Changed::nothing(())) };
    let mut changed = Changed::of((), vec![token]);
    for ended in catalogue.end_on_use(token, now)? {
        let detail = serde_json::json!({ "credential": ended, "for": id });
        let detail = serde_json::to_string(&detail)?;
        changed = changed.noting(Deed::of(Act::Retire, token).with(Some(detail)));
    }
    Ok(changed)
}
