-- What may never change, and what tells workers and auditors about a change.

CREATE FUNCTION ledger.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on %.% refused: its rows are never changed', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation',
              HINT = 'Post an adjustment, a credit or a reversal; add a row that supersedes this one.';
END $$;

-- ALWAYS: session_replication_role = replica, which a superuser can set, switches off the others.
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON ledger.ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
ALTER TABLE ledger.ledger_entry ENABLE ALWAYS TRIGGER immutable;

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['cap_change', 'late_entry', 'price'] LOOP
        EXECUTE format('CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON ledger.%I '
                       'FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change()', v_table);
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER immutable', v_table);
    END LOOP;
    FOREACH v_table IN ARRAY ARRAY['cap_change', 'late_entry', 'price', 'ledger_entry', 'ledger_entry_default',
                                   'accounting_period', 'dead_letter', 'team'] LOOP
        EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger.%I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', v_table);
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER no_truncate', v_table);
    END LOOP;
END $$;
-- The owner, too; what the triggers say twice is said by the privileges once more.
REVOKE UPDATE, DELETE, TRUNCATE ON ledger.ledger_entry, ledger.ledger_entry_default, ledger.cap_change,
    ledger.late_entry, ledger.price FROM PUBLIC, CURRENT_USER;

CREATE FUNCTION ledger.keep_team() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'team % is not deleted: the ledger refers to it', OLD.name
            USING ERRCODE = 'restrict_violation',
                  HINT = 'UPDATE ledger.team SET archived_at = now() WHERE ...';
    END IF;
    IF NEW.team_id <> OLD.team_id THEN
        RAISE EXCEPTION 'team % keeps its number: the ledger refers to it', OLD.name
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_team BEFORE DELETE OR UPDATE OF team_id ON ledger.team
    FOR EACH ROW EXECUTE FUNCTION ledger.keep_team();
ALTER TABLE ledger.team ENABLE ALWAYS TRIGGER keep_team;

CREATE FUNCTION ledger.keep_closed_month() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.status = 'open' AND NEW.month = OLD.month THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% of month % refused: % months stay as they are', TG_OP, OLD.month, OLD.status
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER keep_closed_month BEFORE UPDATE OR DELETE ON ledger.accounting_period
    FOR EACH ROW EXECUTE FUNCTION ledger.keep_closed_month();
ALTER TABLE ledger.accounting_period ENABLE ALWAYS TRIGGER keep_closed_month;

CREATE FUNCTION ledger.keep_dead_letter() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.resolved_at IS NOT NULL
       OR (NEW.dead_letter_id, NEW.writer_id, NEW.entry_id, NEW.payload, NEW.error, NEW.received_at)
          IS DISTINCT FROM
          (OLD.dead_letter_id, OLD.writer_id, OLD.entry_id, OLD.payload, OLD.error, OLD.received_at) THEN
        RAISE EXCEPTION '% of dead letter % refused: it is evidence', TG_OP, OLD.dead_letter_id
            USING ERRCODE = 'restrict_violation', HINT = 'Set resolved_at and resolution, once.';
    END IF;
    NEW.resolved_by := CASE WHEN NEW.resolved_at IS NOT NULL THEN session_user END;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_dead_letter BEFORE UPDATE OR DELETE ON ledger.dead_letter
    FOR EACH ROW EXECUTE FUNCTION ledger.keep_dead_letter();
ALTER TABLE ledger.dead_letter ENABLE ALWAYS TRIGGER keep_dead_letter;

CREATE FUNCTION ledger.sign_price() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.created_at := now();
    NEW.created_by := session_user;
    RETURN NEW;
END $$;
CREATE TRIGGER sign_price BEFORE INSERT ON ledger.price
    FOR EACH ROW EXECUTE FUNCTION ledger.sign_price();

-- SECURITY DEFINER: whoever may change a cap need not be able to write the audit of it.
CREATE FUNCTION ledger.team_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_reason text := nullif(current_setting('ledger.reason', true), '');
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.monthly_cap_usd IS NOT NULL THEN
            INSERT INTO ledger.cap_change (team_id, source, operation, new_cap_usd, new_enforcement, reason)
            VALUES (NEW.team_id, 'team', TG_OP, NEW.monthly_cap_usd, NEW.enforcement, v_reason);
        END IF;
        PERFORM pg_notify('budget_cap', NEW.team_id::text);
        RETURN NULL;
    END IF;
    -- A cap in shadow binds nobody: how it is enforced belongs to the audit of it.
    IF (NEW.monthly_cap_usd, NEW.enforcement) IS DISTINCT FROM (OLD.monthly_cap_usd, OLD.enforcement) THEN
        INSERT INTO ledger.cap_change (team_id, source, operation, old_cap_usd, new_cap_usd,
                                       old_enforcement, new_enforcement, reason)
        VALUES (NEW.team_id, 'team', TG_OP, OLD.monthly_cap_usd, NEW.monthly_cap_usd,
                OLD.enforcement, NEW.enforcement, v_reason);
    END IF;
    IF NEW IS DISTINCT FROM OLD THEN
        PERFORM pg_notify('budget_cap', NEW.team_id::text);
    END IF;
    -- Workers remember these two with each key.
    IF (NEW.archived_at, NEW.name) IS DISTINCT FROM (OLD.archived_at, OLD.name) THEN
        PERFORM pg_notify('gateway_key', 'team:' || NEW.team_id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER team_changed AFTER INSERT OR UPDATE ON ledger.team
    FOR EACH ROW EXECUTE FUNCTION ledger.team_changed();

CREATE FUNCTION ledger.cap_override_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.team_id <> OLD.team_id THEN
        RAISE EXCEPTION 'an override stays with its team: delete it and insert another'
            USING ERRCODE = 'restrict_violation';
    END IF;
    INSERT INTO ledger.cap_change (team_id, source, operation, old_cap_usd, new_cap_usd,
                                   old_valid, new_valid, reason)
    VALUES (coalesce(NEW.team_id, OLD.team_id), 'cap_override', TG_OP, OLD.cap_usd, NEW.cap_usd,
            OLD.valid, NEW.valid, coalesce(NEW.reason, OLD.reason));
    PERFORM pg_notify('budget_cap', coalesce(NEW.team_id, OLD.team_id)::text);
    RETURN NULL;
END $$;
CREATE TRIGGER cap_override_changed AFTER INSERT OR UPDATE OR DELETE ON ledger.cap_override
    FOR EACH ROW EXECUTE FUNCTION ledger.cap_override_changed();

CREATE FUNCTION ledger.cap_overrides_emptied() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE of ledger.cap_override refused: the audit needs its rows; DELETE them'
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger.cap_override
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.cap_overrides_emptied();

CREATE FUNCTION ledger.api_key_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('gateway_key', coalesce(NEW.api_key_id, OLD.api_key_id)::text);
    RETURN NULL;
END $$;
CREATE TRIGGER api_key_changed AFTER INSERT OR UPDATE OR DELETE ON ledger.api_key
    FOR EACH ROW EXECUTE FUNCTION ledger.api_key_changed();

-- Overrides of a team may not overlap: by a constraint where the database has the operators for it,
-- else by a trigger.
CREATE FUNCTION ledger.refuse_overlap() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Under a snapshot taken earlier, the lock would not show what others have committed since.
    IF current_setting('transaction_isolation') = 'repeatable read' THEN
        RAISE EXCEPTION 'cap_override is written in READ COMMITTED or SERIALIZABLE transactions'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM pg_advisory_xact_lock(8171004, NEW.team_id);
    IF EXISTS (SELECT FROM ledger.cap_override o
               WHERE o.team_id = NEW.team_id AND o.valid && NEW.valid
                 AND (TG_OP = 'INSERT' OR o.valid <> OLD.valid)) THEN
        RAISE EXCEPTION 'an override of team % overlaps %', NEW.team_id, NEW.valid
            USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'cap_override_no_overlap';
    END IF;
    RETURN NEW;
END $$;
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS btree_gist SCHEMA public;
    ALTER TABLE ledger.cap_override ADD CONSTRAINT cap_override_no_overlap
        EXCLUDE USING gist (team_id WITH =, valid WITH &&);
EXCEPTION WHEN OTHERS THEN
    -- Hosts have many ways to say that an extension is not allowed or not there.
    RAISE NOTICE 'no btree_gist here (%): a trigger keeps overrides apart', SQLERRM;
    CREATE TRIGGER no_overlap BEFORE INSERT OR UPDATE ON ledger.cap_override
        FOR EACH ROW EXECUTE FUNCTION ledger.refuse_overlap();
END $$;
