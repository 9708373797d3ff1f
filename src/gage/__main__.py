"""`python -m gage`, and the `gage` command."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; return the exit status."""
    from gage._internal.cli.main import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
