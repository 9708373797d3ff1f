"""Batches: the configs of several runs, out of words and files that say more than one value.

On a command line

- `lr=[0.1, 0.01]` is each of these values, each read as the text of one. For config that is a
  sequence itself, or has no default, only a list of sequences is several values;
- `range(5)`, `range(2, 10, 2)`, `linspace(0, 1, 5)` and `logspace(1e-4, 1e-1, 4)` are numbers, the
  ends of the last two among them;
- `uniform(0, 1)`, `loguniform(1e-4, 1e-1)`, `randint(1, 6)` (both ends included) and
  `choice(a, b)` are drawn at random, once for each trial.

For config that is text, what looks like a function is text; but a choice where there are trials.
All of these multiply, in the order in which they are given: the first varies slowest. Trials are
one more factor, the last: what is drawn for one is the same whatever the others are.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal import fs
from gage._internal.errors import BadConfigValue, GageError, UsageError
from gage._internal.project.batch_files import BatchRow, read_rows
from gage._internal.project.operations import (
    Operation,
    Where,
    all_config,
    check_given,
    default_of,
    name_and_text,
    parse_given,
)

UNIFORM, LOGUNIFORM, RANDINT, CHOICE = "uniform", "loguniform", "randint", "choice"
_RANDOM = (UNIFORM, LOGUNIFORM, RANDINT, CHOICE)
_SPACED = ("range", "linspace", "logspace")
_CALL = re.compile(rf"({'|'.join((*_SPACED, *_RANDOM))})\((.*)\)", re.DOTALL)
_SEQUENCES = (list, tuple, set)
_OPENING, _CLOSING = "[({", "])}"
# More than these nobody means, unless told to be meant.
_MOST_RUNS = 10_000
_MOST_VALUES = 1_000_000
_DIGITS = 15
_DIGITS_DRAWN = 6
# Of as many whole numbers a float finds each as often as any other, all but a millionth.
_MOST_BY_FLOAT = 2**32


class Random(NamedTuple):
    """What a value is drawn from: the kind, and its two ends or what it chooses among.

    Where it `is_whole` the values are whole numbers.
    """

    kind: str
    args: Sequence[Any]
    is_whole: bool = False


class Batch(NamedTuple):
    """What words and files say of config: one value for a name, several, or what to draw from.

    `factors` has what multiplies, each as the rows that it gives, in order.
    """

    fixed: Mapping[str, Any]
    factors: Sequence[Sequence[Mapping[str, Any]]]
    random: Mapping[str, Random]

    @property
    def is_one(self) -> bool:
        """Whether all of this is the config of one run."""
        return not self.factors and not self.random

    @property
    def names(self) -> list[str]:
        """The names that vary."""
        listed = (name for rows in self.factors for row in rows for name in row)
        return list(dict.fromkeys([*listed, *self.random]))


class Chosen(NamedTuple):
    """The configs of a batch: those to stage, and how many were left out, and why.

    `total` is how many there are in all, `same` how many of them were others' again. `seed` is what
    was drawn with, if something was.
    """

    configs: Sequence[dict[str, Any]]
    total: int
    same: int
    seed: int | None


def parse_batch(
    operation: Operation, words: Sequence[str], files: Sequence[str], cwd: str, trials: bool
) -> Batch:
    """Return what words and files say; `trials` tells that there is drawing.

    Raises:
        UsageError: a word has no `=`, has no values, or gives what a file does too.
        UnknownConfig, BadConfigValue: a word names no config, or has no value for it.
        BatchFileError: a file cannot be read, or has what is no config.
    """
    fixed: dict[str, Any] = {}
    factors: list[Sequence[Mapping[str, Any]]] = []
    random: dict[str, Random] = {}
    given: dict[str, str] = {}
    for word in words:
        name, text = name_and_text(operation, word)
        found = _parse(operation, name, text, trials)
        if name in given and not (isinstance(found, _One) and name in fixed):
            raise UsageError(f"{fs.printable(name)} is given twice, and is not one value")
        given[name] = "on the command line"
        if isinstance(found, _One):
            fixed[name] = found.value
        elif isinstance(found, Random):
            random[name] = found
        else:
            factors.append([{name: value} for value in found])
    for shown in files:
        rows = read_rows(os.path.join(cwd, shown), shown)
        for name in dict.fromkeys(name for row in rows for name in row.values):
            if name in given:
                raise UsageError(
                    f"{fs.printable(name)} is in {fs.printable(shown)} and {given[name]}",
                    "leave one of them out",
                )
            given[name] = f"in {fs.printable(shown)}"
        factors.append([_read_row(operation, row) for row in rows])
    return Batch(fixed, factors, random)


def choose_configs(
    operation: Operation,
    batch: Batch,
    trials: int | None = None,
    seed: int | None = None,
    most: int | None = None,
) -> Chosen:
    """Return the configs of a batch; of more than `most` the first.

    Raises:
        UsageError: something is to be drawn and nobody says how often, or the reverse; or there are
            very many runs, and nobody says how many are meant.
    """
    if batch.random:
        if trials is None:
            name, random = next(iter(batch.random.items()))
            raise UsageError(
                f"{fs.printable(name)} is drawn from {random.kind}(...), and nobody says how often",
                "--trials N",
            )
        if seed is None:
            seed = int.from_bytes(os.urandom(3), "big")
    elif trials is not None or seed is not None:
        name, number = ("trials", trials) if trials is not None else ("seed", seed)
        hint = "lr=uniform(0, 1), say: gage run --help"
        if name in operation.defaults:
            hint = f"config is written without dashes: {name}={number}"
        raise UsageError(f"--{name} is for what is drawn at random", hint)
    total = math.prod(len(rows) for rows in batch.factors) * (trials or 1)
    if most is None and total > _MOST_RUNS:
        raise UsageError(f"this would be {total} runs", "--max-runs N takes the first N of them")
    configs: dict[str, dict[str, Any]] = {}
    seen = 0
    for parts in itertools.product(*batch.factors):
        if len(configs) == most:
            break
        in_vain = 0
        for drawn in _iter_drawn(batch.random, trials or 1, seed):
            # Where nothing new comes of very many, all that can be drawn was.
            if len(configs) == most or in_vain > _MOST_RUNS:
                break
            given = {name: value for part in parts for name, value in part.items()}
            config = all_config(operation, {**batch.fixed, **given, **drawn})
            key = json.dumps(config, sort_keys=True)
            in_vain = in_vain + 1 if key in configs else 0
            configs.setdefault(key, config)
            seen += 1
    return Chosen(list(configs.values()), total, seen - len(configs), seed)


def _iter_drawn(
    random: Mapping[str, Random], trials: int, seed: int | None
) -> Iterator[Mapping[str, Any]]:
    """Yield what is drawn for each trial: for the same seed the same, however many there are."""
    if not random:
        yield {}
        return
    from random import Random as Source

    source = Source(seed)
    for _ in range(trials):
        yield {name: _drawn(each, source.random()) for name, each in random.items()}


def _drawn(random: Random, where: float) -> Any:
    """Return the value of a distribution that lies `where`, from 0 to 1, of it is below."""
    if random.kind == CHOICE:
        return random.args[int(where * len(random.args))]
    low, high = random.args
    if random.kind == RANDINT or (random.is_whole and random.kind == UNIFORM):
        return low + _drawn_below(high - low + 1, where)
    if random.kind == UNIFORM:
        return fitted(random, low + where * (high - low))
    return fitted(random, math.exp(math.log(low) + where * (math.log(high) - math.log(low))))


def _drawn_below(count: int, where: float) -> int:
    """Return a whole number from 0 to below `count`."""
    if count <= _MOST_BY_FLOAT:
        return int(where * count)
    from random import Random as Source

    # Its 53 bits would not reach all, nor each equally often; what is drawn next stays the same.
    return Source(int(where * 2**53)).randrange(count)


def fitted(random: Random, value: float) -> Any:
    """Return a drawn number as people read it, whole where it must be, and between the ends."""
    low, high = random.args
    rounded = round(value) if random.is_whole else float(f"{value:.{_DIGITS_DRAWN}g}")
    return min(max(rounded, low), high)


class _One(NamedTuple):
    """One value."""

    value: Any


def _parse(
    operation: Operation, name: str, text: str, trials: bool
) -> _One | Random | Sequence[Any]:
    default = default_of(operation, name)
    sample = default.value
    if default.option is not None:
        from gage._internal.project.argparse_options import sample_of

        sample = sample_of(default.option)
    where = Where(name, default)
    trimmed = text.strip()
    call = _CALL.fullmatch(trimmed)
    if call and _is_called(call[1], sample, trials):
        return _called(operation, name, call[1], call[2], sample, where)
    items = _items(trimmed) if trimmed[:1] == "[" and trimmed[-1:] == "]" else None
    if items is not None and _are_several(items, sample):
        if not items:
            raise UsageError(f"{where}: {text} has no values", "leave it out, or name some")
        return [_item(operation, name, item, sample) for item in items]
    return _One(parse_given(operation, name, text))


def _is_called(function: str, sample: Any, trials: bool) -> bool:
    if isinstance(sample, str):
        return function == CHOICE and trials
    is_number = isinstance(sample, (int, float)) and not isinstance(sample, bool)
    return function == CHOICE or sample is None or is_number


def _are_several(items: Sequence[str], sample: Any) -> bool:
    """Tell whether the items of a list are values each, and not a value together."""
    depth = 1 if sample is None else _depth(sample)
    if not depth:
        return True
    return bool(items) and all(_text_depth(item) >= depth for item in items)


def _depth(value: Any) -> int:
    """Return how deep a value is nested: 0 for one that is no sequence."""
    if not isinstance(value, _SEQUENCES):
        return 0
    return 1 + max(map(_depth, value), default=0)


def _text_depth(text: str) -> int:
    depth = 0
    while text[:1] and text[:1] in "[(" and text[-1:] in "])":
        depth += 1
        text = text[1:-1].strip()
    return depth


def _item(operation: Operation, name: str, text: str, sample: Any) -> Any:
    if isinstance(sample, str) and text[:1] in "'\"" and text[-1:] == text[:1] and len(text) > 1:
        text = text[1:-1]
    return parse_given(operation, name, text)


def _items(text: str) -> list[str] | None:
    """Return the texts between the commas of a list; None where brackets do not match."""
    items, start = [], 1
    open_: list[str] = []
    quote = ""
    # A quote within a word, as in `don't`, is an apostrophe.
    before = "["
    for at, char in enumerate(text[1:-1], 1):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and before in "[({,:":
            quote = char
        elif char in _OPENING:
            open_.append(_CLOSING[_OPENING.index(char)])
        elif char in _CLOSING:
            if not open_ or open_.pop() != char:
                return None
        elif char == "," and not open_:
            items.append(text[start:at].strip())
            start = at + 1
        before = before if char.isspace() else char
    last = text[start:-1].strip()
    return None if open_ or quote else [*items, last] if last else items


def _called(
    operation: Operation, name: str, function: str, inner: str, sample: Any, where: Where
) -> Random | Sequence[Any]:
    items = _items(f"[{inner}]")
    if items is None:
        raise BadConfigValue(f"{where}: {function}({inner}) has brackets that do not match")
    if function == CHOICE:
        if not items:
            raise UsageError(f"{where}: choice() has nothing to choose among")
        return Random(CHOICE, [_item(operation, name, item, sample) for item in items])
    numbers = [_number(item, function, where) for item in items]
    is_whole = isinstance(sample, int)
    if function in _RANDOM:
        _check_ends(function, numbers, is_whole, where)
        is_whole = is_whole or function == RANDINT
        return Random(function, numbers, is_whole)
    values = _spaced(function, numbers, where)
    if not values:
        raise UsageError(f"{where}: {function}({inner}) has no values")
    return [check_given(operation, name, value) for value in values]


def _number(text: str, function: str, where: Where) -> int | float:
    for kind in (int, float):
        try:
            number = kind(text)
            # Of a whole number that no float can be near to, it raises.
            if math.isfinite(number):
                return number
        except (ValueError, OverflowError):
            continue
    raise BadConfigValue(f"{where}: {function} takes numbers, not {text!r}")


def _check_ends(
    function: str, numbers: Sequence[int | float], is_whole: bool, where: Where
) -> None:
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        raise BadConfigValue(f"{where}: {function} takes the least and the greatest value")
    if (is_whole or function == RANDINT) and not all(isinstance(each, int) for each in numbers):
        raise BadConfigValue(f"{where}: the ends of {function} have to be whole numbers here")
    if function == LOGUNIFORM and numbers[0] <= 0:
        raise BadConfigValue(
            f"{where}: loguniform takes ends above 0",
            "they are values, not exponents: loguniform(1e-4, 1e-1)",
        )


def _spaced(function: str, numbers: Sequence[int | float], where: Where) -> Sequence[Any]:
    if function == "range":
        if not 1 <= len(numbers) <= 3 or not all(isinstance(each, int) for each in numbers):
            raise BadConfigValue(
                f"{where}: range takes one to three whole numbers",
                "linspace(0, 1, 5) is five numbers from 0 to 1",
            )
        if numbers[2:] == [0]:
            raise BadConfigValue(f"{where}: the step of range is 0")
        values = range(*(int(each) for each in numbers))
        if len(values) > _MOST_VALUES:
            raise UsageError(f"{where}: this range has {len(values)} values")
        return values
    if len(numbers) != 3 or not isinstance(numbers[2], int) or not 0 <= numbers[2] <= _MOST_VALUES:
        raise BadConfigValue(f"{where}: {function} takes two ends and a count")
    low, high, count = numbers[0], numbers[1], int(numbers[2])
    if function == "logspace" and (low <= 0 or high <= 0):
        raise BadConfigValue(
            f"{where}: logspace takes ends above 0",
            "they are values, not exponents: logspace(1e-4, 1e-1, 4)",
        )
    return [_between(function, low, high, at / max(1, count - 1)) for at in range(count)]


def _between(function: str, low: float, high: float, where: float) -> int | float:
    if where in (0, 1):
        value: float = high if where else low
    elif function == "linspace":
        value = low + where * (high - low)
    else:
        value = math.exp(math.log(low) + where * (math.log(high) - math.log(low)))
    value = float(f"{value:.{_DIGITS - 1}g}")
    # A whole number may be one of config that is whole.
    return int(value) if value.is_integer() else value


def _read_row(operation: Operation, row: BatchRow) -> dict[str, Any]:
    try:
        return dict(_values(operation, row))
    except GageError as error:
        raise type(error)(f"{row.place}: {error.message}", error.hint) from None


def _values(operation: Operation, row: BatchRow) -> Iterator[tuple[str, Any]]:
    for name, value in row.values.items():
        yield name, (parse_given if row.is_text else check_given)(operation, name, value)
