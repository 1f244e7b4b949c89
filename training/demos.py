"""Demonstrations: recorded episodes that a run imitates first and keeps in its batches.

The file is safetensors. For every task, frames one after another, [N, ...]:

    <task>/observation  HumanoidBench's, as H1Env gives it
    <task>/action       what was done (may carry exploration noise)
    <task>/label        what the demonstrator meant to do: the action to imitate
    <task>/reward, <task>/last, <task>/terminal

An episode's last frame (`last`) has an observation and no action. Metadata: format, action_map;
robot, suite and observation_size (the widest) in files since 2026-11; older ones lack them.
observation=body: what a run with collect.observation=body recorded (`training/recording.py`), which
only such a run can read.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from training.cli import ConfigError
from training.config import ReplayConfig, TrainConfig
from training.demo_frames import FIELDS, check
from training.features import mirror_of, see
from training.files import replacing
from training.mirror import mirror_joints
from training.replay import Batch, Replay
from training.suites import robot

FORMAT = "ezm-episodes-1"
FOREVER = 2**62  # the update at which a demonstration's label was made: it never grows stale


def write(path: Path, episodes: dict[str, dict[str, np.ndarray]], facts: dict[str, str]) -> None:
    """Write episodes by task; `facts` needs action_map."""
    widest = max(parts["observation"].shape[1] for parts in episodes.values())
    arrays = {
        f"{task}/{name}": np.ascontiguousarray(parts[name])
        for task, parts in episodes.items()
        for name in FIELDS
    }
    facts = {"format": FORMAT, "observation_size": str(widest), **facts}
    with replacing(path) as part:
        save_file(arrays, part, metadata=facts)


def read(
    paths: str | Path, tasks: tuple[str, ...], action_map: str, view: str = "benchmark"
) -> dict[str, dict[str, np.ndarray]]:
    """Read the episodes of these tasks, from all files (commas between) that have some.

    A folder means the files in it, a run folder those of its `episodes`. Observations are returned
    as the view has them (`features.see`); the narrower ones are padded with zeros, as a run's are.

    Raises:
        ConfigError: a file is not ours, no file has a task, another action map was recorded, or an
            array is not what it should be.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for path in files_of(paths):
        for task, parts in _read_one(path, action_map, view).items():
            found[task] = _joined(found[task], parts) if task in found else parts
    missing = [name for name in tasks if name not in found]
    if missing:
        raise ConfigError(f"demos={paths}: no episodes of {missing}; there are {sorted(found)}")
    return {task: found[task] for task in tasks}


def files_of(paths: str | Path) -> list[str]:
    """Return the files that `demos=` means.

    Raises:
        ConfigError: a folder has none.
    """
    files: list[str] = []
    for path in str(paths).split(","):
        folder = Path(path) / "episodes" if (Path(path) / "episodes").is_dir() else Path(path)
        inside = sorted(str(file) for file in folder.glob("*.safetensors"))
        if folder.is_dir() and not inside:
            raise ConfigError(f"demos={path}: the folder {folder} holds no .safetensors file")
        files += inside if folder.is_dir() else [path]
    return files


def _read_one(path: str, action_map: str, view: str) -> dict[str, dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="np") as file:
            facts = file.metadata() or {}
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"demos={path}: {error}") from None
    if facts.get("format") != FORMAT:
        raise ConfigError(f"demos={path}: format {facts.get('format')!r}, expected {FORMAT!r}")
    if facts.get("action_map") != action_map:
        raise ConfigError(
            f"demos={path} were recorded with action_map={facts.get('action_map')!r}, "
            f"this run has {action_map!r}"
        )
    recorded = facts.get("observation", "benchmark")
    if recorded not in ("benchmark", view):
        raise ConfigError(
            f"demos={path} were recorded with collect.observation={recorded!r}, "
            f"this run has {view!r}"
        )
    names = sorted({name.split("/")[0] for name in arrays})
    episodes = {
        task: check(f"demos={path}: {task}", task, arrays_of(arrays, task), recorded)
        for task in names
    }
    _check_facts(path, facts, episodes)
    if recorded != view:
        for parts in episodes.values():
            parts["observation"] = see(view, parts["observation"])
    return episodes


def arrays_of(arrays: dict[str, np.ndarray], task: str) -> dict[str, np.ndarray]:
    """Return those of a task by field."""
    return {n.partition("/")[2]: array for n, array in arrays.items() if n.startswith(f"{task}/")}


def _joined(first: dict[str, np.ndarray], then: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the frames of both, the narrower observations padded with zeros."""
    widest = max(first["observation"].shape[1], then["observation"].shape[1])
    both = [parts | {"observation": _pad(parts["observation"], widest)} for parts in (first, then)]
    return {name: np.concatenate([part[name] for part in both]) for name in FIELDS}


def _pad(observation: np.ndarray, width: int) -> np.ndarray:
    return np.pad(observation, ((0, 0), (0, width - observation.shape[1])))


def _check_facts(
    path: str, facts: dict[str, str], episodes: dict[str, dict[str, np.ndarray]]
) -> None:
    """Compare what newer files say of themselves with what they hold."""
    told, widest = facts.get("robot"), max(p["observation"].shape[1] for p in episodes.values())
    others = [task for task in episodes if told is not None and robot(task) != told]
    if others:
        raise ConfigError(f"demos={path}: robot={told!r}, but {others} are of {robot(others[0])!r}")
    if facts.get("observation_size", str(widest)) != str(widest):
        raise ConfigError(
            f"demos={path}: observation_size={facts['observation_size']}, but it holds {widest}"
        )


class Demonstrations:
    """Episodes as batches; every transition equally likely."""

    def __init__(self, config: TrainConfig, window: int, sizes: tuple[int, int] | None = None):
        """Read the episodes of `config.demos`; `sizes` are the run's, of observation and action.

        Raises:
            ConfigError: see `read`, or they have other sizes.
        """
        view = config.collect.observation
        self.files = {path: Path(path).stat().st_size for path in files_of(config.demos)}
        episodes = read(config.demos, config.tasks, config.collect.action_map, view)
        longest = max(len(parts["reward"]) for parts in episodes.values())
        seen = {task: parts["observation"] for task, parts in episodes.items()}
        sizes = sizes or _sizes(seen, episodes)
        for task, parts in episodes.items():
            held = seen[task].shape[1], parts["action"].shape[1]
            if held[0] > sizes[0] or held[1] != sizes[1]:
                raise ConfigError(
                    f"demos={config.demos}: {task} has observations and actions of {held} numbers, "
                    f"this run {sizes}"
                )
        even = ReplayConfig(
            capacity=longest + window + 1, priority_exponent=0.0, recent_share=0.0,
            task_share=config.replay.task_share,
        )  # fmt: skip
        self.replay = Replay(len(episodes), 1, *sizes, window, even)
        for buffer, (task, parts) in zip(self.replay.buffers, episodes.items(), strict=True):
            used = len(parts["reward"])
            buffer.observation[0, :used, : seen[task].shape[1]] = seen[task]
            buffer.action[0, :used], buffer.reward[0, :used] = parts["action"], parts["reward"]
            buffer.last[0, :used], buffer.terminal[0, :used] = parts["last"], parts["terminal"]
            buffer.stored_action[0, :used], buffer.stored_at[0, :used] = parts["label"], FOREVER
            buffer.priorities.load(~parts["last"].astype(bool)[None])
            buffer.written[0] = used

    def __len__(self) -> int:
        return sum(len(buffer) for buffer in self.replay.buffers)

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """Draw `count` windows, as many of each task as a batch has."""
        batch = self.replay.sample(count, rng)
        return dataclasses.replace(batch, demo=np.ones(len(batch.task), bool))


def _sizes(
    seen: dict[str, np.ndarray], episodes: dict[str, dict[str, np.ndarray]]
) -> tuple[int, int]:
    actions = [parts["action"].shape[1] for parts in episodes.values()]
    return max(part.shape[1] for part in seen.values()), max(actions)


def join(first: Batch, second: Batch) -> Batch:
    """Return one batch with the rows of both."""
    fields = {}
    for item in dataclasses.fields(Batch):
        ours, theirs = getattr(first, item.name), getattr(second, item.name)
        if item.name == "place":
            fields["place"] = tuple(np.concatenate(p) for p in zip(ours, theirs, strict=True))
        else:
            fields[item.name] = np.concatenate([ours, theirs])
    return Batch(**fields)


def mirrored(batch: Batch, view: str, rng: np.random.Generator) -> Batch:
    """Return the batch with half of its rows, drawn at random, left-right mirrored."""
    flipped = rng.random(len(batch.task)) < 0.5
    index, sign = mirror_of(view)
    observation = batch.observation.copy()
    observation[flipped] = batch.observation[flipped][..., index] * sign
    action, stored = batch.action.copy(), batch.stored_action.copy()
    action[flipped] = mirror_joints(batch.action[flipped])
    stored[flipped] = mirror_joints(batch.stored_action[flipped])
    return dataclasses.replace(
        batch, observation=observation, action=action, stored_action=stored, flipped=flipped
    )
