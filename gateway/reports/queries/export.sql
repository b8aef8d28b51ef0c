-- name: export_entries
-- A month's entries in the order of their ids, which is that of their admission.
SELECT e.entry_id, e.month, e.service_month, e.occurred_at, e.recorded_at, e.entry_type, e.team_id, t.name AS team,
       e.api_key_id, k.key_prefix, e.product, e.provider, e.dialect, e.request_model, e.response_model,
       e.input_uncached_tokens, e.cache_read_tokens, e.cache_write_5m_tokens, e.cache_write_1h_tokens, e.output_tokens,
       e.reasoning_tokens, e.web_search_requests, e.amount_usd, e.input_amount_usd, e.cache_read_amount_usd,
       e.cache_write_amount_usd, e.output_amount_usd, e.request_amount_usd, e.web_search_amount_usd, e.price_version,
       e.usage_source, e.budget_status, e.http_status, e.client_aborted, e.is_ceiling, e.cache_ttl_upgraded,
       e.provider_response_id, e.related_entry_id, e.reason, e.recorded_by
FROM ledger.ledger_entry e
LEFT JOIN ledger.team t ON t.team_id = e.team_id
LEFT JOIN ledger.api_key k ON k.api_key_id = e.api_key_id
WHERE e.month = $1
ORDER BY e.entry_id;

-- name: export_focus
-- A month in the columns of FOCUS 1.2, and in no others; what may not be null there is the gateway's own line.
SELECT coalesce("BillingAccountId", 'gateway') AS "BillingAccountId",
       coalesce("BillingAccountName", 'gateway') AS "BillingAccountName", "BillingCurrency",
       to_char("BillingPeriodStart" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "BillingPeriodStart",
       to_char("BillingPeriodEnd" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "BillingPeriodEnd",
       to_char("ChargePeriodStart" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "ChargePeriodStart",
       to_char("ChargePeriodEnd" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "ChargePeriodEnd",
       "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency",
       "BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "ConsumedQuantity", "ConsumedUnit",
       "PricingQuantity", "PricingUnit", "ListUnitPrice", "ContractedUnitPrice", "PricingCategory", "PricingCurrency",
       "SkuId", "SkuPriceId", "SkuMeter", "ResourceId", "ServiceName", "ServiceCategory", "ServiceSubcategory",
       coalesce("ProviderName", 'gateway') AS "ProviderName", coalesce("PublisherName", 'gateway') AS "PublisherName",
       coalesce("InvoiceIssuerName", 'gateway') AS "InvoiceIssuerName", "SubAccountId", "SubAccountName", "SubAccountType"
FROM ledger.focus_charge
WHERE month = $1
ORDER BY "ChargePeriodStart", "SubAccountName", "SkuId";

-- name: month_entry_count
-- How many entries a month has, by its totals.
SELECT coalesce(sum(entry_count), 0)::bigint FROM ledger.team_month_spend WHERE month = $1;
