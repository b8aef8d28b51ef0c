-- Corrections and the close of a month.

-- A correction: a new row, signed by who is logged in. True where this call booked it, false where an
-- earlier one with the same id and amount had.
CREATE FUNCTION ledger.post_adjustment(
    p_entry_id uuid, p_entry_type text, p_month date, p_team_id int, p_amount_usd numeric, p_reason text,
    p_related_entry_id uuid DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_related ledger.ledger_entry;
    v_known   ledger.ledger_entry;
BEGIN
    PERFORM ledger.check_adjustment(p_entry_type, p_team_id, p_amount_usd);
    PERFORM pg_advisory_xact_lock_shared(8171002, p_month - DATE '2000-01-01');
    SELECT * INTO v_known FROM ledger.ledger_entry e WHERE e.entry_id = p_entry_id;
    IF FOUND THEN
        RETURN ledger.is_same_adjustment(v_known, p_entry_type, p_team_id, p_amount_usd);
    END IF;
    IF NOT EXISTS (SELECT FROM ledger.accounting_period a WHERE a.month = p_month) THEN
        PERFORM ledger.ensure_month(p_month);
    END IF;
    IF EXISTS (SELECT FROM ledger.accounting_period a WHERE a.month = p_month AND a.status = 'closed') THEN
        RAISE EXCEPTION 'month % is closed: book the correction in an open one', to_char(p_month, 'YYYY-MM')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    v_related := ledger.related_entry(p_related_entry_id, p_entry_type, p_team_id, p_amount_usd);
    INSERT INTO ledger.ledger_entry (
        entry_id, month, service_month, team_id, api_key_id, occurred_at, entry_type, product, provider, dialect,
        request_model, response_model, amount_usd, related_entry_id, reason, recorded_by)
    VALUES (
        p_entry_id, p_month, nullif(v_related.month, p_month), p_team_id, v_related.api_key_id, now(), p_entry_type,
        v_related.product, v_related.provider, v_related.dialect, v_related.request_model, v_related.response_model,
        p_amount_usd, p_related_entry_id, p_reason, session_user)
    ON CONFLICT (entry_id, month) DO NOTHING;
    IF NOT FOUND THEN
        SELECT * INTO v_known FROM ledger.ledger_entry e WHERE e.entry_id = p_entry_id AND e.month = p_month;
        RETURN ledger.is_same_adjustment(v_known, p_entry_type, p_team_id, p_amount_usd);
    END IF;
    INSERT INTO ledger.team_month_spend AS t (team_id, month, spend_usd, entry_count)
    VALUES (p_team_id, p_month, p_amount_usd, 1)
    ON CONFLICT (team_id, month) DO UPDATE
        SET spend_usd = t.spend_usd + EXCLUDED.spend_usd, entry_count = t.entry_count + 1;
    RETURN true;
END $$;

CREATE FUNCTION ledger.check_adjustment(p_entry_type text, p_team_id int, p_amount_usd numeric) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_entry_type IS NULL OR p_entry_type NOT IN ('adjustment', 'credit', 'reversal') THEN
        RAISE EXCEPTION '% is no correction: adjustment, credit or reversal', coalesce(p_entry_type, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Workers count in pico-USD.
    IF p_amount_usd IS NULL OR p_amount_usd IN ('NaN', 'Infinity', '-Infinity', 0)
       OR scale(trim_scale(p_amount_usd)) > 12 THEN
        RAISE EXCEPTION '% is no amount to correct by: not zero, at most 12 decimals', coalesce(p_amount_usd::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (SELECT FROM ledger.team t WHERE t.team_id = p_team_id) THEN
        RAISE EXCEPTION 'there is no team %', p_team_id USING ERRCODE = 'foreign_key_violation';
    END IF;
END $$;

CREATE FUNCTION ledger.is_same_adjustment(
    p_known ledger.ledger_entry, p_entry_type text, p_team_id int, p_amount_usd numeric
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (p_known.entry_type, p_known.team_id, p_known.amount_usd) IS DISTINCT FROM (p_entry_type, p_team_id, p_amount_usd) THEN
        RAISE EXCEPTION 'entry % exists and is another one', p_known.entry_id USING ERRCODE = 'unique_violation';
    END IF;
    RETURN false;
END $$;

-- The entry that a correction is about; a reversal takes back the whole of one, once.
CREATE FUNCTION ledger.related_entry(p_entry_id uuid, p_entry_type text, p_team_id int, p_amount_usd numeric)
RETURNS ledger.ledger_entry
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_entry ledger.ledger_entry;
BEGIN
    IF p_entry_id IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT * INTO v_entry FROM ledger.ledger_entry e WHERE e.entry_id = p_entry_id;
    IF NOT FOUND OR v_entry.team_id <> p_team_id THEN
        RAISE EXCEPTION 'team % has no entry %', p_team_id, p_entry_id USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF p_entry_type = 'reversal' THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('reversal of ' || p_entry_id, 0));
        IF p_amount_usd <> -v_entry.amount_usd THEN
            RAISE EXCEPTION 'a reversal of entry % is %', p_entry_id, -v_entry.amount_usd
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF EXISTS (SELECT FROM ledger.ledger_entry e
                   WHERE e.related_entry_id = p_entry_id AND e.entry_type = 'reversal') THEN
            RAISE EXCEPTION 'entry % is reversed already', p_entry_id USING ERRCODE = 'unique_violation';
        END IF;
    END IF;
    RETURN v_entry;
END $$;

-- A digest of all rows of a month, whatever the settings of the session: rows by hour of recording, so
-- that no single text grows with the month.
CREATE FUNCTION ledger.month_digest(p_month date) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET bytea_output = 'hex' AS $$
    SELECT sha256(coalesce(string_agg(h.digest, ''::bytea ORDER BY h.hour), ''::bytea))
    FROM (
        SELECT date_trunc('hour', e.recorded_at) AS hour,
               sha256(string_agg(sha256(convert_to(ROW(
                   e.entry_id, e.month, e.service_month, e.team_id, e.api_key_id, e.entry_type, e.amount_usd,
                   e.input_amount_usd, e.cache_read_amount_usd, e.cache_write_amount_usd, e.output_amount_usd,
                   e.request_amount_usd, e.web_search_amount_usd, e.input_uncached_tokens, e.cache_read_tokens,
                   e.cache_write_5m_tokens, e.cache_write_1h_tokens, e.output_tokens, e.reasoning_tokens,
                   e.web_search_requests, e.product, e.provider, e.dialect, e.request_model, e.response_model,
                   e.price_version, e.usage_source, e.budget_status, e.http_status, e.client_aborted,
                   e.provider_response_id, e.occurred_at, e.recorded_at, e.related_entry_id, e.reason, e.recorded_by,
                   e.detail, e.hold_usd, e.is_leased, e.is_ceiling, e.cache_ttl_upgraded)::text, 'UTF8')), ''::bytea ORDER BY e.entry_id)) AS digest
        FROM ledger.ledger_entry e WHERE e.month = p_month GROUP BY 1
    ) AS h
$$;

-- The month in which a dead letter's request was admitted, from its time-ordered id; NULL: unknown.
CREATE FUNCTION ledger.dead_letter_month(p_entry_id text) RETURNS date
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN p_entry_id ~* '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN
        date_trunc('month', to_timestamp(('x' || left(replace(p_entry_id, '-', ''), 12))::bit(48)::bigint / 1000.0)
                            AT TIME ZONE 'UTC')::date
    END
$$;

-- Freezes a month that is over: control totals and a digest. What comes later is a correction.
CREATE FUNCTION ledger.close_month(p_month date) RETURNS ledger.accounting_period
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_letters bigint;
    v_closed  ledger.accounting_period;
    v_name    text := to_char(p_month, 'YYYY-MM');
BEGIN
    -- Not where it is there: the lock of partitions is not for the time that a digest takes.
    IF NOT EXISTS (SELECT FROM ledger.accounting_period a WHERE a.month = p_month) THEN
        PERFORM ledger.ensure_month(p_month);
    END IF;
    IF now() AT TIME ZONE 'UTC' < p_month + interval '1 month' THEN
        RAISE EXCEPTION 'month % is not over: closed now, its caps would bind nobody', v_name
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- Waits for posts that are under way; later ones see the month closed.
    PERFORM pg_advisory_xact_lock(8171002, p_month - DATE '2000-01-01');
    IF EXISTS (SELECT FROM ledger.accounting_period a WHERE a.month = p_month AND a.status = 'closed') THEN
        RAISE EXCEPTION 'month % is closed already', v_name USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF EXISTS (SELECT FROM ledger.reconciliation r WHERE r.month = p_month AND NOT r.balanced) THEN
        RAISE EXCEPTION 'month % does not reconcile: see ledger.reconciliation', v_name
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT count(*) INTO v_letters FROM ledger.dead_letter d
    WHERE d.resolved_at IS NULL AND coalesce(ledger.dead_letter_month(d.entry_id) <= p_month, true);
    IF v_letters > 0 THEN
        RAISE EXCEPTION 'month % has % unresolved dead letters: see ledger.dead_letter', v_name, v_letters
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    UPDATE ledger.accounting_period a
    SET status = 'closed', closed_at = now(), closed_by = session_user, entry_count = e.entry_count,
        total_usd = e.total_usd, digest = ledger.month_digest(p_month)
    FROM (SELECT count(*) AS entry_count, coalesce(sum(amount_usd), 0) AS total_usd
          FROM ledger.ledger_entry WHERE month = p_month) AS e
    WHERE a.month = p_month
    RETURNING a.* INTO v_closed;
    RETURN v_closed;
END $$;
