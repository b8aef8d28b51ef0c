"""The view `focus_charge`: the ledger in the words of FOCUS 1.2."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.run_script(Path(__file__).parents[1] / "sql" / "0002_focus_charge.sql")


def downgrade() -> None:
    op.execute("DROP VIEW ledger.focus_charge")
