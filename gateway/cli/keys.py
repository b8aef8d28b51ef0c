"""`gateway key`: make, list and revoke virtual keys."""

from collections.abc import Sequence

import asyncpg
import click

from gateway.auth.keys import hash_key, new_key, prefix_of
from gateway.cli.printing import print_json, print_rows, say
from gateway.cli.session import CommandError, Row, json_option, query, team_id_of

_IS_ARCHIVED = "SELECT archived_at IS NOT NULL FROM ledger.team WHERE team_id = $1"


@click.group()
def key() -> None:
    """Virtual keys: who calls."""


async def insert_key(
    connection: asyncpg.Connection,
    *,
    team_id: int,
    label: str | None,
    may_override: bool,
    allowed_models: Sequence[str] | None = None,
) -> str:
    """Make a key; the text is returned once and stored nowhere."""
    text = new_key()
    await connection.execute(
        "INSERT INTO ledger.api_key "
        "(team_id, key_hash, key_prefix, label, may_override_budget, allowed_models) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        team_id,
        hash_key(text),
        prefix_of(text),
        label,
        may_override,
        allowed_models,
    )
    return text


@key.command("create")
@click.option("--team", "team_name", required=True, help="The team that pays.")
@click.option("--label", help="What the key is for.")
@click.option("--may-override-budget", is_flag=True, help="May pass a spent budget.")
@click.option(
    "--model", "models", multiple=True, help="A model it may call, or a beginning with *; repeat."
)
@json_option
def create(
    *,
    team_name: str,
    label: str | None,
    may_override_budget: bool,
    models: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a key and print it, alone and once."""

    async def work(connection: asyncpg.Connection) -> None:
        team_id = await team_id_of(connection, team_name)
        if await connection.fetchval(_IS_ARCHIVED, team_id):
            raise CommandError(f"team {team_name!r} is archived: its keys do not work")
        # A key whose text could not be printed would be lost: nobody keeps it.
        async with connection.transaction():
            text = await insert_key(
                connection,
                team_id=team_id,
                label=label,
                may_override=may_override_budget,
                allowed_models=models or None,
            )
            if as_json:
                shown = {"key": text, "prefix": prefix_of(text), "team": team_name, "label": label}
                print_json(shown)
            else:
                say(text)

    query(work)


@key.command("list")
@click.option("--team", "team_name", help="This team's alone.")
@json_option
def list_keys(team_name: str | None, as_json: bool) -> None:
    """Every key by its prefix; the keys themselves are stored nowhere."""

    async def work(connection: asyncpg.Connection) -> list[Row]:
        if team_name is not None:
            await team_id_of(connection, team_name)
        rows = await connection.fetch(
            "SELECT k.key_prefix AS prefix, t.name AS team, k.label, k.may_override_budget, "
            "k.allowed_models, "
            "k.created_at, k.revoked_at FROM ledger.api_key k JOIN ledger.team t USING (team_id) "
            "WHERE $1::text IS NULL OR t.name = $1 ORDER BY t.name, k.api_key_id",
            team_name,
        )
        return [dict(row) for row in rows]

    print_rows(query(work), as_json=as_json, empty="No keys: `gateway key create --team NAME`.")


@key.command("revoke")
@click.argument("prefix")
@json_option
def revoke(prefix: str, as_json: bool) -> None:
    """Revoke the key with this prefix; it fails on every worker within a second."""

    async def work(connection: asyncpg.Connection) -> None:
        found = await connection.fetch(
            "SELECT api_key_id FROM ledger.api_key WHERE key_prefix = $1", prefix
        )
        if not found:
            raise CommandError(
                f"no key has the prefix {prefix!r}: `gateway key list` shows them", status=2
            )
        if len(found) > 1:
            raise CommandError(f"{len(found)} keys have the prefix {prefix!r}: nothing was done")
        await connection.execute(
            "UPDATE ledger.api_key SET revoked_at = coalesce(revoked_at, now()) "
            "WHERE api_key_id = $1",
            found[0]["api_key_id"],
        )

    query(work)
    if as_json:
        print_json({"prefix": prefix, "revoked": True})
    else:
        say(f"revoked {prefix}")
