"""Config that is passed when the run starts: as arguments, and as environment variables.

What a script's parser has as a default need not be passed. What a Gage file's own table says is
always passed, since nothing else knows it. How values are written:

- text as it is, numbers as Python writes them, true and false so;
- a list in the environment as words with blanks between, quoted where a shell needs that, so
  that `for item in $NAME` goes through plain ones; anything else as JSON;
- with `--name value` and `--name=value` a list is an argument for each item; with the first,
  true is the flag alone and false is nothing, as command lines have it. `name=value` has JSON.
- None is not passed.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from gage._internal import fs
from gage._internal.errors import ConfigFileError
from gage._internal.project.config_sources import (
    ARGS,
    ENV,
    FLAG_AND_VALUE,
    NAME_WITH_VALUE,
    ConfigDefault,
)


def config_args(defaults: Mapping[str, ConfigDefault], config: Mapping[str, Any]) -> list[str]:
    """Return the arguments that a config is passed as, those that a script parses last.

    Raises:
        BadConfigValue: a script's parser takes no such value.
    """
    args: list[str] = []
    options = {}
    for name, default in defaults.items():
        if default.option is not None:
            options[name] = default.option
        elif default.source.kind == ARGS:
            args += _styled(default.source.style, default.name, config[name])
    if not options:
        return args

    from gage._internal.project.argparse_options import option_args

    changed = {n: config[n] for n in options if config[n] != defaults[n].value}
    return args + option_args(options, changed)


def config_env(defaults: Mapping[str, ConfigDefault], config: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables that a config is passed as.

    Raises:
        ConfigFileError: two of its names are the same variable.
    """
    env: dict[str, str] = {}
    found: dict[str, ConfigDefault] = {}
    for name, default in defaults.items():
        if default.source.kind != ENV or config[name] is None:
            continue
        other = found.setdefault(default.name, default)
        if other is not default:
            what = f"environment variable {fs.printable(default.name)}"
            raise ConfigFileError(f"{what} is in {other.place} and in {default.place}")
        env[default.name] = env_text(config[name])
    return env


def env_text(value: Any) -> str:
    """Return a value as environment variables hold it."""
    if isinstance(value, list):
        return shlex.join(map(env_text, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _styled(style: str, name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if style == NAME_WITH_VALUE:
        return [f"{name}={_word(value)}"]
    items = value if isinstance(value, list) else [value]
    if style != FLAG_AND_VALUE:
        return [f"--{name}={_word(item)}" for item in items]
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [f"--{name}", *map(_word, items)] if items else []


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
