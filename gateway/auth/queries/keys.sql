-- name: find_keys
-- Who each of these hashes is; a hash that nobody has is missing from the answer.
SELECT wanted.key_hash, found.*
FROM unnest($1::bytea[]) AS wanted (key_hash)
CROSS JOIN LATERAL ledger.find_key(wanted.key_hash) AS found;

-- name: withdrawn_since
-- Keys revoked and teams archived since a moment of the server's clock, less what a transaction
-- may take from setting the time to its commit; and the moment from which to ask next.
SELECT now() AS read_at,
    ARRAY(
        SELECT api_key_id FROM ledger.api_key
        WHERE revoked_at > $1::timestamptz - interval '60 seconds'
    ) AS api_key_ids,
    ARRAY(
        SELECT team_id FROM ledger.team
        WHERE archived_at > $1::timestamptz - interval '60 seconds'
    ) AS team_ids;
