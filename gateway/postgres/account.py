"""The operating-system account that the embedded server runs as: never root."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

_UNPRIVILEGED_NAMES = ("postgres", "nobody")


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL could not be started; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Arguments of `subprocess.Popen`; all None: the account of this process."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None

    @property
    def is_other(self) -> bool:
        return self.uid is not None

    def owns(self, status: os.stat_result) -> bool:
        return status.st_uid == (os.geteuid() if self.uid is None else self.uid)

    def take(self, descriptor: int) -> None:
        """Make the account the owner of an open file or directory."""
        if self.uid is not None and self.gid is not None:
            os.fchown(descriptor, self.uid, self.gid)


def server_account(cluster_directory: Path) -> Account:
    """The account for a cluster; root's clusters belong to an unprivileged account.

    A cluster that an ordinary user made stays that user's when root comes along (`sudo gateway`).

    Raises:
        EmbeddedPostgresError: the process is root's and the machine has no unprivileged account.
    """
    if os.geteuid() != 0:
        return Account()
    if cluster_directory.exists():
        owner = cluster_directory.lstat()
        if owner.st_uid != 0:
            return Account(uid=owner.st_uid, gid=owner.st_gid, groups=())
    for name in _UNPRIVILEGED_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(uid=entry.pw_uid, gid=entry.pw_gid, groups=())
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and this machine has neither a `postgres` nor a "
        "`nobody` account: run the gateway as an ordinary user, or set GATEWAY_DATABASE_URL"
    )
