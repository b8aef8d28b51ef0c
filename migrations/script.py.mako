"""${message[:1].upper()}${message[1:].rstrip(".")}."""

${imports + "\n" if imports else ""}${"import sqlalchemy as sa\n" if "sa." in (upgrades or "") + (downgrades or "") else ""}from alembic import op
<%
def quoted(value):
    import json
    if value is None or isinstance(value, str):
        return json.dumps(value) if value else "None"
    items = ", ".join(json.dumps(each) for each in value)
    return f"({items},)" if len(value) == 1 else f"({items})"
%>
revision = ${quoted(up_revision)}
down_revision = ${quoted(down_revision)}
branch_labels = ${quoted(branch_labels)}
depends_on = ${quoted(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else 'op.execute("SELECT 1")'}


def downgrade() -> None:
    ${downgrades if downgrades else '"""Nothing to undo: caps are changed by a later file."""'}
