"""The closed lists of what can go wrong with the database, by what it means for the caller.

A client-side encoding error is an `InterfaceError` in asyncpg as well as a `ValueError`: where both
lists are caught, `DATA_ERRORS` comes first.
"""

from typing import Final

import asyncpg

# The database cannot be asked, or not now: nothing about the rows. TimeoutError is an OSError.
INFRASTRUCTURE_ERRORS: Final[tuple[type[Exception], ...]] = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutdown, crash, starting up, cancelled by a time-out
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.PostgresSystemError,  # I/O errors of the server
    asyncpg.ReadOnlySQLTransactionError,  # we are talking to a standby after a failover
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidAuthorizationSpecificationError,  # the password was changed under us
    asyncpg.InvalidCatalogNameError,  # the database is being replaced, by a restore perhaps
    asyncpg.InterfaceError,  # the connection is closed
    asyncpg.InternalClientError,
)

# These rows will never post, however often they are sent.
DATA_ERRORS: Final[tuple[type[Exception], ...]] = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    ValueError,
    OverflowError,
    TypeError,
)
