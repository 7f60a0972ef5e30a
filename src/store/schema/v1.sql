CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY
) STRICT, WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES ('last_use_tracked_since', NULL);

-- One row a token. Times are microseconds since 1970 UTC. A revoked row stays as a tombstone.
-- state: 0 active, 1 suspended, 2 revoked, 3 marked expired, 4 marked expired and suspended. kind: 0 jwt,
-- 1 legacy_jwt, 2 opaque. tags and scopes are JSON lists, restrictions and metadata JSON objects. told_dormant is when
-- it was told of as dormant, told_expiring the expiry that was told of as near.
CREATE TABLE catalogue (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    owner         TEXT NOT NULL,
    name          TEXT NOT NULL,
    kind          INTEGER NOT NULL,
    state         INTEGER NOT NULL,
    description   TEXT,
    tags          TEXT NOT NULL,
    scopes        TEXT NOT NULL,
    restrictions  TEXT,
    metadata      TEXT NOT NULL,
    fragment      TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER,
    revoked_at    INTEGER,
    revoked_by    TEXT,
    revoke_reason TEXT,
    told_dormant  INTEGER,
    told_expiring INTEGER
) STRICT;
CREATE UNIQUE INDEX living_names ON catalogue (owner, name) WHERE state IN (0, 1);
CREATE INDEX tokens_of_owner ON catalogue (owner);
CREATE INDEX expiring_tokens ON catalogue (expires_at) WHERE state IN (0, 1) AND expires_at IS NOT NULL;

-- What a token is known by: issuer and jti of a JWT, or the SHA-256 of an opaque token. kid is the key that signed it
-- and expires_at its own expiry, where they are known.
-- state: 0 current, 1 new and not used yet, 2 outgoing (refused from ends_at on, and where ends_on_use is 1 once the
-- one after it is used), 3 retired.
CREATE TABLE credentials (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    token_id      INTEGER NOT NULL REFERENCES catalogue (id),
    state         INTEGER NOT NULL,
    issuer        TEXT,
    jti           TEXT,
    hash          BLOB,
    kid           TEXT,
    expires_at    INTEGER,
    fragment      TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    first_used_at INTEGER,
    ends_at       INTEGER,
    ends_on_use   INTEGER NOT NULL DEFAULT 0,
    retired_at    INTEGER
) STRICT;
CREATE UNIQUE INDEX credential_jti ON credentials (issuer, jti) WHERE jti IS NOT NULL;
CREATE UNIQUE INDEX credential_hash ON credentials (hash) WHERE hash IS NOT NULL;
CREATE INDEX credentials_of_token ON credentials (token_id, state);

-- Every change of a token's authority, numbered: how other processes learn of it.
CREATE TABLE changes (
    generation INTEGER PRIMARY KEY,
    token_id   INTEGER NOT NULL
) STRICT;

-- The book of administration. act: see the library's list. detail is a JSON object.
CREATE TABLE audit (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    actor       TEXT,
    actor_token INTEGER,
    act         INTEGER NOT NULL,
    token_id    INTEGER,
    reason      TEXT,
    detail      TEXT
) STRICT;
CREATE INDEX audit_of_token ON audit (token_id);

-- What processes have taken of a token's quota in the newest window of each period. period: 0 minute, 1 hour, 2 day,
-- 3 month, all of UTC; window_number counts them since 1970. told is the threshold in percent that was told of, resets
-- how often an administrator set the row to nothing.
CREATE TABLE quota_windows (
    token_id      INTEGER NOT NULL,
    period        INTEGER NOT NULL,
    window_number INTEGER NOT NULL,
    granted       INTEGER NOT NULL,
    told          INTEGER NOT NULL,
    resets        INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (token_id, period)
) STRICT, WITHOUT ROWID;

-- Requests with credentials that are dead or on their way out. reason: the code of the denial, 0 where it was still
-- let through.
CREATE TABLE late_uses (
    credential_id INTEGER NOT NULL,
    reason        INTEGER NOT NULL,
    count         INTEGER NOT NULL,
    first_at      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    last_address  BLOB,
    last_agent    TEXT,
    last_route    TEXT,
    PRIMARY KEY (credential_id, reason)
) STRICT, WITHOUT ROWID;

-- Addresses that a token was used from, as they are kept in the log.
CREATE TABLE token_addresses (
    token_id INTEGER NOT NULL,
    address  BLOB NOT NULL,
    seen_at  INTEGER NOT NULL,
    PRIMARY KEY (token_id, address)
) STRICT, WITHOUT ROWID;

-- Texts that repeat, kept once. kind: 0 route, 1 user agent. Id 0 stands for <other>. `brought_by` is
-- the token that came with it first, -1 where the text was erased, `used_on` the last day that it was used, in days
-- since 1970.
CREATE TABLE names (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       INTEGER NOT NULL,
    text       TEXT NOT NULL,
    brought_by INTEGER NOT NULL,
    used_on    INTEGER NOT NULL,
    UNIQUE (kind, text)
) STRICT;
CREATE INDEX names_of_token ON names (kind, brought_by);

-- The log, in the order of commit, without an index. `after_us` is the time of settlement, from the base of the
-- row's group on. `back` is the distance to the previous row of the same token, 0 at its first. `endpoint` is the
-- method's code and, times 16, 0 for no route, 1 for other, else the route's number and 1. outcome: 0 success, 1 client error, 2 server error, 3 unfinished,
-- 16 and up denied. cost and weight are NULL for 1. A row of weight n stands for n requests: its bytes and
-- its cost are their sums, its duration is that of the first.
CREATE TABLE usage_log (
    id             INTEGER PRIMARY KEY,
    after_us       INTEGER NOT NULL,
    token_id       INTEGER NOT NULL,
    back           INTEGER NOT NULL,
    endpoint       INTEGER NOT NULL,
    status         INTEGER NOT NULL,
    outcome        INTEGER NOT NULL,
    duration_us    INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    client_address BLOB,
    user_agent     INTEGER,
    cost           INTEGER,
    weight         INTEGER
) STRICT;

-- The newest row of each token: where its chain of back links starts.
CREATE TABLE usage_heads (
    token_id INTEGER PRIMARY KEY,
    last_id  INTEGER NOT NULL
) STRICT;

-- How far things are: the id of the next row of the log; the first row of the log that the hourly rows do not
-- have yet; the day and token up to which, in this order, hours are summed up as days; the first hour that the
-- hourly rows still have, and the first day that the daily rows have; the time from which on the log still has every
-- row; how often texts or addresses were changed, which nobody must go on to know; what addresses are hashed with.
CREATE TABLE progress (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    next_id       INTEGER NOT NULL,
    rolled_up_to  INTEGER NOT NULL,
    folded_day    INTEGER NOT NULL,
    folded_token  INTEGER NOT NULL,
    hourly_from   INTEGER NOT NULL,
    daily_from    INTEGER NOT NULL,
    log_from      INTEGER NOT NULL,
    names_changed INTEGER NOT NULL,
    address_seed  INTEGER NOT NULL
) STRICT;
INSERT INTO progress (id, next_id, rolled_up_to, folded_day, folded_token, hourly_from, daily_from, log_from,
        names_changed, address_seed)
    VALUES (1, 1, 1, -9223372036854775808, 0, -9223372036854775808, -9223372036854775808, -9223372036854775808, 0,
        random());

-- Stretches of the log, without a gap: the ids, the earliest and latest time in each, and the time that those of
-- its rows are told from.
CREATE TABLE usage_groups (
    first_id INTEGER PRIMARY KEY,
    last_id  INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    base_at  INTEGER NOT NULL
) STRICT;

-- Sums of each hour (since 1970) and token; token 0 stands for all. latency: counts by bucket. addresses:
-- counts by client address, and marks of all. They stand here and not with the other counts because there a row
-- would need pages beside the tree's.
CREATE TABLE hourly_sums (
    hour           INTEGER NOT NULL,
    token_id       INTEGER NOT NULL,
    success        INTEGER NOT NULL,
    client_error   INTEGER NOT NULL,
    server_error   INTEGER NOT NULL,
    denied         INTEGER NOT NULL,
    unfinished     INTEGER NOT NULL,
    below_400      INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    cost           INTEGER NOT NULL,
    duration_us    INTEGER NOT NULL,
    longest_us     INTEGER NOT NULL,
    latency        BLOB NOT NULL,
    addresses      BLOB NOT NULL,
    PRIMARY KEY (hour, token_id)
) STRICT, WITHOUT ROWID;

-- Counts of the same requests by route, agent, method, status and reason, the largest of each.
CREATE TABLE hourly_counts (
    hour      INTEGER NOT NULL,
    token_id  INTEGER NOT NULL,
    counts    BLOB NOT NULL,
    PRIMARY KEY (hour, token_id)
) STRICT, WITHOUT ROWID;


-- The same of each day (since 1970, UTC) that is summed up.
CREATE TABLE daily_sums (
    day            INTEGER NOT NULL,
    token_id       INTEGER NOT NULL,
    success        INTEGER NOT NULL,
    client_error   INTEGER NOT NULL,
    server_error   INTEGER NOT NULL,
    denied         INTEGER NOT NULL,
    unfinished     INTEGER NOT NULL,
    below_400      INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    cost           INTEGER NOT NULL,
    duration_us    INTEGER NOT NULL,
    longest_us     INTEGER NOT NULL,
    latency        BLOB NOT NULL,
    addresses      BLOB NOT NULL,
    PRIMARY KEY (day, token_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE daily_counts (
    day       INTEGER NOT NULL,
    token_id  INTEGER NOT NULL,
    counts    BLOB NOT NULL,
    PRIMARY KEY (day, token_id)
) STRICT, WITHOUT ROWID;


-- Records that were dropped, by the hour of their settlement.
CREATE TABLE usage_gaps (
    hour    INTEGER PRIMARY KEY,
    dropped INTEGER NOT NULL
) STRICT;

-- One row a tracker that is open or ended without closing: its last committed batch.
CREATE TABLE writers (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    sequence  INTEGER NOT NULL,
    opened_at INTEGER NOT NULL
) STRICT;
