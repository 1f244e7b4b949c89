"""The learner on several processes, started by torchrun: same gradients as one, data in shares.

    torchrun --nproc-per-node=2 training/run.py preset=h1_small out=runs/h1_small

Every process has its share of the environments, of the replay and of each batch, and a run folder
of its own (`out`, and `out/rank1`, … for the others); gradients are averaged before they are
clipped, so the weights stay equal. Statistics kept by networks (observations, batch norm) are
averaged after each update. The ratio of updates to steps of all processes together is exact.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from training import run_folder
from training.cli import ConfigError
from training.config import TrainConfig

NEVER = 10**6  # segments until a process that does not evaluate would


def begin(config: TrainConfig) -> TrainConfig:
    """Join the processes that torchrun started; return this one's share of the configuration."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return config
    on_gpu = config.device.startswith("cuda")
    if on_gpu:
        config = dataclasses.replace(config, device=f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(config.device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    return share(config, dist.get_rank(), world)


def share(config: TrainConfig, rank: int, world: int) -> TrainConfig:
    """Return the configuration of one of `world` processes.

    Raises:
        ConfigError: something does not divide, or would let the processes part.
    """
    if config.max_minutes:
        raise ConfigError("max_minutes is of no use under torchrun: the processes' clocks differ")
    collect, optim, replay = config.collect, config.optim, config.replay
    if collect.envs_per_task % world or optim.batch % (world * len(config.tasks)):
        raise ConfigError(
            f"collect.envs_per_task={collect.envs_per_task} and optim.batch={optim.batch} do not "
            f"divide by {world} processes (and {len(config.tasks)} tasks)"
        )
    return dataclasses.replace(
        config,
        seed=config.seed + 1_000_003 * rank,
        out=config.out if rank == 0 else f"{config.out}/rank{rank}",
        update_ratio=config.update_ratio * world,  # of this process's own steps
        evaluate_every=config.evaluate_every if rank == 0 else config.segment * NEVER,
        collect=dataclasses.replace(
            collect,
            envs_per_task=collect.envs_per_task // world,
            random_steps=collect.random_steps // world,
        ),
        optim=dataclasses.replace(optim, batch=optim.batch // world),
        replay=dataclasses.replace(
            replay, capacity=replay.capacity // world, recent=replay.recent // world
        ),
    )


def joined() -> bool:
    """Tell whether there are other processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def meet() -> None:
    """Wait until all processes are here."""
    if joined():
        dist.barrier()


def resumable(run: Path) -> Path | None:
    """Return the checkpoint that this process goes on from; see `run_folder.resumable`.

    Of several processes it is the newest that all of them have: they save together, but one may
    have been killed before it had named its newest.

    Raises:
        CheckpointError: some have checkpoints, but none that all have.
    """
    if not joined():
        return run_folder.resumable(run)
    mine = [folder.name for folder in run_folder.complete(run)]
    found: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(found, mine)
    common = set.intersection(*(set(names) for names in found))
    if common:
        return run / "checkpoints" / max(common, key=int)
    if any(found):
        raise run_folder.CheckpointError(
            f"the processes have no checkpoint in common to go on from; there are, by process: "
            f"{found}; a new run needs another out="
        )
    return None


def begin_equal(model: nn.Module, updates: int) -> None:
    """Give all processes the first one's weights.

    Raises:
        RuntimeError: they were resumed from different checkpoints.
    """
    if not joined():
        return
    counts: list[int | None] = [None] * dist.get_world_size()
    dist.all_gather_object(counts, updates)
    if len(set(counts)) > 1:
        raise RuntimeError(f"the processes resumed at different updates: {counts}")
    for tensor in model.state_dict().values():
        dist.broadcast(tensor, 0)


def average_gradients(model: nn.Module) -> None:
    """Replace every gradient by its mean over the processes, in one message."""
    if joined():
        _average([p.grad for p in model.parameters() if p.grad is not None])


def average_statistics(model: nn.Module) -> None:
    """Replace every floating buffer by its mean over the processes."""
    if joined():
        _average([b for b in model.buffers() if b.is_floating_point()])


@torch.no_grad()
def _average(tensors: list[torch.Tensor]) -> None:
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = flat.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))
