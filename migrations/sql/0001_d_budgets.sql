-- What a team may spend: the cap in force, leases of it, and what the guard and the gateway read.

-- The cap at an instant, overrides included, and when it next changes by itself.
CREATE FUNCTION ledger.cap_in_force(p_team_id int, p_at timestamptz, OUT cap_usd numeric, OUT next_change_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_valid tstzrange;
BEGIN
    SELECT o.cap_usd, o.valid INTO cap_usd, v_valid
    FROM ledger.cap_override o WHERE o.team_id = p_team_id AND o.valid @> p_at;
    IF NOT FOUND THEN
        SELECT t.monthly_cap_usd INTO cap_usd FROM ledger.team t WHERE t.team_id = p_team_id;
    END IF;
    SELECT min(lower(o.valid)) INTO next_change_at
    FROM ledger.cap_override o WHERE o.team_id = p_team_id AND lower(o.valid) > p_at;
    -- Infinity is never reached.
    next_change_at := nullif(least(next_change_at, upper(v_valid)), 'infinity');
END $$;

-- What the writers of a team hold of a month's budget and have not spent.
CREATE FUNCTION ledger.held_usd(p_team_id int, p_month date) RETURNS numeric
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(greatest(l.granted_usd - l.consumed_usd - l.returned_usd, 0)), 0)
    FROM ledger.budget_lease l
    WHERE l.team_id = p_team_id AND l.month = p_month AND l.state = 'active' AND l.expires_at > clock_timestamp()
$$;

-- One call brings a writer's counters in, gives back what it returns, and grants it more.
--   p_committed_usd  what the writer is bound to: consumed, returned, settled but not posted, and holds
--   p_consumed_usd   posted from the lease so far        p_returned_usd  given back so far
--   p_want_usd       wanted on top                       p_min_usd       the hold of the request that waits
--   p_is_exact       no clamp to a share of what is left p_may_cross     one request more while there is room
-- After a grant, posted + outstanding <= cap; but a request that may cross can exceed it by its hold,
-- and what a writer is bound to is a fact that no grant undoes.
CREATE FUNCTION ledger.lease_sync(
    p_writer uuid, p_team_id int, p_month date, p_committed_usd numeric, p_consumed_usd numeric, p_returned_usd numeric,
    p_want_usd numeric, p_min_usd numeric, p_is_exact boolean, p_may_cross boolean, p_ttl interval
) RETURNS TABLE (granted_usd numeric, spend_usd numeric, held_usd numeric, cap_usd numeric, writers int,
                 next_change_at timestamptz, database_now timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_granted numeric;
    v_spend   numeric;
    v_held    numeric;
    v_cap     numeric;
    v_next    timestamptz;
    v_writers int;
    v_room    numeric;
    v_grant   numeric := 0;
BEGIN
    IF num_nulls(p_committed_usd, p_consumed_usd, p_returned_usd, p_want_usd, p_min_usd, p_is_exact, p_may_cross, p_ttl) > 0
       OR 'NaN' IN (p_committed_usd, p_consumed_usd, p_returned_usd, p_want_usd, p_min_usd)
       OR 'Infinity' IN (p_want_usd, p_min_usd) OR least(p_want_usd, p_min_usd) < 0 OR p_ttl <= interval '0' THEN
        RAISE EXCEPTION 'a lease is asked for in finite amounts, none below zero, for some time'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Grants of one team wait for each other, and for nothing else: a post moves money from outstanding
    -- to posted in one transaction, so that one snapshot always shows their sum.
    PERFORM pg_advisory_xact_lock(8171003, p_team_id);
    INSERT INTO ledger.budget_lease AS l (team_id, month, writer_id, granted_usd, consumed_usd, returned_usd, expires_at)
    VALUES (p_team_id, p_month, p_writer, p_committed_usd, p_consumed_usd, p_returned_usd, clock_timestamp() + p_ttl)
    ON CONFLICT (team_id, month, writer_id) DO UPDATE SET
        consumed_usd = greatest(l.consumed_usd, EXCLUDED.consumed_usd),
        returned_usd = greatest(l.returned_usd, EXCLUDED.returned_usd),
        -- What an ended lease had left went to others; what the writer is bound to stands.
        granted_usd = greatest(EXCLUDED.granted_usd,
            CASE WHEN l.state = 'active' AND l.expires_at > clock_timestamp() THEN l.granted_usd
                 ELSE greatest(l.consumed_usd, EXCLUDED.consumed_usd) + greatest(l.returned_usd, EXCLUDED.returned_usd)
            END),
        state = 'active',
        expires_at = EXCLUDED.expires_at
    RETURNING l.granted_usd INTO v_granted;
    -- A new statement, hence a new snapshot, under the lock: posted, leases and cap belong together.
    SELECT coalesce(t.spend_usd, 0), c.cap_usd, c.next_change_at, h.held_usd, h.writers
    INTO v_spend, v_cap, v_next, v_held, v_writers
    FROM ledger.cap_in_force(p_team_id, clock_timestamp()) AS c
    LEFT JOIN ledger.team_month_spend t ON t.team_id = p_team_id AND t.month = p_month
    CROSS JOIN LATERAL (
        SELECT sum(greatest(l.granted_usd - l.consumed_usd - l.returned_usd, 0)) AS held_usd, count(*)::int AS writers
        FROM ledger.budget_lease l
        WHERE l.team_id = p_team_id AND l.month = p_month AND l.state = 'active'
          AND (l.expires_at > clock_timestamp() OR l.writer_id = p_writer)
    ) AS h;
    IF v_cap > 0 AND p_want_usd + p_min_usd > 0 THEN
        v_room := v_cap - v_spend - v_held;
        -- Half of a fair share at most, so that the slices shrink as the cap comes near.
        v_grant := CASE WHEN p_is_exact THEN p_want_usd
                        ELSE least(p_want_usd, trunc(v_room / (2 * v_writers), 12)) END;
        v_grant := least(greatest(v_grant, p_min_usd), v_room);
        IF v_grant < p_min_usd THEN
            v_grant := CASE WHEN p_may_cross AND v_room > 0 THEN p_min_usd ELSE 0 END;
        END IF;
        IF v_grant > 0 THEN
            UPDATE ledger.budget_lease l SET granted_usd = l.granted_usd + v_grant
            WHERE l.team_id = p_team_id AND l.month = p_month AND l.writer_id = p_writer
            RETURNING l.granted_usd INTO v_granted;
            v_held := v_held + v_grant;
        END IF;
    END IF;
    RETURN QUERY SELECT v_granted, v_spend, v_held, v_cap, v_writers, v_next, clock_timestamp();
END $$;

-- Ends all leases of a writer: at its clean end, or once its journal is replayed.
CREATE FUNCTION ledger.lease_close(p_writer uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_closed bigint;
BEGIN
    UPDATE ledger.budget_lease l SET state = 'closed' WHERE l.writer_id = p_writer AND l.state = 'active';
    GET DIAGNOSTICS v_closed = ROW_COUNT;
    RETURN v_closed;
END $$;

-- Marks leases whose time is over, and forgets those that ended long ago.
CREATE FUNCTION ledger.lease_expire() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_expired bigint;
BEGIN
    UPDATE ledger.budget_lease l SET state = 'expired'
    FROM (SELECT o.team_id, o.month, o.writer_id FROM ledger.budget_lease o
          WHERE o.state = 'active' AND o.expires_at <= clock_timestamp() FOR UPDATE SKIP LOCKED) AS over
    WHERE l.team_id = over.team_id AND l.month = over.month AND l.writer_id = over.writer_id;
    GET DIAGNOSTICS v_expired = ROW_COUNT;
    DELETE FROM ledger.budget_lease l
    USING (SELECT o.team_id, o.month, o.writer_id FROM ledger.budget_lease o
           WHERE o.state <> 'active' AND o.expires_at < clock_timestamp() - interval '7 days' FOR UPDATE SKIP LOCKED) AS old
    WHERE l.team_id = old.team_id AND l.month = old.month AND l.writer_id = old.writer_id;
    RETURN v_expired;
END $$;

-- What the guard knows about teams; NULL asks for all of them.
CREATE FUNCTION ledger.team_budgets(p_team_ids int[], p_month date)
RETURNS TABLE (team_id int, name text, cap_usd numeric, next_change_at timestamptz, warn_at numeric, engage_at numeric,
               enforcement text, save_mode text, is_archived boolean, spend_usd numeric, held_usd numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT t.team_id, t.name, c.cap_usd, c.next_change_at, t.warn_at, t.engage_at, t.enforcement, t.save_mode,
           t.archived_at IS NOT NULL, coalesce(s.spend_usd, 0), coalesce(h.held_usd, 0)
    FROM ledger.team t
    CROSS JOIN LATERAL ledger.cap_in_force(t.team_id, clock_timestamp()) AS c
    LEFT JOIN ledger.team_month_spend s ON s.team_id = t.team_id AND s.month = p_month
    LEFT JOIN LATERAL (
        SELECT sum(greatest(l.granted_usd - l.consumed_usd - l.returned_usd, 0)) AS held_usd
        FROM ledger.budget_lease l
        WHERE l.team_id = t.team_id AND l.month = p_month AND l.state = 'active' AND l.expires_at > clock_timestamp()
    ) AS h ON true
    WHERE p_team_ids IS NULL OR t.team_id = ANY (p_team_ids);
END $$;

-- Who a presented key is; revoked keys and archived teams are found, too, and say so.
CREATE FUNCTION ledger.find_key(p_key_hash bytea)
RETURNS TABLE (api_key_id int, team_id int, team_name text, key_prefix text, may_override_budget boolean,
               allowed_models text[], is_revoked boolean, is_archived boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.api_key_id, k.team_id, t.name, k.key_prefix, k.may_override_budget, k.allowed_models,
           k.revoked_at IS NOT NULL, t.archived_at IS NOT NULL
    FROM ledger.api_key k JOIN ledger.team t ON t.team_id = k.team_id
    WHERE k.key_hash = p_key_hash
$$;
