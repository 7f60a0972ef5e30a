//! Rows of other tables that refer to nothing any longer, or are older than anything that is told of them.

/// The end of a page of another table, and what of the page refers to nothing, or is older than anything that is
/// kept of clients.
pub(super) struct Sweep {
    pub(super) page: &'static str,
    pub(super) forget: &'static str,
    pub(super) forget_old: Option<&'static str>,
}

pub(super) const LATE_USES: Sweep = Sweep {
    page: "SELECT max(credential_id) FROM
        (SELECT credential_id FROM late_uses WHERE credential_id > ?1 ORDER BY credential_id LIMIT ?2)",
    forget: "DELETE FROM late_uses WHERE credential_id > ?1 AND credential_id <= ?2
        AND NOT EXISTS (SELECT 1 FROM credentials WHERE id = credential_id)",
    forget_old: Some(
        "DELETE FROM late_uses WHERE credential_id > ?1 AND credential_id <= ?2 AND last_at < ?3",
    ),
};
pub(super) const ADDRESSES: Sweep = Sweep {
    page: "SELECT max(token_id) FROM
        (SELECT token_id FROM token_addresses WHERE token_id > ?1 ORDER BY token_id LIMIT ?2)",
    forget: "DELETE FROM token_addresses WHERE token_id > ?1 AND token_id <= ?2
        AND NOT EXISTS (SELECT 1 FROM catalogue WHERE id = token_id)",
    forget_old: Some(
        "DELETE FROM token_addresses WHERE token_id > ?1 AND token_id <= ?2 AND seen_at < ?3",
    ),
};
pub(super) const QUOTAS: Sweep = Sweep {
    page: "SELECT max(token_id) FROM
        (SELECT token_id FROM quota_windows WHERE token_id > ?1 ORDER BY token_id LIMIT ?2)",
    forget: "DELETE FROM quota_windows WHERE token_id > ?1 AND token_id <= ?2
        AND NOT EXISTS (SELECT 1 FROM catalogue WHERE id = token_id)",
    forget_old: None,
};
/// A head that leads to a row stays as long as the row does: without it nobody could find the row by its token.
pub(super) const HEADS: Sweep = Sweep {
    page: "SELECT max(token_id) FROM
        (SELECT token_id FROM usage_heads WHERE token_id > ?1 ORDER BY token_id LIMIT ?2)",
    forget: "DELETE FROM usage_heads WHERE token_id > ?1 AND token_id <= ?2
        AND NOT EXISTS (SELECT 1 FROM catalogue WHERE id = token_id)
        AND NOT EXISTS (SELECT 1 FROM usage_log WHERE id = last_id)",
    forget_old: None,
};
