-- What admins, finance and BI tools read.

CREATE VIEW ledger.budget_status AS
SELECT t.team_id, t.name AS team, m.month, c.cap_usd, s.spend_usd, h.held_usd,
       CASE WHEN c.cap_usd > 0 THEN greatest(c.cap_usd - s.spend_usd, 0) END AS remaining_usd,
       CASE WHEN c.cap_usd IS NULL OR c.cap_usd <= 0 THEN 'disabled'
            WHEN s.spend_usd >= c.cap_usd THEN 'blocked'
            WHEN s.spend_usd >= c.cap_usd * t.engage_at THEN 'engage'
            WHEN s.spend_usd >= c.cap_usd * t.warn_at THEN 'warn'
            ELSE 'ok' END AS status
FROM ledger.team t
CROSS JOIN (SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date AS month) AS m
CROSS JOIN LATERAL ledger.cap_in_force(t.team_id, now()) AS c
CROSS JOIN LATERAL (
    SELECT coalesce((SELECT b.spend_usd FROM ledger.team_month_spend b
                     WHERE b.team_id = t.team_id AND b.month = m.month), 0) AS spend_usd
) AS s
CROSS JOIN LATERAL (SELECT ledger.held_usd(t.team_id, m.month) AS held_usd) AS h
WHERE t.archived_at IS NULL;
COMMENT ON VIEW ledger.budget_status IS 'Every team in the current UTC month; held_usd is what workers hold and have not spent';

-- Control totals against their rows. Each side is summed on its own, so that a month asked for prunes
-- the others on both.
CREATE VIEW ledger.reconciliation AS
SELECT a.team_id, a.month, coalesce(sum(a.spend_usd), 0) AS spend_usd, coalesce(sum(a.rows_usd), 0) AS rows_usd,
       coalesce(sum(a.entry_count), 0)::bigint AS entry_count, coalesce(sum(a.row_count), 0)::bigint AS row_count,
       -- NULL on one side alone: a total without rows, or rows without a total.
       sum(a.spend_usd) IS NOT DISTINCT FROM sum(a.rows_usd)
           AND sum(a.entry_count) IS NOT DISTINCT FROM sum(a.row_count) AS balanced
FROM (
    SELECT t.team_id, t.month, t.spend_usd, t.entry_count, NULL::numeric AS rows_usd, NULL::bigint AS row_count
    FROM ledger.team_month_spend t
    UNION ALL
    SELECT e.team_id, e.month, NULL, NULL, sum(e.amount_usd), count(*)
    FROM ledger.ledger_entry e GROUP BY e.team_id, e.month
) AS a
GROUP BY a.team_id, a.month;

CREATE VIEW ledger.spend_by_team_model_day AS
SELECT e.month, (e.occurred_at AT TIME ZONE 'UTC')::date AS day, e.team_id, t.name AS team, e.provider,
       coalesce(e.response_model, e.request_model) AS model, e.product,
       count(*) AS entry_count,
       count(*) FILTER (WHERE e.entry_type = 'usage') AS request_count,
       sum(e.input_uncached_tokens)::bigint AS input_uncached_tokens,
       sum(e.cache_read_tokens)::bigint AS cache_read_tokens,
       sum(e.cache_write_5m_tokens)::bigint AS cache_write_5m_tokens,
       sum(e.cache_write_1h_tokens)::bigint AS cache_write_1h_tokens,
       sum(e.output_tokens)::bigint AS output_tokens,
       sum(e.reasoning_tokens)::bigint AS reasoning_tokens,
       sum(e.web_search_requests)::bigint AS web_search_requests,
       sum(e.amount_usd) AS spend_usd
FROM ledger.ledger_entry e LEFT JOIN ledger.team t ON t.team_id = e.team_id
GROUP BY 1, 2, 3, 4, 5, 6, 7;
COMMENT ON VIEW ledger.spend_by_team_model_day IS 'Ask for a month to read one partition alone';
