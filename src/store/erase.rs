//! Erasing what says who somebody was, in steps. Each can be repeated, and a step that finds nothing writes nothing.

mod sums;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};

use super::log::{head, tokens_of};
use super::{Catalogue, Reader};
use crate::query::Scope;
use crate::token::{ERASED, TokenId};
pub(crate) use sums::Sums;

/// Rows of the log to a step: each may stand on a page of its own.
const LOG_STEP: u32 = 512;

/// Addresses and late uses to a step.
const TRACE_STEP: u32 = 1_024;

/// Entries of the audit, and tokens of whomever, that a step looks at.
const SCAN_STEP: i64 = 4_096;

/// Tokens to a step, and credentials after which it ends: a token that is rotated each hour has thousands.
const TOKEN_STEP: u32 = 128;
const CREDENTIAL_STEP: usize = 1_024;

const BACK: &str = "SELECT back, client_address IS NOT NULL FROM usage_log WHERE id = ?1";
const FORGET_ADDRESS: &str = "UPDATE usage_log SET client_address = NULL WHERE id = ?1";

/// Clients can send whatever they like as their agent: where one has sent this very text, another is found.
const ERASE_AGENTS: &str = "UPDATE names SET brought_by = -1, text = '<erased ' || id || CASE
        WHEN EXISTS (SELECT 1 FROM names AS other
            WHERE other.kind = 1 AND other.text = '<erased ' || names.id || '>')
        THEN ' ' || lower(hex(randomblob(16))) ELSE '' END || '>'
    WHERE kind = 1 AND brought_by = ?1";
/// Kept small, so that it stays a number whatever it was.
const NAMES_CHANGED: &str =
    "UPDATE progress SET names_changed = (names_changed & 1073741823) + 1 WHERE id = 1";

const FORGET_LATE_USES: &str = "DELETE FROM late_uses
    WHERE credential_id IN (SELECT id FROM credentials WHERE token_id = ?1)";
const FORGET_ADDRESSES: &str = "DELETE FROM token_addresses WHERE token_id = ?1 AND address IN
    (SELECT address FROM token_addresses WHERE token_id = ?1 LIMIT ?2)";
const FORGET_WINDOWS: &str = "DELETE FROM quota_windows WHERE token_id = ?1";

/// The acts stay, with their times and the numbers of tokens. An entry's token is looked up by its number: a list of
/// the owner's tokens would be made anew in each step.
const ERASE_AUDIT: &str = "UPDATE audit SET actor = NULL, reason = NULL, detail = NULL
    WHERE id > ?2 AND id <= ?3
        AND (actor IS NOT NULL OR reason IS NOT NULL OR detail IS NOT NULL)
        AND (actor = ?1
            OR EXISTS (SELECT 1 FROM catalogue WHERE catalogue.id = token_id AND owner = ?1)
            OR EXISTS (SELECT 1 FROM catalogue WHERE catalogue.id = actor_token AND owner = ?1)
            OR (token_id IS NULL AND instr(detail, ?4) > 0))";
const LAST_ENTRY: &str = "SELECT coalesce(max(id), 0) FROM audit";

/// Those of other owners that he revoked.
const ERASE_REVOKER: &str = "UPDATE catalogue SET revoked_by = NULL
    WHERE id > ?2 AND id <= ?3 AND revoked_by = ?1";
const LAST_TOKEN: &str = "SELECT coalesce(max(id), 0) FROM catalogue";

const REVOKED_OF_OWNER: &str =
    "SELECT id FROM catalogue WHERE owner = ?1 AND state = 2 ORDER BY id LIMIT ?2";
const FORGET_HASHES: &str = "DELETE FROM credentials WHERE token_id = ?1 AND hash IS NOT NULL";
const ERASE_CREDENTIALS: &str =
    "UPDATE credentials SET fragment = '', kid = NULL WHERE token_id = ?1";
const ERASE_TOKEN: &str = "UPDATE catalogue SET owner = ?2, name = '<erased ' || id || '>',
    description = NULL, tags = '[]', scopes = '[]', restrictions = NULL, metadata = '{}', fragment = '',
    revoked_by = NULL, revoke_reason = NULL WHERE id = ?1";

/// What a step came to, and where the next one begins, if there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stepped {
    pub(crate) erased: u64,
    pub(crate) next: Option<i64>,
}

/// What a token left beside its records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traces {
    pub(crate) late_uses: u64,
    pub(crate) addresses: u64,
    pub(crate) has_more: bool,
}

impl Reader {
    /// All tokens of an owner, living or dead.
    pub(crate) fn tokens_of_owner(&self, owner: &str) -> Result<Vec<TokenId>> {
        Ok(tokens_of(&self.0, &Scope::Owner(owner.to_owned()))?.unwrap_or_default())
    }

    /// The newest record of a token.
    pub(crate) fn last_record(&self, token: TokenId) -> Result<Option<i64>> {
        head(&self.0, token)
    }
}

impl Catalogue<'_> {
    /// Takes the addresses from the records of a token: from `from` backwards to before `down_to`.
    pub(crate) fn erase_addresses(&self, from: i64, down_to: i64) -> Result<Stepped> {
        let mut back_of = self.connection.prepare_cached(BACK)?;
        let mut forget = self.connection.prepare_cached(FORGET_ADDRESS)?;
        let (mut erased, mut id) = (0, from);
        for _ in 0..LOG_STEP {
            let row = back_of.query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
            // A link below the oldest row ends a chain.
            let Some((back, has_address)) = row.optional()? else {
                id = down_to;
                break;
            };
            if has_address {
                erased += forget.execute([id])? as u64;
            }
            id = if back > 0 { id.saturating_sub(back) } else { down_to };
            if id <= down_to {
                break;
            }
        }
        if erased > 0 {
            // Whoever writes sums has what is not summed up yet in memory.
            self.connection.prepare_cached(NAMES_CHANGED)?.execute([])?;
        }
        Ok(Stepped { erased, next: Some(id).filter(|id| *id > down_to) })
    }

    /// Replaces the user agents that came with this token first.
    pub(crate) fn erase_user_agents(&self, token: TokenId) -> Result<u64> {
        let erased = self.connection.prepare_cached(ERASE_AGENTS)?.execute([token.as_row()])?;
        if erased > 0 {
            self.connection.prepare_cached(NAMES_CHANGED)?.execute([])?;
        }
        Ok(erased as u64)
    }

    /// Removes late uses, known addresses, and what was used of the quota.
    pub(crate) fn erase_traces(&self, token: TokenId) -> Result<Traces> {
        let id = token.as_row();
        self.connection.prepare_cached(FORGET_WINDOWS)?.execute([id])?;
        let late_uses = self.connection.prepare_cached(FORGET_LATE_USES)?.execute([id])?;
        let mut forget = self.connection.prepare_cached(FORGET_ADDRESSES)?;
        let addresses = forget.execute((id, TRACE_STEP))?;
        let has_more = addresses >= TRACE_STEP as usize;
        Ok(Traces { late_uses: late_uses as u64, addresses: addresses as u64, has_more })
    }

    /// Clears the entries about an owner's tokens, and those of what he did, among the entries after this one.
    pub(crate) fn erase_audit(&self, owner: &str, after: i64) -> Result<Stepped> {
        let end = after.saturating_add(SCAN_STEP);
        let quoted = serde_json::to_string(owner)?;
        let mut erase = self.connection.prepare_cached(ERASE_AUDIT)?;
        let erased = erase.execute((owner, after, end, quoted))? as u64;
        Ok(Stepped { erased, next: self.goes_on(LAST_ENTRY, end)? })
    }

    /// Clears that he revoked tokens of others, among the tokens after this one.
    pub(crate) fn erase_revoker(&self, owner: &str, after: i64) -> Result<Stepped> {
        let end = after.saturating_add(SCAN_STEP);
        let mut erase = self.connection.prepare_cached(ERASE_REVOKER)?;
        let erased = erase.execute((owner, after, end))? as u64;
        Ok(Stepped { erased, next: self.goes_on(LAST_TOKEN, end)? })
    }

    fn goes_on(&self, last: &str, end: i64) -> Result<Option<i64>> {
        let last: i64 = self.connection.prepare_cached(last)?.query_row([], |row| row.get(0))?;
        Ok(Some(end).filter(|end| *end < last))
    }

    /// Whether an owner has tokens that [`Catalogue::erase_tokens`] would erase.
    pub(crate) fn has_revoked(&self, owner: &str) -> Result<bool> {
        Ok(self.connection.prepare_cached(REVOKED_OF_OWNER)?.exists((owner, 1))?)
    }

    /// Erases revoked tokens of an owner, a step of them. What was known of a JWT by its issuer and `jti` stays:
    /// an outside token that nobody knew could be adopted again.
    pub(crate) fn erase_tokens(&self, owner: &str) -> Result<Vec<TokenId>> {
        let mut find = self.connection.prepare_cached(REVOKED_OF_OWNER)?;
        let tokens =
            find.query_map((owner, TOKEN_STEP), |row| Ok(TokenId::from_row(row.get(0)?)))?;
        let tokens: Vec<TokenId> = tokens.collect::<rusqlite::Result<_>>()?;
        let (mut erased, mut credentials) = (Vec::new(), 0);
        for token in tokens {
            credentials += erase_token(self.connection, token)?;
            erased.push(token);
            if credentials >= CREDENTIAL_STEP {
                break;
            }
        }
        Ok(erased)
    }
}

/// Returns how many credentials it had.
fn erase_token(transaction: &Connection, token: TokenId) -> Result<usize> {
    let id = token.as_row();
    // A late use goes before the credential that it is known by.
    transaction.prepare_cached(FORGET_LATE_USES)?.execute([id])?;
    let mut credentials = 0;
    for sql in [FORGET_HASHES, ERASE_CREDENTIALS] {
        credentials += transaction.prepare_cached(sql)?.execute([id])?;
    }
    transaction.prepare_cached(ERASE_TOKEN)?.execute((id, ERASED))?;
    Ok(credentials)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema;

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        connection
    }

    /// What a step does first, and for each of its rows.
    fn plan(sql: &str) -> Vec<String> {
        let connection = database();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.query_map(("alice", 0, 1, "x"), |row| row.get(3)).unwrap();
        steps.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn no_step_reads_more_than_its_entries_and_their_tokens() {
        let token = "SEARCH catalogue USING INTEGER PRIMARY KEY (rowid=?)";
        assert_eq!(
            plan(ERASE_AUDIT),
            [
                "SEARCH audit USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
                "CORRELATED SCALAR SUBQUERY 1",
                token,
                "CORRELATED SCALAR SUBQUERY 2",
                token,
            ]
        );
    }
    #[test]
    fn step_ends_after_a_token_with_many_credentials() {
        let connection = database();
        let rows = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5)
            INSERT INTO catalogue (id, owner, name, kind, state, tags, scopes, metadata, fragment, created_at)
                SELECT n, 'alice', n, 2, 2, '[]', '[]', '{}', '', 1 FROM n;
            WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 600)
            INSERT INTO credentials (token_id, state, hash, fragment, created_at)
                SELECT id, 3, CAST(id || '-' || n AS BLOB), '', 1 FROM catalogue, n";
        connection.execute_batch(rows).unwrap();
        let catalogue = Catalogue::new(&connection);
        let steps: Vec<usize> =
            (0..4).map(|_| catalogue.erase_tokens("alice").unwrap().len()).collect();
        assert_eq!(steps, [2, 2, 1, 0]);
    }
}
