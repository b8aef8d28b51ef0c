"""Published prices beside the operator's own, and a word to the workers when one is set."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.run_script(Path(__file__).parents[1] / "sql" / "0003_published_prices.sql")


def downgrade() -> None:
    raise NotImplementedError("Rows of prices are never removed.")
