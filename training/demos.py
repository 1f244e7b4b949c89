"""Demonstrations: recorded episodes that a run imitates first and keeps in its batches.

The file is safetensors. For every task, frames one after another, [N, ...]:

    <task>/observation  HumanoidBench's, as H1Env gives it
    <task>/action       what was done (may carry exploration noise)
    <task>/label        what the demonstrator meant to do: the action to imitate
    <task>/reward, <task>/last, <task>/terminal

An episode's last frame (`last`) has an observation and no action. Metadata: format, action_map.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from training.cli import ConfigError
from training.config import ReplayConfig, TrainConfig
from training.features import mirror_of, see
from training.mirror import mirror_joints
from training.replay import Batch, Replay

FORMAT = "ezm-episodes-1"
FIELDS = ("observation", "action", "label", "reward", "last", "terminal")
FOREVER = 2**62  # the update at which a demonstration's label was made: it never grows stale


def write(path: Path, episodes: dict[str, dict[str, np.ndarray]], facts: dict[str, str]) -> None:
    """Write episodes by task; `facts` needs action_map."""
    arrays = {
        f"{task}/{name}": np.ascontiguousarray(parts[name])
        for task, parts in episodes.items()
        for name in FIELDS
    }
    part = path.with_name(path.name + ".part")
    save_file(arrays, part, metadata={"format": FORMAT, **facts})
    part.replace(path)


def read(
    paths: str | Path, tasks: tuple[str, ...], action_map: str
) -> dict[str, dict[str, np.ndarray]]:
    """Read the episodes of these tasks, from all files (commas between) that have some.

    Raises:
        ConfigError: a file is not ours, no file has a task, or another action map was recorded.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for path in str(paths).split(","):
        for task, parts in _read_one(path, action_map).items():
            before = found.get(task)
            found[task] = (
                {n: np.concatenate([before[n], parts[n]]) for n in parts} if before else parts
            )
    missing = [name for name in tasks if name not in found]
    if missing:
        raise ConfigError(f"demos={paths}: no episodes of {missing}; there are {sorted(found)}")
    return {task: found[task] for task in tasks}


def _read_one(path: str, action_map: str) -> dict[str, dict[str, np.ndarray]]:
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
    names = {name.split("/")[0] for name in arrays}
    return {task: {name: arrays[f"{task}/{name}"] for name in FIELDS} for task in names}


class Demonstrations:
    """Episodes as batches; every transition equally likely."""

    def __init__(self, config: TrainConfig, window: int):
        episodes = read(config.demos, config.tasks, config.collect.action_map)
        view = config.collect.observation
        longest = max(len(parts["reward"]) for parts in episodes.values())
        seen = {task: see(view, parts["observation"]) for task, parts in episodes.items()}
        sizes = max(part.shape[1] for part in seen.values()), episodes[config.tasks[0]]["action"]
        even = ReplayConfig(
            capacity=longest + window + 1, priority_exponent=0.0, recent_share=0.0,
            task_share=config.replay.task_share,
        )  # fmt: skip
        self.replay = Replay(len(episodes), 1, sizes[0], sizes[1].shape[1], window, even)
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
