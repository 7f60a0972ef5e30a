-- What other tools may read, and of the file the only part that is an interface: docs/sql.md describes each column.
-- Nothing in here needs more than plain SQLite 3.37. The names of methods, outcomes, reasons, kinds and statuses stand
-- here a second time; a test compares them with the library's, code by code.

-- One row a record. What is looked up is looked up by the column that shows it, so that a column that nobody asks for
-- costs nothing, and SQLite goes through the log by its id. A subquery without a table is worked out once a row, however
-- often what it gives is used.
CREATE VIEW usage (id, at, at_unix, token_id, owner, token_name, method, route, status, outcome, reason, duration_us,
    response_bytes, client_address, user_agent, cost, weight) AS
SELECT
    log.id,
    -- Rounded down, also before 1970.
    (SELECT strftime('%Y-%m-%dT%H:%M:%S', (us - (us % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
            || printf('.%06dZ', (us % 1000000 + 1000000) % 1000000)
        FROM (SELECT log.after_us + (SELECT base_at FROM usage_groups WHERE first_id <= log.id
            ORDER BY first_id DESC LIMIT 1) AS us)),
    (log.after_us + (SELECT base_at FROM usage_groups WHERE first_id <= log.id
        ORDER BY first_id DESC LIMIT 1)) / 1e6,
    log.token_id,
    (SELECT owner FROM catalogue WHERE id = log.token_id),
    (SELECT name FROM catalogue WHERE id = log.token_id),
    CASE log.endpoint & 15
        WHEN 0 THEN ''
        WHEN 2 THEN 'CONNECT'
        WHEN 3 THEN 'DELETE'
        WHEN 4 THEN 'GET'
        WHEN 5 THEN 'HEAD'
        WHEN 6 THEN 'OPTIONS'
        WHEN 7 THEN 'PATCH'
        WHEN 8 THEN 'POST'
        WHEN 9 THEN 'PUT'
        WHEN 10 THEN 'QUERY'
        WHEN 11 THEN 'TRACE'
        ELSE '<other>'
    END,
    CASE WHEN log.endpoint < 16 THEN '<unmatched>'
        ELSE coalesce((SELECT text FROM names WHERE id = (log.endpoint >> 4) - 1), '<other>') END,
    log.status,
    CASE log.outcome
        WHEN 0 THEN 'success'
        WHEN 1 THEN 'client_error'
        WHEN 2 THEN 'server_error'
        WHEN 3 THEN 'unfinished'
        ELSE CASE WHEN log.outcome > 16 THEN 'denied' END
    END,
    CASE log.outcome - 16
        WHEN 1 THEN 'credential_missing'
        WHEN 2 THEN 'credential_repeated'
        WHEN 3 THEN 'expired'
        WHEN 4 THEN 'malformed'
        WHEN 5 THEN 'malformed_claim'
        WHEN 6 THEN 'missing_claim'
        WHEN 7 THEN 'missing_scope'
        WHEN 8 THEN 'not_yet_valid'
        WHEN 9 THEN 'revoked'
        WHEN 10 THEN 'signature_invalid'
        WHEN 11 THEN 'suspended'
        WHEN 12 THEN 'too_long'
        WHEN 13 THEN 'unknown_key'
        WHEN 14 THEN 'unknown_token'
        WHEN 15 THEN 'wrong_audience'
        WHEN 16 THEN 'wrong_issuer'
        WHEN 17 THEN 'wrong_resource'
        WHEN 18 THEN 'wrong_type'
        WHEN 19 THEN 'lifetime_too_long'
        WHEN 20 THEN 'wrong_subject'
        WHEN 21 THEN 'wrong_address'
        WHEN 22 THEN 'credential_retired'
        WHEN 23 THEN 'rate_exceeded'
        WHEN 24 THEN 'quota_exceeded'
    END,
    log.duration_us,
    log.response_bytes,
    -- 4 or 16 bytes are an address, 3 or 6 the start of one, 8 a hash.
    CASE
        WHEN length(log.client_address) IN (3, 4) THEN (
            SELECT (instr(d, substr(h, 1, 1)) * 16 + instr(d, substr(h, 2, 1)) - 17) || '.'
                || (instr(d, substr(h, 3, 1)) * 16 + instr(d, substr(h, 4, 1)) - 17) || '.'
                || (instr(d, substr(h, 5, 1)) * 16 + instr(d, substr(h, 6, 1)) - 17) || '.'
                || (instr(d, substr(h, 7, 1)) * 16 + instr(d, substr(h, 8, 1)) - 17)
            FROM (SELECT substr(hex(log.client_address) || '00', 1, 8) AS h, '0123456789ABCDEF' AS d)
        ) || CASE length(log.client_address) WHEN 3 THEN '/24' ELSE '' END
        -- RFC 5952: no leading zeros, and `::` for the first of the longest runs of two or more groups of zero.
        WHEN length(log.client_address) IN (6, 16) THEN (
            SELECT CASE run
                WHEN 0 THEN substr(parts, 2, length(parts) - 2)
                ELSE substr(parts, 2, max(instr(parts, substr(':0:0:0:0:0:0:0:0:', 1, run)) - 2, 0)) || '::'
                    || rtrim(substr(parts, instr(parts, substr(':0:0:0:0:0:0:0:0:', 1, run)) + run), ':')
                END
            FROM (
                SELECT parts, CASE
                    WHEN instr(parts, ':0:0:0:0:0:0:0:0:') THEN 17
                    WHEN instr(parts, ':0:0:0:0:0:0:0:') THEN 15
                    WHEN instr(parts, ':0:0:0:0:0:0:') THEN 13
                    WHEN instr(parts, ':0:0:0:0:0:') THEN 11
                    WHEN instr(parts, ':0:0:0:0:') THEN 9
                    WHEN instr(parts, ':0:0:0:') THEN 7
                    WHEN instr(parts, ':0:0:') THEN 5
                    ELSE 0
                    END AS run
                FROM (
                    SELECT replace(replace(replace(':' || substr(h, 1, 4) || ':' || substr(h, 5, 4) || ':'
                        || substr(h, 9, 4) || ':' || substr(h, 13, 4) || ':' || substr(h, 17, 4) || ':'
                        || substr(h, 21, 4) || ':' || substr(h, 25, 4) || ':' || substr(h, 29, 4) || ':',
                        ':0', ':'), ':0', ':'), ':0', ':') AS parts
                    FROM (SELECT substr(lower(hex(log.client_address)) || '00000000000000000000', 1, 32) AS h)
                )
            )
        ) || CASE length(log.client_address) WHEN 6 THEN '/48' ELSE '' END
        WHEN length(log.client_address) = 8 THEN 'hash:' || lower(hex(log.client_address))
    END,
    CASE WHEN log.user_agent >= 0
        THEN coalesce((SELECT text FROM names WHERE id = log.user_agent), '<other>') END,
    coalesce(log.cost, 1),
    coalesce(log.weight, 1)
FROM usage_log AS log;

-- One row an hour and token, and one a day and token. The rows of token 0 stand for all tokens, and would count
-- everything twice. `hour_number` and `day_number` are the start of the key.
CREATE VIEW usage_hourly (hour, hour_unix, hour_number, token_id, owner, token_name, requests, success, client_error,
    server_error, denied, unfinished, below_400, response_bytes, cost, mean_us, max_us) AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%SZ', sums.hour * 3600, 'unixepoch'),
    sums.hour * 3600,
    sums.hour,
    sums.token_id,
    (SELECT owner FROM catalogue WHERE id = sums.token_id),
    (SELECT name FROM catalogue WHERE id = sums.token_id),
    success + client_error + server_error + denied + unfinished,
    success, client_error, server_error, denied, unfinished, below_400, response_bytes, cost,
    duration_us / nullif(success + client_error + server_error + denied + unfinished, 0),
    longest_us
FROM hourly_sums AS sums
WHERE sums.token_id <> 0;

CREATE VIEW usage_daily (day, day_unix, day_number, token_id, owner, token_name, requests, success, client_error,
    server_error, denied, unfinished, below_400, response_bytes, cost, mean_us, max_us) AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%SZ', sums.day * 86400, 'unixepoch'),
    sums.day * 86400,
    sums.day,
    sums.token_id,
    (SELECT owner FROM catalogue WHERE id = sums.token_id),
    (SELECT name FROM catalogue WHERE id = sums.token_id),
    success + client_error + server_error + denied + unfinished,
    success, client_error, server_error, denied, unfinished, below_400, response_bytes, cost,
    duration_us / nullif(success + client_error + server_error + denied + unfinished, 0),
    longest_us
FROM daily_sums AS sums
WHERE sums.token_id <> 0;

-- One row a token, with its status at the time of the question. A hash of a secret is in none of these columns.
CREATE VIEW tokens (id, owner, name, kind, status, description, tags, scopes, fragment, created_at, expires_at,
    last_used_at, revoked_at, revoked_by, revoke_reason) AS
SELECT
    id,
    owner,
    name,
    CASE kind
        WHEN 0 THEN 'jwt'
        WHEN 1 THEN 'legacy_jwt'
        WHEN 2 THEN 'opaque'
        WHEN 3 THEN 'outside'
    END,
    CASE
        WHEN state = 2 THEN 'revoked'
        WHEN state IN (3, 4) OR expires_at <= strftime('%s', 'now') * 1000000 THEN 'expired'
        WHEN state = 1 THEN 'suspended'
        WHEN state = 0 THEN 'active'
    END,
    description,
    tags,
    scopes,
    fragment,
    strftime('%Y-%m-%dT%H:%M:%S', (created_at - (created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (created_at % 1000000 + 1000000) % 1000000),
    strftime('%Y-%m-%dT%H:%M:%S', (expires_at - (expires_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (expires_at % 1000000 + 1000000) % 1000000),
    strftime('%Y-%m-%dT%H:%M:%S', (last_used_at - (last_used_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (last_used_at % 1000000 + 1000000) % 1000000),
    strftime('%Y-%m-%dT%H:%M:%S', (revoked_at - (revoked_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (revoked_at % 1000000 + 1000000) % 1000000),
    revoked_by,
    revoke_reason
FROM catalogue;
