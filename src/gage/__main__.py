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
    # `python -m` looks for modules in the current directory first, where a script of the user
    # may have the name of one.
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
    sys.exit(main())
