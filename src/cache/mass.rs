//! Refusals of many tokens at once, each as a refusal of its own.

use super::Cache;
use crate::token::{TokenId, TokenState};

impl Cache {
    /// As [`Cache::refuse`] for each of them: no look-up sees some of them refused and others not. As many refusals
    /// as are under way are kept. Each is settled by one of the following.
    pub(crate) fn refuse_all(&self, tokens: &[TokenId], state: TokenState) {
        let mut gate = self.gate.lock();
        gate.refusals.reserve(tokens.len());
        tokens.iter().for_each(|token| gate.refuse(*token, state));
    }

    /// As [`Cache::refusal_committed`] for each of them.
    pub(crate) fn refusals_committed(
        &self,
        tokens: &[TokenId],
        state: TokenState,
        generation: u64,
    ) {
        tokens.iter().for_each(|token| self.refusal_committed(*token, state, generation));
    }

    /// As [`Cache::refusal_failed`] for each of them.
    pub(crate) fn refusals_failed(&self, tokens: &[TokenId]) {
        tokens.iter().for_each(|token| self.refusal_failed(*token));
    }

    /// As [`Cache::refusal_withdrawn`] for each of them.
    pub(crate) fn refusals_withdrawn(&self, tokens: &[TokenId]) {
        tokens.iter().for_each(|token| self.refusal_withdrawn(*token));
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_REFUSALS;
    use super::*;

    const REVOKED: TokenState = TokenState::Revoked;

    fn tokens(count: usize) -> Vec<TokenId> {
        (1..=count as i64).map(TokenId::from_row).collect()
    }

    /// How many of the tokens a look-up at `generation` could not see refused in the store.
    fn refused(cache: &Cache, tokens: &[TokenId], generation: u64) -> usize {
        tokens.iter().filter(|token| cache.refused(**token, generation)).count()
    }

    #[test]
    fn more_than_are_kept_stay_refused_until_each_is_committed() {
        let cache = Cache::new(64).unwrap();
        let tokens = tokens(5 * MAX_REFUSALS);
        cache.refuse_all(&tokens, REVOKED);
        for (step, chunk) in tokens.chunks(256).enumerate() {
            let left = &tokens[step * 256..];
            assert_eq!(refused(&cache, left, u64::MAX - 1), left.len());
            cache.refusals_committed(chunk, REVOKED, 10 + step as u64);
        }
        assert_eq!(refused(&cache, &tokens, 10 + tokens.len() as u64), 0, "the rows say so");
        assert_eq!(refused(&cache, &tokens, 9), tokens.len(), "to what was read before");
        let gate = cache.gate.lock();
        assert!(gate.refusals.len() <= MAX_REFUSALS + MAX_REFUSALS / 4, "{}", gate.refusals.len());
        assert!(gate.refusals.capacity() <= 8 * MAX_REFUSALS, "{}", gate.refusals.capacity());
    }

    #[test]
    fn what_failed_stays_refused_until_it_is_committed_after_all() {
        let cache = Cache::new(64).unwrap();
        let tokens = tokens(1_000);
        cache.refuse_all(&tokens, REVOKED);
        cache.refusals_committed(&tokens[..300], REVOKED, 10);
        cache.refusals_failed(&tokens[300..]);
        assert_eq!(refused(&cache, &tokens, u64::MAX - 1), 700);
        cache.refuse_all(&tokens[300..], REVOKED);
        assert_eq!(refused(&cache, &tokens, u64::MAX - 1), 700);
        cache.refusals_committed(&tokens[300..], REVOKED, 20);
        assert_eq!((refused(&cache, &tokens, 20), refused(&cache, &tokens, 19)), (0, 700));
    }

    #[test]
    fn what_is_withdrawn_does_not_take_back_what_somebody_else_refuses() {
        let cache = Cache::new(64).unwrap();
        let tokens = tokens(10);
        cache.refuse(tokens[0], REVOKED);
        cache.refuse_all(&tokens, REVOKED);
        cache.refusals_withdrawn(&tokens);
        assert_eq!(refused(&cache, &tokens, 5), 1);
        let revoked = |token: &&TokenId| cache.is_revoked(**token);
        assert_eq!(tokens.iter().filter(revoked).count(), 1, "the others can be resumed");
        cache.refusal_committed(tokens[0], REVOKED, 5);
        assert_eq!(refused(&cache, &tokens, 5), 0);
    }
}
