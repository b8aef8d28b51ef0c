-- Four roles with what each needs and no more; none can change an entry.
REVOKE ALL ON SCHEMA ledger FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA ledger FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;
REVOKE ALL ON TYPE ledger.usage_row FROM PUBLIC;

DO $$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['gateway_writer', 'finance_reader', 'finance_admin', 'budget_admin'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = v_role);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'as an administrator: CREATE ROLE % NOLOGIN; then, as the owner: SELECT ledger.grant_roles();', v_role;
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- Made meanwhile, from another database of this server.
        END;
    END LOOP;
END $$;

-- Grants to those of the roles that exist; to be called again by the owner once others are made.
CREATE FUNCTION ledger.grant_to(p_role text, p_grants text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_grant text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = p_role) THEN
        EXECUTE format('GRANT USAGE ON SCHEMA ledger TO %I', p_role);
        FOREACH v_grant IN ARRAY p_grants LOOP
            EXECUTE format('GRANT %s TO %I', v_grant, p_role);
        END LOOP;
    END IF;
END $$;

CREATE FUNCTION ledger.grant_roles() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_role  text;
    -- The view came with a later migration.
    v_focus text := CASE WHEN to_regclass('ledger.focus_charge') IS NULL THEN '' ELSE ', ledger.focus_charge' END;
    v_reads text[] := ARRAY[
        'SELECT ON ledger.team, ledger.cap_override, ledger.cap_change, ledger.ledger_entry, ledger.team_month_spend, '
        'ledger.accounting_period, ledger.price, ledger.late_entry, ledger.dead_letter, ledger.budget_status, '
        'ledger.reconciliation, ledger.spend_by_team_model_day' || v_focus,
        'SELECT (api_key_id, team_id, key_prefix, label, may_override_budget, allowed_models, created_at, revoked_at) ON ledger.api_key',
        'EXECUTE ON FUNCTION ledger.cap_in_force, ledger.held_usd, ledger.month_digest'];
BEGIN
    PERFORM ledger.grant_to('gateway_writer', ARRAY[
        'SELECT ON ledger.team, ledger.api_key, ledger.cap_override, ledger.team_month_spend, ledger.ledger_entry, '
        'ledger.accounting_period, ledger.price, ledger.budget_status',
        'EXECUTE ON FUNCTION ledger.post_entries, ledger.put_dead_letter, ledger.ensure_month, ledger.lease_sync, '
        'ledger.lease_close, ledger.lease_expire, ledger.team_budgets, ledger.cap_in_force, ledger.held_usd, '
        'ledger.find_key']);
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
REVOKE ALL ON FUNCTION ledger.grant_to, ledger.grant_roles FROM PUBLIC;
SELECT ledger.grant_roles();

SELECT ledger.ensure_month((date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month')::date);
SELECT ledger.ensure_month(date_trunc('month', now() AT TIME ZONE 'UTC')::date);
