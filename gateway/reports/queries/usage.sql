-- name: team_month_by_model
-- One team's month, a line a model, the dearest first; a correction is an amount and no request.
SELECT coalesce(response_model, request_model) AS model,
       count(*) FILTER (WHERE entry_type = 'usage') AS requests,
       sum(input_uncached_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens) AS input_tokens,
       sum(output_tokens) AS output_tokens,
       sum(amount_usd) AS spend_usd
FROM ledger.ledger_entry
WHERE team_id = $1 AND month = $2
GROUP BY 1
ORDER BY spend_usd DESC, model;
