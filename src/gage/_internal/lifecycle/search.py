"""Search for the config with the best metric: what to try next, after what was tried.

Optuna proposes. Its study is made anew of the runs of a group for each proposal, so there is
nothing to keep besides the runs, and a search that was interrupted goes on as if it had not been.
What a list or a file says are choices; names that vary together are one.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gage._internal.errors import SearchFailed
from gage._internal.project.batches import CHOICE, LOGUNIFORM, UNIFORM, Batch, Random, fitted

# Two seeds that differ by one are to draw nothing that is the same.
_STRIDE = 1_000_003
_MOST_SEED = 2**32


class Trial(NamedTuple):
    """A run as a search sees it: its config, and the value of its metric.

    That is None while it runs and, where it `is_over`, if it has none.
    """

    config: Mapping[str, Any]
    value: float | None
    is_over: bool


class Space:
    """The configs to choose from: what each of them has in common, and what varies."""

    def __init__(self, batch: Batch) -> None:
        self._random = dict(batch.random)
        self._factors = {f"factor {n}": rows for n, rows in enumerate(batch.factors)}
        optuna = _optuna()
        self._distributions = {
            **{name: _distribution(each, optuna) for name, each in self._random.items()},
            **{name: _choice(rows, optuna) for name, rows in self._factors.items()},
        }

    def propose(
        self, trials: Iterable[Trial], seed: int, maximize: bool = False
    ) -> Mapping[str, Any]:
        """Return what to try after other trials: for the same trials and seed it is the same."""
        optuna = _optuna()
        known = list(trials)
        with warnings.catch_warnings():
            # What is new in it is none of our users' concern.
            warnings.simplefilter("ignore")
            sampler = optuna.samplers.TPESampler(
                seed=(seed * _STRIDE + len(known)) % _MOST_SEED, constant_liar=True
            )
            direction = "maximize" if maximize else "minimize"
            study = optuna.create_study(direction=direction, sampler=sampler)
            for trial in known:
                params = self._params(trial.config)
                if params is not None:
                    study.add_trial(self._as_trial(trial, params, optuna))
            found = study.ask(self._distributions).params
        given = {name: _value(each, found[name]) for name, each in self._random.items()}
        for name, rows in self._factors.items():
            given.update(rows[found[name]])
        return given

    def _as_trial(self, trial: Trial, params: Mapping[str, Any], optuna: Any) -> Any:
        states = optuna.trial.TrialState
        state = states.RUNNING
        if trial.is_over:
            state = states.FAIL if trial.value is None else states.COMPLETE
        return optuna.trial.create_trial(
            state=state, value=trial.value, params=params, distributions=self._distributions
        )

    def _params(self, config: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return where in the space a config is; None for one that is not in it."""
        params: dict[str, Any] = {}
        for name, each in self._random.items():
            if name not in config:
                return None
            value = config[name]
            if each.kind == CHOICE:
                value = next((n for n, arg in enumerate(each.args) if arg == value), None)
            elif not isinstance(value, (int, float)) or not each.args[0] <= value <= each.args[1]:
                value = None
            if value is None:
                return None
            params[name] = value
        for name, rows in self._factors.items():
            found = [n for n, row in enumerate(rows) if _has(config, row)]
            if not found:
                return None
            params[name] = found[0]
        return params


def _has(config: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return all(name in config and config[name] == value for name, value in row.items())


def metric_of(summary: Mapping[str, Any], metric: str) -> float | None:
    """Return the metric of a summary as a number that can be compared; None if it has none."""
    value = summary.get(metric)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return None
    return float(value)


def _distribution(random: Random, optuna: Any) -> Any:
    if random.kind == CHOICE:
        return _choice(random.args, optuna)
    low, high = random.args
    kinds = optuna.distributions
    kind = kinds.IntDistribution if random.is_whole else kinds.FloatDistribution
    return kind(low, high, log=random.kind == LOGUNIFORM)


def _choice(among: Sequence[Any], optuna: Any) -> Any:
    return optuna.distributions.CategoricalDistribution(range(len(among)))


def _value(random: Random, found: Any) -> Any:
    if random.kind == CHOICE:
        return random.args[found]
    return fitted(random, found) if random.kind in (UNIFORM, LOGUNIFORM) else found


def _optuna() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError:
        raise SearchFailed("optuna is not installed", "pip install 'gage[optuna]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
