"""`python -m gateway`: the same as the `gateway` command."""

import sys

from gateway.cli.main import run


def main() -> None:
    """Run the command line and end with its exit status."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
