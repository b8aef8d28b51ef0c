-- name: post_entries
-- Posts a batch of entries, exactly once however often it is sent; answers with the totals.
SELECT team_id, month, spend_usd, inserted, leased_usd
FROM ledger.post_entries(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35
);

-- name: put_dead_letter
-- Keeps what cannot be posted, for a person to look at; the same letter once.
SELECT ledger.put_dead_letter($1, $2, $3, $4);

-- name: lease_close
-- Ends the leases of a dead writer, once its journal is posted.
SELECT ledger.lease_close($1);

-- name: settled_before
-- Which of these requests have an entry that says more than that their worker died.
SELECT e.entry_id
FROM ledger.ledger_entry AS e
JOIN unnest($1::uuid[], $2::date[]) AS asked (entry_id, month)
    ON e.entry_id = asked.entry_id AND e.month = asked.month
WHERE (e.detail ->> 'outcome') IS DISTINCT FROM 'worker_died';

-- name: team_names
-- Names of teams, for the events of requests that died with their worker.
SELECT team_id, name FROM ledger.team WHERE team_id = ANY($1::int[]);
