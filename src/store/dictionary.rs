//! Texts that repeat: routes and user agents, each kept once and named by a number.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};

use crate::token::TokenId;

/// What stands for every text that came after a dictionary was full.
pub(super) const OTHER: &str = "<other>";
const OTHER_ID: i64 = 0;

/// Which dictionary. The discriminant is the column `kind`.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(super) enum Kind {
    Route = 0,
    UserAgent = 1,
}

impl Kind {
    const COUNT: usize = 2;
}

/// How many texts a dictionary may have.
const CAP: i64 = 4_096;

/// How many of them one token may bring: an eighth, so that no client can fill a dictionary alone.
const SHARE: i64 = CAP / 8;

/// The writer's memory of the dictionaries. It holds no more than they do.
#[derive(Default)]
pub(super) struct Dictionary {
    known: [HashMap<Arc<str>, Name>; Kind::COUNT],
    /// Some of the same, by where the text stands: requests share texts, and to hash one took 6 % of the time.
    by_place: Vec<Option<(Arc<str>, Name)>>,
    /// How many texts there are.
    counts: [Option<i64>; Kind::COUNT],
    /// Tokens that have brought as many as they may.
    at_their_share: HashSet<(Kind, TokenId)>,
}

#[derive(Clone, Copy)]
struct Name {
    kind: Kind,
    id: i64,
    /// The last day of use that the file knows of.
    used_on: i64,
}

/// Tokens that are remembered to have brought as many texts as they may.
const MAX_AT_THEIR_SHARE: usize = 64;

/// Texts that are found by where they stand.
const PLACES: usize = 512;
const PLACE_FACTOR: usize = 0x9e37_79b1;

const FIND: &str = "SELECT id, used_on FROM names WHERE kind = ?1 AND text = ?2";
const COUNT: &str = "SELECT count(*) FROM names WHERE kind = ?1";
const BROUGHT: &str = "SELECT count(*) FROM names WHERE kind = ?1 AND brought_by = ?2";
const ADD: &str = "INSERT INTO names (kind, text, brought_by, used_on) VALUES (?1, ?2, ?3, ?4)
    RETURNING id";
const USE: &str = "UPDATE names SET used_on = max(used_on, ?2) WHERE id = ?1";

impl Dictionary {
    /// The number of a text, within the transaction that uses it.
    pub(super) fn id(
        &mut self,
        transaction: &Connection,
        kind: Kind,
        text: &Arc<str>,
        token: TokenId,
        today: i64,
    ) -> Result<i64> {
        let place = (text.as_ptr().addr() >> 4).wrapping_mul(PLACE_FACTOR) % PLACES;
        if let Some(Some((known, name))) = self.by_place.get(place)
            && Arc::ptr_eq(known, text)
            && name.kind == kind
            && name.used_on >= today
        {
            return Ok(name.id);
        }
        let Some(name) = self.by_text(transaction, kind, text, token, today)? else {
            return Ok(OTHER_ID);
        };
        self.by_place.resize(PLACES, None);
        self.by_place[place] = Some((Arc::clone(text), name));
        Ok(name.id)
    }

    fn by_text(
        &mut self,
        transaction: &Connection,
        kind: Kind,
        text: &Arc<str>,
        token: TokenId,
        today: i64,
    ) -> Result<Option<Name>> {
        if let Some(name) = self.known[kind as usize].get_mut(text)
            && name.note_use(transaction, today)?
        {
            return Ok(Some(*name));
        }
        let found = self.find_or_add(transaction, kind, text, token, today)?;
        if let Some(name) = found {
            self.known[kind as usize].insert(Arc::clone(text), name);
        }
        Ok(found)
    }

    /// `None` where there is no room for another.
    fn find_or_add(
        &mut self,
        transaction: &Connection,
        kind: Kind,
        text: &str,
        token: TokenId,
        today: i64,
    ) -> Result<Option<Name>> {
        let code = kind as i64;
        let found = transaction
            .prepare_cached(FIND)?
            .query_row((code, text), |row| Ok(Name { kind, id: row.get(0)?, used_on: row.get(1)? }))
            .optional()?;
        if let Some(mut name) = found {
            name.note_use(transaction, today)?;
            return Ok(Some(name));
        }
        if !self.has_room(transaction, kind, token)? {
            return Ok(None);
        }
        let id = transaction
            .prepare_cached(ADD)?
            .query_row((code, text, token.as_row(), today), |row| row.get(0))?;
        self.counts[kind as usize] = self.counts[kind as usize].map(|count| count + 1);
        Ok(Some(Name { kind, id, used_on: today }))
    }

    fn has_room(&mut self, transaction: &Connection, kind: Kind, token: TokenId) -> Result<bool> {
        let code = kind as i64;
        let count = match self.counts[kind as usize] {
            Some(count) => count,
            None => transaction.prepare_cached(COUNT)?.query_row([code], |row| row.get(0))?,
        };
        self.counts[kind as usize] = Some(count);
        if count >= CAP {
            return Ok(false);
        }
        if self.at_their_share.contains(&(kind, token)) {
            return Ok(false);
        }
        let brought: i64 = transaction
            .prepare_cached(BROUGHT)?
            .query_row((code, token.as_row()), |row| row.get(0))?;
        let has_room = brought < SHARE;
        // No more than eight can be, until something is forgotten.
        if !has_room && self.at_their_share.len() < MAX_AT_THEIR_SHARE {
            self.at_their_share.insert((kind, token));
        }
        Ok(has_room)
    }
}

impl Name {
    /// Notes the day in the file where it is a new one: what is not used for long is forgotten by it. Returns
    /// whether the file still has the name.
    fn note_use(&mut self, transaction: &Connection, today: i64) -> Result<bool> {
        if self.used_on >= today {
            return Ok(true);
        }
        self.used_on = today;
        Ok(transaction.prepare_cached(USE)?.execute((self.id, today))? > 0)
    }
}
