-- name: ceiling_entries
-- Entries of a month that were charged at a ceiling and have a measurement, after one in order of ids.
SELECT e.entry_id, e.team_id, t.name AS team, e.provider, e.request_model, e.response_model, e.input_uncached_tokens,
       e.cache_read_tokens, e.cache_write_5m_tokens, e.cache_write_1h_tokens, e.output_tokens, e.reasoning_tokens,
       e.web_search_requests, e.amount_usd, e.usage_source, e.occurred_at, e.detail
FROM ledger.ledger_entry e JOIN ledger.team t USING (team_id)
WHERE e.month = $1 AND e.is_ceiling AND e.entry_type = 'usage' AND e.entry_id > $2
  AND (e.detail ->> 'outcome') IS DISTINCT FROM 'worker_died'
ORDER BY e.entry_id
LIMIT $3;

-- name: entry_exists
-- Whether an id is booked, in whatever month.
SELECT EXISTS (SELECT FROM ledger.ledger_entry WHERE entry_id = $1);
