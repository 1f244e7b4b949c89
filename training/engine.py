"""Where collection and re-analysis run: here, or in the actors of a Ray cluster.

The trainer decides when to step and when to learn; an engine does what it is asked. Knows neither
the optimiser nor what is done with what it returns.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch

from training.batches import Batches
from training.cli import ConfigError
from training.collector import Collector, Duty, Moment, open_env
from training.config import TrainConfig
from training.evaluation import MakeEnv
from training.metrics import Averages
from training.planner import PlannerConfig
from training.reanalyse import Searched, TrainingBatch, reanalyse
from training.replay import Batch
from training.world_model import WorldModel

Targets = tuple[Batch, TrainingBatch, Searched]


@dataclass(frozen=True)
class Round:
    """What was collected between two updates."""

    moments: list[Moment]  # of all rows, one step after the other
    # rows whose environments were made anew before that, and what these begin with [r, O]
    replaced: list[tuple[slice, np.ndarray]] = field(default_factory=list)


class LocalEngine:
    """Everything in the learner's process, one thing after the other."""

    ahead = 1  # updates that are looked ahead at
    restarts = 0  # actors that died and were replaced

    def __init__(
        self,
        config: TrainConfig,
        make_env: MakeEnv,
        model: WorldModel,
        planner: PlannerConfig,
        batches: Batches,
        averages: Averages,
    ):
        """Take `model` to act and to make targets with; the learner changes its weights."""
        self.config, self.make_env, self.model, self.planner = config, make_env, model, planner
        self.batches, self.averages = batches, averages

    def begin(self, duty: Duty, segment: int) -> np.ndarray:
        """Begin a segment: fresh environments and generators; return first observations [R, O]."""
        self._seed(segment)
        env = open_env(self.make_env, self.config, duty, int(self.rng.integers(2**62)))
        self.collector = Collector(
            self.config, self.model, self.planner, duty, env, self.rng, self.generator
        )
        return self.collector.observation

    def _seed(self, segment: int) -> None:
        self.rng = np.random.default_rng((self.config.seed, segment))
        self.generator = torch.Generator(self.model.action_mask.device)
        self.generator.manual_seed(int(self.rng.integers(2**62)))
        torch.manual_seed(int(self.rng.integers(2**62)))

    def collect(self, random: bool, updates: int) -> Round:
        """Step every row, at random or as planned; a segment must have begun."""
        return Round([self.collector.step(random, updates / self.config.online_updates)])

    def targets(self, updates: int, owed: int, hungry: bool) -> Targets:
        """Return the batch of the update after `updates`, its targets, and the fresh searches.

        Of `owed` updates in a row this is the first; `hungry`: after these come steps.
        """
        began = time.perf_counter()
        batch = self.batches.sample(updates, self.rng)
        sampled = time.perf_counter()
        training_batch, fresh = reanalyse(
            self.model, batch, self.config.targets, self.planner, updates, self.generator,
            self.batches.scheduled("weight", updates),
        )  # fmt: skip
        searched = time.perf_counter()
        self.averages.add(
            {"ms_sample": 1e3 * (sampled - began), "ms_reanalyse": 1e3 * (searched - sampled)}
        )
        return batch, training_batch, fresh

    def end(self) -> None:
        """End the segment."""
        self.collector.close()

    def close(self) -> None:
        """Give back what a run holds."""


def open_engine(config: TrainConfig, *parts, **more) -> LocalEngine:
    """Return the engine that `config.engine` names; the arguments are those of `LocalEngine`.

    Raises:
        ConfigError: the package ray is not installed.
    """
    if config.engine == "local":
        return LocalEngine(config, *parts, **more)
    try:
        from training.actors import RayEngine
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigError(
            "engine=ray needs the package ray: pip install -c constraints.txt -e '.[train,ray]'; "
            "engine=local works everywhere"
        ) from None
    return RayEngine(config, *parts, **more)
