"""Many leases in one question."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.run_script(Path(__file__).parents[1] / "sql" / "0004_lease_batches.sql")


def downgrade() -> None:
    op.execute("DROP FUNCTION ledger.lease_sync_many")
