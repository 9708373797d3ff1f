"""Print pip constraints that hold each dependency in pyproject.toml at its lower bound.

Usage: python lowest.py
"""

import pathlib
import re
import sys

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

_BOUND = re.compile(r"([\w.-]+)(?:\[[\w,.-]+\])?>=([\w.]+)\s*(;.*)?")


def main() -> None:
    """Print a line for each dependency; fail where one has no lower bound."""
    path = pathlib.Path(__file__).parent.parent / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(r for extra in extras for r in extra)]:
        bound = _BOUND.fullmatch(requirement)
        if bound:
            name, version, marker = bound.groups()
            sys.stdout.write(f"{name}=={version}{marker or ''}\n")
        elif "==" not in requirement and not requirement.startswith(f"{project['name']}["):
            sys.exit(f"{path}: {requirement} has no lower bound")


if __name__ == "__main__":
    main()
