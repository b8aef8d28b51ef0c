-- name: lease_sync
-- Brings a writer's counters of one lease in, gives back what it returns, and grants it more.
SELECT granted_usd, spend_usd, held_usd, cap_usd, next_change_at
FROM ledger.lease_sync($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: lease_sync_many
-- The same for many leases in one question; one that a post holds now is left out.
SELECT team_id, month, granted_usd, spend_usd, held_usd, cap_usd, next_change_at
FROM ledger.lease_sync_many(
    $1, $2::text::int[], $3::text::date[], $4::text::numeric[], $5::text::numeric[],
    $6::text::numeric[], $7::text::numeric[], $8::text::numeric[], $9::text::boolean[],
    $10::text::boolean[], $11
);

-- name: lease_expire
-- Marks the leases whose time is over, of all writers.
SELECT ledger.lease_expire();

-- name: team_budgets
-- Terms, spend and holds of these teams in a month.
SELECT team_id, cap_usd, next_change_at, warn_at, engage_at, enforcement, save_mode, spend_usd,
    held_usd
FROM ledger.team_budgets($1, $2);
