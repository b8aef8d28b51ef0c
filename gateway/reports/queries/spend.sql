-- name: spend_by_team
-- A month's entries, a line a team.
SELECT t.name AS team, count(*) AS entries,
       sum(e.input_uncached_tokens + e.cache_read_tokens + e.cache_write_5m_tokens + e.cache_write_1h_tokens)::bigint AS input_tokens,
       sum(e.output_tokens)::bigint AS output_tokens,
       sum(e.amount_usd) AS spend_usd
FROM ledger.ledger_entry e LEFT JOIN ledger.team t USING (team_id)
WHERE e.month = $1
GROUP BY 1
ORDER BY spend_usd DESC, 1;

-- name: spend_by_model
-- A month's entries, a line a model.
SELECT coalesce(e.response_model, e.request_model) AS model, count(*) AS entries,
       sum(e.input_uncached_tokens + e.cache_read_tokens + e.cache_write_5m_tokens + e.cache_write_1h_tokens)::bigint AS input_tokens,
       sum(e.output_tokens)::bigint AS output_tokens,
       sum(e.amount_usd) AS spend_usd
FROM ledger.ledger_entry e 
WHERE e.month = $1
GROUP BY 1
ORDER BY spend_usd DESC, 1;

-- name: spend_by_key
-- A month's entries, a line a key.
SELECT coalesce(k.key_prefix, '-') AS key, count(*) AS entries,
       sum(e.input_uncached_tokens + e.cache_read_tokens + e.cache_write_5m_tokens + e.cache_write_1h_tokens)::bigint AS input_tokens,
       sum(e.output_tokens)::bigint AS output_tokens,
       sum(e.amount_usd) AS spend_usd
FROM ledger.ledger_entry e LEFT JOIN ledger.api_key k ON k.api_key_id = e.api_key_id
WHERE e.month = $1
GROUP BY 1
ORDER BY spend_usd DESC, 1;

-- name: spend_by_product
-- A month's entries, a line a product.
SELECT e.product AS product, count(*) AS entries,
       sum(e.input_uncached_tokens + e.cache_read_tokens + e.cache_write_5m_tokens + e.cache_write_1h_tokens)::bigint AS input_tokens,
       sum(e.output_tokens)::bigint AS output_tokens,
       sum(e.amount_usd) AS spend_usd
FROM ledger.ledger_entry e 
WHERE e.month = $1
GROUP BY 1
ORDER BY spend_usd DESC, 1;

-- name: spend_by_day
-- A month's entries, a line a day.
SELECT (e.occurred_at AT TIME ZONE 'UTC')::date AS day, count(*) AS entries,
       sum(e.input_uncached_tokens + e.cache_read_tokens + e.cache_write_5m_tokens + e.cache_write_1h_tokens)::bigint AS input_tokens,
       sum(e.output_tokens)::bigint AS output_tokens,
       sum(e.amount_usd) AS spend_usd
FROM ledger.ledger_entry e 
WHERE e.month = $1
GROUP BY 1
ORDER BY 1;
