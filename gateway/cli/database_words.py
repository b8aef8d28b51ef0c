"""What the database's errors mean for whoever typed the command: never more than a line."""

import asyncpg

USAGE_STATUS = 2
FAILURE_STATUS = 1


def told(error: Exception) -> tuple[str, int]:
    """What to tell the user, in the server's own words where it has any, and the exit status."""
    words = " ".join(str(error).split())
    match error:
        case asyncpg.ClientConfigurationError():
            return f"GATEWAY_DATABASE_URL: {words}", USAGE_STATUS
        case asyncpg.InvalidAuthorizationSpecificationError() | asyncpg.InvalidCatalogNameError():
            return f"the database refuses GATEWAY_DATABASE_URL: {words}", FAILURE_STATUS
        case asyncpg.PostgresError():
            return f"the database refused: {words}", FAILURE_STATUS
        case _:
            reason = type(error).__name__ + (f": {words}" if words else "")
            return (
                f"the database does not answer ({reason}): "
                "check GATEWAY_DATABASE_URL and that the server runs"
            ), FAILURE_STATUS
