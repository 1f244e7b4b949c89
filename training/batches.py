"""Where a batch comes from: own experience, demonstrations, or shares of both."""

from __future__ import annotations

import numpy as np

from training import demos, schedules
from training.config import TrainConfig
from training.demos import Demonstrations
from training.mirror import mirror_joints
from training.reanalyse import Searched
from training.replay import Batch, Replay
from training.scheduler import Scheduler, allot


class Batches:
    """Draws the batches of a run; what changes with the updates is asked with their number."""

    def __init__(
        self,
        config: TrainConfig,
        replay: Replay,
        scheduler: Scheduler,
        shown: Demonstrations | None,
    ):
        self.config, self.replay, self.scheduler, self.demos = config, replay, scheduler, shown
        self.files = shown.files if shown else {}  # what demonstrations are read from: bytes
        self.pretrain = config.imitation.pretrain if shown else 0  # updates

    def sample(self, updates: int, rng: np.random.Generator) -> Batch:
        """Draw the batch of the update that comes after `updates`."""
        count = self.config.optim.batch
        if self.demos is None:
            batch = self.replay.sample(count, rng, self._counts(count))
        elif updates < self.pretrain:
            batch = self.demos.sample(count, rng)
        else:
            shown = round(self.scheduled("share", updates) * count)
            own = self.replay.sample(count - shown, rng, self._counts(count - shown))
            batch = demos.join(own, self.demos.sample(shown, rng)) if shown else own
        if self.config.replay.mirrored:
            batch = demos.mirrored(batch, self.config.collect.observation, rng)
        return batch

    def _counts(self, batch: int) -> np.ndarray | None:
        """Return how many windows of each task a batch gets, None: as the replay's settings say."""
        return allot(self.scheduler.shares(), batch) if self.config.schedule.moves_batch else None

    def scheduled(self, name: str, updates: int) -> float:
        """Return imitation.<name> at that update: linear from the end of pre-training on."""
        imitation, end = self.config.imitation, self.config.online_updates
        progress = (updates - self.pretrain) / max(end - self.pretrain, 1)
        start, stop = getattr(imitation, name), getattr(imitation, f"{name}_end")
        return schedules.linear(start, stop, max(progress, 0.0))

    def keep(self, batch: Batch, error: np.ndarray, fresh: Searched, updates: int) -> None:
        """Take back what an update taught: priorities from errors [B], results of its search."""
        self.replay.update_priorities(batch, error)
        if self.config.targets.policy_staleness:
            found, flipped = fresh.action.cpu().numpy(), batch.flipped[fresh.rows]
            if flipped.any():
                found = np.where(flipped[:, None, None], mirror_joints(found), found)
            value = fresh.value.float().cpu().numpy()  # the same in the mirror
            self.replay.store_search(batch, fresh.rows, found, value, updates)
