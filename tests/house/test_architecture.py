"""docs/architecture.md names what is there, and all of it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(src/[\w/.-]+)`", PAGE)
LINKED = re.findall(r"\]\(([\w/.-]+)\)", PAGE)


@pytest.mark.parametrize("path", sorted(set(NAMED)))
def test_what_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted(set(LINKED)))
def test_what_is_linked_exists(path: str) -> None:
    assert (ROOT / "docs" / path).exists()


def is_told(path: Path) -> bool:
    name = path.relative_to(ROOT).as_posix()
    folders = [folder for folder in NAMED if folder.endswith("/")]
    return (
        name in NAMED
        or any(name.startswith(folder) for folder in folders)
        or f"`{path.name}`" in PAGE
    )


@pytest.mark.parametrize("path", sorted(ROOT.glob("src/gage/**/*.py")), ids=lambda path: path.name)
def test_every_module_is_told_of(path: Path) -> None:
    assert path.name == "__init__.py" or is_told(path)


@pytest.mark.parametrize("path", sorted(ROOT.glob("src/gage/**/*.py")), ids=lambda path: path.name)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert path.read_text(encoding="utf-8").lstrip("r").startswith('"""')
