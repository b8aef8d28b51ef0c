-- The ledger in the words of FOCUS 1.2 (FinOps Open Cost and Usage Specification): a line a team, day,
-- SKU and meter. Costs add up to the entries' amounts to the last digit.
CREATE VIEW ledger.focus_charge AS
WITH charge AS (
    SELECT e.month, e.service_month, (e.occurred_at AT TIME ZONE 'UTC')::date AS day, e.team_id, e.provider,
           coalesce(e.response_model, e.request_model) AS model, e.price_version, e.entry_type,
           m.meter, m.unit, m.quantity, m.amount_usd
    FROM ledger.ledger_entry e
    CROSS JOIN LATERAL (
        -- Writes of both lifetimes share one amount: each has the part that its own rate makes.
        SELECT CASE
            WHEN e.cache_write_1h_tokens = 0 THEN 0
            WHEN e.cache_write_5m_tokens = 0 THEN e.cache_write_amount_usd
            ELSE round(e.cache_write_amount_usd * e.cache_write_1h_tokens * w.rate_1h
                / nullif(e.cache_write_1h_tokens * w.rate_1h + e.cache_write_5m_tokens * w.rate_5m, 0), 12)
            END AS write_1h_usd
        FROM (SELECT coalesce((e.detail #>> '{rates,cache_write_1h}')::numeric, 2) AS rate_1h,
                     coalesce((e.detail #>> '{rates,cache_write_5m}')::numeric, 1.25) AS rate_5m) AS w
    ) AS split
    CROSS JOIN LATERAL (VALUES
        ('input', 'Tokens', e.input_uncached_tokens, e.input_amount_usd),
        ('cache_read', 'Tokens', e.cache_read_tokens, e.cache_read_amount_usd),
        ('cache_write_5m', 'Tokens', e.cache_write_5m_tokens,
            e.cache_write_amount_usd - coalesce(split.write_1h_usd, 0)),
        ('cache_write_1h', 'Tokens', e.cache_write_1h_tokens, coalesce(split.write_1h_usd, 0)),
        ('output', 'Tokens', e.output_tokens, e.output_amount_usd),
        ('request', 'Requests', CASE WHEN e.request_amount_usd <> 0 THEN 1 ELSE 0 END, e.request_amount_usd),
        ('web_search', 'Searches', e.web_search_requests, e.web_search_amount_usd)
    ) AS m (meter, unit, quantity, amount_usd)
    WHERE e.entry_type = 'usage' AND (m.quantity > 0 OR m.amount_usd <> 0)
    UNION ALL
    SELECT e.month, e.service_month, (e.occurred_at AT TIME ZONE 'UTC')::date, e.team_id, e.provider,
           coalesce(e.response_model, e.request_model), NULL, e.entry_type, e.entry_type, NULL, NULL, e.amount_usd
    FROM ledger.ledger_entry e
    WHERE e.entry_type <> 'usage'
), line AS (
    SELECT c.month, c.service_month, c.day, c.team_id, c.provider, c.model, c.price_version, c.entry_type, c.meter, c.unit,
           sum(c.quantity) AS quantity, sum(c.amount_usd) AS amount_usd,
           CASE c.unit WHEN 'Tokens' THEN 1000000 WHEN 'Requests' THEN 1000 WHEN 'Searches' THEN 1000 END AS per
    FROM charge c
    GROUP BY c.month, c.service_month, c.day, c.team_id, c.provider, c.model, c.price_version, c.entry_type, c.meter, c.unit
)
SELECT l.month, l.team_id,
       l.provider AS "BillingAccountId",
       l.provider AS "BillingAccountName",
       'USD' AS "BillingCurrency",
       l.month::timestamp AT TIME ZONE 'UTC' AS "BillingPeriodStart",
       (l.month + interval '1 month') AT TIME ZONE 'UTC' AS "BillingPeriodEnd",
       l.day::timestamp AT TIME ZONE 'UTC' AS "ChargePeriodStart",
       (l.day + interval '1 day') AT TIME ZONE 'UTC' AS "ChargePeriodEnd",
       CASE l.entry_type WHEN 'usage' THEN 'Usage' WHEN 'credit' THEN 'Credit' ELSE 'Adjustment' END AS "ChargeCategory",
       -- A correction, in the specification's sense, is of a period that was invoiced before.
       CASE WHEN l.service_month IS NOT NULL THEN 'Correction' END AS "ChargeClass",
       concat_ws(' ', l.provider, l.model, replace(l.meter, '_', ' ')) AS "ChargeDescription",
       CASE WHEN l.entry_type = 'usage' THEN 'Usage-Based' ELSE 'One-Time' END AS "ChargeFrequency",
       l.amount_usd AS "BilledCost",
       l.amount_usd AS "EffectiveCost",
       l.amount_usd AS "ListCost",
       l.amount_usd AS "ContractedCost",
       l.quantity AS "ConsumedQuantity",
       l.unit AS "ConsumedUnit",
       trim_scale(l.quantity / l.per) AS "PricingQuantity",
       l.per || ' ' || l.unit AS "PricingUnit",
       trim_scale(round(l.amount_usd * l.per / nullif(l.quantity, 0), 12)) AS "ListUnitPrice",
       trim_scale(round(l.amount_usd * l.per / nullif(l.quantity, 0), 12)) AS "ContractedUnitPrice",
       CASE WHEN l.entry_type = 'usage' THEN 'Standard' END AS "PricingCategory",
       'USD' AS "PricingCurrency",
       CASE WHEN l.entry_type = 'usage' THEN concat_ws('/', l.provider, l.model, l.meter) END AS "SkuId",
       CASE WHEN l.entry_type = 'usage' THEN concat_ws('/', l.provider, l.model, l.meter, l.price_version) END AS "SkuPriceId",
       CASE WHEN l.entry_type = 'usage' THEN l.meter END AS "SkuMeter",
       l.model AS "ResourceId",
       'Large language model' AS "ServiceName",
       'AI and Machine Learning' AS "ServiceCategory",
       'Generative AI' AS "ServiceSubcategory",
       l.provider AS "ProviderName",
       l.provider AS "PublisherName",
       l.provider AS "InvoiceIssuerName",
       l.team_id::text AS "SubAccountId",
       t.name AS "SubAccountName",
       'Team' AS "SubAccountType"
FROM line l LEFT JOIN ledger.team t ON t.team_id = l.team_id;
COMMENT ON VIEW ledger.focus_charge IS 'FOCUS 1.2; ask for a month to read one partition alone';

SELECT ledger.grant_roles();
