"""The mock provider and the load generator: compiled when their source is newer."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent
BUILT = SOURCE.parent / "build" / "bench"


class MissingToolError(Exception):
    """Something that a benchmark needs is not on this machine; the message says what."""


def built(name: str, directory: Path = BUILT) -> Path:
    """The path of `provider` or `load`, compiled.

    Raises:
        MissingToolError: no C compiler, or it refuses the source.
    """
    source, target = SOURCE / f"{name}.c", directory / name
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return target
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise MissingToolError("make bench needs a C compiler (Debian: gcc)")
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [compiler, "-O2", "-o", target, source], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise MissingToolError(f"{compiler} does not compile {source.name}:\n{done.stderr}")
    return target
