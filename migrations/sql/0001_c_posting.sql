-- Posting: the writer's only way into the ledger. Advisory locks of ours: 8171001 makes partitions,
-- 8171002 a month (posts share it, its close takes it alone), 8171003 grants of a team's leases,
-- 8171004 overrides of a team. Order everywhere: months, totals by (team, month), leases.

-- Makes the partition and the accounting period of a month and of the two after it.
CREATE FUNCTION ledger.ensure_month(p_month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    v_month     date;
    v_partition text;
BEGIN
    IF p_month IS NULL OR extract(day FROM p_month) <> 1
       OR p_month NOT BETWEEN DATE '2000-01-01' AND DATE '2199-10-01' THEN
        RAISE EXCEPTION '% is not the first day of a month', coalesce(p_month::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(8171001, 0);
    FOR v_month IN SELECT (p_month + n * interval '1 month')::date FROM generate_series(0, 2) AS n LOOP
        INSERT INTO ledger.accounting_period (month) VALUES (v_month) ON CONFLICT DO NOTHING;
        v_partition := 'ledger_entry_' || to_char(v_month, 'YYYYMM');
        -- Rows that came before their partition stay where they are: rows do not move.
        CONTINUE WHEN to_regclass('ledger.' || v_partition) IS NOT NULL
            OR EXISTS (SELECT FROM ledger.ledger_entry_default d WHERE d.month = v_month);
        BEGIN
            -- Made apart and attached: posts into other months go on meanwhile.
            EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.ledger_entry INCLUDING ALL)', v_partition);
            EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger.%I '
                           'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', v_partition);
            EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER no_truncate', v_partition);
            EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON ledger.%I FROM PUBLIC, CURRENT_USER', v_partition);
            EXECUTE format('ALTER TABLE ledger.ledger_entry ATTACH PARTITION ledger.%I FOR VALUES FROM (%L) TO (%L)',
                           v_partition, v_month, (v_month + interval '1 month')::date);
        EXCEPTION WHEN lock_not_available OR check_violation OR deadlock_detected THEN
            -- A long report holds the default partition, or a row of the month just came into it.
            -- That one takes the month's rows meanwhile, and the next call tries again.
            RAISE WARNING 'no partition for % yet: %', v_month, SQLERRM;
        END;
    END LOOP;
END $$;

-- The first month after a closed one that still takes rows; made, and locked against its close.
CREATE FUNCTION ledger.open_month_after(p_month date) RETURNS date
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_month date := p_month;
BEGIN
    LOOP
        v_month := (v_month + interval '1 month')::date;
        CONTINUE WHEN EXISTS (SELECT FROM ledger.accounting_period a
                              WHERE a.month = v_month AND a.status = 'closed');
        PERFORM pg_advisory_xact_lock_shared(8171002, v_month - DATE '2000-01-01');
        IF NOT EXISTS (SELECT FROM ledger.accounting_period a WHERE a.month = v_month) THEN
            PERFORM ledger.ensure_month(v_month);
        END IF;
        -- It may have been closed while we waited.
        EXIT WHEN EXISTS (SELECT FROM ledger.accounting_period a
                          WHERE a.month = v_month AND a.status = 'open');
    END LOOP;
    RETURN v_month;
END $$;

-- A request's entry as a writer hands it over, in dollars.
CREATE TYPE ledger.usage_row AS (
    entry_id uuid, month date, service_month date, team_id int, api_key_id int, product text,
    provider text, dialect text, request_model text, response_model text, input_uncached_tokens bigint,
    cache_read_tokens bigint, cache_write_5m_tokens bigint, cache_write_1h_tokens bigint,
    output_tokens bigint, reasoning_tokens bigint, web_search_requests bigint, input_amount_usd numeric,
    cache_read_amount_usd numeric, cache_write_amount_usd numeric, output_amount_usd numeric,
    request_amount_usd numeric, web_search_amount_usd numeric, price_version text, usage_source text,
    budget_status text, http_status int, client_aborted boolean, provider_response_id text,
    occurred_at timestamptz, hold_usd numeric, is_leased boolean, is_ceiling boolean,
    cache_ttl_upgraded int, detail jsonb, amount_usd numeric
);

CREATE TYPE ledger.posted_total AS (
    team_id int, month date, spend_usd numeric, entry_count bigint, inserted bigint, leased_usd numeric
);

-- Rows out of one array a column; integer pico-USD become exact dollars. It is written so that the
-- planner inlines it, and with subscripts, which cost a quarter of what unnest() does here. NUL cannot
-- be stored and names are bounded: neither may make a charge unpostable.
CREATE FUNCTION ledger.usage_rows(
    p_service_month date[],
    p_entry_id uuid[], p_month date[], p_team_id int[], p_api_key_id int[], p_product text[],
    p_provider text[], p_dialect text[], p_request_model text[], p_response_model text[],
    p_input_uncached_tokens bigint[], p_cache_read_tokens bigint[], p_cache_write_5m_tokens bigint[],
    p_cache_write_1h_tokens bigint[], p_output_tokens bigint[], p_reasoning_tokens bigint[],
    p_web_search_requests bigint[], p_input_pico_usd bigint[], p_cache_read_pico_usd bigint[],
    p_cache_write_pico_usd bigint[], p_output_pico_usd bigint[], p_request_pico_usd bigint[],
    p_web_search_pico_usd bigint[], p_price_version text[], p_usage_source text[],
    p_budget_status text[], p_http_status int[], p_client_aborted boolean[],
    p_provider_response_id text[], p_occurred_at timestamptz[], p_hold_pico_usd bigint[],
    p_is_leased boolean[], p_is_ceiling boolean[], p_cache_ttl_upgraded int[], p_detail text[]
) RETURNS SETOF ledger.usage_row LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT
        p_entry_id[i], p_month[i], p_service_month[i], p_team_id[i], p_api_key_id[i], p_product[i],
        p_provider[i], p_dialect[i], left(p_request_model[i], 300), left(p_response_model[i], 300),
        p_input_uncached_tokens[i], p_cache_read_tokens[i], p_cache_write_5m_tokens[i],
        p_cache_write_1h_tokens[i], p_output_tokens[i], p_reasoning_tokens[i], p_web_search_requests[i],
        trim_scale(p_input_pico_usd[i] * 0.000000000001),
        trim_scale(p_cache_read_pico_usd[i] * 0.000000000001),
        trim_scale(p_cache_write_pico_usd[i] * 0.000000000001),
        trim_scale(p_output_pico_usd[i] * 0.000000000001),
        trim_scale(p_request_pico_usd[i] * 0.000000000001),
        trim_scale(p_web_search_pico_usd[i] * 0.000000000001), p_price_version[i], p_usage_source[i],
        p_budget_status[i], p_http_status[i], p_client_aborted[i], left(p_provider_response_id[i], 300),
        p_occurred_at[i], trim_scale(p_hold_pico_usd[i] * 0.000000000001), p_is_leased[i], p_is_ceiling[i],
        p_cache_ttl_upgraded[i], replace(p_detail[i], '\u0000', '\ufffd')::jsonb,
        trim_scale((p_input_pico_usd[i] + p_cache_read_pico_usd[i] + p_cache_write_pico_usd[i]
            + p_output_pico_usd[i] + p_request_pico_usd[i] + p_web_search_pico_usd[i]) * 0.000000000001)
    FROM generate_series(1, cardinality(p_entry_id)) AS i;
END;

-- Rows of closed months are booked in the first open one. Answers with the month of each row's entry:
-- NULL where it is booked already, in its own month or late.
CREATE FUNCTION ledger.admit_late(
    p_entry_id uuid[], p_month date[], p_closed date[], OUT post_month date[], OUT service_month date[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH open AS MATERIALIZED (
        SELECT c.month, ledger.open_month_after(c.month) AS post_month FROM unnest(p_closed) AS c (month)
    ), late AS (
        INSERT INTO ledger.late_entry (entry_id, service_month, posted_month)
        SELECT DISTINCT ON (u.entry_id) u.entry_id, u.month, open.post_month
        FROM unnest(p_entry_id, p_month) AS u (entry_id, month) JOIN open USING (month)
        WHERE NOT EXISTS (SELECT FROM ledger.ledger_entry e WHERE e.entry_id = u.entry_id AND e.month = u.month)
        ORDER BY u.entry_id
        ON CONFLICT (entry_id) DO NOTHING
        RETURNING entry_id, posted_month
    )
    SELECT array_agg(CASE WHEN open.month IS NULL THEN u.month ELSE late.posted_month END ORDER BY u.position),
           array_agg(open.month ORDER BY u.position)
    INTO post_month, service_month
    FROM unnest(p_entry_id, p_month) WITH ORDINALITY AS u (entry_id, month, position)
    LEFT JOIN open ON open.month = u.month
    LEFT JOIN late ON late.entry_id = u.entry_id;
END $$;

-- The id of the adjustment that brings the truth about an estimate.
CREATE FUNCTION ledger.truth_id(p_entry_id uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN md5('truth of ' || p_entry_id)::uuid;

CREATE FUNCTION ledger.is_corrected(p_entry_id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM ledger.late_entry l WHERE l.entry_id = ledger.truth_id(p_entry_id))
$$;

-- Rows that came although their id is booked: nearly always the same fact once more. The truth about
-- an estimate is booked as an adjustment, once; any other difference is kept as evidence.
CREATE FUNCTION ledger.compare_known(p_writer uuid, p_may_correct boolean, p_rows ledger.usage_row[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_pair record;
BEGIN
    FOR v_pair IN
        SELECT r AS truth, e AS known
        FROM unnest(p_rows) AS r
        LEFT JOIN ledger.late_entry l ON l.entry_id = r.entry_id
        JOIN ledger.ledger_entry e ON e.entry_id = r.entry_id AND e.month = coalesce(l.posted_month, r.month)
        WHERE r.usage_source <> 'estimated'
          AND (r.amount_usd, r.team_id) IS DISTINCT FROM (e.amount_usd, e.team_id)
        ORDER BY e.team_id, e.month, e.entry_id
    LOOP
        IF (v_pair.known).usage_source = 'estimated' AND (v_pair.known).team_id = (v_pair.truth).team_id THEN
            IF NOT p_may_correct AND NOT ledger.is_corrected((v_pair.truth).entry_id) THEN
                -- New rows hold totals already; more of them out of order, and two posts could wait
                -- for each other.
                RAISE EXCEPTION 'the truth about an estimate is posted apart from new rows'
                    USING ERRCODE = 'serialization_failure', HINT = 'Send the batch in parts.';
            END IF;
            PERFORM ledger.correct_estimate(v_pair.truth, v_pair.known);
        ELSE
            PERFORM ledger.put_dead_letter(p_writer, (v_pair.truth).entry_id::text, to_jsonb(v_pair.truth)::text,
                'the entry exists with another team or amount');
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION ledger.correct_estimate(p_truth ledger.usage_row, p_known ledger.ledger_entry) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_entry_id uuid := ledger.truth_id(p_truth.entry_id);
    v_month    date := p_known.month;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(8171002, v_month - DATE '2000-01-01');
    IF EXISTS (SELECT FROM ledger.accounting_period a WHERE a.month = v_month AND a.status = 'closed') THEN
        v_month := ledger.open_month_after(v_month);
    END IF;
    -- Unique over all months, so that the next replay finds it wherever it was booked.
    INSERT INTO ledger.late_entry (entry_id, service_month, posted_month)
    VALUES (v_entry_id, p_known.month, v_month) ON CONFLICT (entry_id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO ledger.ledger_entry (
        entry_id, month, service_month, team_id, api_key_id, http_status, occurred_at, entry_type, product, provider,
        dialect, request_model, response_model, price_version, usage_source, budget_status, provider_response_id,
        input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
        reasoning_tokens, web_search_requests, amount_usd, input_amount_usd, cache_read_amount_usd,
        cache_write_amount_usd, output_amount_usd, request_amount_usd, web_search_amount_usd,
        related_entry_id, reason, recorded_by, detail)
    VALUES (
        v_entry_id, v_month, nullif(p_known.month, v_month), p_known.team_id, p_known.api_key_id, p_truth.http_status,
        p_truth.occurred_at, 'adjustment', p_known.product, p_known.provider, p_known.dialect, p_known.request_model,
        p_truth.response_model, p_truth.price_version, p_truth.usage_source, p_known.budget_status,
        p_truth.provider_response_id,
        -- An estimate of tokens may be above the truth, and counts are never negative.
        greatest(p_truth.input_uncached_tokens - p_known.input_uncached_tokens, 0),
        greatest(p_truth.cache_read_tokens - p_known.cache_read_tokens, 0),
        greatest(p_truth.cache_write_5m_tokens - p_known.cache_write_5m_tokens, 0),
        greatest(p_truth.cache_write_1h_tokens - p_known.cache_write_1h_tokens, 0),
        greatest(p_truth.output_tokens - p_known.output_tokens, 0),
        greatest(p_truth.reasoning_tokens - p_known.reasoning_tokens, 0),
        greatest(p_truth.web_search_requests - p_known.web_search_requests, 0),
        p_truth.amount_usd - p_known.amount_usd,
        p_truth.input_amount_usd - p_known.input_amount_usd,
        p_truth.cache_read_amount_usd - p_known.cache_read_amount_usd,
        p_truth.cache_write_amount_usd - p_known.cache_write_amount_usd,
        p_truth.output_amount_usd - p_known.output_amount_usd,
        p_truth.request_amount_usd - p_known.request_amount_usd,
        p_truth.web_search_amount_usd - p_known.web_search_amount_usd,
        p_known.entry_id, 'the truth about an estimated entry', 'gateway', to_jsonb(p_truth));
    INSERT INTO ledger.team_month_spend AS t (team_id, month, spend_usd, entry_count)
    VALUES (p_known.team_id, v_month, p_truth.amount_usd - p_known.amount_usd, 1)
    ON CONFLICT (team_id, month) DO UPDATE
        SET spend_usd = t.spend_usd + EXCLUDED.spend_usd, entry_count = t.entry_count + 1;
END $$;

CREATE FUNCTION ledger.put_dead_letter(p_writer uuid, p_entry_id text, p_payload text, p_error text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO ledger.dead_letter (writer_id, entry_id, payload, error)
    VALUES (p_writer, p_entry_id, p_payload, left(p_error, 2000)) ON CONFLICT DO NOTHING
$$;

-- Posts a batch; exactly once, however often and by whomever it is sent. Answers with the totals of
-- every team and month of the input (and of the months into which late rows went), with how many rows
-- are new and how much of that is spent from the writer's lease.
CREATE FUNCTION ledger.post_entries(
    p_writer uuid,
    p_entry_id uuid[], p_month date[], p_team_id int[], p_api_key_id int[], p_product text[],
    p_provider text[], p_dialect text[], p_request_model text[], p_response_model text[],
    p_input_uncached_tokens bigint[], p_cache_read_tokens bigint[], p_cache_write_5m_tokens bigint[],
    p_cache_write_1h_tokens bigint[], p_output_tokens bigint[], p_reasoning_tokens bigint[],
    p_web_search_requests bigint[], p_input_pico_usd bigint[], p_cache_read_pico_usd bigint[],
    p_cache_write_pico_usd bigint[], p_output_pico_usd bigint[], p_request_pico_usd bigint[],
    p_web_search_pico_usd bigint[], p_price_version text[], p_usage_source text[],
    p_budget_status text[], p_http_status int[], p_client_aborted boolean[],
    p_provider_response_id text[], p_occurred_at timestamptz[], p_hold_pico_usd bigint[],
    p_is_leased boolean[], p_is_ceiling boolean[], p_cache_ttl_upgraded int[], p_detail text[]
) RETURNS TABLE (team_id int, month date, spend_usd numeric, entry_count bigint, inserted bigint, leased_usd numeric)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_month         date;
    v_closed        date[];
    v_service_month date[];
    v_post_month    date[] := p_month;
    v_totals        ledger.posted_total[];
    v_inserted      bigint;
BEGIN
    FOR v_month IN SELECT DISTINCT m FROM unnest(p_month) AS m ORDER BY m LOOP
        PERFORM pg_advisory_xact_lock_shared(8171002, v_month - DATE '2000-01-01');
        IF NOT EXISTS (SELECT FROM ledger.accounting_period a WHERE a.month = v_month) THEN
            PERFORM ledger.ensure_month(v_month);
        ELSIF NOT EXISTS (SELECT FROM ledger.accounting_period a
                          WHERE a.month = (v_month + interval '2 months')::date)
              -- Ahead of need: where somebody else is at it, nobody waits.
              AND pg_try_advisory_xact_lock(8171001, 0) THEN
            PERFORM ledger.ensure_month(v_month);
        END IF;
        IF EXISTS (SELECT FROM ledger.accounting_period a WHERE a.month = v_month AND a.status = 'closed') THEN
            v_closed := v_closed || v_month;
        END IF;
    END LOOP;
    IF v_closed IS NOT NULL THEN
        SELECT l.post_month, l.service_month INTO v_post_month, v_service_month
        FROM ledger.admit_late(p_entry_id, p_month, v_closed) AS l;
    END IF;
    WITH posted AS (
        -- In the order of ids, so that two posts of the same rows cannot wait for each other.
        INSERT INTO ledger.ledger_entry (
        entry_id, month, service_month, team_id, api_key_id, product, provider, dialect,
        request_model, response_model, input_uncached_tokens, cache_read_tokens,
        cache_write_5m_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens,
        web_search_requests, input_amount_usd, cache_read_amount_usd, cache_write_amount_usd,
        output_amount_usd, request_amount_usd, web_search_amount_usd, price_version, usage_source,
        budget_status, http_status, client_aborted, provider_response_id, occurred_at, hold_usd,
        is_leased, is_ceiling, cache_ttl_upgraded, detail, amount_usd)
        SELECT
            r.entry_id, r.month, r.service_month, r.team_id, r.api_key_id, r.product, r.provider,
            r.dialect, r.request_model, r.response_model, r.input_uncached_tokens,
            r.cache_read_tokens, r.cache_write_5m_tokens, r.cache_write_1h_tokens, r.output_tokens,
            r.reasoning_tokens, r.web_search_requests, r.input_amount_usd, r.cache_read_amount_usd,
            r.cache_write_amount_usd, r.output_amount_usd, r.request_amount_usd,
            r.web_search_amount_usd, r.price_version, r.usage_source, r.budget_status,
            r.http_status, r.client_aborted, r.provider_response_id, r.occurred_at, r.hold_usd,
            r.is_leased, r.is_ceiling, r.cache_ttl_upgraded, r.detail, r.amount_usd
        FROM ledger.usage_rows(v_service_month,
            p_entry_id, v_post_month, p_team_id, p_api_key_id, p_product, p_provider, p_dialect,
            p_request_model, p_response_model, p_input_uncached_tokens, p_cache_read_tokens,
            p_cache_write_5m_tokens, p_cache_write_1h_tokens, p_output_tokens, p_reasoning_tokens,
            p_web_search_requests, p_input_pico_usd, p_cache_read_pico_usd, p_cache_write_pico_usd,
            p_output_pico_usd, p_request_pico_usd, p_web_search_pico_usd, p_price_version,
            p_usage_source, p_budget_status, p_http_status, p_client_aborted,
            p_provider_response_id, p_occurred_at, p_hold_pico_usd, p_is_leased, p_is_ceiling,
            p_cache_ttl_upgraded, p_detail) AS r
        WHERE r.month IS NOT NULL OR r.service_month IS NULL
        ORDER BY r.entry_id
        ON CONFLICT (entry_id, month) DO NOTHING
        RETURNING team_id, month, service_month, amount_usd, is_leased
    ), change AS (
        SELECT p.team_id, p.month, sum(p.amount_usd) AS amount_usd, count(*) AS entry_count
        FROM posted p GROUP BY p.team_id, p.month
    ), total AS (
        INSERT INTO ledger.team_month_spend AS t (team_id, month, spend_usd, entry_count)
        SELECT c.team_id, c.month, c.amount_usd, c.entry_count FROM change c ORDER BY c.team_id, c.month
        ON CONFLICT (team_id, month) DO UPDATE
            SET spend_usd = t.spend_usd + EXCLUDED.spend_usd, entry_count = t.entry_count + EXCLUDED.entry_count
        RETURNING t.team_id, t.month, t.spend_usd, t.entry_count
    ), spent AS (
        -- A hold was leased in the month of its request, wherever the entry stands.
        SELECT p.team_id, coalesce(p.service_month, p.month) AS month, sum(p.amount_usd) AS leased_usd
        FROM posted p WHERE p.is_leased GROUP BY 1, 2
    ), consumed AS (
        UPDATE ledger.budget_lease l SET consumed_usd = l.consumed_usd + s.leased_usd
        FROM spent s, (SELECT count(*) FROM total) AS totals_are_locked
        WHERE l.team_id = s.team_id AND l.month = s.month AND l.writer_id = p_writer
    ), account AS (
        SELECT DISTINCT u.team_id, u.month FROM unnest(p_team_id, p_month) AS u (team_id, month)
        UNION SELECT t.team_id, t.month FROM total t
    )
    SELECT array_agg(ROW(a.team_id, a.month, coalesce(t.spend_usd, old.spend_usd, 0),
                         coalesce(t.entry_count, old.entry_count, 0), coalesce(c.entry_count, 0),
                         coalesce(s.leased_usd, 0))::ledger.posted_total),
           sum(c.entry_count)
    INTO v_totals, v_inserted
    FROM account a
    LEFT JOIN total t ON t.team_id = a.team_id AND t.month = a.month
    LEFT JOIN change c ON c.team_id = a.team_id AND c.month = a.month
    LEFT JOIN spent s ON s.team_id = a.team_id AND s.month = a.month
    LEFT JOIN ledger.team_month_spend old ON old.team_id = a.team_id AND old.month = a.month;
    RETURN QUERY SELECT * FROM unnest(v_totals);
    IF coalesce(v_inserted, 0) < cardinality(p_entry_id) THEN
        PERFORM ledger.compare_known(p_writer, coalesce(v_inserted, 0) = 0, ARRAY(
            SELECT r FROM ledger.usage_rows(NULL,
                p_entry_id, p_month, p_team_id, p_api_key_id, p_product, p_provider, p_dialect,
                p_request_model, p_response_model, p_input_uncached_tokens, p_cache_read_tokens,
                p_cache_write_5m_tokens, p_cache_write_1h_tokens, p_output_tokens, p_reasoning_tokens,
                p_web_search_requests, p_input_pico_usd, p_cache_read_pico_usd, p_cache_write_pico_usd,
                p_output_pico_usd, p_request_pico_usd, p_web_search_pico_usd, p_price_version,
                p_usage_source, p_budget_status, p_http_status, p_client_aborted,
                p_provider_response_id, p_occurred_at, p_hold_pico_usd, p_is_leased, p_is_ceiling,
                p_cache_ttl_upgraded, p_detail) AS r));
    END IF;
END $$;
