//! Along the chains of back links, the newest row of all first.

use std::collections::{BinaryHeap, HashMap, HashSet};

use anyhow::Result;
use rusqlite::OptionalExtension;

use super::sieve::brief_columns;
use super::{Look, MOST_LINKS, MOST_ROWS};
use crate::id_hash::IdHash;
use crate::record::{Place, RecordCursor};
use crate::store::log;
use crate::token::TokenId;

const ROW: &str = concat!(
    brief_columns!(
        "(SELECT base_at FROM usage_groups WHERE first_id <= usage_log.id
            ORDER BY first_id DESC LIMIT 1)"
    ),
    "FROM usage_log WHERE id = ?1"
);
const TOKEN: &str = "SELECT token_id FROM usage_log WHERE id = ?1";
const TOKENS_DOWN: &str = "SELECT id, token_id FROM usage_log WHERE id >= ?1 AND id <= ?2
    ORDER BY id DESC LIMIT ?3";

impl Look<'_> {
    /// The newest row of each token that has one which can be meant, or a newer one. `None` where all tokens are asked
    /// about.
    pub(super) fn heads(&self) -> Result<Option<HashMap<TokenId, i64, IdHash>>> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let mut heads = HashMap::default();
        for token in tokens {
            let head = log::head(self.snapshot, *token)?.filter(|head| *head >= self.ids.0);
            heads.extend(head.map(|head| (*token, head)));
        }
        Ok(Some(heads))
    }

    /// Where chains are to be entered, if there are few enough of them to go on with.
    ///
    /// Of a period that is long over, rows are looked through from its end backwards for the first of each token: one
    /// that is not found among many has so few that its links can be followed all the way.
    pub(super) fn entries(&self) -> Result<Option<Vec<i64>>> {
        let Some(mut heads) = self.heads()? else { return Ok(None) };
        let (first, last) = self.ids;
        let later = heads.iter().filter(|(_, head)| **head > last);
        let mut later: HashSet<TokenId, IdHash> = later.map(|(token, _)| *token).collect();
        let mut seen = 0;
        let mut statement = self.snapshot.prepare_cached(TOKENS_DOWN)?;
        let mut rows = statement.query((first, last, MOST_ROWS as i64))?;
        while !later.is_empty()
            && let Some(row) = rows.next()?
        {
            seen += 1;
            let token = TokenId::from_row(row.get(1)?);
            if later.remove(&token) {
                heads.insert(token, row.get(0)?);
            }
        }
        if seen < MOST_ROWS {
            heads.retain(|token, _| !later.contains(token));
        }
        let is_few = heads.len() <= RecordCursor::MAX_CHAINS;
        Ok(is_few.then(|| heads.into_values().collect()))
    }

    /// Whether those of the rows that are still there are of tokens that are asked about.
    pub(super) fn are_in_scope(&self, rows: &[i64]) -> Result<bool> {
        let mut token = self.snapshot.prepare_cached(TOKEN)?;
        for id in rows {
            let token = token.query_row([id], |row| Ok(TokenId::from_row(row.get(0)?)));
            if token.optional()?.is_some_and(|token| !self.sieve.is_in_scope(token)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// From these rows backwards. A link below the first row that can be meant ends its chain, and so does a row of
    /// somebody else: whoever makes up a cursor can name any.
    pub(super) fn follow(&mut self, rows: Vec<i64>) -> Result<Option<Place>> {
        let first = self.ids.0;
        let mut rows = BinaryHeap::from(rows);
        rows.retain(|id| *id >= first);
        let mut one = self.snapshot.prepare_cached(ROW)?;
        let mut links = 0;
        while !self.is_full()
            && links < MOST_LINKS
            && let Some(id) = rows.pop()
        {
            links += 1;
            // Two of one chain, which only a made-up cursor names, meet.
            while rows.peek() == Some(&id) {
                rows.pop();
            }
            let mut found = one.query([id])?;
            let Some(row) = found.next()? else { continue };
            if !self.sieve.is_in_scope(TokenId::from_row(row.get(2)?)) {
                continue;
            }
            let back: i64 = row.get(3)?;
            rows.extend(id.checked_sub(back).filter(|before| back > 0 && *before >= first));
            if self.sieve.admits(row)? {
                self.take(id)?;
            }
        }
        let mut rows = rows.into_vec();
        rows.sort_unstable_by(|one, two| two.cmp(one));
        rows.dedup();
        Ok((!rows.is_empty()).then_some(Place::Chains(rows)))
    }
}
