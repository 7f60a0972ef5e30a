//! Texts that repeat: routes, user agents and methods, each kept once and named by a number.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};

/// What stands for every text that came after a dictionary was full.
pub(super) const OTHER: &str = "<other>";
const OTHER_ID: i64 = 0;

/// Which dictionary. The discriminant is the column `kind`.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Route = 0,
    UserAgent = 1,
    Method = 2,
}

impl Kind {
    const COUNT: usize = 3;

    /// How many texts there may be.
    fn cap(self) -> i64 {
        match self {
            Self::Route | Self::UserAgent => 4_096,
            Self::Method => 32,
        }
    }
}

/// The writer's memory of the dictionaries. It holds no more than they do.
#[derive(Default)]
pub(super) struct Dictionary {
    known: [HashMap<Arc<str>, i64>; Kind::COUNT],
    full: [bool; Kind::COUNT],
}

const FIND: &str = "SELECT id FROM names WHERE kind = ?1 AND text = ?2";
const COUNT: &str = "SELECT count(*) FROM names WHERE kind = ?1";
const ADD: &str = "INSERT INTO names (kind, text) VALUES (?1, ?2) RETURNING id";

impl Dictionary {
    /// Forgets what a transaction that was rolled back may have added.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The number of a text, within the transaction that uses it.
    pub(super) fn id(
        &mut self,
        transaction: &Connection,
        kind: Kind,
        text: Option<&Arc<str>>,
    ) -> Result<Option<i64>> {
        let Some(text) = text else { return Ok(None) };
        let slot = kind as usize;
        if let Some(id) = self.known[slot].get(text) {
            return Ok(Some(*id));
        }
        let code = slot as i64;
        let found = transaction
            .prepare_cached(FIND)?
            .query_row((code, text.as_ref()), |row| row.get(0))
            .optional()?;
        let id = match found {
            Some(id) => id,
            None if self.is_full(transaction, kind)? => return Ok(Some(OTHER_ID)),
            None => transaction
                .prepare_cached(ADD)?
                .query_row((code, text.as_ref()), |row| row.get(0))?,
        };
        self.known[slot].insert(Arc::clone(text), id);
        Ok(Some(id))
    }

    fn is_full(&mut self, transaction: &Connection, kind: Kind) -> Result<bool> {
        let slot = kind as usize;
        if !self.full[slot] {
            let count: i64 =
                transaction.prepare_cached(COUNT)?.query_row([slot as i64], |row| row.get(0))?;
            self.full[slot] = count >= kind.cap();
        }
        Ok(self.full[slot])
    }
}
