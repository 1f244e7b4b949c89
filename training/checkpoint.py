"""Checkpoints: safetensors and JSON, complete or not there at all.

<run>/config.json
<run>/checkpoints/00002500/agent.safetensors    weights that act, with the configuration inside
                          /learner.safetensors  weights being trained, Adam's moments
                          /replay.safetensors   in the newest checkpoint (replay.save=false: none)
                          /state.json           counters
<run>/checkpoints/latest                        name of the newest complete one
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.changes import Changes, changes, free, of_run, of_weights, sentence
from training.cli import to_dict
from training.config import TrainConfig, from_dict
from training.files import replacing, sync, sync_folder, write_text
from training.learner import Learner
from training.replay import Replay
from training.run_folder import ACTING, CheckpointError, best, latest, newest


def save_agent(
    path: Path, weights: dict[str, Tensor], config: TrainConfig, facts: dict[str, str]
) -> None:
    """Write acting weights with their configuration to one safetensors file, in one step."""
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    with replacing(path) as part:
        save_file(tensors, part, metadata={"config": json.dumps(to_dict(config)), **facts})


def load_agent(path: Path) -> tuple[dict[str, Tensor], TrainConfig, dict[str, str]]:
    """Read what `save_agent` wrote: weights as float32, configuration, facts.

    `path` is such a file, a checkpoint folder, a run folder (its newest checkpoint), or
    RUN/best: the checkpoint that its evaluations found best, see `run_folder`.

    Raises:
        CheckpointError: what was given is none of these.
    """
    file = find_agent(path)
    metadata = _metadata(file)
    try:
        weights = {name: tensor.float() if tensor.is_floating_point() else tensor
                   for name, tensor in load_file(file).items()}  # fmt: skip
    except SafetensorError as error:
        raise CheckpointError(f"{file} is not a complete safetensors file: {error}") from None
    broken = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"{file} holds numbers that are not finite, in {broken}")
    config = from_dict(json.loads(metadata.pop("config")))
    return weights, config, metadata


def _metadata(file: Path) -> dict[str, str]:
    """Return the facts in an agent's file, its configuration as JSON among them."""
    try:
        with safe_open(file, framework="pt") as handle:
            metadata = handle.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{file} is not a complete safetensors file: {error}") from None
    if "config" not in metadata:
        raise CheckpointError(f"{file} carries no ezm configuration in its metadata")
    return metadata


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
    folder = latest(path) or newest(path, ACTING)
    if folder is not None:
        return folder / "agent.safetensors"
    around = path if path.is_dir() else path.parent
    there = sorted(p.name for p in around.iterdir()) if around.is_dir() else []
    raise CheckpointError(
        f"no checkpoint at {path}; expected a run folder, a checkpoint folder or an "
        f"agent.safetensors file; {around} holds {there[:12] or 'nothing'}"
    )


def save_run(
    run: Path,
    learner: Learner,
    replay: Replay,
    state: dict[str, Any],
    written: Callable[[], None] = lambda: None,
) -> Path:
    """Write a checkpoint beside the older ones, then point `latest` at it.

    `written` is called in between: where several processes save, it waits for all of them, so that
    there is at any moment one checkpoint that they all have.
    """
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
    sync_folder(root)  # before `latest` names it
    written()
    write_text(root / "latest", name)
    for older in root.glob("*/learner.safetensors"):  # large, and only the newest can resume
        if older.parent != folder:
            (older.parent / "replay.safetensors").unlink(missing_ok=True)
            older.unlink()
    return folder


def _write_run(part: Path, learner: Learner, replay: Replay, state: dict[str, Any]) -> None:
    facts = {"updates": str(learner.updates), "format": "ezm-agent-1"}
    average = learner.average.state_dict()
    save_agent(part / "agent.safetensors", average, learner.config, facts)
    save_file(_learner_tensors(learner), part / "learner.safetensors")
    kept = learner.config.replay.save
    if kept:
        replay.save(part / "replay.safetensors")
    (part / "state.json").write_text(json.dumps(state | {"replay": kept}))
    for file in part.iterdir():
        sync(file)
    sync_folder(part)


def load_run(folder: Path, learner: Learner, replay: Replay) -> dict[str, Any]:
    """Restore learner and replay from a checkpoint folder; return the saved counters.

    Where they say `"replay": false`, the folder has none, and the replay stays as it was.

    Raises:
        CheckpointError: a file is missing, cut short, or of another configuration.
    """
    there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    what = f"cannot resume from {folder} (it holds {there or 'nothing'})"
    remedy = "training with another configuration needs another out="
    tensors, weights, state = _read_run(folder, what)
    fixed = of_run(_changes(folder, learner, weights))
    if fixed:
        raise CheckpointError(f"{what}: {sentence(fixed)} ({remedy})")
    try:
        _restore(learner, tensors, weights)
        learner.updates = int(state["updates"])
        if state.get("replay", True):
            replay.load(folder / "replay.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(_damaged(what, folder / "replay.safetensors", error)) from error
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{what}: {_first_lines(error)} ({remedy})") from error
    return state


def _read_run(
    folder: Path, what: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Return a checkpoint's tensors in training, its acting weights and its counters."""
    file = folder
    try:
        file = folder / "learner.safetensors"
        tensors = load_file(file)
        file = folder / "agent.safetensors"
        weights = load_file(file)
        file = folder / "state.json"
        state = json.loads(file.read_text())
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(_damaged(what, file, error)) from error
    return tensors, weights, state


def _damaged(what: str, file: Path, error: Exception) -> str:
    """Return the sentence about a file that cannot be read."""
    if not file.is_file():
        return f"{what}: {file.name} is not there"
    return f"{what}: {file.name} is damaged: {_first_lines(error)}"


def _first_lines(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:2])


def freely_changed(folder: Path, learner: Learner) -> Changes:
    """Return what a run resumed from `folder` has otherwise, and may have otherwise."""
    return free(_changes(folder, learner, {}))


def _changes(path: Path, learner: Learner, weights: dict[str, Tensor]) -> Changes:
    """Return what is otherwise in the configuration inside the agent that `path` means."""
    saved = json.loads(_metadata(find_agent(path))["config"])
    changed = changes(saved, learner.config)
    if "language" in changed:  # the file may have moved: its phrases count, if both have some
        ours = learner.model.state_dict().get(_PHRASES)
        theirs = weights.get(_PHRASES)
        if ours is not None and theirs is not None and torch.equal(ours.cpu(), theirs):
            del changed["language"]
    return changed


_PHRASES = "task_embedding.phrases"


def load_weights(path: Path, learner: Learner) -> None:
    """Give a learner the acting weights that `path` means, see `load_agent`.

    Raises:
        CheckpointError: there are none, or they are of another meaning or architecture.
    """
    weights, _, _ = load_agent(path)
    fixed = of_weights(_changes(path, learner, weights))
    if fixed:
        raise CheckpointError(f"init={path} does not fit this run: {sentence(fixed)}")
    try:
        learner.model.load_state_dict(weights)
        learner.average.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"init={path} does not fit this run: {_first_lines(error)}"
        ) from error


def _restore(learner: Learner, tensors: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    """Give a learner what `_learner_tensors` and its average held."""
    prefix = "model."
    learner.model.load_state_dict(
        {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    )
    learner.average.load_state_dict(weights)
    for name, parameter in learner.model.named_parameters():
        if f"adam.{name}.exp_avg" in tensors:
            learner.optimizer.state[parameter] = {
                key: tensors[f"adam.{name}.{key}"].to(parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }


def _learner_tensors(learner: Learner) -> dict[str, Tensor]:
    tensors = {f"model.{k}": v.contiguous() for k, v in learner.model.state_dict().items()}
    for name, parameter in learner.model.named_parameters():
        for key, value in learner.optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{name}.{key}"] = torch.as_tensor(value).contiguous()
    return tensors
