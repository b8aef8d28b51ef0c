-- name: savings
-- What one-hour writes of upgraded breakpoints cost, and which re-writes they made unnecessary.
WITH entry AS (
    SELECT e.team_id, e.product, e.cache_read_tokens, e.cache_write_1h_tokens, e.cache_ttl_upgraded > 0 AS is_upgraded,
           e.occurred_at - lag(e.occurred_at) OVER calls AS gap,
           -- An upgraded call within the hour before this one: the prefix it wrote is still there.
           coalesce(e.occurred_at - max(e.occurred_at) FILTER (WHERE e.cache_ttl_upgraded > 0)
                    OVER (calls ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) <= interval '1 hour', false)
               AS follows_upgrade,
           r.cache_read, r.cache_write_5m, r.cache_write_1h
    FROM ledger.ledger_entry e
    CROSS JOIN LATERAL (
        SELECT i.input, coalesce((e.detail #>> '{rates,cache_read}')::numeric, i.input * 0.10) AS cache_read,
               coalesce((e.detail #>> '{rates,cache_write_5m}')::numeric, i.input * 1.25) AS cache_write_5m,
               coalesce((e.detail #>> '{rates,cache_write_1h}')::numeric, i.input * 2.00) AS cache_write_1h
        FROM (SELECT (e.detail #>> '{rates,input}')::numeric AS input) AS i
    ) AS r
    WHERE e.month = $1 AND e.entry_type = 'usage' AND e.http_status BETWEEN 200 AND 299
    WINDOW calls AS (
        PARTITION BY e.team_id, e.api_key_id, e.product, e.provider, coalesce(e.response_model, e.request_model)
        ORDER BY e.occurred_at)
), judged AS (
    SELECT n.*, n.is_upgraded AND n.cache_write_1h_tokens > 0 AS is_write,
           n.follows_upgrade AND n.cache_read_tokens > 0
               AND n.gap > interval '5 minutes' AND n.gap <= interval '1 hour' AS is_avoided
    FROM entry n
)
SELECT t.name AS team, j.product, count(*) FILTER (WHERE j.is_upgraded) AS upgraded_requests,
       coalesce(sum(j.cache_write_1h_tokens) FILTER (WHERE j.is_write), 0)::bigint AS written_1h_tokens,
       count(*) FILTER (WHERE j.is_avoided) AS rewrites_avoided,
       coalesce(sum(j.cache_read_tokens) FILTER (WHERE j.is_avoided), 0)::bigint AS avoided_tokens,
       coalesce(trim_scale(sum(j.cache_write_1h_tokens * (j.cache_write_1h - j.cache_write_5m) / 1000000.0)
           FILTER (WHERE j.is_write)), 0) AS cost_usd,
       coalesce(trim_scale(sum(j.cache_read_tokens * (j.cache_write_5m - j.cache_read) / 1000000.0)
           FILTER (WHERE j.is_avoided)), 0) AS saving_usd,
       count(*) FILTER (WHERE (j.is_write OR j.is_avoided) AND j.cache_write_5m IS NULL) AS without_rates
FROM judged j LEFT JOIN ledger.team t ON t.team_id = j.team_id
GROUP BY 1, 2
HAVING count(*) FILTER (WHERE j.is_upgraded) > 0
ORDER BY 1, 2;
