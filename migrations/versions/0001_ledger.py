"""The ledger: teams, keys, caps, entries, totals, leases, close of months, roles."""

import sys
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = ("ledger",)
depends_on = None

_SCRIPTS = Path(__file__).parents[1] / "sql"
_ROLES = ("gateway_writer", "finance_reader", "finance_admin", "budget_admin")


def upgrade() -> None:
    for path in sorted(_SCRIPTS.glob("0001_*.sql")):
        op.run_script(path)
    if not op.get_context().as_sql:
        _name_missing_roles()


def downgrade() -> None:
    raise NotImplementedError("The ledger is not dropped by a migration; restore a backup.")


def _name_missing_roles() -> None:
    """Say on standard error what an administrator has to do, where this role may not do it."""
    known = set(op.get_bind().execute(sa.text("SELECT rolname FROM pg_roles")).scalars())
    missing = [role for role in _ROLES if role not in known]
    if missing:
        statements = "".join(f"    CREATE ROLE {role} NOLOGIN;\n" for role in missing)
        sys.stderr.write(
            "This login may not make roles. As an administrator:\n"
            f"{statements}and then, as the owner of the schema:\n"
            "    SELECT ledger.grant_roles();\n"
        )
