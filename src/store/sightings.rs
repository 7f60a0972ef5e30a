//! What a batch shows for the first time: a token in use, an address that a token is used from.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};

use super::census::{subject, subject_of};
use super::session::Batch;
use crate::address::ClientAddress;
use crate::events::{FirstUseEvent, NewAddressEvent};
use crate::record::Record;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Addresses of a token that are kept.
const MAX_ADDRESSES: i64 = 64;

/// Pairs of a token and an address that are remembered; past this they are read again. About 4 MB.
const MAX_KNOWN: usize = 65_536;

/// Addresses that a batch is looked through for in the file, of a token and of all: 20 µs each where all are new. A
/// client that has a new one for each request neither holds up the batch nor hides those of others.
const MOST_OF_TOKEN: u32 = 32;
const MOST_LOOK_UPS: u32 = 512;

/// How often it is written that an address was seen.
const DAY: Duration = Duration::from_secs(86_400);

const UNUSED: &str = "SELECT id, owner, name FROM catalogue WHERE id = ?1 AND last_used_at IS NULL";
const SEEN_AT: &str = "SELECT seen_at FROM token_addresses WHERE token_id = ?1 AND address = ?2";
const COUNT: &str = "SELECT count(*) FROM token_addresses WHERE token_id = ?1";
const PUT: &str = "REPLACE INTO token_addresses (token_id, address, seen_at) VALUES (?1, ?2, ?3)";
const FORGET_OLDEST: &str = "DELETE FROM token_addresses WHERE (token_id, address) IN
    (SELECT token_id, address FROM token_addresses WHERE token_id = ?1
     ORDER BY seen_at, address LIMIT 1) RETURNING address";

/// What a batch showed, to be told once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    pub(crate) first_uses: Vec<FirstUseEvent>,
    pub(crate) new_addresses: Vec<NewAddressEvent>,
}

/// Pairs that the file has, and when it says that they were seen.
#[derive(Default)]
pub(super) struct KnownAddresses {
    seen: HashMap<(TokenId, ClientAddress), Timestamp>,
}

/// The token, if this is the first use of it that is known. To be asked before that is written.
pub(super) fn first_use(
    transaction: &Connection,
    token: TokenId,
    at: Timestamp,
) -> Result<Option<FirstUseEvent>> {
    let mut statement = transaction.prepare_cached(UNUSED)?;
    let unused = statement.query_row([token.as_row()], subject).optional()?;
    Ok(unused.map(|subject| FirstUseEvent { subject, at: at.to_date_time() }))
}

impl KnownAddresses {
    /// Enters the addresses of a batch, up to a bound. Cost: a look-up in memory a record, and a few in the file for
    /// what is not known or was last written a day ago.
    pub(super) fn note(
        &mut self,
        transaction: &Connection,
        batch: &Batch,
    ) -> Result<Vec<NewAddressEvent>> {
        let mut new = Vec::new();
        let mut left = (MOST_LOOK_UPS, HashMap::new());
        for record in batch.chunks.iter().flatten().chain(&batch.excess) {
            let Some(address) = address_of(record) else { continue };
            let seen = self.seen.get(&(record.token, address));
            let is_due = seen.is_none_or(|seen| record.at >= seen.saturating_add(DAY));
            if is_due && take(&mut left, record.token) {
                new.extend(self.see(transaction, record.token, address, record.at)?);
            }
        }
        Ok(new)
    }

    fn see(
        &mut self,
        transaction: &Connection,
        token: TokenId,
        address: ClientAddress,
        at: Timestamp,
    ) -> Result<Option<NewAddressEvent>> {
        if self.seen.len() >= MAX_KNOWN {
            self.seen.clear();
        }
        let (row, bytes) = (token.as_row(), address.to_bytes());
        let bytes = bytes.as_slice();
        let mut seen_at = transaction.prepare_cached(SEEN_AT)?;
        let seen_at: Option<i64> = seen_at.query_row((row, bytes), |row| row.get(0)).optional()?;
        if let Some(seen) = seen_at.map(Timestamp::from_micros) {
            let is_due = at >= seen.saturating_add(DAY);
            if is_due {
                transaction.prepare_cached(PUT)?.execute((row, bytes, at.as_micros()))?;
            }
            self.seen.insert((token, address), if is_due { at } else { seen });
            return Ok(None);
        }
        // A token that was removed while a request of it ended is nobody's.
        let Some(subject) = subject_of(transaction, token)? else { return Ok(None) };
        let known: i64 = transaction.prepare_cached(COUNT)?.query_row([row], |row| row.get(0))?;
        if known >= MAX_ADDRESSES {
            let mut forget = transaction.prepare_cached(FORGET_OLDEST)?;
            let oldest: Vec<u8> = forget.query_row([row], |row| row.get(0))?;
            ClientAddress::from_bytes(&oldest)
                .and_then(|oldest| self.seen.remove(&(token, oldest)));
        }
        transaction.prepare_cached(PUT)?.execute((row, bytes, at.as_micros()))?;
        self.seen.insert((token, address), at);
        let event = NewAddressEvent { subject, at: at.to_date_time(), client_address: address };
        Ok((known > 0).then_some(event))
    }
}

/// Takes one of the look-ups that are left to all and to a token, if there is one.
fn take((all, of_token): &mut (u32, HashMap<TokenId, u32>), token: TokenId) -> bool {
    let used = of_token.entry(token).or_default();
    let may = *all > 0 && *used < MOST_OF_TOKEN;
    *all -= u32::from(may);
    *used += u32::from(may);
    may
}

/// The address of a use, as it is kept.
fn address_of(record: &Record) -> Option<ClientAddress> {
    record.client_address.filter(|_| record.outcome.reason().is_none())
}
