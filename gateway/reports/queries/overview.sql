-- name: overview_teams
-- Every team in the current month: cap, spend, held, status.
SELECT team, month, cap_usd, spend_usd, held_usd, remaining_usd, status
FROM ledger.budget_status
ORDER BY spend_usd DESC, team
LIMIT 500;

-- name: overview_days
-- What each day of a month came to.
SELECT (occurred_at AT TIME ZONE 'UTC')::date AS day, sum(amount_usd) AS spend_usd
FROM ledger.ledger_entry
WHERE month = $1
GROUP BY 1
ORDER BY 1;

-- name: overview_models
-- The dearest models of a month.
SELECT coalesce(response_model, request_model) AS model, count(*) AS entries, sum(amount_usd) AS spend_usd
FROM ledger.ledger_entry
WHERE month = $1 AND entry_type = 'usage'
GROUP BY 1
ORDER BY spend_usd DESC
LIMIT 20;
