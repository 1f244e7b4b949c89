"""What differs between a saved configuration and this run's, and what of it is not free to.

Knows no files. A key that a saved configuration lacks came later and has its default; a key that
this version does not know any more says nothing about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runtime.fields import show
from training.cli import to_dict
from training.config import TrainConfig

Changes = dict[str, tuple[Any, Any]]  # key: (there, here)

# what weights mean
_WEIGHTS = ("tasks", "suite", "language", "model.", "collect.action_map", "collect.observation")
# what replay, optimiser and counters mean as well
_RUN = (
    *_WEIGHTS, "seed", "collect.envs_per_task", "targets.unroll", "targets.td_steps",
    "search.discount", "replay.capacity", "replay.shared", "replay.priority_exponent",
    "schedule.", "optim.decay",
)  # fmt: skip
_START_ONLY = ("model.value_slope",)  # read when a model is made, never again
_UNSAID = ("out", "resume", "max_minutes")  # another place or patience is no change worth a word


def changes(saved: dict[str, Any], config: TrainConfig) -> Changes:
    """Return every value of `config` that is another one in `saved`, a `to_dict` of its time."""
    theirs = _flat(to_dict(TrainConfig())) | _flat(saved)
    ours = _flat(to_dict(config))
    return {key: (theirs[key], ours[key]) for key in ours if theirs[key] != ours[key]}


def of_weights(changed: Changes) -> Changes:
    """Return those under which weights would mean something else."""
    return _among(changed, _WEIGHTS)


def of_run(changed: Changes) -> Changes:
    """Return those under which weights, replay or counters would mean something else."""
    return _among(changed, _RUN)


def free(changed: Changes) -> Changes:
    """Return those that a resumed run may have, as far as they are worth a word."""
    fixed = of_run(changed)
    return {key: pair for key, pair in changed.items() if key not in fixed and key not in _UNSAID}


def sentence(changed: Changes) -> str:
    """Return e.g. "tasks is [stand,walk] there, [run] here, seed is 0 there, 1 here"."""
    parts = (f"{key} is {_show(there)} there, {_show(here)} here"
             for key, (there, here) in changed.items())  # fmt: skip
    return ", ".join(parts)


def _show(value: Any) -> str:
    return show(tuple(value) if isinstance(value, list) else value) or "''"


def _among(changed: Changes, names: Iterable[str]) -> Changes:
    groups = tuple(name for name in names if name.endswith("."))
    return {
        key: pair
        for key, pair in changed.items()
        if (key in names or key.startswith(groups)) and key not in _START_ONLY
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, dict)
        found |= _flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return found
