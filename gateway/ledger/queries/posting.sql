-- name: post_entries
-- Posts a batch of entries, exactly once however often it is sent; answers with the totals. A column
-- comes as the literal of its array.
SELECT team_id, month, spend_usd, inserted, leased_usd
FROM ledger.post_entries(
    $1, $2::text::uuid[], $3::text::date[], $4::text::int[], $5::text::int[], $6::text::text[],
    $7::text::text[], $8::text::text[], $9::text::text[], $10::text::text[], $11::text::bigint[],
    $12::text::bigint[], $13::text::bigint[], $14::text::bigint[], $15::text::bigint[],
    $16::text::bigint[], $17::text::bigint[], $18::text::bigint[], $19::text::bigint[],
    $20::text::bigint[], $21::text::bigint[], $22::text::bigint[], $23::text::bigint[],
    $24::text::text[], $25::text::text[], $26::text::text[], $27::text::int[], $28::text::boolean[],
    $29::text::text[], $30::text::timestamptz[], $31::text::bigint[], $32::text::boolean[],
    $33::text::boolean[], $34::text::int[], $35::text::text[]
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
