-- name: verify_pages
-- How many pages each partition of the entries has, the one for strays included.
SELECT pg_relation_size(p.relid) / current_setting('block_size')::bigint AS pages
FROM pg_partition_tree('ledger.ledger_entry') AS p
WHERE p.isleaf
  AND ($1::date IS NULL OR p.relid::regclass::text IN
       ('ledger.ledger_entry_default', 'ledger.ledger_entry_' || to_char($1::date, 'YYYYMM')));

-- name: verify_rows
-- Sums of the rows on a range of pages, the same range in every partition: a part of all the work.
SELECT e.team_id, e.month, sum(e.amount_usd) AS rows_usd, count(*) AS row_count
FROM ledger.ledger_entry AS e
WHERE e.ctid >= $1::text::tid AND e.ctid < $2::text::tid AND ($3::date IS NULL OR e.month = $3)
GROUP BY e.team_id, e.month;

-- name: verify_totals
-- The totals that the guard reads.
SELECT team_id, month, spend_usd, entry_count
FROM ledger.team_month_spend
WHERE $1::date IS NULL OR month = $1;

-- name: verify_closed
-- What closed months were when they were closed.
SELECT month, entry_count, total_usd, digest
FROM ledger.accounting_period
WHERE status = 'closed' AND ($1::date IS NULL OR month = $1)
ORDER BY month;

-- name: verify_digest
-- The digest of a month as it is now.
SELECT ledger.month_digest($1);

-- name: unresolved_dead_letters
-- Rows that the database refused and nobody has resolved.
SELECT dead_letter_id, entry_id, error, received_at
FROM ledger.dead_letter
WHERE resolved_at IS NULL
ORDER BY dead_letter_id;
