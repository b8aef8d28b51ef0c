-- Many leases of one writer in one question: what a worker with a thousand teams asks and gives back.
-- In the order of teams, so that two such questions never wait for each other. A lease that a post of the
-- same writer holds right now is left out of the answer: asked for alone, it waits.
CREATE FUNCTION ledger.lease_sync_many(
    p_writer uuid, p_team_id int[], p_month date[], p_committed_usd numeric[], p_consumed_usd numeric[],
    p_returned_usd numeric[], p_want_usd numeric[], p_min_usd numeric[], p_is_exact boolean[], p_may_cross boolean[],
    p_ttl interval
) RETURNS TABLE (team_id int, month date, granted_usd numeric, spend_usd numeric, held_usd numeric, cap_usd numeric,
                 next_change_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_ask record;
BEGIN
    FOR v_ask IN
        SELECT a.* FROM unnest(p_team_id, p_month, p_committed_usd, p_consumed_usd, p_returned_usd, p_want_usd,
                               p_min_usd, p_is_exact, p_may_cross)
            AS a (team_id, month, committed_usd, consumed_usd, returned_usd, want_usd, min_usd, is_exact, may_cross)
        ORDER BY a.team_id, a.month
    LOOP
        PERFORM FROM ledger.budget_lease l
        WHERE l.team_id = v_ask.team_id AND l.month = v_ask.month AND l.writer_id = p_writer
        FOR UPDATE SKIP LOCKED;
        IF FOUND OR NOT EXISTS (
            SELECT FROM ledger.budget_lease l
            WHERE l.team_id = v_ask.team_id AND l.month = v_ask.month AND l.writer_id = p_writer
        ) THEN
            RETURN QUERY
            SELECT v_ask.team_id, v_ask.month, s.granted_usd, s.spend_usd, s.held_usd, s.cap_usd, s.next_change_at
            FROM ledger.lease_sync(
                p_writer, v_ask.team_id, v_ask.month, v_ask.committed_usd, v_ask.consumed_usd, v_ask.returned_usd,
                v_ask.want_usd, v_ask.min_usd, v_ask.is_exact, v_ask.may_cross, p_ttl) AS s;
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION ledger.lease_sync_many FROM PUBLIC;

CREATE OR REPLACE FUNCTION ledger.grant_roles() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_role  text;
    -- It is gone again after a step back.
    v_many  text := CASE WHEN to_regproc('ledger.lease_sync_many') IS NULL THEN '' ELSE ', ledger.lease_sync_many' END;
    v_reads text[] := ARRAY[
        'SELECT ON ledger.team, ledger.cap_override, ledger.cap_change, ledger.ledger_entry, ledger.team_month_spend, '
        'ledger.accounting_period, ledger.price, ledger.late_entry, ledger.dead_letter, ledger.budget_status, '
        'ledger.reconciliation, ledger.spend_by_team_model_day, ledger.focus_charge',
        'SELECT (api_key_id, team_id, key_prefix, label, may_override_budget, allowed_models, created_at, revoked_at) ON ledger.api_key',
        'EXECUTE ON FUNCTION ledger.cap_in_force, ledger.held_usd, ledger.month_digest'];
BEGIN
    PERFORM ledger.grant_to('gateway_writer', ARRAY[
        'SELECT ON ledger.team, ledger.api_key, ledger.cap_override, ledger.team_month_spend, ledger.ledger_entry, '
        'ledger.accounting_period, ledger.price, ledger.budget_status',
        'EXECUTE ON FUNCTION ledger.post_entries, ledger.put_dead_letter, ledger.ensure_month, ledger.lease_sync, '
        'ledger.lease_close, ledger.lease_expire, ledger.team_budgets, ledger.cap_in_force, ledger.held_usd, '
        'ledger.find_key' || v_many]);
    PERFORM ledger.grant_to('finance_reader', v_reads);
    PERFORM ledger.grant_to('finance_admin', v_reads || ARRAY[
        'EXECUTE ON FUNCTION ledger.post_adjustment, ledger.close_month',
        'UPDATE (resolved_at, resolution) ON ledger.dead_letter',
        'INSERT (provider, model, effective_from, input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok, '
        'cache_write_5m_usd_per_mtok, cache_write_1h_usd_per_mtok, request_usd, web_search_usd, source) ON ledger.price']);
    PERFORM ledger.grant_to('budget_admin', ARRAY[
        'SELECT ON ledger.team, ledger.cap_override, ledger.cap_change, ledger.team_month_spend, ledger.budget_status',
        'UPDATE (monthly_cap_usd, enforcement, warn_at, engage_at, save_mode) ON ledger.team',
        'INSERT, UPDATE, DELETE ON ledger.cap_override',
        'EXECUTE ON FUNCTION ledger.cap_in_force, ledger.held_usd']);
    -- A gateway that is about to serve, and every command, asks whether the schema is current.
    IF to_regclass('alembic_version') IS NOT NULL THEN
        FOR v_role IN SELECT rolname FROM pg_roles
                      WHERE rolname IN ('gateway_writer', 'finance_reader', 'finance_admin', 'budget_admin') LOOP
            EXECUTE format('GRANT SELECT ON %s TO %I', to_regclass('alembic_version'), v_role);
        END LOOP;
    END IF;
END $$;
SELECT ledger.grant_roles();
