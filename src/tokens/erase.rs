//! Erasing an owner: what says who he was goes, what says how much was done stays.

use super::Tokens;
use super::change::Changed;
use crate::audit::{Act, Behalf, Deed};
use crate::error::Error;
use crate::store::{Catalogue, Session, Stepped, Sums};
use crate::token::{ERASED, TokenId};

/// How often the write-ahead log is tried to be emptied, for ten milliseconds each.
const TRIES: u32 = 10;

/// What [`Tokens::erase_owner`] or [`Tokens::sweep_erased`] erased.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Erased {
    /// The tokens that were his: their numbers stay, and are nobody's.
    pub tokens: Vec<TokenId>,
    /// Records that had a client's address.
    pub records: u64,
    /// Sums of hours and days that had clients' addresses.
    pub sums: u64,
    /// Texts of user agents.
    pub user_agents: u64,
    /// Known addresses of tokens.
    pub addresses: u64,
    /// Counts of late uses of credentials.
    pub late_uses: u64,
    /// Entries of the [audit](Tokens::audit) that named him, or told of his tokens.
    pub audit_entries: u64,
    /// Whether the write-ahead log was emptied afterwards, so that it does not hold what was erased. Not where
    /// somebody was reading, or [checkpoints](crate::Checkpoints) are not ours to make: it starts over later.
    pub log_emptied: bool,
}

impl Tokens<'_> {
    /// Erases an owner (GDPR Art. 17): nothing in the file says any longer who he was, all totals stay exact, and
    /// none of his tokens ever comes back.
    ///
    /// First all his tokens are revoked, each in force at once. Then, in steps of a few milliseconds beside live
    /// traffic:
    ///
    /// * the client's address is taken from each of their records and sums, and from the sums of all tokens where nobody
    ///   else came from it. A sum of all tokens loses every address where it cannot be told which were his: in an hour in
    ///   which one of his tokens was used from more than 64;
    /// * user agents that came with his tokens first are replaced by `<erased N>`, wherever they were used: the text
    ///   may name a person. Routes are the service's own and stay, and so do agents that came with tokens of others;
    /// * late uses, known addresses and what was used of quotas are removed;
    /// * entries of the [audit](Tokens::audit) about his tokens or by him keep act, time and token number, and lose
    ///   actor, reason and detail; tokens of others that he revoked no longer say by whom;
    /// * last, each token becomes `<erased ID>` of the owner `<erased>`, without description, tags, metadata, scopes,
    ///   restrictions and fragment. Hashes of opaque tokens are deleted: such a token is then unknown. Of a JWT the
    ///   issuer and `jti` stay, so that it stays refused; requests with it are recorded without address and agent.
    ///
    /// Sums and records stay under the number of the token, and `stats().owner("<erased>")` has those of all who
    /// were erased. One entry of the audit, [`Act::Erase`](crate::Act::Erase), says how many tokens it was; do not name
    /// him in the [reason](Tokens::because).
    ///
    /// Interrupted, by an error or the end of the process, it is finished by calling it again. Of an owner that has
    /// no tokens, or none any longer, only the audit is looked through, and has that entry where something was erased.
    ///
    /// What it does not reach: requests that are under way meanwhile, and those that another process lets through
    /// in the 250 ms before it learns of the revocation, are recorded with what their clients said, under the number
    /// of the token. [`sweep_erased`](Tokens::sweep_erased) takes it from them afterwards. What is
    /// deleted or changed is overwritten; but records that retention removed before may stand in free pages until
    /// those are used again, and where SQLite moved rows between pages it may have left a copy in the unused part of one.
    /// A `VACUUM` leaves neither. Backups, replicas and exports are yours.
    ///
    /// Blocks. Cost: a commit a token, a look-up a record, and one pass over the audit and the list of tokens.
    ///
    /// ```
    /// # use token_tracker::{AuthRequest, NewToken, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// let issued = tracker.tokens().issue(NewToken::opaque("alice@example.com", "laptop of alice"))?;
    /// # drop(tracker.authenticate(&issued.secret)?);
    /// let erased = tracker.tokens().erase_owner("alice@example.com")?;
    /// assert_eq!(erased.tokens, [issued.token.id]);
    ///
    /// assert!(tracker.authenticate(&issued.secret).is_err());
    /// assert_eq!(tracker.tokens().get(issued.token.id)?.owner, "<erased>");
    /// assert_eq!(tracker.stats().owner("<erased>").last_days(30).summary()?.total, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` where the owner is `<erased>`. `Forbidden` where one of his tokens has more than that of a
    /// [bearer](Tokens::on_behalf_of), before anything is done. `NotDurable`, `Storage` or `Busy` where a step could not be
    /// stored: those before it are done, and the call is to be repeated.
    pub fn erase_owner(&self, owner: &str) -> Result<Erased, Error> {
        if owner == ERASED {
            return Err(Error::invalid("owner", "must be somebody: use `sweep_erased`"));
        }
        self.check_permit()?;
        if self.own().is_some() {
            self.check_has(&self.owned(owner)?)?;
        }
        // The bearer's own token may be among them.
        let this = self.permitted_before();
        let mut erased = Erased::default();
        // Until none is left: some may be issued meanwhile.
        loop {
            let tokens = this.owned(owner)?;
            this.erase(owner, &tokens, &mut erased)?;
            if tokens.is_empty() {
                break;
            }
        }
        erased.log_emptied = this.empty_log()?;
        Ok(erased)
    }

    /// Erases what came late: addresses and user agents of requests that were under way when their owner was
    /// [erased](Tokens::erase_owner), or that another process recorded before it learned of it. To be called when
    /// these have ended, a minute later or once a night; it costs a look-up for each record that is kept of erased
    /// tokens.
    ///
    /// ```
    /// # let tracker = token_tracker::TokenTracker::builder().in_memory()?;
    /// let swept = tracker.tokens().sweep_erased()?;
    /// assert_eq!(swept.records, 0);
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Tokens`]; what was done before the error stays so.
    pub fn sweep_erased(&self) -> Result<Erased, Error> {
        self.check_permit()?;
        self.engine.queue.flush()?;
        let mut swept = Erased::default();
        for token in self.owned(ERASED)? {
            self.forget_clients(token, 0, &mut swept)?;
        }
        swept.log_emptied = self.empty_log()?;
        Ok(swept)
    }

    fn erase(&self, owner: &str, tokens: &[TokenId], erased: &mut Erased) -> Result<(), Error> {
        for token in tokens {
            self.revoke(*token, "")?;
        }
        if !tokens.is_empty() {
            self.engine.queue.flush()?;
        }
        let mut seen = Vec::with_capacity(tokens.len());
        for token in tokens {
            seen.push(self.forget_clients(*token, 0, erased)?);
        }
        let forgotten = self.forget_deeds(owner, erased)?;
        self.erase_rows(owner, forgotten, erased)?;
        if !tokens.is_empty() {
            self.engine.queue.flush()?;
        }
        // What was recorded since, before it was known that nothing is to be kept of these clients.
        for (token, seen) in tokens.iter().zip(seen) {
            self.forget_clients(*token, seen, erased)?;
        }
        Ok(())
    }

    /// Erases what records of a token say of its clients: those after `seen`. Returns the last.
    fn forget_clients(&self, token: TokenId, seen: i64, erased: &mut Erased) -> Result<i64, Error> {
        let last = self.ask(|reader| reader.last_record(token))?.unwrap_or(0);
        if last > seen {
            erased.records += self
                .step_by_step(last, move |catalogue, from| catalogue.erase_addresses(from, seen))?;
        }
        for sums in [Sums::Hours, Sums::Days] {
            erased.sums += self.step_by_step(i64::MIN, move |catalogue, after| {
                catalogue.erase_sums(token, sums, after)
            })?;
        }
        erased.user_agents += self
            .change(move |catalogue| Ok(Changed::nothing(catalogue.erase_user_agents(token)?)))?;
        loop {
            let traces =
                self.change(move |catalogue| Ok(Changed::nothing(catalogue.erase_traces(token)?)))?;
            erased.late_uses += traces.late_uses;
            erased.addresses += traces.addresses;
            if !traces.has_more {
                return Ok(last.max(seen));
            }
        }
    }

    /// Returns how often it was said what he did.
    fn forget_deeds(&self, owner: &str, erased: &mut Erased) -> Result<u64, Error> {
        let name = owner.to_owned();
        let entries =
            self.step_by_step(0, move |catalogue, after| catalogue.erase_audit(&name, after))?;
        erased.audit_entries += entries;
        let name = owner.to_owned();
        let revoked =
            self.step_by_step(0, move |catalogue, after| catalogue.erase_revoker(&name, after))?;
        Ok(entries + revoked)
    }

    /// Last of all: by its owner a token is found again where something before this failed. Who had none, and is
    /// forgotten in the book all the same, is an entry too.
    fn erase_rows(&self, owner: &str, forgotten: u64, erased: &mut Erased) -> Result<(), Error> {
        let unnamed = self.for_reason(unnamed(&self.behalf, owner));
        loop {
            let (name, before) = (owner.to_owned(), erased.tokens.len());
            let step = unnamed.change(move |catalogue| {
                let tokens = catalogue.erase_tokens(&name)?;
                let changed = Changed::of(tokens.clone(), tokens.clone());
                let count = before + tokens.len();
                let is_last = if tokens.is_empty() {
                    count == 0 && forgotten > 0
                } else {
                    !catalogue.has_revoked(&name)?
                };
                if !is_last {
                    return Ok(changed);
                }
                let detail = serde_json::json!({ "tokens": count });
                let deed = Deed { act: Act::Erase, token: None, detail: Some(detail.to_string()) };
                Ok(changed.noting(deed))
            })?;
            if step.is_empty() {
                return Ok(());
            }
            erased.tokens.extend(step);
        }
    }

    /// Runs steps until one says that it was the last. Returns how much they erased.
    fn step_by_step(
        &self,
        start: i64,
        step: impl Fn(&Catalogue<'_>, i64) -> anyhow::Result<Stepped> + Clone + Send + 'static,
    ) -> Result<u64, Error> {
        let (mut from, mut erased) = (start, 0);
        loop {
            let step = step.clone();
            let stepped =
                self.change(move |catalogue| Ok(Changed::nothing(step(catalogue, from)?)))?;
            erased += stepped.erased;
            match stepped.next {
                Some(next) => from = next,
                None => return Ok(erased),
            }
        }
    }

    fn owned(&self, owner: &str) -> Result<Vec<TokenId>, Error> {
        self.ask(|reader| reader.tokens_of_owner(owner))
    }

    fn empty_log(&self) -> Result<bool, Error> {
        for _ in 0..TRIES {
            // What is erased is so, whatever becomes of the log.
            if self.engine.queue.run(Session::empty_log)?.unwrap_or(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// In whose name an owner is erased, unless it is his own.
fn unnamed(behalf: &Behalf, owner: &str) -> Behalf {
    let names = |text: &String| text.contains(owner);
    Behalf {
        actor: behalf.actor.clone().filter(|actor| actor != owner),
        reason: behalf.reason.clone().filter(|reason| !names(reason)),
        ..behalf.clone()
    }
}
