-- name: provider_days
-- A provider's calls by UTC day, corrections on the day of what they correct.
SELECT (coalesce(r.occurred_at, e.occurred_at) AT TIME ZONE 'UTC')::date AS day, sum(e.amount_usd) AS spend_usd
FROM ledger.ledger_entry e
LEFT JOIN ledger.ledger_entry r ON r.entry_id = e.related_entry_id
WHERE e.provider = $1 AND e.entry_type <> 'credit'
  AND coalesce(r.occurred_at, e.occurred_at) >= $2::date::timestamp AT TIME ZONE 'UTC'
  AND coalesce(r.occurred_at, e.occurred_at) < ($2::date + interval '1 month') AT TIME ZONE 'UTC'
GROUP BY 1
ORDER BY 1;
