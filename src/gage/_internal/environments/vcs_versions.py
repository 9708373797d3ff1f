"""The version of a package that takes it from git, for where its source is built: there is no git.

It is in the form of setuptools-scm: that of the tag, or behind it that of the next release with how
many commits it is away. What builds the package takes it from a variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from gage._internal.environments.locks import read_toml

# What asks git for a version, by the package that is needed to build, and its variable.
_VARIABLES = {
    "setuptools-scm": "SETUPTOOLS_SCM_PRETEND_VERSION",
    "hatch-vcs": "SETUPTOOLS_SCM_PRETEND_VERSION",
    "flit-scm": "SETUPTOOLS_SCM_PRETEND_VERSION",
    "poetry-dynamic-versioning": "POETRY_DYNAMIC_VERSIONING_BYPASS",
    "pdm-backend": "PDM_BUILD_SCM_VERSION",
}
# Where this builds a package that has a name, the variable is for that one only.
_OF_ONE = "setuptools-scm"
# Where a hook of git runs, these tell of the repository that the hook is for.
_OF_ANOTHER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")
_DESCRIBED = re.compile(r"(?P<tag>.+)-(?P<count>\d+)-g(?P<commit>[0-9a-f]+)(?P<dirty>-dirty)?")


def version_variables(source: str, origin: str) -> dict[str, str]:
    """Return the variables by which the package in `source` is built as the version that it is of.

    `origin` is where its source is under version control. There are none where it takes its version
    from elsewhere, somebody has set them, or git knows none.
    """
    path = os.path.join(source, "pyproject.toml")
    data = read_toml(path) if os.path.exists(path) else {}
    project = data.get("project", {})
    if "version" in project:
        return {}
    wanted = {_name(each) for each in data.get("build-system", {}).get("requires", ())}
    tool = next((name for name in _VARIABLES if name in wanted), None)
    if tool is None:
        return {}
    own = variable = _VARIABLES[tool]
    if tool == _OF_ONE and project.get("name"):
        name = canonicalize_name(str(project["name"])).replace("-", "_").upper()
        own = f"{variable}_FOR_{name}"
    if variable in os.environ or own in os.environ:
        return {}
    version = _git_version(origin)
    return {own: version} if version else {}


def _name(requirement: str) -> str:
    return canonicalize_name(re.split(r"[\s\[<>=!~;@(]", requirement.strip(), maxsplit=1)[0])


def _git_version(folder: str) -> str:
    described = _git(folder, ["describe", "--tags", "--long", "--dirty", "--match", "*[0-9]*"])
    found = _DESCRIBED.fullmatch(described)
    if found:
        release = _version_of_tag(found["tag"])
        if release is None:
            return ""
        if found["count"] == "0" and not found["dirty"]:
            return str(release)
        dirty = ".dirty" if found["dirty"] else ""
        return f"{_next(release)}.dev{found['count']}+g{found['commit']}{dirty}"
    commit, count = _git(folder, ["rev-parse", "--short", "HEAD"]), ""
    if commit:
        count = _git(folder, ["rev-list", "--count", "HEAD"])
    return f"0.1.dev{count}+g{commit}" if count else ""


def _version_of_tag(tag: str) -> Version | None:
    """Return the version in a tag such as `v1.2` or `name-1.2`."""
    found = re.search(r"(?:^|[-_/])v?(\d[^-/]*(?:-[^/]*)?)$", tag)
    try:
        return Version(found[1] if found else tag)
    except InvalidVersion:
        return None


def _next(release: Version) -> str:
    """Return the release that comes after one, as far as one can guess."""
    if release.is_prerelease and release.pre:
        kind, number = release.pre
        return f"{release.base_version}{kind}{number + 1}"
    *numbers, last = release.release
    epoch = f"{release.epoch}!" if release.epoch else ""
    return epoch + ".".join(map(str, [*numbers, last + 1]))


def _git(folder: str, words: Sequence[str]) -> str:
    """Return what git answers; nothing where it does not."""
    import subprocess

    env = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER}
    try:
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", *words],
            cwd=folder,
            env={**env, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
