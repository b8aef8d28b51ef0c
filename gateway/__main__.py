"""`python -m gateway`: the same as the `gateway` command."""

import os
import sys
from importlib import import_module

_INTERRUPTED_STATUS = 130


def main() -> None:
    """Run the command line and end with its exit status."""
    try:
        # Imported here, so that Ctrl-C is heard as one while that takes its time.
        status = import_module("gateway.cli.main").run(sys.argv[1:])
    except KeyboardInterrupt:
        status = _INTERRUPTED_STATUS
    _drop_what_cannot_be_written()
    sys.exit(status)


def _drop_what_cannot_be_written() -> None:
    """The interpreter's own last flush would complain of it once more, and change the status."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
