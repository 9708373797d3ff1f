"""The documents that can be executed, and the README: what they say is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from console_sessions import check_sessions

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["guide.md", "lifecycle.md"])
def test_document(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "groktest", name],
        cwd=ROOT / "docs",
        env={**os.environ, "NO_SAVE_LAST": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert "All tests passed" in done.stdout, done.stdout
    assert "skipped" not in done.stdout, done.stdout


def test_the_guide_lists_its_sections() -> None:
    text = (ROOT / "docs" / "guide.md").read_text()
    listed = re.findall(r"^- \[(.+)\]\(#(.+)\)$", text, re.MULTILINE)
    assert [title for title, _ in listed] == re.findall(r"^## (.+)$", text, re.MULTILINE)
    for title, anchor in listed:
        assert anchor == re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-")


def test_documents_compare_what_is_printed(tmp_path: Path) -> None:
    """A wrong word fails, a different id does not."""
    masked = 'test-options: "+masked"\noption-functions: guide_support'
    document = tmp_path / "document.md"
    env = {**os.environ, "NO_SAVE_LAST": "1"}

    def run(printed: str, expected: str) -> int:
        document.write_text(f'---\n{masked}\n---\n\n    >>> print("{printed}")\n    {expected}\n')
        command = [sys.executable, "-m", "groktest", str(document)]
        done = subprocess.run(
            command, cwd=ROOT / "docs", env=env, stdout=subprocess.DEVNULL, check=False
        )
        return done.returncode

    assert run("run kivob-sazut completed", "run lutas-zuguv completed") == 0
    assert run("run kivob-sazut completed", "run kivob-sazut failed") == 1


def test_readme(tmp_path: Path) -> None:
    check_sessions(ROOT / "README.md", tmp_path)


@pytest.mark.parametrize("document", ["README.md", "docs/guide.md", "docs/lifecycle.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not re.match(r"https?://", link)]
    broken = [
        link
        for link in links
        if not re.match(r"https?://", link) and not (path.parent / link).exists()
    ]
    assert not broken
