"""Checkpoints: safetensors and JSON, complete or not there at all.

<run>/config.json
<run>/checkpoints/00002500/agent.safetensors    weights that act, with the configuration inside
                          /learner.safetensors  weights being trained, Adam's moments
                          /replay.safetensors   only in the newest checkpoint
                          /state.json           counters
<run>/checkpoints/latest                        name of the newest complete one
"""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from runtime.fields import leaves
from training.cli import ConfigError, to_dict
from training.config import TrainConfig, from_dict
from training.learner import Learner
from training.replay import Replay


class CheckpointError(ValueError):
    """A checkpoint that is not there, not complete, or not ours."""


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: readers see the old text or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


def save_agent(
    path: Path, weights: dict[str, Tensor], config: TrainConfig, facts: dict[str, str]
) -> None:
    """Write acting weights with their configuration to one safetensors file, in one step."""
    part = path.with_name(path.name + ".part")
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(tensors, part, metadata={"config": json.dumps(to_dict(config)), **facts})
    os.replace(part, path)


def load_agent(path: Path) -> tuple[dict[str, Tensor], TrainConfig, dict[str, str]]:
    """Read what `save_agent` wrote: weights as float32, configuration, facts.

    `path` is such a file, a checkpoint folder, a run folder (its newest checkpoint), or
    RUN/best: the checkpoint that its evaluations found best, see `note_evaluation`.

    Raises:
        CheckpointError: what was given is none of these.
    """
    file = find_agent(path)
    try:
        with safe_open(file, framework="pt") as handle:
            metadata = handle.metadata() or {}
        weights = {name: tensor.float() if tensor.is_floating_point() else tensor
                   for name, tensor in load_file(file).items()}  # fmt: skip
    except SafetensorError as error:
        raise CheckpointError(f"{file} is not a complete safetensors file: {error}") from None
    if "config" not in metadata:
        raise CheckpointError(f"{file} carries no ezm configuration in its metadata")
    broken = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"{file} holds numbers that are not finite, in {broken}")
    config = from_dict(json.loads(metadata.pop("config")))
    return weights, config, metadata


def half_precision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as float16, the observation statistics as they are (a count overflows)."""
    return {
        name: tensor.half() if tensor.is_floating_point() and "obs_norm" not in name else tensor
        for name, tensor in weights.items()
    }


def find_agent(path: Path) -> Path:
    """Return the agent file that `path` means; see `load_agent`."""
    path = Path(path)
    if path.name == "latest" and not path.is_dir():
        path = path.parent if path.parent.name != "checkpoints" else path.parent.parent
    if path.name == "best" and not path.is_dir():
        path = best(path.parent if path.parent.name != "checkpoints" else path.parent.parent)
    if path.is_file():
        return path
    if (path / "agent.safetensors").is_file():
        return path / "agent.safetensors"
    newest = latest(path)
    if newest is not None:
        return newest / "agent.safetensors"
    around = path if path.is_dir() else path.parent
    there = sorted(p.name for p in around.iterdir()) if around.is_dir() else []
    raise CheckpointError(
        f"no checkpoint at {path}; expected a run folder, a checkpoint folder or an "
        f"agent.safetensors file; {around} holds {there[:12] or 'nothing'}"
    )


def latest(run: Path) -> Path | None:
    """Return the newest complete checkpoint of a run, None if there is none."""
    pointer = Path(run) / "checkpoints" / "latest"
    if not pointer.is_file():
        return None
    folder = pointer.parent / pointer.read_text().strip()
    return folder if (folder / "state.json").is_file() else None


def best(run: Path) -> Path:
    """Return the checkpoint of a run whose planner was worth most when it was evaluated.

    Raises:
        CheckpointError: none was evaluated, or it is gone.
    """
    folder = None
    with contextlib.suppress(OSError, ValueError, KeyError):
        folder = run / "checkpoints" / json.loads((run / "best.json").read_text())["checkpoint"]
    if folder is None or not (folder / "agent.safetensors").is_file():
        raise CheckpointError(
            f"{run} knows no best checkpoint: it is named by the first evaluation of its planner "
            "(evaluate_every)"
        )
    return folder


def note_evaluation(run: Path, updates: int, worth: float, returns: dict[str, float]) -> bool:
    """Take down how good a run's checkpoint was, unless an earlier one was better.

    worth: what counts, see `evaluation.worth`; returns: by task, to be read. Learning swings, and
    the newest checkpoint may be far from the best. Returns whether it is the best so far.
    """
    file, before = run / "best.json", None
    with contextlib.suppress(OSError, ValueError, KeyError):
        before = json.loads(file.read_text())["worth"]
    if before is not None and before > worth:
        return False
    facts = {"checkpoint": f"{updates:08d}", "worth": round(worth, 4), "returns": returns}
    write_text(file, json.dumps(facts, indent=1))
    return True


def save_run(run: Path, learner: Learner, replay: Replay, state: dict[str, Any]) -> Path:
    """Write a checkpoint beside the older ones, then point `latest` at it."""
    root = run / "checkpoints"
    name = f"{learner.updates:08d}"
    part, folder = root / f"{name}.part", root / name
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _write_run(part, learner, replay, state)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)  # a full disk gets its room back
        raise
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    write_text(root / "latest", name)
    for older in root.glob("*/replay.safetensors"):  # large, and only the newest can resume
        if older.parent != folder:
            older.unlink()
            with contextlib.suppress(FileNotFoundError):
                (older.parent / "learner.safetensors").unlink()
    return folder


def _write_run(part: Path, learner: Learner, replay: Replay, state: dict[str, Any]) -> None:
    facts = {"updates": str(learner.updates), "format": "ezm-agent-1"}
    average = learner.average.state_dict()
    save_agent(part / "agent.safetensors", average, learner.config, facts)
    save_file(_learner_tensors(learner), part / "learner.safetensors")
    replay.save(part / "replay.safetensors")
    (part / "state.json").write_text(json.dumps(state))


def load_run(folder: Path, learner: Learner, replay: Replay) -> dict[str, Any]:
    """Restore learner and replay from a checkpoint folder; return the saved counters.

    Raises:
        CheckpointError: a file is missing, cut short, or of another configuration.
    """
    try:
        return _load_run(folder, learner, replay)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        raise CheckpointError(
            f"cannot resume from {folder} (it holds {there or 'nothing'}): "
            f"{_reason(error, folder, learner.config)} "
            f"(training with another configuration needs another out=)"
        ) from error


def load_weights(path: Path, learner: Learner) -> None:
    """Give a learner the acting weights that `path` means, see `load_agent`.

    Raises:
        CheckpointError: there are none, or they are of another architecture.
    """
    weights, _, _ = load_agent(path)
    try:
        learner.model.load_state_dict(weights)
        learner.average.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"init={path} does not fit this run: {_reason(error, path, learner.config)}"
        ) from error


def _reason(error: Exception, path: Path, config: TrainConfig) -> str:
    """Return why weights did not fit: which keys of their configuration differ, or the error."""
    shapes = not isinstance(error, (OSError, SafetensorError))
    with contextlib.suppress(CheckpointError, ConfigError, OSError):
        theirs = {leaf.key: leaf.default for leaf in leaves(load_agent(path)[1])}
        ours = {leaf.key: leaf.default for leaf in leaves(config)}
        differ = [f"{key} is {theirs[key]} there, {ours[key]} here" for key in ours
                  if key.startswith(_SHAPES) and theirs.get(key) != ours[key]]  # fmt: skip
        if shapes and differ:
            return ", ".join(differ)
    return " ".join(line.strip() for line in str(error).splitlines()[:2])


# what weights and replay have their shapes from
_SHAPES = (
    "model.", "tasks", "suite", "language", "collect.envs_per_task", "collect.observation",
    "replay.capacity", "targets.unroll", "targets.td_steps", "schedule.", "optim.decay",
)  # fmt: skip


def _load_run(folder: Path, learner: Learner, replay: Replay) -> dict[str, Any]:
    tensors = load_file(folder / "learner.safetensors")
    state = json.loads((folder / "state.json").read_text())
    prefix = "model."
    learner.model.load_state_dict(
        {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    )
    learner.average.load_state_dict(load_file(folder / "agent.safetensors"))
    for name, parameter in learner.model.named_parameters():
        if f"adam.{name}.exp_avg" in tensors:
            learner.optimizer.state[parameter] = {
                key: tensors[f"adam.{name}.{key}"].to(parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
    learner.updates = int(state["updates"])
    replay.load(folder / "replay.safetensors")
    return state


def _learner_tensors(learner: Learner) -> dict[str, Tensor]:
    tensors = {f"model.{k}": v.contiguous() for k, v in learner.model.state_dict().items()}
    for name, parameter in learner.model.named_parameters():
        for key, value in learner.optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{name}.{key}"] = torch.as_tensor(value).contiguous()
    return tensors
