//! Takes the addresses of a token from sums: from its own, and from those of all tokens what it added to them.

use anyhow::Result;

use super::{Catalogue, NAMES_CHANGED, Stepped};
use crate::clients::Clients;
use crate::store::rollup::{HOURS_A_DAY, Progress};
use crate::store::tier::{ALL, DAILY, HOURLY, Tier};
use crate::token::TokenId;

/// Buckets that a step looks at, and those that it changes: each may stand on pages of its own.
const LOOKED_AT: u32 = 512;
const CHANGED: u64 = 64;

/// Which sums.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sums {
    Days,
    Hours,
}

impl Sums {
    pub(in crate::store) fn tier(self) -> &'static Tier {
        match self {
            Self::Days => &DAILY,
            Self::Hours => &HOURLY,
        }
    }
}

impl Catalogue<'_> {
    /// A step through the sums after a bucket. How many lost addresses is what was erased.
    pub(crate) fn erase_sums(&self, token: TokenId, sums: Sums, after: i64) -> Result<Stepped> {
        let (tier, mut last, mut erased) = (sums.tier(), after, 0);
        let progress = Progress::read(self.connection)?;
        let mut next = Some(after);
        for _ in 0..LOOKED_AT {
            next = tier.next_bucket(self.connection, last)?;
            let Some(bucket) = next.filter(|_| erased < CHANGED) else { break };
            last = bucket;
            erased += u64::from(self.erase_bucket(sums, bucket, token, &progress)?);
        }
        if erased > 0 {
            // Whoever writes sums has some of them in memory.
            self.connection.prepare_cached(NAMES_CHANGED)?.execute([])?;
        }
        Ok(Stepped { erased, next: next.map(|_| last) })
    }

    fn erase_bucket(
        &self,
        sums: Sums,
        bucket: i64,
        token: TokenId,
        progress: &Progress,
    ) -> Result<bool> {
        let mut his = Clients::default();
        sums.tier().read_clients(self.connection, bucket, token, progress.seed, &mut his)?;
        if !his.has_addresses() {
            return Ok(false);
        }
        self.erase_part(sums.tier(), bucket, &his, progress)?;
        let day = bucket.div_euclid(HOURS_A_DAY);
        let is_half_way = progress.is_folded(day, ALL) && !progress.is_folded(day, token);
        if matches!(sums, Sums::Hours) && is_half_way {
            // The day of all has this hour already; that of the token will be made of what is left.
            self.erase_part(&DAILY, day, &his, progress)?;
        }
        his.forget();
        sums.tier().put_clients(self.connection, bucket, token, &his)?;
        Ok(true)
    }

    /// Takes a token's addresses from the sum of all.
    fn erase_part(
        &self,
        tier: &Tier,
        bucket: i64,
        his: &Clients,
        progress: &Progress,
    ) -> Result<()> {
        let mut all = Clients::default();
        tier.read_clients(self.connection, bucket, ALL, progress.seed, &mut all)?;
        all.forget_part(his);
        tier.put_clients(self.connection, bucket, ALL, &all)
    }
}
