"""What was collected, written down: frames into the replay, returns into the metrics."""

from __future__ import annotations

import numpy as np

from training.collector import Moment
from training.config import TrainConfig
from training.metrics import Averages
from training.recording import Recorder
from training.replay import Replay
from training.saturation import Saturation
from training.scheduler import Scheduler


class Episodes:
    """The open episodes of a segment's rows."""

    def __init__(
        self,
        config: TrainConfig,
        replay: Replay,
        scheduler: Scheduler,
        averages: Averages,
        task: np.ndarray,
        observation: np.ndarray,
        step_limit: np.ndarray,
        saturation: Saturation,
        recorder: Recorder | None = None,
    ):
        """Begin episodes of tasks [R] at observations [R, O], of `step_limit` [R] steps at most.

        A recorder writes them down beside the replay.
        """
        self.config, self.replay, self.scheduler = config, replay, scheduler
        self.averages, self.task, self.observation = averages, task, observation
        self.step_limit, self.shared = step_limit, config.replay.shared
        self.saturation, self.recorder = saturation, recorder
        self.returns = np.zeros(len(task))
        self.lengths = np.zeros(len(task), int)

    def add(self, moment: Moment, random: bool) -> None:
        """Store one step of every row; `random`: the scheduler learns nothing from it."""
        for task, buffer in enumerate(self.replay.buffers):
            mine = self._rows(task)
            reward = moment.rewards[:, task] if self.shared else moment.reward
            buffer.add(moment.observation[mine], moment.action[mine], reward[mine])
        if self.recorder:
            self.recorder.add(moment)
        self.returns += moment.reward
        self.lengths += 1
        self.observation = moment.end
        if moment.done.any():
            lost = moment.fault != ""
            self._tell(moment.done & ~lost, random)
            self.cut(moment.done, moment.terminated, lost)
            self.observation = moment.following
        self.averages.add(
            {"ms_act": float(moment.ms_act.max()), "ms_env": float(moment.ms_env.max())}
        )

    def _rows(self, task: int) -> np.ndarray:
        """Return which rows [R] a task's buffer holds: all, or its own."""
        return np.ones(len(self.task), bool) if self.shared else self.task == task

    def _tell(self, done: np.ndarray, random: bool) -> None:
        for task, name in enumerate(self.config.tasks):
            mine = done & (self.task == task)
            ended = (self.returns[mine], self.lengths[mine], self.step_limit[mine])
            for value, length, limit in zip(*ended, strict=True):
                self.averages.add(
                    {f"train_return/{name}": float(value), f"train_length/{name}": int(length)}
                )
                if not random:
                    self.scheduler.observe(task, float(value) / float(limit))
                    self.saturation.observe(task, float(value))

    def cut(self, rows: np.ndarray, terminated: np.ndarray, lost: np.ndarray | None = None) -> None:
        """Write the final frame of the episodes of `rows` (bool) and begin new ones there.

        What leads to the end of a `lost` one (bool) is never sampled.
        """
        for task, buffer in enumerate(self.replay.buffers):
            held = self._rows(task)
            mine = np.flatnonzero(rows & held)
            first = int(held.argmax())
            buffer.finish(mine - first, self.observation[mine], terminated[mine])
            if self.config.replay.drop_tail:
                block = self.config.replay.drop_tail
                buffer.drop_tail(mine - first, self.lengths[mine], block)
            if lost is not None and lost[mine].any():
                gone = mine[lost[mine]]
                buffer.drop_newest(gone - first, self.lengths[gone])
        if self.recorder:
            self.recorder.cut(rows, self.observation, terminated)
        self.returns[rows], self.lengths[rows] = 0.0, 0

    def begin(self, rows: slice, observation: np.ndarray) -> None:
        """Let the rows' environments be others from here on: their episodes are cut, not ended."""
        mine = np.zeros(len(self.task), bool)
        mine[rows] = True
        self.cut(mine, np.zeros_like(mine))
        self.observation = self.observation.copy()
        self.observation[rows] = observation

    def close(self) -> None:
        """End all episodes as by a time limit; one without a step leaves nothing behind."""
        self.cut(self.lengths > 0, np.zeros(len(self.task), bool))
