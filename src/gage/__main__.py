"""`python -m gage`, and the `gage` command."""

from __future__ import annotations

import sys

import gage


def main() -> int:
    """Run the command line; return the exit status."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        # Answered before what only commands need is imported.
        from gage._internal.cli.printer import print_data

        print_data(f"gage {gage.__version__}")
        return 0
    from gage._internal.cli.main import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
