-- name: reconciliation
-- Totals against rows, a line a team and month.
SELECT team_id, month, spend_usd, rows_usd, entry_count, row_count, balanced
FROM ledger.reconciliation
WHERE $1::date IS NULL OR month = $1
ORDER BY month, team_id;

-- name: unresolved_dead_letters
-- Rows that the database refused and nobody has resolved.
SELECT dead_letter_id, entry_id, error, received_at
FROM ledger.dead_letter
WHERE resolved_at IS NULL
ORDER BY dead_letter_id;
