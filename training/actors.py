"""engine=ray: the environments are stepped and the targets made by the actors of a Ray cluster.

Synchronous: the learner meets its actors whenever it owes updates and holds none of their targets.
At a meeting it hands out its acting weights, draws the batches of the updates it owes (at most
`ray.batches`) for the re-analysers, and, if steps must come after these, lets the collectors begin
their next `ray.steps` steps. Then it updates as the targets come in; the steps are taken up when
no update is owed any more, so the ratio of updates to steps is what it is without Ray. How fast an
actor is changes nothing but the time.

Seeds: a collector's of (seed, segment, its index, how often it died), a search's of (seed, update).
The same numbers come out again with as many collectors and no deaths, on machines of one kind; how
many re-analysers there are does not matter. Ray finds, starts and watches the processes; what is
sent between them it pickles, so a cluster is for machines that trust each other.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
import socket
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray  # pyright: ignore[reportMissingImports]
import torch
from ray.exceptions import (  # pyright: ignore[reportMissingImports]
    ObjectLostError,
    RayActorError,
    RayTaskError,
)

from training.cli import ConfigError
from training.collector import Collector, Duty, Moment, join, open_env
from training.config import RayConfig, TrainConfig
from training.engine import LocalEngine, Round, Targets
from training.evaluation import MakeEnv
from training.planner import PlannerConfig
from training.reanalyse import Searched, TrainingBatch, reanalyse
from training.replay import Batch
from training.world_model import WorldModel

Weights = tuple[int, dict[str, np.ndarray]]  # at which update, by name
COLLECT, SEARCH = 1, 2  # what a seed is for
DEATHS_AT_MOST = 5  # of one actor over one request


class Worker:
    """What an actor does: act in the rows that are its own, or make targets."""

    def __init__(
        self, config: TrainConfig, make_env: MakeEnv, model: WorldModel, planner: PlannerConfig
    ):
        torch.set_num_threads(config.torch_threads)
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # Ray's are not
        self.config, self.make_env, self.planner = config, make_env, planner
        self.model, self.updates = model.eval().requires_grad_(False), -1
        self.collector: Collector | None = None

    def begin(self, duty: Duty, seeds: tuple[int, ...]) -> np.ndarray:
        """Begin with fresh environments; return their first observations [r, O]."""
        if self.collector is not None:
            self.collector.close()
        rng, generator = _generators(seeds)
        env = open_env(self.make_env, self.config, duty, int(rng.integers(2**62)))
        self.collector = Collector(self.config, self.model, self.planner, duty, env, rng, generator)
        return self.collector.observation

    def collect(self, weights: Weights, steps: int, random: bool, progress: float) -> list[Moment]:
        """Take that many steps with these weights."""
        assert self.collector is not None
        self._take(weights)
        return [self.collector.step(random, progress) for _ in range(steps)]

    def targets(
        self, weights: Weights, batch: Batch, updates: int, imitation: float,
        seeds: tuple[int, ...],
    ) -> tuple[TrainingBatch, Searched]:  # fmt: skip
        """Make the targets of a batch with these weights."""
        self._take(weights)
        _, generator = _generators(seeds)
        return reanalyse(
            self.model, batch, self.config.targets, self.planner, updates, generator, imitation
        )

    def _take(self, weights: Weights) -> None:
        updates, arrays = weights
        if updates != self.updates:
            self.model.load_state_dict({k: torch.tensor(v) for k, v in arrays.items()})
            self.updates = updates


def _generators(seeds: tuple[int, ...]) -> tuple[np.random.Generator, torch.Generator]:
    rng = np.random.default_rng(seeds)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    torch.manual_seed(int(rng.integers(2**62)))  # a compiled search draws from there
    return rng, generator


@dataclass
class Asked:
    """Something an actor was asked for; `again` asks whoever has its place now."""

    actors: list[Any]
    index: int  # of the actor among them
    again: Callable[[Any], Any]  # actor -> reference
    actor: Any  # that was asked
    reference: Any


class RayEngine(LocalEngine):
    """Collection and re-analysis in actors; see the module."""

    def __init__(self, *parts, **more):
        super().__init__(*parts, **more)
        self.ahead = self.config.ray.batches + 1
        self.collectors: list[Any] = []
        self.reanalysers: list[Any] = []
        self.round: list[Asked] = []  # steps under way
        self.waiting: deque[tuple[Batch, Asked]] = deque()  # targets under way
        self.replaced: dict[int, np.ndarray] = {}  # collectors made anew: first observations
        self.joined = False  # the cluster was joined, or begun, for this run

    def begin(self, duty: Duty, segment: int) -> np.ndarray:
        """Begin a segment: fresh environments in every collector; return first observations."""
        if not self.collectors:
            self._open()
        self._seed(segment)
        self.segment, self.deaths = segment, [0] * len(self.collectors)
        self.duties = duty.split(len(self.collectors))
        ends = np.cumsum([len(part.task) for part in self.duties])
        self.rows = [
            slice(end - len(d.task), end) for end, d in zip(ends, self.duties, strict=True)
        ]
        first = [self._ask(self.collectors, i, self._begins(i)) for i in range(len(self.duties))]
        found = [self._answer(asked) for asked in first]
        self.replaced.clear()
        return np.concatenate(found)

    def _open(self) -> None:
        """Join the cluster, or begin one, and start the actors."""
        config = self.config.ray
        self.joined = connect(config)
        model = copy.deepcopy(self.model).cpu()
        parts = self.config, self.make_env, model, self.planner
        self.parts = [ray.put(part) for part in parts]
        self.collectors = [self._start() for _ in range(config.collectors)]
        self.reanalysers = [self._start() for _ in range(config.reanalysers)]

    def _start(self) -> Any:
        return _Actor.options(num_cpus=1).remote(*self.parts)

    def _begins(self, index: int) -> Callable[[Any], Any]:
        duty, seed = self.duties[index], self.config.seed
        return lambda actor: actor.begin.remote(
            duty, (seed, self.segment, COLLECT, index, self.deaths[index])
        )

    def _broadcast(self, updates: int) -> Any:
        """Put the acting weights where every actor finds them; return the reference."""
        state = self.model.state_dict()
        return ray.put((updates, {k: v.detach().cpu().numpy() for k, v in state.items()}))

    def _set_out(self, random: bool, updates: int, weights: Any) -> None:
        """Let every collector take its next steps."""
        steps, progress = self.config.ray.steps, updates / self.config.online_updates

        def again(actor: Any) -> Any:
            return actor.collect.remote(weights, steps, random, progress)

        self.round = [self._ask(self.collectors, i, again) for i in range(len(self.collectors))]

    def collect(self, random: bool, updates: int) -> Round:
        """Return the next `ray.steps` steps of every row, begun at the last meeting or now."""
        began = time.perf_counter()
        if not self.round:
            self._set_out(random, updates, self._broadcast(updates))
        found = [self._answer(asked) for asked in self.round]
        replaced = [(self.rows[i], first) for i, first in self.replaced.items()]
        self.round = []
        self.replaced.clear()
        self.averages.add({"ms_wait": 1e3 * (time.perf_counter() - began)})
        return Round([join(parts) for parts in zip(*found, strict=True)], replaced)

    def targets(self, updates: int, owed: int, hungry: bool) -> Targets:
        """Return what `LocalEngine.targets` does, made in the actors since the last meeting."""
        if not self.waiting:
            weights = None
            if hungry and not self.round:
                weights = self._broadcast(updates)
                self._set_out(False, updates, weights)
            if not self.reanalysers:
                return super().targets(updates, owed, hungry)
            self._meet(updates, min(owed, self.config.ray.batches), weights)
        began = time.perf_counter()
        batch, asked = self.waiting.popleft()
        training_batch, fresh = self._answer(asked)
        self.averages.add({"ms_reanalyse": 1e3 * (time.perf_counter() - began)})
        device = self.model.action_mask.device
        return batch, _on(device, training_batch), fresh

    def _meet(self, updates: int, count: int, weights: Any) -> None:
        """Draw the batches of the next `count` updates and have their targets made."""
        began = time.perf_counter()
        weights = weights or self._broadcast(updates)
        for number in range(updates, updates + count):
            batch = self.batches.sample(number, self.rng)
            imitation = self.batches.scheduled("weight", number)
            words = weights, batch, number, imitation, (self.config.seed, number, SEARCH)
            asked = self._ask(
                self.reanalysers, number % len(self.reanalysers),
                lambda actor, words=words: actor.targets.remote(*words),
            )  # fmt: skip
            self.waiting.append((batch, asked))
        self.averages.add({"ms_sample": 1e3 * (time.perf_counter() - began) / count})

    def _ask(self, actors: list[Any], index: int, again: Callable[[Any], Any]) -> Asked:
        return Asked(actors, index, again, actors[index], again(actors[index]))

    def _answer(self, asked: Asked) -> Any:
        """Wait for an answer; replace an actor that died and ask again.

        Raises:
            RuntimeError: it died too often over the same request.
        """
        first, reason = None, ""
        for _ in range(DEATHS_AT_MOST):
            try:
                if first is not None:
                    self.replaced[asked.index] = ray.get(first)
                return ray.get(asked.reference)
            except RayTaskError as error:  # no death: what the actor's own code raised
                raise error.cause from error
            except (RayActorError, ObjectLostError) as error:
                reason = str(error).splitlines()[0]
                first = self._replace(asked, reason)
                asked.actor = asked.actors[asked.index]
                asked.reference = asked.again(asked.actor)
        raise RuntimeError(f"an actor died {DEATHS_AT_MOST} times over one request: {reason}")

    def _replace(self, asked: Asked, reason: str) -> Any:
        """Start another actor in a dead one's place; a collector begins anew: return with what."""
        actors, index = asked.actors, asked.index
        if actors[index] is not asked.actor:
            return None  # an earlier request has found out
        self.restarts += 1
        collects = actors is self.collectors
        kind = "collector" if collects else "re-analyser"
        print(f"{kind} {index} died and is replaced ({self.restarts} so far): {reason}", flush=True)
        ray.kill(actors[index])
        actors[index] = self._start()
        if not collects:
            return None
        self.deaths[index] += 1
        return self._begins(index)(actors[index])

    def end(self) -> None:
        """End the segment; the collectors close their environments when the next one begins."""

    def close(self) -> None:
        """Stop the actors, and the cluster where it was begun for this run."""
        for actor in [*self.collectors, *self.reanalysers]:
            ray.kill(actor)
        self.collectors, self.reanalysers, self.round = [], [], []
        self.waiting.clear()
        if self.joined:
            ray.shutdown()
            self.joined = False


def connect(config: RayConfig) -> bool:
    """Join the cluster at `config.address` or begin one here; return whether that was needed.

    Raises:
        ConfigError: there is none at that address, or it has too few CPUs.
    """
    wanted = config.collectors + config.reanalysers
    needed = not ray.is_initialized()
    if needed:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers
        try:
            _join(config.address) if config.address else _begin(wanted)
        except (OSError, ValueError) as error:  # ConnectionError is one
            raise ConfigError(f"ray.address={config.address!r}: {error}") from None
    there = ray.cluster_resources().get("CPU", 0)
    if there < wanted:
        raise ConfigError(
            f"ray.collectors={config.collectors} and ray.reanalysers={config.reanalysers} want a "
            f"CPU each; the cluster has {there:.0f}"
        )
    return needed


def _join(address: str) -> None:
    host, _, port = address.rpartition(":")
    if port.isdigit():  # Ray itself would ask for minutes before it gives up
        socket.create_connection((host, int(port)), timeout=10).close()
    ray.init(address=address, logging_level=logging.WARNING)


def _begin(cpus: int) -> None:
    quiet = {"logging_level": logging.WARNING, "include_dashboard": False}
    ray.init(address="local", num_cpus=max(cpus, os.cpu_count() or 1), **quiet)


def _on(device: torch.device, batch: TrainingBatch) -> TrainingBatch:
    names = [item.name for item in dataclasses.fields(TrainingBatch)]
    return TrainingBatch(**{name: getattr(batch, name).to(device) for name in names})


_Actor = ray.remote(Worker)
