"""The `demo` team of an empty database, with one key and a line to paste."""

import json
from dataclasses import dataclass

from gateway.cli.keys import insert_key
from gateway.postgres.connection import connect

DEMO_TEAM = "demo"
_MODEL = "claude-sonnet-5-5"


@dataclass(frozen=True, slots=True)
class DemoKey:
    """The key's text, or None where it was made by an earlier start."""

    text: str | None

    def curl_line(self, url: str) -> str:
        """One line that streams an answer when it is pasted into a shell."""
        body = {
            "model": _MODEL,
            "max_tokens": 64,
            "stream": True,
            "messages": [{"role": "user", "content": "Say hello."}],
        }
        document = json.dumps(body, separators=(",", ":"))
        return (
            f"curl -N {url}/v1/messages -H 'x-api-key: {self.text}' "
            "-H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' "
            f"-d '{document}'"
        )


async def ensure_demo_team(database_url: str) -> DemoKey | None:
    """Make the team and its key where the database has no team at all.

    Returns None where the database is somebody's own: it has teams, and none called demo.
    """
    connection = await connect(database_url, application_name="gateway-demo")
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE ledger.team IN SHARE ROW EXCLUSIVE MODE")
            names = {row["name"] for row in await connection.fetch("SELECT name FROM ledger.team")}
            if names:
                return DemoKey(None) if DEMO_TEAM in names else None
            team_id = await connection.fetchval(
                "INSERT INTO ledger.team (name) VALUES ($1) RETURNING team_id", DEMO_TEAM
            )
            text = await insert_key(connection, team_id=team_id, label="demo", may_override=False)
            return DemoKey(text)
    finally:
        await connection.close()
