-- name: set_prices
-- Prices that the operator set; of several for one instant, the last.
SELECT DISTINCT ON (provider, model, effective_from)
       provider, model, effective_from, input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok,
       cache_write_5m_usd_per_mtok, cache_write_1h_usd_per_mtok, request_usd, web_search_usd
FROM ledger.price
WHERE NOT is_published
ORDER BY provider, model, effective_from, price_id DESC;

-- name: published_prices
-- Published prices in the order in which they came to hold.
SELECT provider, model, above_prompt_tokens, effective_from, input_usd_per_mtok, output_usd_per_mtok,
       cache_read_usd_per_mtok, cache_write_5m_usd_per_mtok, cache_write_1h_usd_per_mtok, request_usd, web_search_usd
FROM ledger.price
WHERE is_published
ORDER BY effective_from, price_id;

-- name: prices_in_force
-- The rows that hold at an instant: the operator's where there is one, else the published ones.
WITH latest AS (
    SELECT DISTINCT ON (provider, model, is_published, above_prompt_tokens) *
    FROM ledger.price
    WHERE effective_from <= $1 AND ($2::text IS NULL OR provider = $2) AND NOT (is_published AND $3)
    ORDER BY provider, model, is_published, above_prompt_tokens, effective_from DESC, price_id DESC
)
SELECT l.provider, l.model, l.above_prompt_tokens, l.input_usd_per_mtok AS input, l.output_usd_per_mtok AS output,
       l.cache_read_usd_per_mtok AS cache_read, l.cache_write_5m_usd_per_mtok AS cache_write_5m,
       l.cache_write_1h_usd_per_mtok AS cache_write_1h, l.effective_from, l.source,
       CASE WHEN l.is_published THEN 'published' ELSE 'set' END AS kind
FROM latest l
WHERE NOT l.is_published
   OR NOT EXISTS (SELECT FROM latest s WHERE s.provider = l.provider AND s.model = l.model AND NOT s.is_published)
ORDER BY l.provider, l.model, l.above_prompt_tokens;

-- name: price_history
-- Every row of a model, the newest first.
SELECT provider, model, effective_from, above_prompt_tokens, input_usd_per_mtok AS input, output_usd_per_mtok AS output,
       cache_read_usd_per_mtok AS cache_read, cache_write_5m_usd_per_mtok AS cache_write_5m,
       cache_write_1h_usd_per_mtok AS cache_write_1h, request_usd, web_search_usd,
       CASE WHEN is_published THEN 'published' ELSE 'set' END AS kind, source, created_at, created_by
FROM ledger.price
WHERE model = $1 AND ($2::text IS NULL OR provider = $2)
ORDER BY provider, effective_from DESC, above_prompt_tokens, price_id DESC;
