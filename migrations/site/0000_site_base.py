"""Where the site's own migrations begin: after the tables are there, beside the product's own."""

revision = "site0000"
down_revision = None
branch_labels = ("site",)
depends_on = "0001"


def upgrade() -> None:
    """Nothing to do: the place to build on."""


def downgrade() -> None:
    """Nothing to undo."""
