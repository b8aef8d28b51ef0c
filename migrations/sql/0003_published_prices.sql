-- Published prices stand beside those that the operator set and never above them: only the latter
-- reach the price book, which has the published ones of its own. `gateway migrate` fills them in.
ALTER TABLE ledger.price
    ADD COLUMN is_published boolean NOT NULL DEFAULT false,
    -- A row for each tier of prompt length, as providers publish them.
    ADD COLUMN above_prompt_tokens bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT price_tiers_are_published CHECK (
        above_prompt_tokens = 0 OR (is_published AND above_prompt_tokens > 0));
COMMENT ON COLUMN ledger.price.is_published IS 'From the price data; false: set by the operator';
COMMENT ON COLUMN ledger.price.above_prompt_tokens IS 'Holds for prompts of more tokens than this';

CREATE FUNCTION ledger.price_set() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added a WHERE NOT a.is_published) THEN
        PERFORM pg_notify('gateway_price', '');
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION ledger.price_set FROM PUBLIC;
CREATE TRIGGER price_set AFTER INSERT ON ledger.price
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.price_set();
